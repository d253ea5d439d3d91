# SPDX-License-Identifier: Apache-2.0
"""Two nodes made of network namespaces, with `fwd run` as a child process in each.

No Pods, no kernel peer: for tests of the agent's own conduct.  Every wait is bounded.
"""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import pytest
from msgspec import Struct

from fwd.ops import status
from tests.netns.names import own
from tests.netns.namespace import ROOT, WAIT_SECONDS, Namespace, wait_for
from tests.netns.threads import SEVERAL
from tests.unable import leave_out

__all__ = [
    "BOTH_FAMILIES",
    "EACH_FAMILY",
    "FACTS",
    "WAIT_SECONDS",
    "Agent",
    "Cluster",
    "Namespace",
    "entry",
    "key",
    "require_bridge_filter",
    "wait_for",
]


class Removable(Protocol):
    """What a test leaves behind unless it is removed."""

    def remove(self) -> None: ...


Made = TypeVar("Made", bound=Removable)


class Facts(Struct, frozen=True):
    """What a family's nodes have: node nX is number X in each address."""

    family: int
    network_key: str
    network: str
    device: str
    mtu: int
    """Of the tunnel over an MTU of 1500."""
    host: int
    """Bits of an address."""
    link: int
    """Prefix length of the underlay."""
    loopback: str
    underlay_form: str
    subnet_form: str

    def underlay(self, name: str) -> str:
        """Where peers send to."""
        return self.underlay_form.format(name.removeprefix("n"))

    def subnet(self, name: str) -> str:
        """Of a node."""
        return self.subnet_form.format(name.removeprefix("n"))

    def tunnel_ip(self, name: str) -> str:
        """A node's own address in the cluster's network: its subnet's first one."""
        return self.subnet(name).partition("/")[0]

    def own_address(self, name: str) -> str:
        """The same as the device has it."""
        return f"{self.tunnel_ip(name)}/{self.host}"

    def mac(self, name: str) -> str:
        """A node's VtepMAC."""
        return f"02:00:00:00:00:{self.family % 4 * 3}{name.removeprefix('n')}"

    def give(self, node: Namespace, address: str, device: str) -> None:
        """An underlay address that can be used at once."""
        nodad = ("nodad",) * (self.family == 6)
        node.ip("address", "add", f"{address}/{self.link}", "dev", device, *nodad)

    def routes(self, node: Namespace, *words: str) -> list[Any]:
        """Those of a namespace."""
        return node.show(f"-{self.family}", "route", "show", *words)


FACTS: Mapping[int, Facts] = {
    4: Facts(
        *(4, "Network", "10.244.0.0/16", "flannel.1", 1450, 32, 24),
        *("127.0.0.1", "192.168.50.{}", "10.244.{}.0/24"),
    ),
    6: Facts(
        *(6, "IPv6Network", "fd00:244::/48", "flannel-v6.1", 1430, 128, 64),
        *("::1", "fd02::{}", "fd00:244:0:{}::/64"),
    ),
}
EACH_FAMILY = pytest.mark.parametrize("family", list(FACTS), ids=[f"IPv{one}" for one in FACTS])
"""For tests that use the fixture `family`, or one that does."""
BOTH_FAMILIES = pytest.mark.parametrize("families", [tuple(FACTS)], ids=["dual"])
"""For what takes long, and can be seen of both at once."""


def key(name: str, family: int) -> str:
    """Of a node's entry: IPv4's has the node's name alone."""
    return name if family == 4 else f"{name}-v6"


def entry(name: str, family: int = 4) -> dict[str, Any]:
    """The lease of node nX."""
    facts = FACTS[family]
    return {
        "node": name,
        "subnet": facts.subnet(name),
        "public-ip": facts.underlay(name),
        "backend-data": {"VNI": 1, "VtepMAC": facts.mac(name)},
    }


