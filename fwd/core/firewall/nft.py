# SPDX-License-Identifier: Apache-2.0
"""Chains of what `nft -j list ruleset` prints, as `walk` takes them (libnftables-json(5)).

Expressions that are usual before a drop are judged; the others are `unknown`.
"""

import operator
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from ipaddress import ip_address, ip_network
from typing import Any

from fwd.core.firewall.walk import Action, Chain, Condition, Packet, Rule, unknown
from fwd.model import IPV4, IPV6

_VERDICTS = {
    "accept": Action.ACCEPT,
    "drop": Action.DROP,
    "reject": Action.DROP,
    "return": Action.RETURN,
    "continue": Action.NOTHING,
}
_OTHER_VERDICTS = frozenset({"jump", "goto", "xt"})
"""xt: a match or a target of iptables-nft, perhaps with a verdict."""
_FAMILIES = {"ip": (IPV4,), "ip6": (IPV6,), "inet": (IPV4, IPV6)}
_OF_IPTABLES = frozenset({"filter", "nat", "mangle", "raw", "security"})
"""Tables that iptables-nft keeps in families ip and ip6, and prints better than nft does."""
_GOES_ON = frozenset({"counter", "log", "mangle", "notrack", "ct helper", "flow"})
_MARKS = ({"meta": {"key": "mark"}}, {"ct": {"key": "mark"}})
_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}
_ETHERTYPES = {IPV4: "ipv4", IPV6: "ipv6"}
_WITH_PORTS = frozenset({"tcp", "udp"})
_ABSENT = object()
"""What a packet of another protocol or family has in place of a field."""

Test = Callable[[Any], bool | None]
"""Of a value; None: it cannot be told."""

Tables = dict[tuple[str, str], dict[str, Chain]]
"""By family (`ip`, `ip6`, `inet`) and name."""


def parse(document: Mapping[str, Any], *, besides_iptables: bool) -> Tables:
    """Tables of the IP families.  besides_iptables: those that iptables keeps are left out."""
    objects: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for one in document.get("nftables", ()):
        for kind, value in one.items():
            objects[kind].append(value)
    sets = {(one["family"], one["table"], one["name"]): one for one in objects["set"]}
    rules: dict[tuple[str, str, str], list[Rule]] = defaultdict(list)
    for one in objects["rule"]:
        where = one["family"], one["table"]
        rules[(*where, one["chain"])] += _rules(one, _Reader(where, sets))
    tables: Tables = defaultdict(dict)
    for one in objects["chain"]:
        family, table, name = one["family"], one["table"], one["name"]
        if family not in _FAMILIES or (besides_iptables and _is_iptables(family, table)):
            continue
        tables[family, table][name] = Chain(
            rules=rules[family, table, name],
            policy=_VERDICTS.get(one.get("policy", ""), Action.ACCEPT),
            hook=one.get("hook", "") if one.get("type") == "filter" else "",
        )
    return dict(tables)


def families(family: str) -> tuple[int, ...]:
    """IP versions that a table of this family sees."""
    return _FAMILIES.get(family, ())


def _is_iptables(family: str, table: str) -> bool:
    return family != "inet" and table in _OF_IPTABLES


def _rules(rule: Mapping[str, Any], reader: "_Reader") -> Iterator[Rule]:
    """A rule is one, unless a verdict map makes several of it, or a mark that it sets two."""
    text = f"rule with handle {rule.get('handle')}"
    if comment := rule.get("comment"):
        text += f' ("{comment}")'
    conditions: tuple[Condition, ...] = ()
    for expression in rule.get("expr", ()):
        kind, value = next(iter(expression.items()))
        if kind == "match":
            conditions += (reader.condition(value),)
        elif kind == "mangle" and value.get("key") in _MARKS:
            yield Rule(conditions, Action.MARK, text)
        elif kind == "vmap":
            yield from reader.verdicts(value, conditions, text)
            return
        elif kind in _VERDICTS or kind in _OTHER_VERDICTS:
            yield _verdict(kind, value, conditions, text)
            return
        elif kind not in _GOES_ON:
            conditions += (unknown,)
    yield Rule(conditions, Action.NOTHING, text)


def _verdict(kind: str, value: Any, conditions: tuple[Condition, ...], text: str) -> Rule:  # noqa: ANN401
    if kind in {"jump", "goto"}:
        return Rule(conditions, Action[kind.upper()], text, value["target"])
    return Rule(conditions, _VERDICTS.get(kind, Action.UNKNOWN), text)


