# SPDX-License-Identifier: Apache-2.0
"""A lab for tests: fwd and kernel nodes built by fwd.lab, agents that can be started anew.

Nodes 1 and 2 run fwd, node 3 has the kernel's vxlan device, unless a test asks otherwise.
"""

import contextlib
import copy
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from fwd.lab import agentproc, fwdnode, kernelnode, lab, netns, service, state, steps, topology
from fwd.lab.agentproc import Process
from fwd.lab.apiserver.client import ask
from fwd.lab.apiserver.commands import Command
from fwd.lab.familyplan import FamilyPlan
from fwd.lab.state import State, StateDir
from fwd.lab.topology import Node, NodeKind, Pod, Source, Spec, Topology
from fwd.ops import status
from fwd.ops.status import Status, TunnelStatus
from fwd.plane import CounterKind, counter_info
from tests.netns import frames
from tests.netns.names import own
from tests.netns.sockets import udp_in
from tests.netns.threads import SEVERAL

PREFIX: Final = own("dt")
FAMILIES: Final = {"IPv4": 4, "IPv6": 6}
LIMIT: Final = 30.0  # seconds for anything that should happen at once, on a busy machine
_QUEUE: Final = 10_000  # packets


class Net:
    """A lab that is up, as one of its families sees it: the first, unless seen() says another."""

    def __init__(self, plan: Topology, state_dir: StateDir) -> None:
        self.plan = plan
        self.family = plan.spec.families[0]
        self._state_dir = state_dir
        saved = state_dir.load()
        assert isinstance(saved, State)
        self._agents: dict[str, Process] = dict(saved.agents)
        self._log_starts: dict[str, int] = {}
        for node in plan.nodes:
            if node.kind is NodeKind.FWD:
                self._deepen(node.index)

    def seen(self, family: int) -> "Net":
        """The same lab, in another family."""
        other = copy.copy(self)
        other.family = family
        return other

    @property
    def addresses(self) -> FamilyPlan:
        """Who has which."""
        return next(plan for plan in self.plan.plans if plan.family == self.family)

    @property
    def any(self) -> str:
        """The unspecified address."""
        return "0.0.0.0" if self.family == 4 else "::"

    @property
    def device(self) -> str:
        """The tunnel's."""
        return kernelnode.device(self.addresses)

    @property
    def mtu(self) -> int:
        """The largest inner packet."""
        return self.plan.path_mtu(self.family)

    @property
    def ip_header(self) -> int:
        """Bytes of an IP header."""
        return frames.HEADER[self.family]

    @property
    def room(self) -> int:
        """The largest payload of UDP, or of an echo request, that needs no fragments."""
        return self.mtu - self.ip_header - 8

    def udp_in(self, namespace: str, port: int = 0) -> socket.socket:
        """A UDP socket of this family, bound to any address."""
        return udp_in(namespace, self.any, port)

    @property
    def switch(self) -> str:
        """Namespace of the wire."""
        return self.plan.switch

    def node(self, index: int) -> Node:
        """A node by its number."""
        return next(node for node in self.plan.nodes if node.index == index)

    def pod(self, node: int, index: int = 1) -> Pod:
        """A Pod by its node's number."""
        return next(pod for pod in self.node(node).pods if pod.index == index)

    def address(self, pod: Pod) -> str:
        """A Pod's address."""
        return str(self.addresses.pod(pod.node, pod.index).ip)

    def vtep(self, index: int) -> str:
        """Address of a node's tunnel."""
        return str(self.addresses.vtep(index))

    @property
    def nobody(self) -> str:
        """An address in the cluster's network that no node owns."""
        return str(self.addresses.pod(77, 9).ip)

    def underlay(self, index: int) -> str:
        """A node's underlay address."""
        return str(self.addresses.node(index).ip)

    def status(self, index: int) -> Status:
        """What a node's agent says of itself."""
        directory = self._state_dir.of_node(self.node(index).namespace)
        return status.decode(status.fetch(directory))

    def tunnel(self, index: int) -> TunnelStatus:
        """Of that the tunnel."""
        return next(one for one in self.status(index).tunnels if one.family == self.family)

    def log(self, index: int) -> list[str]:
        """What a node's agent has logged since it was started last."""
        name = self.node(index).namespace
        text = self._state_dir.log(name).read_bytes()[self._log_starts.get(name, 0) :]
        return text.decode(errors="replace").splitlines()

    def restart(self, index: int, *args: str, env: Mapping[str, str] | None = None) -> None:
        """Ends a node's agent and starts it with these arguments; returns when it forwards."""
        node = self.node(index)
        agentproc.stop([self._agents[node.name]])
        self._log_starts[node.namespace] = self._state_dir.log(node.namespace).stat().st_size
        spec = msgspec.structs.replace(self.plan.spec, run_args=(*SEVERAL, *args))
        plan = msgspec.structs.replace(self.plan, spec=spec)
        with pytest.MonkeyPatch.context() as patch:
            for name, value in (env or {}).items():
                patch.setenv(name, value)
            agent = service.start(fwdnode.program(plan, node, state_dir=self._state_dir))
        self._agents[node.name] = agent.process
        agent.await_ready(time.monotonic() + service.START_LIMIT)
        self._deepen(index)

    def _deepen(self, index: int) -> None:
        """Room in the TUN's queue for a burst that comes while the worker is off the processor.

        The kernel drops what does not fit; on a busy machine that would be taken for fwd's fault.
        """
        for plan in self.plan.plans:
            line = f"link set {kernelnode.device(plan)} txqueuelen {_QUEUE}"
            self.ip(self.node(index).namespace, line)

    def learn_mtu(self) -> None:
        """Pods have a larger one than an IPv6 tunnel; here every Pod finds that out once."""
        targets = [(pod.node, self.address(pod)) for pod in self.plan.pods]
        targets += [(node.index, self.vtep(node.index)) for node in self.plan.nodes]
        for source in self.plan.pods:
            with self.udp_in(source.namespace) as sock:
                for node, address in targets:
                    if node != source.node:
                        sock.sendto(bytes(self.plan.pod_mtu), (address, 9))

    def agent_pid(self, index: int) -> int:
        """Process id of a node's agent."""
        return self._agents[self.node(index).name].pid

    def receive_errors(self, index: int) -> int:
        """Datagrams that the kernel dropped before any socket of the node saw them."""
        directory = Path(f"/proc/{self.agent_pid(index)}/net")
        if self.family == 6:
            lines = (directory / "snmp6").read_text().splitlines()
            numbers = {name: int(value) for name, value in map(str.split, lines)}
            return numbers["Udp6InErrors"] + numbers["Udp6RcvbufErrors"]
        lines = (directory / "snmp").read_text().splitlines()
        names, values = (line.split() for line in lines if line.startswith("Udp:"))
        numbers = dict(zip(names[1:], map(int, values[1:]), strict=True))
        return numbers["InErrors"] + numbers["RcvbufErrors"]

    def directory(self, index: int) -> Path:
        """Of a node: its agent's run directory."""
        return self._state_dir.of_node(self.node(index).namespace)

    def command(self, index: int) -> list[str]:
        """A node's agent's command line, from the program's name on."""
        return fwdnode.command(self.plan, self.node(index), state_dir=self._state_dir)

    def tell_api(self, command: Command) -> Any:  # noqa: ANN401 - JSON
        """A command for the API server's stand-in."""
        return ask(self._state_dir.api_socket, command)

    def stop(self, index: int) -> None:
        """Ends a node's agent; restart() starts it again."""
        agentproc.stop([self._agents[self.node(index).name]])

    def ip(self, namespace: str, line: str) -> None:
        """One line for iproute2 in a namespace."""
        netns.apply(namespace, [steps.ip(line)])


