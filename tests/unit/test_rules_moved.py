# SPDX-License-Identifier: Apache-2.0
"""How often a jump that others move is put back, as time goes by; no program is run."""

from itertools import product
from types import SimpleNamespace

import pytest

from fwd.core import iptables as text
from fwd.core.iptables import FORWARD, MASQUERADE, Part
from fwd.core.rules import FAMILIES, Finding, Kind
from fwd.model import IPV4
from fwd.node.rules import iptables
from fwd.node.rules.iptables import Iptables
from tests.unit.rules_model import BOTH, OTHERS, Table, rules_of

SECONDS = 5.0
"""Between two checks."""


class Node(Iptables):
    """A node whose tables are right, but for the jumps in `moved`, which come before all others."""

    def __init__(self) -> None:
        super().__init__("nft", {}, version=(1, 8, 9))
        self.moved: set[tuple[int, Part]] = set()

    async def _list(self, family: int, _: object) -> dict[str, Table]:
        return {part.table: self._table(part, family) for part in text.PARTS}

    def _table(self, part: Part, family: int) -> Table:
        is_moved = (family, part) in self.moved
        rules = [part.jump, *OTHERS] if is_moved else [*OTHERS, part.jump]
        return {part.builtin: rules, part.chain: rules_of(part, family=family)}

    async def found(self) -> list[Finding]:
        return list((await self.plan(BOTH, thorough=False)).findings)


@pytest.fixture
async def node() -> Node:
    """It has been looked at once."""
    made = Node()
    assert await made.found() == []
    return made


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Its only item is the time now."""
    now = [1000.0]
    monkeypatch.setattr(iptables, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


async def test_a_jump_that_was_moved_too_often_is_put_back_later(
    node: Node, clock: list[float]
) -> None:
    node.moved.add((IPV4, FORWARD))
    put_back = []
    for _ in range(int(4 * iptables._MOVE_SECONDS / SECONDS)):
        put_back += [(clock[0], one.kind) for one in await node.found()]
        clock[0] += SECONDS
    assert {kind for _, kind in put_back} == {Kind.MISPLACED}
    times = [at for at, _ in put_back]
    at_once, later = times[: iptables._MOVES], times[iptables._MOVES :]
    assert at_once[-1] - at_once[0] == (iptables._MOVES - 1) * SECONDS
    assert len(later) == 3, "once in so many seconds"


async def test_each_jump_has_an_allowance_of_its_own(node: Node, clock: list[float]) -> None:
    assert clock
    for place in product(FAMILIES, (MASQUERADE, FORWARD)):
        node.moved = {place}
        for _ in range(iptables._MOVES):
            assert [one.kind for one in await node.found()] == [Kind.MISPLACED]
        assert await node.found() == []
