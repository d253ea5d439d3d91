# SPDX-License-Identifier: Apache-2.0
"""Every parser of the agent that sees bytes of others, with what it may raise and what is right.

For those who give it anything else: tests/unit/test_parsers.py, and tests/fuzz/parsers.py, which
goes by coverage.  A parser here is a function of bytes; what it returns is looked at by nobody.
Not here: what iptables and nft print, which are programs of this machine.
"""

import contextlib
import zlib
from collections.abc import Callable, Mapping
from functools import partial
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from fwd.core import backenddata, capturefilter, cniconf, etcdrpc, handovertalk, innerpacket
from fwd.core.capturefilter import FilterError, PeerNets
from fwd.core.etcdlease import decode_value, parse_key
from fwd.core.etcdrpc import KeyValue
from fwd.core.etcdtable import LeaseTable
from fwd.core.leases import LeaseBook
from fwd.core.lines import LineSplitter, TooLong
from fwd.core.netconf import parse_netconf
from fwd.core.nodelease import operator_faults, own_leases
from fwd.core.nodetable import NodeTable
from fwd.core.nodewire import (
    Changed,
    Deleted,
    Unusable,
    node_of_pod,
    oversized_event,
    oversized_page,
)
from fwd.core.plan import make_plan
from fwd.core.protobuf import Message
from fwd.core.protobuf import decode as decode_message
from fwd.core.protobuf import encode as encode_message
from fwd.core.unreadable import UNREADABLE
from fwd.model import ConfigError
from fwd.node.handover.kits import settings_of
from fwd.node.savedstate import SavedState
from fwd.ops import control
from fwd.ops.probe import wire
from fwd.plane.table import unpack_table
from fwd.sources import static
from tests.unit.kube_support import decoder, node_object, recorded_lines, recording
from tests.unit.test_handovertalk import MESSAGES

NETWORKS: Final = {4: ip_network("10.244.0.0/16"), 6: ip_network("fd00:244::/48")}
CORPUS: Final = Path(__file__).with_name("fuzz") / "corpus" / "parsers"


class Parser(Struct, frozen=True):
    """One."""

    parse: Callable[[bytes], object]
    seeds: tuple[bytes, ...]
    """Right ones."""
    raises: tuple[type[Exception], ...] = ()
    """What is documented: anything else is a mistake."""

    def __call__(self, data: bytes) -> None:
        """Raises what is not documented."""
        with contextlib.suppress(*self.raises):
            self.parse(data)


def _text(parse: Callable[[str], object]) -> Callable[[bytes], object]:
    return lambda data: parse(data.decode("utf-8", "replace"))


def _saved(body: bytes) -> object:
    """The file with a right checksum: what is behind it is what counts."""
    state = SavedState(Path("/nowhere"), node="", networks={4: NETWORKS[4]}, vni=1)
    return state._parse(b"fwd leases 2\n" + zlib.crc32(body).to_bytes(4) + body)


def _kit(data: bytes) -> object:
    message = handovertalk.decode(data)
    return settings_of(message) if isinstance(message, handovertalk.Kit) else message


def _events(data: bytes) -> object:
    """A watch's bytes, all the way to leases in force.  A list of the same Nodes is no worse."""
    table = NodeTable(families=NETWORKS, vni=1)
    listed: list[Changed | Unusable] = []
    for line in LineSplitter(limit=4096).feed(data + b"\n"):
        event = oversized_event(line.start) if isinstance(line, TooLong) else decoder.event(line)
        if isinstance(event, Changed | Deleted | Unusable):
            table.apply(event)
        if isinstance(event, Changed | Unusable):
            listed.append(event)
        if isinstance(event, Changed):
            operator_faults(event.node, families=NETWORKS)
            with contextlib.suppress(ConfigError):
                own_leases(event.node, networks=NETWORKS)
    _in_force(table)
    table.replace(listed, version="1")
    return _in_force(table)


def _in_force(table: NodeTable | LeaseTable) -> object:
    table.refusals()
    book = LeaseBook((), networks=NETWORKS, vni=1, all_or_nothing=False)
    book.replace(table.leases())
    return [make_plan(book.leases, family=family) for family in NETWORKS]


def _page(data: bytes) -> object:
    oversized_page(data[:4096])
    return decoder.page(data)


def _etcd_entry(data: bytes) -> object:
    """The key up to the first line feed, its value after that."""
    key, _, value = data.partition(b"\n")
    table = LeaseTable(prefix="/coreos.com/network/subnets/", families=NETWORKS, vni=1)
    kv = KeyValue(key=table.prefix + key, value=value, create_revision=1, mod_revision=2, lease=3)
    table.put(kv)
    table.replace([kv], revision=5)
    _in_force(table)
    parse_key(key.decode("utf-8", "replace"))
    return decode_value(value)


_RESPONSES: Final = (
    etcdrpc.RangeResponse,
    etcdrpc.TxnResponse,
    etcdrpc.GrantResponse,
    etcdrpc.KeepAliveResponse,
    etcdrpc.AuthenticateResponse,
    etcdrpc.WatchResponse,
    etcdrpc.AnyResponse,
)


def _message(data: bytes) -> object:
    """The first byte says which; what is read is written and read again as the same."""
    kind: type[Message] = _RESPONSES[data[0] % len(_RESPONSES)] if data else _RESPONSES[0]
    message = decode_message(data[1:], kind)
    assert decode_message(encode_message(message), kind) == message
    return message


def _static(data: bytes) -> object:
    snapshot = static.parse(data, node="n1", vni=1)
    book = LeaseBook((), networks=NETWORKS, vni=1)
    return book.replace(snapshot.leases)


