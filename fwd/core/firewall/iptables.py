# SPDX-License-Identifier: Apache-2.0
"""Chains of what iptables-save prints, as `walk` takes them (iptables-extensions(8)).

Matches that are usual before a drop are judged; the others are `unknown`.
"""

import shlex
from collections import defaultdict
from collections.abc import Callable, Iterable
from ipaddress import ip_network

from fwd.core.firewall.walk import Action, Chain, Condition, Packet, Rule, negated, unknown

_HOOKS = {
    "PREROUTING": "prerouting",
    "INPUT": "input",
    "FORWARD": "forward",
    "OUTPUT": "output",
    "POSTROUTING": "postrouting",
}
_ACTIONS = {
    "ACCEPT": Action.ACCEPT,
    "DROP": Action.DROP,
    "REJECT": Action.DROP,
    "RETURN": Action.RETURN,
    "": Action.NOTHING,
}
_GOES_ON = frozenset(
    {"AUDIT", "CHECKSUM", "CLASSIFY", "CONNSECMARK", "CT", "DSCP", "ECN", "HL", "LED"}
    | {"LOG", "NFLOG", "NOTRACK", "RATEEST", "SECMARK", "SET", "TCPMSS", "TCPOPTSTRIP"}
    | {"TEE", "TOS", "TRACE", "TTL"}
)
_MARKS = frozenset({"CONNMARK", "MARK"})
_MARKS_BY_SET = "--map-mark"
"""Of SET."""
_NO_CONDITION = frozenset({"-m", "--match", "--comment", "--reject-with"})
"""Options that say nothing of which packets are meant."""
_TARGET_OPTIONS = frozenset({"-j", "--jump", "-g", "--goto"})


def parse(save: str) -> dict[str, dict[str, Chain]]:
    """Chains by table, then by name."""
    policies: dict[str, dict[str, str]] = defaultdict(dict)
    rules: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    table = ""
    for line in save.splitlines():
        if line.startswith("*"):
            table = line[1:].strip()
        elif line.startswith(":"):
            name, policy, *_ = line[1:].split()
            policies[table][name] = policy
        elif line.startswith("-A "):
            rules[table][line.split(None, 2)[1]].append(line)
    return {
        table: {
            name: Chain(
                rules=[_rule(line, chains) for line in rules[table][name]],
                policy=_ACTIONS.get(policy, Action.RETURN),
                hook=_HOOKS.get(name, ""),
            )
            for name, policy in chains.items()
        }
        for table, chains in policies.items()
    }


def _rule(line: str, chains: Iterable[str]) -> Rule:
    try:
        words = shlex.split(line)[2:]
    except ValueError:
        return Rule((unknown,), Action.UNKNOWN, line)
    conditions, target, is_goto = _read(words)
    if target in chains:
        action = Action.GOTO if is_goto else Action.JUMP
        return Rule(conditions, action, line, target)
    if target in _MARKS or _MARKS_BY_SET in words:
        return Rule(conditions, Action.MARK, line)
    if target in _GOES_ON:
        return Rule(conditions, Action.NOTHING, line)
    return Rule(conditions, _ACTIONS.get(target, Action.UNKNOWN), line)


def _read(words: list[str]) -> tuple[tuple[Condition, ...], str, bool]:
    """Conditions, target, and whether the target is one of no return."""
    conditions: list[Condition] = []
    position = 0
    while position < len(words):
        is_negated = words[position] == "!"
        position += is_negated
        option = words[position] if position < len(words) else ""
        values: list[str] = []
        position += 1
        while position < len(words) and not _is_option(words[position]):
            values.append(words[position])
            position += 1
        value = " ".join(values)
        if option in _TARGET_OPTIONS:  # what follows are the target's own
            return tuple(conditions), value, option in {"-g", "--goto"}
        if option not in _NO_CONDITION:
            made = _condition(option, value)
            conditions.append(negated(made) if is_negated else made)
    return tuple(conditions), "", False


def _is_option(word: str) -> bool:
    return word == "!" or (word.startswith("-") and len(word) > 1 and not word[1].isdigit())


def _condition(option: str, value: str) -> Condition:
    make = _CONDITIONS.get(option)
    if make is None:
        return unknown
    try:
        return make(value)
    except ValueError:
        return unknown


def _within(get: Callable[[Packet], object]) -> Callable[[str], Condition]:
    def make(value: str) -> Condition:
        network = ip_network(value, strict=False)
        return lambda packet: get(packet) in network

    return make


def _device(get: Callable[[Packet], str]) -> Callable[[str], Condition]:
    """`+` at the end: all that begin so."""

    def make(value: str) -> Condition:
        if value.endswith("+"):
            return lambda packet: get(packet).startswith(value[:-1])
        return lambda packet: get(packet) == value

    return make


def _ports(get: Callable[[Packet], int]) -> Callable[[str], Condition]:
    def make(value: str) -> Condition:
        ranges = []
        for part in value.split(","):
            low, colon, high = part.partition(":")
            last = int(high or 65535) if colon else int(low)
            ranges.append(range(int(low or 0), last + 1))
        return lambda packet: any(get(packet) in one for one in ranges)

    return make


def _protocol(value: str) -> Condition:
    names = {"17": "udp", "6": "tcp", "1": "icmp", "58": "ipv6-icmp"}
    wanted = names.get(value, value)
    return lambda packet: wanted in {"all", packet.protocol}


def _state(value: str) -> Condition:
    states = {state.lower() for state in value.split(",")}
    return lambda packet: packet.state in states


def _mark(value: str) -> Condition:
    number, _, mask = value.partition("/")
    wanted, bits = int(number, 0), int(mask or "0xffffffff", 0)
    return lambda packet: None if packet.mark is None else packet.mark & bits == wanted


_CONDITIONS: dict[str, Callable[[str], Condition]] = {
    "-s": _within(lambda packet: packet.source),
    "-d": _within(lambda packet: packet.destination),
    "-i": _device(lambda packet: packet.in_device),
    "-o": _device(lambda packet: packet.out_device),
    "-p": _protocol,
    "--sport": _ports(lambda packet: packet.source_port),
    "--sports": _ports(lambda packet: packet.source_port),
    "--dport": _ports(lambda packet: packet.destination_port),
    "--dports": _ports(lambda packet: packet.destination_port),
    "--ctstate": _state,
    "--state": _state,
    "--mark": _mark,
}
