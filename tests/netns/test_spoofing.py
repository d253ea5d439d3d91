# SPDX-License-Identifier: Apache-2.0
"""A host on the underlay that is no node, and what it gets into a Pod: nothing through fwd.

It tries each field of the outer and the inner headers, from its own address and with that of a node
forged; captures in the Pods say what arrived.  The same is done to the kernel's vxlan device as
flannel sets it up, which takes nearly all of it: both are shown (`-s`).

What nobody can tell from a node's own packet is the exact copy of one, sent with that node's
address.  VXLAN has nothing against that; who can forge addresses on the underlay must be stopped
there.
"""

import socket
import struct
import sys
import time
from collections.abc import Iterator
from typing import Final

import pytest
from msgspec import Struct

from tests.netns import frames, topo
from tests.netns.inject import PORT, STRANGER, let_in_stranger
from tests.netns.sockets import af_of, open_in
from tests.netns.topo import Counting, Net

pytestmark = [pytest.mark.netns, pytest.mark.root]

FWD, PEER, KERNEL = 1, 2, 3
OTHERS: Final = {
    4: ("203.0.113.5", "198.51.100.7", "127.0.0.1", "224.0.0.1", "0.0.0.0"),
    6: ("2001:db8:5::5", "2001:db8:7::7", "::1", "ff02::1", "::"),
}
"""Outside of the cluster, nowhere at all, loopback, multicast, no address."""
COPIES: Final = 3
_ETH_P_ALL: Final = 3
_QUIET: Final = 0.3
_MARK: Final = b"spoofed!"


class Attempt(Struct, frozen=True, kw_only=True):
    """A datagram as the peer would send it, but for what is told; else None: as the peer."""

    outer_source: str | None = None
    """None: its own address."""
    outer_port: int = 50_000
    outer_tos: int = 0
    no_checksum: bool = False
    flags: int = 0x08
    vni: int = 1
    inner_target_mac: str | None = None
    inner_source_mac: str | None = None
    ethertype: int | None = None
    inner_source: str | None = None
    inner_tos: int = 0


def attempts(net: Net, target: int) -> dict[str, Attempt]:
    """By what is tried."""
    peer = net.underlay(PEER)
    foreign = net.address(net.pod(KERNEL if target == FWD else FWD))
    outside, nowhere, loopback, multicast, nothing = OTHERS[net.family]
    forged = {
        "a Pod of a third node": Attempt(outer_source=peer, inner_source=foreign),
        "one of the Pod's own neighbours": Attempt(
            outer_source=peer, inner_source=net.address(net.pod(target, 2))
        ),
        "the Pod's own address": Attempt(
            outer_source=peer, inner_source=net.address(net.pod(target))
        ),
        "the outside": Attempt(outer_source=peer, inner_source=outside),
        "loopback": Attempt(outer_source=peer, inner_source=loopback),
        "multicast": Attempt(outer_source=peer, inner_source=multicast),
        "no address": Attempt(outer_source=peer, inner_source=nothing),
        "another VNI": Attempt(outer_source=peer, vni=2),
        "no VNI": Attempt(outer_source=peer, flags=0),
        "another node's MAC": Attempt(outer_source=peer, inner_target_mac=net.node(PEER).mac),
        "its own MAC": Attempt(outer_source=peer, inner_source_mac=net.node(target).mac),
        "a group MAC": Attempt(outer_source=peer, inner_source_mac="01:00:5e:00:00:01"),
        "another EtherType": Attempt(
            outer_source=peer, ethertype=frames.ETHERTYPE[10 - net.family]
        ),
    }
    own = {
        "an exact copy": Attempt(),
        "VXLAN's port": Attempt(outer_port=PORT),
        "another port": Attempt(outer_port=53),
        "outer CE": Attempt(outer_tos=3, inner_tos=1),
        "no outer checksum": Attempt(no_checksum=True),
        "to all MACs": Attempt(inner_target_mac="ff:ff:ff:ff:ff:ff"),
        "from another MAC": Attempt(inner_source_mac="02:66:66:66:66:66"),
        "from its own address": Attempt(inner_source=STRANGER[net.family].partition("/")[0]),
        "from a Pod of a third node": Attempt(inner_source=foreign),
        "from the outside": Attempt(inner_source=outside),
        "from the target's outer address": Attempt(outer_source=net.underlay(target)),
        "from nowhere": Attempt(outer_source=nowhere),
        "another VNI": Attempt(vni=2),
        "reserved flags": Attempt(flags=0xFF),
    }
    return {f"own address, {name}": one for name, one in own.items()} | {
        f"forged address, {name}": one for name, one in forged.items()
    }