class _Reader:
    """Expressions of one table's rules."""

    def __init__(
        self, where: tuple[str, str], sets: Mapping[tuple[str, str, str], Mapping[str, Any]]
    ) -> None:
        self._where = where
        self._sets = sets

    def condition(self, match: Mapping[str, Any]) -> Condition:
        """One match."""
        get, op, right = _getter(match.get("left")), match.get("op", "=="), match.get("right")
        if get is None:
            return unknown
        if op in _OPERATORS and isinstance(right, int):
            compare = _OPERATORS[op]
            return _having(get, lambda value: compare(value, right))
        if op not in {"==", "in", "!="}:
            return unknown
        test = self._among(right)
        return _having(get, _negated(test) if op == "!=" else test)

    def verdicts(
        self, vmap: Mapping[str, Any], conditions: tuple[Condition, ...], text: str
    ) -> list[Rule]:
        """A rule for each element of a verdict map; a named one cannot be judged."""
        get, data = _getter(vmap.get("key")), vmap.get("data")
        if get is None or not isinstance(data, dict) or "set" not in data:
            return [Rule((*conditions, unknown), Action.UNKNOWN, text)]
        found = []
        for key, verdict in data["set"]:
            kind, value = next(iter(verdict.items()))
            condition = _having(get, self._among(key))
            found.append(_verdict(kind, value, (*conditions, condition), text))
        return found

    def _among(self, right: Any) -> Test:  # noqa: ANN401 - JSON
        """Whether the value is one of those on the right."""
        if isinstance(right, str) and right.startswith("@"):
            known = self._sets.get((*self._where, right[1:]))
            if known is None:
                return lambda _: None
            right = known.get("elem", [])
        elements = right.get("set") if isinstance(right, dict) and "set" in right else right
        if not isinstance(elements, list):
            elements = [elements]
        tests = [_test(one) for one in elements]

        def among(value: Any) -> bool | None:  # noqa: ANN401
            answers = [test(value) for test in tests]
            return True if True in answers else None if None in answers else False

        return among


def _having(get: Callable[[Packet], Any], test: Test) -> Condition:
    """A packet without such a value does not match, whatever it is compared by.

    nft looks at the protocol or the family first, and does not print that it does.  None as a value
    is one that is not known.
    """

    def condition(packet: Packet) -> bool | None:
        value = get(packet)
        if value is None:
            return None
        return False if value is _ABSENT else test(value)

    return condition


def _negated(test: Test) -> Test:
    def opposite(value: Any) -> bool | None:  # noqa: ANN401
        answer = test(value)
        return None if answer is None else not answer

    return opposite


def _test(element: Any) -> Test:  # noqa: ANN401
    """Whether a packet's value is this element."""
    if isinstance(element, dict):
        if "elem" in element:  # with a time limit or a counter of its own
            return _test(element["elem"].get("val"))
        if "prefix" in element:
            prefix = element["prefix"]
            network = ip_network(f"{prefix['addr']}/{prefix['len']}", strict=False)
            return lambda value: value in network
        if "range" in element:
            low, high = (_plain(one) for one in element["range"])
            return lambda value: type(value) is type(low) and low <= value <= high
        return lambda _: None
    if isinstance(element, list | bool):
        return lambda _: None
    wanted = _plain(element)
    if isinstance(wanted, str) and wanted.endswith("*"):
        return lambda value: isinstance(value, str) and value.startswith(wanted[:-1])
    return lambda value: value == wanted


def _plain(value: Any) -> Any:  # noqa: ANN401
    """Addresses as such."""
    if isinstance(value, str):
        try:
            return ip_address(value)
        except ValueError:
            return value
    return value


def _getter(left: Any) -> Callable[[Packet], Any] | None:  # noqa: ANN401
    """What of a packet an expression means; None: what it does not have."""
    if not isinstance(left, dict) or len(left) != 1:
        return None
    kind, value = next(iter(left.items()))
    if kind == "meta":
        return _META.get(value.get("key"))
    if kind == "ct":
        return _CT.get(value.get("key"))
    if kind == "payload":
        return _payload(value.get("protocol"), value.get("field"))
    return None


def _payload(protocol: Any, field: Any) -> Callable[[Packet], Any] | None:  # noqa: ANN401
    if protocol in _FAMILIES:
        address, versions = _ADDRESSES.get(field), families(protocol)
        if address is None:
            return None
        return lambda packet: address(packet) if packet.source.version in versions else _ABSENT
    port = _PORTS.get(field)
    if port is None:
        return None
    protocols = _WITH_PORTS if protocol == "th" else {protocol}
    return lambda packet: port(packet) if packet.protocol in protocols else _ABSENT


_META: dict[Any, Callable[[Packet], Any]] = {
    "iifname": lambda packet: packet.in_device,
    "oifname": lambda packet: packet.out_device,
    "iif": lambda packet: packet.in_device,
    "oif": lambda packet: packet.out_device,
    "l4proto": lambda packet: packet.protocol,
    "mark": lambda packet: packet.mark,
    "nfproto": lambda packet: _ETHERTYPES[packet.source.version],
    "protocol": lambda packet: {IPV4: "ip", IPV6: "ip6"}[packet.source.version],
}
_CT: dict[Any, Callable[[Packet], Any]] = {
    "state": lambda packet: packet.state,
    "mark": lambda packet: packet.mark,
}
_ADDRESSES: dict[Any, Callable[[Packet], Any]] = {
    "saddr": lambda packet: packet.source,
    "daddr": lambda packet: packet.destination,
    "protocol": lambda packet: packet.protocol,
    "nexthdr": lambda packet: packet.protocol,
}
_PORTS: dict[Any, Callable[[Packet], Any]] = {
    "sport": lambda packet: packet.source_port,
    "dport": lambda packet: packet.destination_port,
}