class Agent:
    """`fwd run` as a child process in a namespace."""

    def __init__(
        self, namespace: Namespace, command: list[str], *, log: Path, run_dir: Path
    ) -> None:
        self.namespace = namespace
        self.run_dir = run_dir
        self._log = log
        with log.open("wb") as stderr:
            self._process = subprocess.Popen(
                ["ip", "netns", "exec", namespace.name, *command],
                stderr=stderr,
                stdout=stderr,
                cwd=ROOT,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def log(self) -> str:
        """Without what dev mode says of a busy machine: a callback took a tenth of a second."""
        lines = self._log.read_text().splitlines(keepends=True)
        return "".join(line for line in lines if 'event=asyncio text="Executing <' not in line)

    def lines(self, event: str) -> list[str]:
        return [line for line in self.log.splitlines() if f"event={event} " in f"{line} "]

    def says(self, event: str, *, times: int = 1) -> str:
        """Waits for the n-th line of an event and returns it."""
        end = time.monotonic() + WAIT_SECONDS
        while len(self.lines(event)) < times:
            if time.monotonic() > end or self._process.poll() is not None:
                pytest.fail(f"the agent did not say {event} {times} times:\n{self.log}")
            time.sleep(0.02)
        return self.lines(event)[times - 1]

    def status(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(status.fetch(self.run_dir))
        return document

    def tunnel(self, family: int = 4) -> dict[str, Any]:
        """Of the status, the part of one family."""
        (found,) = (one for one in self.status()["tunnels"] if one["family"] == family)
        part: dict[str, Any] = found
        return part

    def ended(self) -> int:
        """Waits for the agent to end by itself; its exit code."""
        return self._process.wait(WAIT_SECONDS)

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, float]:
        """Signals the agent; its exit code and how many seconds it took to end."""
        begin = time.monotonic()
        self._process.send_signal(number)
        return self._process.wait(WAIT_SECONDS), time.monotonic() - begin

    def remove(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait(WAIT_SECONDS)


class Cluster:
    """Two nodes n1 and n2 joined by a veth, one leases file for both."""

    before: Mapping[str, Sequence[str]] = {}
    """Words before the command of a node's agent."""
    python: Sequence[str] = ("-W", "error")
    """The interpreter's options; the fixture `dev_mode` has more."""

    def __init__(self, directory: Path, *, families: Sequence[int] = (4,)) -> None:
        self.directory = directory
        self.families = families
        self.facts = FACTS[families[0]]
        """Of the family that is on, or of the first one."""
        self.leases = directory / "leases.json"
        self.net_conf = directory / "net-conf.json"
        self.configure()
        self.entries = {
            key(name, family): entry(name, family) for name in ("n1", "n2") for family in families
        }
        self.write()
        self._removals: list[Callable[[], None]] = []

    def build(self) -> None:
        for name in ("n1", "n2"):
            setattr(self, name, self._keep(Namespace(own(f"ag-{name}"))))
        peer = ("peer", "name", "u2", "netns", self.n2.name)
        self.n1.ip("link", "add", "u1", "type", "veth", *peer)
        for number, node in enumerate((self.n1, self.n2), 1):
            for family in self.families:
                facts = FACTS[family]
                facts.give(node, facts.underlay(f"n{number}"), f"u{number}")
            node.ip("link", "set", f"u{number}", "up")

    def configure(self, *, nft: bool = True, **backend: object) -> None:
        """net-conf.json; nftables needs no kernel module that may not be loaded."""
        conf: dict[str, object] = {"EnableNFTables": nft}
        for family, facts in FACTS.items():
            conf |= {facts.network_key: facts.network} if family in self.families else {}
            conf[f"EnableIPv{family}"] = family in self.families
        self.net_conf.write_text(json.dumps(conf | {"Backend": {"Type": "vxlan"} | backend}))

    n1: Namespace
    n2: Namespace

    def _keep(self, made: Made) -> Made:
        self._removals.append(made.remove)
        return made

    def write(self) -> None:
        """Replaces the leases file by what `entries` say."""
        self.write_text(json.dumps({"leases": list(self.entries.values())}))

    def write_text(self, text: str) -> None:
        new = self.leases.with_suffix(".new")
        new.write_text(text)
        new.rename(self.leases)

    def source_flags(self, name: str) -> list[str]:  # noqa: ARG002 - theirs differ by node
        """Where the agent of a node has its leases from."""
        return ["--static-leases", str(self.leases), "--net-config-path", str(self.net_conf)]

    def start(self, name: str, *flags: str) -> Agent:
        """Starts the agent of a node."""
        number = len(self._removals)
        run_dir = self.directory / name
        command = [*self.before.get(name, ()), sys.executable, *self.python, "-m", "fwd", "run"]
        command += ["--node-name", name, "--run-dir", str(run_dir), *SEVERAL]
        command += ["--subnet-file", str(run_dir / "subnet.env")]
        command += [*self.source_flags(name), *flags]
        return self._keep(
            Agent(
                getattr(self, name),
                command,
                log=self.directory / f"{name}.{number}.log",
                run_dir=run_dir,
            )
        )

    def lease(self, name: str) -> dict[str, Any]:
        """A node's entry, of the family that is on."""
        return self.entries[key(name, self.facts.family)]

    def reaches(self, node: Namespace, name: str) -> bool:
        """Whether a node's tunnel address answers another node, over each family."""
        return all(node.pings(FACTS[family].tunnel_ip(name)) for family in self.families)

    def started(self, name: str, *flags: str) -> Agent:
        """Starts the agent of a node and waits until Pods may come."""
        agent = self.start(name, *flags)
        agent.says("host-ready")
        return agent

    def remove(self) -> None:
        while self._removals:
            self._removals.pop()()


def require_bridge_filter() -> None:
    """For agents with iptables rules."""
    if Path("/proc/sys/net/bridge").exists():
        return
    leave_out("needs br_netfilter (modprobe br_netfilter)")