@contextlib.contextmanager
def built(  # noqa: PLR0913 - what tests ask of a lab
    *,
    fwd: int = 2,
    kernel: int = 1,
    pods: int = 1,
    mtu: int = 1500,
    families: tuple[int, ...] = (4,),
    args: tuple[str, ...] = (),
    source: Source = Source.STATIC,
) -> Iterator[Net]:
    """A lab for as long as the context lasts; what an earlier run left behind goes first."""
    spec = Spec(
        prefix=PREFIX,
        nodes=topology.node_specs(fwd=fwd, kernel=kernel),
        pods=pods,
        mtu=mtu,
        families=families,
        run_args=(*SEVERAL, *args),
        source=source,
    )
    plan, state_dir = topology.plan(spec), state.default(PREFIX)
    with state_dir.locked():
        lab.remove(PREFIX, state_dir)
        try:
            lab.up(plan, state_dir, say=lambda _: None)
            net = Net(plan, state_dir)
            if 6 in families:
                net.seen(6).learn_mtu()
            yield net
        finally:
            lab.remove(PREFIX, state_dir)


def wait_until(what: Callable[[], bool], *, limit: float = LIMIT) -> None:
    """Waits for a condition."""
    deadline = time.monotonic() + limit
    while not what():
        assert time.monotonic() < deadline, f"not after {limit:.0f} s: {what}"
        time.sleep(0.02)


class Counting:
    """The counters of a node from now on."""

    def __init__(self, net: Net, index: int) -> None:
        self._net = net
        self._index = index
        self._before = net.tunnel(index).counters

    def now(self) -> dict[str, int]:
        """What each has grown by."""
        counters = self._net.tunnel(self._index).counters
        return {name: value - self._before[name] for name, value in counters.items()}

    def total_at_rest(self) -> dict[str, int]:
        """What they are since the agent began."""
        return {name: value + self._before[name] for name, value in self.at_rest().items()}

    def at_rest(self) -> dict[str, int]:
        """What each has grown by once nothing moves any more."""
        last = self.now()
        deadline = time.monotonic() + LIMIT
        while True:
            time.sleep(0.1)
            new = self.now()
            if new == last:
                return new
            assert time.monotonic() < deadline, "packets still flow"
            last = new


def assert_balanced(counters: Mapping[str, int]) -> None:
    """Received = forwarded + dropped, in each direction."""
    drops = dict.fromkeys(CounterKind, 0)
    for info in counter_info():
        drops[info.kind] += counters[info.name]
    assert counters["out_packets"] == counters["out_sent"] + drops[CounterKind.DROP_OUT]
    assert counters["in_packets"] == counters["in_written"] + drops[CounterKind.DROP_IN]


_NOISE: Final = "out_multicast"


def drops_of(counters: Mapping[str, int]) -> dict[str, int]:
    """The drop counters that are not zero, but for what a kernel with IPv6 tells groups."""
    return {
        info.name: counters[info.name]
        for info in counter_info()
        if info.kind is not CounterKind.TRAFFIC and counters[info.name] and info.name != _NOISE
    }
