# SPDX-License-Identifier: Apache-2.0
"""Whose address a packet has when it arrives, with the rules and after their repair.

A node with a Pod of its own, a Pod of another node (its way there is a plain route instead of the
tunnel), and a host that is not in the cluster:

    pod 10.244.1.2 --+                 +-- far 10.244.2.2
                     +-- node (forwards)
                     |                 +-- out 192.0.2.2
"""

import socket
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress

import pytest

from fwd.core import iptables, nftables
from fwd.core.rules import Wanted
from fwd.lab import netns, steps
from fwd.model import IPV4, IPV6
from tests.netns.names import own
from tests.netns.rules_support import BACK_ENDS, ENGINES, Node, namespace, restore
from tests.netns.sockets import call_in, open_in
from tests.unit.rules_model import BOTH, CASES, rules_of

pytestmark = pytest.mark.netns

# Hosts by name: address and the node's own beside it.
HOSTS = {
    IPV4: {
        "pod": ("10.244.1.2", "10.244.1.1"),
        "far": ("10.244.2.2", "10.244.2.1"),
        "out": ("192.0.2.2", "192.0.2.1"),
    },
    IPV6: {
        "pod": ("2001:cafe:42:1::2", "2001:cafe:42:1::1"),
        "far": ("2001:cafe:42:2::2", "2001:cafe:42:2::1"),
        "out": ("2001:db8::2", "2001:db8::1"),
    },
}
AF = {IPV4: socket.AF_INET, IPV6: socket.AF_INET6}
BITS = {IPV4: 24, IPV6: 64}
FAMILIES = pytest.mark.parametrize("family", HOSTS)
PORT = 7
LIMIT = 5.0  # seconds for a datagram that should come
SILENCE = 0.3  # seconds without one that should not
REPAIRS = 20


@pytest.fixture
def node() -> Iterator[Node]:
    """In the middle of its network."""
    with ExitStack() as stack:
        made = Node(stack.enter_context(namespace(own("rt-node"))))
        for host in HOSTS[IPV4]:
            stack.enter_context(namespace(own(f"rt-{host}")))
        for key in ("net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"):
            netns.apply(made.namespace, [steps.sysctl(key, 1)])
        for host in HOSTS[IPV4]:
            _connect(made, host)
        yield made


def _connect(node: Node, host: str) -> None:
    lines = [f"link add {host} type veth peer name eth0 netns {own(f'rt-{host}')}"]
    inside = ["link set lo up", "link set eth0 up"]
    for family, hosts in HOSTS.items():
        address, beside = hosts[host]
        nodad = " nodad" if family == IPV6 else ""
        lines.append(f"addr add {beside}/{BITS[family]} dev {host}{nodad}")
        inside.append(f"addr add {address}/{BITS[family]} dev eth0{nodad}")
        inside.append(f"route add default via {beside}")
    lines.append(f"link set {host} up")
    netns.apply(node.namespace, [steps.ip(line) for line in lines])
    netns.apply(own(f"rt-{host}"), [steps.ip(line) for line in inside])


def seen(family: int, source: str, destination: str, *, port: int = PORT) -> str | None:
    """The address from which a datagram arrives, and to which an answer comes; None: none does."""
    hosts = HOSTS[family]
    with (
        open_in(own(f"rt-{destination}"), AF[family], socket.SOCK_DGRAM) as server,
        open_in(own(f"rt-{source}"), AF[family], socket.SOCK_DGRAM) as client,
    ):
        server.settimeout(LIMIT)
        client.settimeout(LIMIT)
        server.bind((hosts[destination][0], port))
        client.sendto(b"?", (hosts[destination][0], port))
        try:
            _, address = server.recvfrom(16)
        except TimeoutError:
            return None
        server.sendto(b"!", address)
        assert client.recvfrom(16)[0] == b"!"
        return str(address[0])


def assert_right(family: int) -> None:
    hosts = HOSTS[family]
    assert seen(family, "pod", "out") == hosts["out"][1], "leaves with the node's address"
    assert seen(family, "pod", "far") == hosts["pod"][0], "a Pod's address stays within the cluster"
    assert seen(family, "far", "pod") == hosts["far"][0], "in both directions"
    assert seen(family, "out", "pod") == hosts["out"][0], "a Pod sees who asks from outside"


@FAMILIES
@pytest.mark.parametrize("engine", ENGINES)
def test_addresses(node: Node, engine: str, family: int) -> None:
    assert seen(family, "pod", "out") == HOSTS[family]["pod"][0], "without rules"
    node.keeper(engine).install()
    assert_right(family)


@FAMILIES
@pytest.mark.parametrize("engine", ENGINES)
def test_without_ip_masq_addresses_stay(node: Node, engine: str, family: int) -> None:
    node.keeper(engine, CASES["forward"]).install()
    assert seen(family, "pod", "out") == HOSTS[family]["pod"][0]


