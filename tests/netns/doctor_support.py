# SPDX-License-Identifier: Apache-2.0
"""`fwd doctor` on node n1 of a mixed lab, as its operator runs it."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from msgspec import Struct

from fwd.lab import netns
from fwd.lab.apiserver import commands as api
from tests.netns.namespace import ROOT
from tests.netns.topo import Net, wait_until

DROP_8472 = (
    "table {} blocks {{ chain in {{ type filter hook input priority 0; udp dport 8472 drop; }}; }}"
)
"""For nft: of one family, or of inet."""
_SECONDS = 60.0


class Report(Struct, frozen=True):
    """What the doctor said."""

    code: int
    findings: list[dict[str, str]]

    def graded(self, grade: str) -> list[str]:
        """`looked at: found -> remedy` of each finding of a grade."""
        return [
            f"{one['looked-at']}: {one['found']} -> {one['remedy']}"
            for one in self.findings
            if one["grade"] == grade
        ]

    def names(self, fault: str, remedy: str) -> None:
        """Asserts that this, with what to do, is all that is wrong."""
        self.names_all((fault, remedy))

    def names_all(self, *faults: tuple[str, str]) -> None:
        """Asserts that these, in this order, are all that is wrong."""
        wrong = self.graded("wrong")
        assert len(wrong) == len(faults), "\n".join(wrong) or "nothing is wrong"
        for one, (fault, remedy) in zip(wrong, faults, strict=True):
            said, _, advice = one.partition(" -> ")
            assert re.search(fault, said), said
            assert re.search(remedy, advice), advice
        assert self.code == 1


class Doctor:
    """The patient is n1; `net` is the lab, as the family sees it that is made ill."""

    def __init__(self, net: Net) -> None:
        self.net = net
        self.node = net.node(1).namespace

    def of_agent(self, *words: str) -> Report:
        """Asks with no flags but where the agent runs."""
        return self._ask("--run-dir", str(self.net.directory(1)), *words)

    def of_flags(self, *words: str, before: str = "") -> Report:
        """Puts `doctor` where `run` stands; `before` is done first, in the doctor's own mounts."""
        _, _, *flags = self.net.command(1)
        return self._ask(*flags, *words, before=before)

    def _ask(self, *words: str, before: str = "") -> Report:
        command = [sys.executable, "-W", "error", "-m", "fwd", "doctor", "--json", *words]
        if before:  # `ip netns exec` has given it mounts of its own
            command = ["sh", "-ec", f'{before}; exec "$@"', "sh", *command]
        done = subprocess.run(
            netns.inside(self.node, *command),
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
            cwd=ROOT,
        )
        assert done.stdout, done.stderr
        assert not done.stderr, done.stderr
        document: dict[str, Any] = json.loads(done.stdout)
        assert document["well"] == (done.returncode == 0)
        return Report(done.returncode, document["findings"])

    def run(self, index: int, *words: str) -> None:
        """A command on a node."""
        done = subprocess.run(
            netns.inside(self.net.node(index).namespace, *words),
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    @contextmanager
    def sysctl(self, path: str, value: str) -> Iterator[None]:
        """A parameter of n1's."""
        old = f"cat /proc/sys/{path}"
        before = subprocess.run(
            netns.inside(self.node, "sh", "-c", old), capture_output=True, text=True, check=True
        ).stdout.strip()
        self.run(1, "sh", "-c", f"echo {value} >/proc/sys/{path}")
        try:
            yield
        finally:
            self.run(1, "sh", "-c", f"echo {before} >/proc/sys/{path}")

    @contextmanager
    def annotated(self, index: int, *, mac: str) -> Iterator[None]:
        """A Node says this of its VTEP, and n1 knows."""
        data = {4: "backend-data", 6: "backend-v6-data"}[self.net.family]
        node, key = f"n{index}", f"flannel.alpha.coreos.com/{data}"
        before = self.net.tell_api(api.GetNode(node))["metadata"]["annotations"][key]

        def say(text: str) -> None:
            patch = {"metadata": {"annotations": {key: text}}}
            self.net.tell_api(api.PatchNode(node, patch))
            said = json.loads(text)["VtepMAC"]
            wait_until(lambda: said in {lease.vtep_mac for lease in self.net.status(1).leases})

        say(f'{{"VNI":1,"VtepMAC":"{mac}"}}')
        try:
            yield
        finally:
            say(before)

    def up_again(self, index: int) -> str:
        """What brings a node's kernel device back to life: much went with the link, and of IPv6
        its address."""
        net = self.net
        device, plan = net.device, net.addresses
        own = f"{net.vtep(index)}/{plan.cluster.max_prefixlen} dev {device}"
        lines = [
            f"ip link set {device} up",
            f"ip addr replace {own}{' nodad' * (net.family == 6)}",
        ]
        for peer in (1, 2):
            vtep, mac = net.vtep(peer), net.tunnel(peer).vtep_mac
            lines.append(f"ip neigh replace {vtep} lladdr {mac} nud permanent dev {device}")
            lines.append(f"ip route replace {plan.subnet(peer)} via {vtep} dev {device} onlink")
        return "\n".join(lines)

    @contextmanager
    def done(self, index: int, *words: str, undo: str) -> Iterator[None]:
        """A command on a node, and the line of shell that undoes it."""
        self.run(index, *words)
        try:
            yield
        finally:
            self.run(index, "sh", "-ec", undo)


@contextmanager
def kept(path: Path) -> Iterator[None]:
    """The file is afterwards what it was before."""
    content = path.read_bytes()
    try:
        yield
    finally:
        path.write_bytes(content)
