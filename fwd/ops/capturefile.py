# SPDX-License-Identifier: Apache-2.0
"""Captured packets as a pcapng file, and as lines for people.

Every tunnel has two interfaces in the file: its TUN device, with inner packets as the node's stack
and its Pods see them, and the underlay's interface, with whole VXLAN datagrams.  How many packets
of a tunnel were lost is known for both together, and stands at the first.
"""

from collections.abc import Iterable
from ipaddress import ip_address

from fwd.core import pcapng
from fwd.core.innerpacket import inner_bytes, parse_inner
from fwd.core.outerheaders import outer_headers
from fwd.core.packetrecord import PASSED, PacketRecord, Point
from fwd.ops.capturing import CapturedTunnel, CaptureHeader
from fwd.ops.drops import stamp
from fwd.ops.printable import printable

_WAYS = {
    Point.FROM_TUN: "from Pods",
    Point.TO_UNDERLAY: "to the underlay",
    Point.FROM_UNDERLAY: "from the underlay",
    Point.TO_TUN: "to Pods",
}
_OUTER_BYTES = 48
"""Of IPv6 and UDP headers: more than a packet's own bytes that a file's snaplen must allow."""


def begin(header: CaptureHeader) -> bytes:
    """The blocks before the first packet."""
    blocks = [pcapng.section(f"fwd {header.version}", f"node {header.node}")]
    for tunnel in header.tunnels:
        snaplen = header.snaplen + _OUTER_BYTES
        inner, outer = "inner packets, of Pods", f"VXLAN on {tunnel.underlay}"
        blocks.append(pcapng.interface(tunnel.device, inner, snaplen=snaplen))
        blocks.append(pcapng.interface(tunnel.underlay, outer, snaplen=snaplen))
    return b"".join(blocks)


def packet(header: CaptureHeader, index: int, record: PacketRecord) -> bytes:
    """One packet of tunnel `index`."""
    data, length = record.data, record.length
    if record.point.is_outer:
        front = _outer(header.tunnels[index], record)
        data, length = front + data, len(front) + length
    return pcapng.packet(
        data,
        interface=2 * index + record.point.is_outer,
        time_ns=record.time_ns,
        length=length,
        direction=pcapng.INBOUND if record.point.is_inbound else pcapng.OUTBOUND,
        comment=f"{_WAYS[record.point]}: {_fate(header, record)}",
    )


def end(*, time_ns: int, lost: Iterable[int]) -> bytes:
    """The blocks after the last packet; lost are packets by tunnel."""
    return b"".join(
        pcapng.statistics(interface=2 * index, time_ns=time_ns, lost=packets)
        for index, packets in enumerate(lost)
    )


def line(header: CaptureHeader, index: int, record: PacketRecord) -> str:
    """One packet for people."""
    inner = parse_inner(inner_bytes(record))
    told = str(inner) if inner else "no IP packet"
    tunnel = header.tunnels[index]
    where = tunnel.underlay if record.point.is_outer else tunnel.device
    way = "in " if record.point.is_inbound else "out"
    return (
        f"{stamp(record.time_ns)} {way} {where} {told}, length {record.length}: "
        f"{_fate(header, record)}"
    )


def _fate(header: CaptureHeader, record: PacketRecord) -> str:
    """The verdict, and what else is known."""
    parts = ["passed" if record.verdict == PASSED else f"dropped, {header.reasons[record.verdict]}"]
    if record.outer is not None:
        name = printable(header.nodes.get(str(record.outer), ""))
        parts.append(f"peer {name} ({record.outer})" if name else f"peer {record.outer}")
    if record.packets > 1:
        parts.append(f"{record.packets} packets in one")
    return ", ".join(parts)


def _outer(tunnel: CapturedTunnel, record: PacketRecord) -> bytes:
    ours, theirs = ip_address(tunnel.address), record.outer or ip_address(tunnel.address)
    src, dst = (theirs, ours) if record.point.is_inbound else (ours, theirs)
    return outer_headers(
        src,
        dst,
        ports=(record.port, tunnel.port),
        tos=record.tos,
        payload=record.data,
        length=record.length,
    )