class Host:
    """The one that is no node."""

    def __init__(self, net: Net) -> None:
        self._net = net
        self._address = let_in_stranger(net)
        self._sock = open_in(net.switch, af_of(net.any), socket.SOCK_RAW, socket.IPPROTO_RAW)

    def close(self) -> None:
        self._sock.close()

    def send(self, target: int, attempt: Attempt, mark: bytes) -> None:
        """To the target's first Pod."""
        net, peer = self._net, self._net.pod(PEER)
        source = attempt.outer_source or self._address
        inner_source = attempt.inner_source or net.address(peer)
        to_pod = net.address(net.pod(target))
        datagram = frames.udp(inner_source, to_pod, (1111, 2222), _MARK + mark)
        payload = frames.vxlan(
            frames.ip(inner_source, to_pod, datagram, tos=attempt.inner_tos),
            target=attempt.inner_target_mac or net.node(target).mac,
            source=attempt.inner_source_mac or net.node(PEER).mac,
            vni=attempt.vni,
            flags=attempt.flags,
            ethertype=attempt.ethertype or frames.ETHERTYPE[net.family],
        )
        outer = frames.udp(source, net.underlay(target), (attempt.outer_port, PORT), payload)
        if attempt.no_checksum:
            outer = outer[:6] + b"\0\0" + outer[8:]
        packet = frames.ip(source, net.underlay(target), outer, tos=attempt.outer_tos)
        for _ in range(COPIES):
            self._sock.sendto(packet, (net.underlay(target), 0))


class PodCapture:
    """All that comes to a Pod's interfaces, whether its kernel wants it or not."""

    def __init__(self, net: Net, node: int) -> None:
        self._sock = open_in(
            net.pod(node).namespace, socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL)
        )
        self._sock.settimeout(_QUIET)

    def close(self) -> None:
        self._sock.close()

    def marks(self) -> list[int]:
        """Numbers of the attempts that arrived, each datagram one."""
        got = []
        end = time.monotonic() + 5
        try:
            while time.monotonic() < end:
                frame, address = self._sock.recvfrom(1 << 16)
                _, *found = frame.split(_MARK)  # copies may have been merged
                if address[2] != socket.PACKET_OUTGOING:
                    got += [struct.unpack_from("!H", one)[0] for one in found]
        except TimeoutError:
            pass
        return got


@pytest.fixture(scope="module")
def both() -> Iterator[Net]:
    with topo.built(families=(4, 6), pods=2) as net:
        yield net


@pytest.fixture
def lab(net: Net) -> Iterator[tuple[Net, Host]]:
    host = Host(net)
    try:
        yield net, host
    finally:
        host.close()


def arrived(lab: tuple[Net, Host], target: int, tried: dict[str, Attempt]) -> dict[str, int]:
    """How many packets of each attempt came to the Pod."""
    net, host = lab
    capture = PodCapture(net, target)
    try:
        for number, attempt in enumerate(tried.values()):
            host.send(target, attempt, struct.pack("!H", number))
        marks = capture.marks()
    finally:
        capture.close()
    return {name: marks.count(number) for number, name in enumerate(tried)}


def show(through: str, got: dict[str, int]) -> None:
    lines = [f"  {count} of {COPIES}  {name}\n" for name, count in got.items()]
    sys.stdout.write(f"\nthrough {through}:\n{''.join(lines)}")


def test_through_fwd_nothing_arrives(lab: tuple[Net, Host]) -> None:
    net, _ = lab
    tried = attempts(net, FWD)
    counting = Counting(net, FWD)
    got = arrived(lab, FWD, tried)
    drops = topo.drops_of(counting.at_rest())
    show("fwd", got)
    assert {name for name, count in got.items() if count} == set()
    # What the kernel did not throw away before is counted, each reason by its name.
    assert drops["in_unknown_peer"] >= 10 * COPIES
    assert drops["in_spoofed_source"] >= 5 * COPIES
    for reason in ("in_other_vni", "in_no_vni_flag", "in_wrong_mac", "in_bad_source_mac"):
        assert drops[reason] >= COPIES, reason
    assert drops["in_ethertype"] == COPIES


def test_through_the_kernels_vxlan_nearly_all_of_it_does(lab: tuple[Net, Host]) -> None:
    tried = attempts(lab[0], KERNEL)
    got = arrived(lab, KERNEL, tried)
    show("the kernel", got)
    for name in ("an exact copy", "another port", "from a Pod of a third node"):
        assert got[f"own address, {name}"] == COPIES


def test_only_the_exact_copy_with_a_nodes_address_arrives(lab: tuple[Net, Host]) -> None:
    """The border of what a check of addresses can do; without it nothing above were proven."""
    tried = {"copy": Attempt(outer_source=lab[0].underlay(PEER))}
    assert arrived(lab, FWD, tried) == {"copy": COPIES}
