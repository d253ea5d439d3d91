# SPDX-License-Identifier: Apache-2.0
"""What both kinds of kernel agent have in common: peers programmed into a node's kernel."""

from collections.abc import Mapping

from fwd.lab import kernelnode, netns
from fwd.lab.errors import LabError
from fwd.lab.kernelnode import Peer
from fwd.lab.steps import Step


class LostError(Exception):
    """The control plane did not answer, or not as it should; asked again soon."""


class KernelPeers:
    """Peers by the name of the lease that they are from, in one namespace."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._peers: dict[str, tuple[Peer, ...]] = {}

    @property
    def names(self) -> set[str]:
        """Of the leases."""
        return set(self._peers)

    def add(self, came: Mapping[str, tuple[Peer, ...]]) -> None:
        """Program these, all of them at once, as a big lab has many."""
        self._peers.update(came)
        if came:
            self._apply(kernelnode.add_peers([one for peers in came.values() for one in peers]))

    def remove(self, name: str) -> None:
        """Undo a lease, if there is one."""
        for peer in self._peers.pop(name, ()):
            for step in kernelnode.remove_peer(peer):
                self._apply([step])

    def _apply(self, todo: list[Step]) -> None:
        try:
            netns.apply(self._namespace, todo)
        except LabError as error:
            say(str(error))


def say(text: str) -> None:
    """A line for the log."""
    print(text, flush=True)
