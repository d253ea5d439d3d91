# SPDX-License-Identifier: Apache-2.0
"""A node joins and leaves while TCP flows between two others: how long each thing took.

Reachable is measured from the moment at which the control plane had the new node's lease to the
first echo reply of its Pod; gone from its deletion to the first "unreachable" that a Pod is told
instead.  Observers are a Pod of one node of each kind, over each family.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from msgspec import Struct

from fwd.lab import controlplane, membership
from fwd.lab.errors import LabError
from fwd.lab.flow import Course, Flow
from fwd.lab.state import StateDir
from fwd.lab.topology import Node, NodeKind, Topology
from fwd.lab.watchman import Watchman, Word

LIMIT: Final = 1.0  # seconds, for each thing
# Seconds between joining and leaving.  A kernel that has said "unreachable" until now says no more
# for a while: each one costs a token twice, in ip_error() and in icmp_send() (net/ipv4/route.c,
# icmp.c), there is one a second, and they only add up while none is asked for.
_REST: Final = 2.5
_PATIENCE: Final = 5.0  # seconds until what did not happen is said not to happen

Say = Callable[[str], None]
Watchmen = Mapping[str, Watchman]


class Episode(Struct, frozen=True):
    """What was seen; times are in seconds, None for what did not happen.

    Attributes:
        joined: name of the node that came and went.
        kind: its data plane.
        reachable: by name of the observing Pod and family.
        gone: likewise.
        between: the Pods between which TCP flowed.
        flow: how it went; None if it broke.
    """

    joined: str
    kind: NodeKind
    reachable: dict[str, float | None]
    gone: dict[str, float | None]
    between: tuple[str, str]
    flow: Course | None

    @property
    def problems(self) -> tuple[str, ...]:
        """What took too long, in a few words each; empty when all is fine."""
        return tuple(self._problems())

    def _problems(self) -> Iterator[str]:
        for what, seen in (("reachable", self.reachable), ("gone", self.gone)):
            for observer, seconds in seen.items():
                if seconds is None:
                    yield f"{self.joined} not {what} from {observer}"
                elif seconds > LIMIT:
                    yield f"{self.joined} {what} from {observer} after {seconds:.2f} s only"
        if self.flow is None:
            yield f"TCP between {' and '.join(self.between)} broke"
        elif self.flow.longest > LIMIT:
            yield f"TCP between {' and '.join(self.between)} stood for {self.flow.longest:.2f} s"


def play(
    lab: Topology, *, kind: NodeKind, state_dir: StateDir, say: Say, name: str | None = None
) -> Episode:
    """Let a node join and leave again.

    Args:
        lab: is up, with a control plane and two nodes at least.
        kind: of the new node.
        state_dir: the lab's files.
        say: told each stage, in a few words.
        name: of the new node; None for the lowest one that is free.

    Raises:
        LabError: there is no room for the node, or it does not start.
    """
    first, second = (node.pods[0] for node in lab.nodes[:2])
    address = str(lab.plans[0].pod(second.node, second.index).ip)
    with Flow(first.namespace, second.namespace, address) as flow:
        say("a node joins")
        node, reachable = _arrival(lab, kind=kind, name=name, state_dir=state_dir)
        say(f"{node.name} leaves")
        gone = _departure(lab, node, state_dir=state_dir)
        course = None
        with contextlib.suppress(LabError):
            course = flow.end()
    return Episode(
        joined=node.name,
        kind=kind,
        reachable=reachable,
        gone=gone,
        between=(first.name, second.name),
        flow=course,
    )


def _arrival(
    lab: Topology, *, kind: NodeKind, name: str | None, state_dir: StateDir
) -> tuple[Node, dict[str, float | None]]:
    begin = time.monotonic()
    with contextlib.ExitStack() as stack:
        watchmen: dict[str, Watchman] = {}

        def begun(node: Node) -> None:
            watchmen.update(_posted(stack, lab, node))

        _, node = membership.join(
            state_dir.state(), name=name, kind=kind, state_dir=state_dir, begun=begun
        )
        seen = _seen(watchmen, Word.REPLY)
    plane = controlplane.of(lab)
    assert plane is not None
    when = plane.published_at(node, since=begin, state_dir=state_dir)
    return node, _since(when, seen)


def _departure(lab: Topology, node: Node, *, state_dir: StateDir) -> dict[str, float | None]:
    with contextlib.ExitStack() as stack:
        watchmen = _posted(stack, lab, node)
        _seen(watchmen, Word.REPLY)  # that they see it, before it goes
        time.sleep(_REST)
        when = membership.leave(state_dir.state(), name=node.name, state_dir=state_dir)
        return _since(when, _seen(watchmen, Word.UNREACHABLE))


def _posted(stack: contextlib.ExitStack, lab: Topology, node: Node) -> dict[str, Watchman]:
    """In a Pod of the first node of each kind one a family, looking at the new node's first Pod."""
    seen = node.pods[0]
    observers = {other.kind: other.pods[0] for other in reversed(lab.nodes)}
    return {
        f"{pod.name}, IPv{plan.family}": stack.enter_context(
            Watchman(pod.namespace, str(plan.pod(seen.node, seen.index).ip))
        )
        for pod in sorted(observers.values(), key=lambda pod: pod.node)
        for plan in lab.plans
    }


def _seen(watchmen: Watchmen, word: Word) -> dict[str, float | None]:
    deadline = time.monotonic() + _PATIENCE
    return {name: each.first(word, deadline=deadline) for name, each in watchmen.items()}


def _since(begin: float | None, seen: Mapping[str, float | None]) -> dict[str, float | None]:
    return {name: None if at is None or begin is None else at - begin for name, at in seen.items()}
