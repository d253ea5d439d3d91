# SPDX-License-Identifier: Apache-2.0
"""A packet's way through chains of rules, some of which cannot be judged."""

from collections.abc import Callable, Mapping, Sequence
from enum import Enum

from msgspec import Struct, structs

from fwd.model import Address

_DEEPEST = 32
"""Jumps.  The kernel has a limit too (16 in nf_tables)."""


class Packet(Struct, frozen=True, kw_only=True):
    """A new flow's first packet, as rules see it.  Ports 0: of a protocol without any."""

    source: Address
    destination: Address
    protocol: str
    """`udp`, `tcp`, ..."""
    source_port: int = 0
    destination_port: int = 0
    in_device: str = ""
    out_device: str = ""
    mark: int | None = 0
    """Its own and its connection's, which rules copy to each other; None: not known."""
    state: str = "new"
    """Of conntrack."""


Condition = Callable[[Packet], bool | None]
"""Whether a packet is meant; None: that cannot be said."""


class Action(Enum):
    """What a rule does with what it means."""

    ACCEPT = "accept"
    DROP = "drop"
    RETURN = "return"
    JUMP = "jump"
    GOTO = "goto"
    NOTHING = "nothing"
    """The packet goes on to the next rule."""
    MARK = "mark"
    """So it does, with another mark, of its own or of its connection."""
    UNKNOWN = "unknown"


class Rule(Struct, frozen=True):
    """One rule; all its conditions must hold."""

    conditions: tuple[Condition, ...]
    action: Action
    text: str
    """As its program prints it."""
    target: str = ""
    """Of JUMP and GOTO: the chain."""


class Chain(Struct, frozen=True):
    """Rules in their order."""

    rules: Sequence[Rule]
    policy: Action = Action.RETURN
    """Of a chain that a hook calls: ACCEPT or DROP."""
    hook: str = ""
    """`input`, `forward`, ...; empty: called by other chains only."""


class Fate(Enum):
    """What becomes of a packet in one chain of a hook."""

    PASSES = "passes"
    DROPPED = "dropped"
    UNCERTAIN = "uncertain"


class Decision(Struct, frozen=True):
    """A fate, and whose doing it is."""

    fate: Fate
    text: str = ""
    """Of DROPPED: the rule, or the policy."""
    marks: bool = False
    """Whether the packet may have got a mark on its way."""


_END = Action.RETURN
"""Of a walk that has come to the end of a chain, or been sent back."""


def decide(chains: Mapping[str, Chain], name: str, packet: Packet) -> Decision:
    """What becomes of packet in the chain of this name, which a hook calls."""
    walk = _Walk(chains, packet)
    possible = walk.through(name)
    policy = chains[name].policy
    if _END in possible:
        del possible[_END]
        possible.setdefault(policy, f"policy {policy.value}")
    if Action.DROP not in possible:
        return Decision(Fate.PASSES, marks=walk.marks)
    fate = Fate.DROPPED if len(possible) == 1 else Fate.UNCERTAIN
    return Decision(fate, possible[Action.DROP], walk.marks)


class _Walk:
    """One packet's way through a hook's chain and those that it calls."""

    def __init__(self, chains: Mapping[str, Chain], packet: Packet) -> None:
        self._chains = chains
        self._packet = packet
        self.marks = False
        """Whether rules that were met may have set a mark."""

    def through(self, name: str, *, depth: int = 0) -> dict[Action, str]:
        """All that may become of the packet, ACCEPT, DROP or RETURN, each with the rule's text."""
        possible: dict[Action, str] = {}
        chain = self._chains.get(name)
        if chain is None or depth > _DEEPEST:
            return {Action.ACCEPT: "", _END: ""}
        for rule in chain.rules:
            meant = _meant(rule, self._packet)
            if meant is False or rule.action is Action.NOTHING:
                continue
            if rule.action is Action.MARK:
                self._mark()
                continue
            outcomes = self._outcomes(rule, depth=depth)
            goes_on = meant is None
            if rule.action is Action.JUMP and _END in outcomes:
                del outcomes[_END]
                goes_on = True
            if rule.action is Action.UNKNOWN:
                goes_on = True
            for action, text in outcomes.items():
                possible.setdefault(action, text)
            if not goes_on:
                return possible
        possible.setdefault(_END, "")
        return possible

    def _mark(self) -> None:
        """From here on, also where another way leads around the rule that is met."""
        self.marks = True
        self._packet = with_any_mark(self._packet)

    def _outcomes(self, rule: Rule, *, depth: int) -> dict[Action, str]:
        if rule.action in {Action.JUMP, Action.GOTO}:
            return self.through(rule.target, depth=depth + 1)
        if rule.action is Action.UNKNOWN:
            return {Action.ACCEPT: rule.text}
        return {rule.action: rule.text}


def _meant(rule: Rule, packet: Packet) -> bool | None:
    """Whether all conditions hold; False as soon as one does not, whatever the others are."""
    answers = [condition(packet) for condition in rule.conditions]
    if False in answers:
        return False
    return None if None in answers else True


def with_any_mark(packet: Packet) -> Packet:
    """The same, of which no test of a mark can be judged."""
    return structs.replace(packet, mark=None)


def unknown(_: Packet) -> None:
    """A condition that cannot be judged."""


def negated(condition: Condition) -> Condition:
    """The opposite."""

    def opposite(packet: Packet) -> bool | None:
        answer = condition(packet)
        return None if answer is None else not answer

    return opposite