def _cni(data: bytes) -> object:
    cniconf.check(data)
    subnets = {4: ip_network("10.244.1.0/24"), 6: ip_network("fd00:244:0:1::/64")}
    return cniconf.render(
        cniconf.parse(data), networks=NETWORKS, subnets=subnets, mtu=1450, ip_masq=True
    )


def _echo(data: bytes) -> object:
    """The first byte says which family."""
    family = 4 if data[:1] < b"\x80" else 6
    packet = data[1:]
    for part in (packet, wire.without_ip_header(packet)):
        wire.parse_reply(family, part)
        wire.parse_request(family, part)
    return None


_FILTER_PEERS: Final[Mapping[str, PeerNets]] = {
    "n2": PeerNets((ip_address("192.168.50.2"),), (ip_network("10.244.2.0/24"),)),
    "n3": PeerNets((ip_address("192.168.50.3"), ip_address("fd50::3"))),
}
_NET_CONF: Final = (
    b'{"Network":"10.244.0.0/16","EnableIPv6":true,"IPv6Network":"fd00::/48",'
    b'"Backend":{"Type":"vxlan","VNI":1,"Port":8472,"DirectRouting":true}}'
)
_BACKEND: Final = b'{"VNI":1,"VtepMAC":"02:00:00:00:00:01"}'
_STATIC: Final = (
    b'{"leases":[{"node":"n1","subnet":"10.244.1.0/24","public-ip":"192.168.50.1"},'
    b'{"node":"n2","subnet":"10.244.2.0/24","public-ip":"192.168.50.2","backend-data":'
    + _BACKEND
    + b"}]}"
)
_CNI: Final = (
    b'{"name":"cbr0","cniVersion":"0.3.1","plugins":[{"type":"flannel","delegate":'
    b'{"hairpinMode":true,"isDefaultGateway":true}},{"type":"portmap","capabilities":'
    b'{"portMappings":true}}]}'
)
_ETCD: Final = (
    b'10.244.5.0-24&fd00:244:0:5::-64\n{"PublicIP":"192.168.50.5","PublicIPv6":"fd02::5",'
    b'"BackendType":"vxlan","BackendData":' + _BACKEND + b',"BackendV6Data":' + _BACKEND + b"}"
)
_IPV6: Final = b"\x60\0\0\0\0\x10\x2c\x40" + bytes(32) + b"\x11\0\0\0\0\0\0\1" + bytes(8)


def _body(name: str) -> bytes:
    return msgspec.json.encode(recording(name)["response"]["body"])


def _responses() -> tuple[bytes, ...]:
    kv = KeyValue(key=b"/coreos.com/network/subnets/10.5.1.0-24", value=_ETCD, mod_revision=7)
    header = etcdrpc.Header(revision=9)
    some = (
        etcdrpc.RangeResponse(header=header, kvs=(kv, kv), more=True),
        etcdrpc.TxnResponse(header=header, succeeded=True),
        etcdrpc.WatchResponse(header=header, events=(etcdrpc.Event(kv=kv),)),
    )
    return tuple(bytes([_RESPONSES.index(type(one))]) + encode_message(one) for one in some)


_V = ValueError
_C = ConfigError

PARSERS: Final[Mapping[str, Parser]] = {
    "net-conf": Parser(parse_netconf, (_NET_CONF,), (_C,)),
    "backend-data": Parser(backenddata.decode, (_BACKEND,), (_V,)),
    "saved-state": Parser(
        _saved,
        (b"\x95\xa2n1\x91\xad10.244.0.0/16\x01\x91\x93\xad10.244.1.0/24\xc0\xc0\x90",),
        (_V,),
    ),
    "hand-over": Parser(_kit, tuple(map(handovertalk.encode, MESSAGES)), (_V,)),
    "kept-table": Parser(unpack_table, (b"fwdtab\0\1\1\0\0\0\1\0\0\0" + bytes(52),), (_V,)),
    "watch": Parser(
        _events,
        (
            b"".join(recorded_lines("watch-events")),
            *(
                msgspec.json.encode({"type": kind, "object": node_object(3, version=9)}) + b"\n"
                for kind in ("ADDED", "DELETED", "BOOKMARK", "ERROR")
            ),
        ),
    ),
    "node-list": Parser(_page, (_body("nodes-list-page1"), _body("node-get")), (_V,)),
    "pod": Parser(node_of_pod, (b'{"spec":{"nodeName":"n7"}}',), (_V,)),
    "etcd-entry": Parser(_etcd_entry, (_ETCD,), (_V,)),
    "etcd-message": Parser(_message, _responses(), (_V,)),
    "static-leases": Parser(_static, (_STATIC,), (_C,)),
    "cni-conf": Parser(_cni, (_CNI,), (_C,)),
    "capture-filter": Parser(
        _text(
            partial(
                capturefilter.parse_filter, peers=_FILTER_PEERS, reasons=("in_ecn", "out_packets")
            )
        ),
        (b"peer n2 and (tcp port 80-90 or not src net 10.0.0.0/8) && dropped", b"reason in_ecn"),
        (FilterError,),
    ),
    "control": Parser(
        lambda data: msgspec.json.decode(data, type=control.Request),
        (b'{"want":"capture","filter":"tcp","seconds":1.5}',),
        UNREADABLE,
    ),
    "echo": Parser(_echo, (b"\x04\x45" + bytes(19) + bytes(16), b"\xff\x81" + bytes(20))),
    "inner-packet": Parser(innerpacket.parse_inner, (b"\x45" + bytes(30), _IPV6)),
}