def drop_rule(node: Node, engine: str, family: int, at: int) -> None:
    """Deletes a masquerade rule by its number, from 0."""
    if engine == "nftables":
        base = nftables.MASQUERADE
        table = nftables.TABLES[family]
        contents = nftables.wanted_contents(BOTH, family, random_fully=True)[base]
        left = [rule for number, rule in enumerate(contents) if number != at]
        lines = [f"flush chain {table} {base.name}"]
        lines += [f"add rule {table} {base.name} {rule}" for rule in left]
        node.run("nft", "-f", "-", stdin="\n".join(lines) + "\n")
        return
    part = iptables.MASQUERADE
    payload = iptables.payload({part.table: [f"-D {part.chain} {at + 1}"]})
    command = "iptables" if family == IPV4 else "ip6tables"
    restore(node, engine, payload, command=command)


@FAMILIES
@pytest.mark.parametrize("engine", ENGINES)
def test_addresses_after_each_rule_was_deleted(node: Node, engine: str, family: int) -> None:
    kept = node.keeper(engine)
    kept.install()
    for at in range(len(rules_of(iptables.MASQUERADE))):
        drop_rule(node, engine, family, at)
        assert kept.check()
        assert_right(family)
    drop_rule(node, engine, family, 4)
    assert seen(family, "pod", "out") == HOSTS[family]["pod"][0], "it does make a difference"


@FAMILIES
@pytest.mark.parametrize("engine", ENGINES)
def test_a_flow_keeps_its_address_through_a_repair(node: Node, engine: str, family: int) -> None:
    kept = node.keeper(engine)
    kept.install()
    there = HOSTS[family]["out"][0]
    with (
        open_in(own("rt-out"), AF[family], socket.SOCK_DGRAM) as server,
        open_in(own("rt-pod"), AF[family], socket.SOCK_DGRAM) as client,
    ):
        server.bind((there, PORT))
        client.sendto(b"1", (there, PORT))
        first = server.recvfrom(16)[1]
        assert first[0] == HOSTS[family]["out"][1]
        for at in (4, 0):
            drop_rule(node, engine, family, at)
            assert kept.check()
            client.sendto(b"2", (there, PORT))
            assert server.recvfrom(16)[1] == first


@FAMILIES
@pytest.mark.parametrize("engine", BACK_ENDS)
def test_pods_are_forwarded_where_the_policy_is_to_drop(
    node: Node, engine: str, family: int
) -> None:
    command = "iptables" if family == IPV4 else "ip6tables"
    restore(node, engine, "*filter\n:FORWARD DROP [0:0]\nCOMMIT\n", command=command)
    hosts = HOSTS[family]
    without = Wanted(BOTH.networks, BOTH.subnets, masquerade=True, forward=False)
    kept = node.keeper(engine, without)
    kept.install()
    with (
        open_in(own("rt-far"), AF[family], socket.SOCK_DGRAM) as server,
        open_in(own("rt-pod"), AF[family], socket.SOCK_DGRAM) as client,
    ):
        server.bind((hosts["far"][0], PORT))
        server.settimeout(SILENCE)
        client.sendto(b"?", (hosts["far"][0], PORT))
        with pytest.raises(TimeoutError):
            server.recvfrom(16)
    kept.change(BOTH)
    assert_right(family)


def send_until(stop: threading.Event, family: int) -> int:
    """Datagrams from the Pod to the host outside, each a new flow; returns how many."""
    there = HOSTS[family]["out"][0], PORT

    def loop() -> int:
        count = 0
        while not stop.is_set():
            with socket.socket(AF[family], socket.SOCK_DGRAM) as sock:
                sock.sendto(b"?", there)
            count += 1
            stop.wait(0.0005)
        return count

    return call_in(own("rt-pod"), loop)


def disturb(node: Node, engine: str, family: int) -> None:
    """A rule too many at the end, which changes nothing for the traffic."""
    if engine == "nftables":
        base = nftables.MASQUERADE
        node.run("nft", "add", "rule", *nftables.TABLES[family].split(), base.name, "return")
        return
    part = iptables.MASQUERADE
    payload = iptables.payload({part.table: [f"-A {part.chain} -j RETURN"]})
    command = "iptables" if family == IPV4 else "ip6tables"
    restore(node, engine, payload, command=command)


@FAMILIES
@pytest.mark.parametrize("engine", ENGINES)
def test_no_moment_of_a_repair_is_without_rules(node: Node, engine: str, family: int) -> None:
    """New flows all the time, while the rules are replaced again and again."""
    kept = node.keeper(engine)
    kept.install()
    stop = threading.Event()
    addresses: Counter[str] = Counter()
    with (
        open_in(own("rt-out"), AF[family], socket.SOCK_DGRAM) as server,
        ThreadPoolExecutor(max_workers=1) as pool,
    ):
        server.bind((HOSTS[family]["out"][0], PORT))
        server.settimeout(SILENCE)
        sending = pool.submit(send_until, stop, family)
        try:
            for _ in range(REPAIRS):
                disturb(node, engine, family)
                assert kept.check()
        finally:
            stop.set()
        sent = sending.result(timeout=LIMIT)
        with suppress(TimeoutError):
            while True:
                addresses[server.recvfrom(16)[1][0]] += 1
    assert sent > REPAIRS
    assert addresses == {HOSTS[family]["out"][1]: sent}
