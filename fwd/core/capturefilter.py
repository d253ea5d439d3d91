# SPDX-License-Identifier: Apache-2.0
"""The filters of `fwd capture`: an expression as of pcap-filter(7) into steps for the data plane.

    host 10.244.1.5 and tcp port 80
    peer n2 and not icmp
    reason in_wrong_mac or src net 10.244.3.0/24
    dropped

Addresses and ports are those of the inner packet; the other node is a `peer`, by name or underlay
address.  `and` may be left out; it binds stronger than `or`, as in most languages but not in
pcap-filter's.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import IntEnum
from ipaddress import ip_address, ip_network

from msgspec import Struct

from fwd.core.packetrecord import PASSED, Point
from fwd.model import IPV4, IPV6, Address, FwdError, Network

MOST_STEPS = 256
"""VX_MAX_TESTS."""
_MOST_NESTED = 30
"""Of the data plane's 64, with what one primitive itself needs."""


class Kind(IntEnum):
    """VX_TEST_*."""

    AND = 0
    OR = 1
    NOT = 2
    POINT = 3
    VERDICT = 4
    PEER = 5
    FAMILY = 6
    PROTO = 7
    SRC = 8
    DST = 9
    SPORT = 10
    DPORT = 11


class Step(Struct, frozen=True):
    """A test of a packet, or what joins the answers before it (reverse Polish notation)."""

    kind: Kind
    low: int = 0
    high: int = 0
    net: Network | None = None


class PeerNets(Struct, frozen=True):
    """A node: its underlay addresses and its Pods' subnets."""

    addresses: tuple[Address, ...]
    subnets: tuple[Network, ...] = ()


class FilterError(FwdError):
    """The expression is none."""


_PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17, "icmp6": 58, "sctp": 132}
_FAMILIES = {"ip": IPV4, "ip6": IPV6}
_POINTS = {
    "inbound": (Point.FROM_UNDERLAY, Point.TO_TUN),
    "outbound": (Point.FROM_TUN, Point.TO_UNDERLAY),
    "outer": (Point.TO_UNDERLAY, Point.FROM_UNDERLAY),
}
_WORD = re.compile(r"\s*(\(|\)|!|&&|\|\||[^\s()!&|]+)")
_SAME = {"&&": "and", "||": "or", "!": "not"}


def parse_filter(
    text: str, *, peers: Mapping[str, PeerNets], reasons: Sequence[str]
) -> tuple[Step, ...]:
    """Steps for the data plane; none for an empty text, which matches everything.

    peers: the nodes by name, reasons: the counters in the data plane's order.  Raises FilterError.
    """
    words = list(_words(text))
    if not words:
        return ()
    parser = _Parser(words, peers, reasons)
    steps = tuple(parser.expression(0))
    if parser.rest:
        raise FilterError(f"filter: {parser.rest[0]!r} is not expected there")
    if len(steps) > MOST_STEPS:
        raise FilterError(f"filter: too long ({len(steps)} steps, {MOST_STEPS} are the most)")
    return steps


def _words(text: str) -> Iterator[str]:
    at = 0
    text = text.rstrip()
    while at < len(text):
        match = _WORD.match(text, at)
        if match is None:
            raise FilterError(f"filter: {text[at:].strip()!r} is not understood")
        yield _SAME.get(match[1], match[1])
        at = match.end()


class _Parser:
    """By recursive descent: or, and, not, primitives."""

    def __init__(
        self,
        words: list[str],
        peers: Mapping[str, PeerNets],
        reasons: Sequence[str],
    ) -> None:
        self.rest = words
        self._peers = peers
        self._reasons = reasons

    def expression(self, depth: int) -> list[Step]:
        steps = self._all_of(depth)
        while self._takes("or"):
            steps += [*self._all_of(depth), Step(Kind.OR)]
        return steps

    def _all_of(self, depth: int) -> list[Step]:
        steps = self._one(depth)
        while self.rest and self.rest[0] not in {"or", ")"}:
            self._takes("and")
            steps += [*self._one(depth), Step(Kind.AND)]
        return steps

    def _one(self, depth: int) -> list[Step]:
        if depth > _MOST_NESTED:
            raise FilterError("filter: too many parentheses, or nots")
        if self._takes("not"):
            return [*self._one(depth + 1), Step(Kind.NOT)]
        if self._takes("("):
            steps = self.expression(depth + 1)
            if not self._takes(")"):
                raise FilterError("filter: a ) is missing")
            return steps
        return self._primitive()

    def _primitive(self) -> list[Step]:
        word = self._next("a test")
        if word in _FAMILIES:
            return [Step(Kind.FAMILY, _FAMILIES[word], _FAMILIES[word])]
        if word in _PROTOCOLS:  # `tcp port 80` is `tcp and port 80`
            return _protocol(word)
        if word in _POINTS:
            return _any_of([Step(Kind.POINT, point, point) for point in _POINTS[word]])
        if word == "inner":
            return [*_any_of([Step(Kind.POINT, one, one) for one in _POINTS["outer"]]), _NOT]
        if word == "dropped":
            return [Step(Kind.VERDICT, 0, PASSED - 1)]
        if word == "passed":
            return [Step(Kind.VERDICT, PASSED, PASSED)]
        way = word if word in {"src", "dst"} else ""
        return self._addressed(way, self._next("a host, net or port") if way else word)

    def _addressed(self, way: str, word: str) -> list[Step]:
        """What may have src or dst before it."""
        known: dict[str, Callable[[str], list[Step]]] = {
            "host": lambda text: _sides(way, _address(text)),
            "net": lambda text: _sides(way, _network(text)),
            "port": lambda text: _ports(way, text),
            "portrange": lambda text: _ports(way, text),
        }
        if not way:
            known |= {"proto": _protocol, "peer": self._peer, "reason": self._reason}
        if word in known:
            return known[word](self._next(f"what comes after {word}"))
        try:
            return _sides(way, _network(word))
        except FilterError:
            raise FilterError(f"filter: {word!r} is no test that is known here") from None

    def _peer(self, text: str) -> list[Step]:
        """What goes to the TUN may be of several datagrams, so there it is the inner source."""
        nets = self._peers.get(text) or self._peer_at(text)
        steps = _any_of([Step(Kind.PEER, net=ip_network(one)) for one in nets.addresses])
        for subnet in nets.subnets:
            steps += [Step(Kind.POINT, Point.TO_TUN, Point.TO_TUN), Step(Kind.SRC, net=subnet)]
            steps += [Step(Kind.AND), Step(Kind.OR)]
        return steps

    def _peer_at(self, text: str) -> PeerNets:
        try:
            address = ip_address(text)
        except ValueError:
            raise FilterError(f"filter: there is no peer {text!r}") from None
        known = (nets for nets in self._peers.values() if address in nets.addresses)
        return next(known, PeerNets((address,)))

    def _reason(self, text: str) -> list[Step]:
        if text not in self._reasons:
            raise FilterError(
                f"filter: there is no reason {text!r} (docs/operations.md has them all)"
            )
        index = self._reasons.index(text)
        return [Step(Kind.VERDICT, index, index)]

    def _next(self, what: str) -> str:
        if not self.rest:
            raise FilterError(f"filter: {what} is missing at the end")
        return self.rest.pop(0)

    def _takes(self, word: str) -> bool:
        if self.rest[:1] == [word]:
            del self.rest[0]
            return True
        return False


_NOT = Step(Kind.NOT)


def _any_of(steps: list[Step]) -> list[Step]:
    joined = steps[:1]
    for step in steps[1:]:
        joined += [step, Step(Kind.OR)]
    return joined


def _sides(way: str, net: Network) -> list[Step]:
    kinds = {"src": [Kind.SRC], "dst": [Kind.DST], "": [Kind.SRC, Kind.DST]}[way]
    return _any_of([Step(kind, net=net) for kind in kinds])


def _ports(way: str, text: str) -> list[Step]:
    low, dash, high = text.partition("-")
    first, last = _port(low), _port(high if dash else low)
    kinds = {"src": [Kind.SPORT], "dst": [Kind.DPORT], "": [Kind.SPORT, Kind.DPORT]}[way]
    return _any_of([Step(kind, min(first, last), max(first, last)) for kind in kinds])


def _port(text: str) -> int:
    if text.isascii() and text.isdecimal() and int(text) <= 0xFFFF:
        return int(text)
    raise FilterError(f"filter: {text!r} is no port")


def _protocol(text: str) -> list[Step]:
    number = int(text) if text.isascii() and text.isdecimal() else _PROTOCOLS.get(text, 256)
    if number > 0xFF:
        raise FilterError(f"filter: {text!r} is no protocol")
    return [Step(Kind.PROTO, number, number)]


def _address(text: str) -> Network:
    try:
        return ip_network(ip_address(text))
    except ValueError:
        raise FilterError(f"filter: {text!r} is no address") from None


def _network(text: str) -> Network:
    try:
        return ip_network(text)
    except ValueError:
        raise FilterError(f"filter: {text!r} is no network") from None
