# SPDX-License-Identifier: Apache-2.0
"""Tells which nodes are left out, and when one no longer is: each once, and never too many."""

from collections.abc import Iterable

from fwd.model import Refusal
from fwd.ops import log

MOST_LINES = 20
"""A time.  All of them are in the status document."""


class RefusalLog:
    """Remembers what was told."""

    def __init__(self) -> None:
        self._now: frozenset[Refusal] = frozenset()

    def tell(self, refused: Iterable[Refusal]) -> None:
        """`refused` are all that are left out now."""
        before, self._now = self._now, frozenset(refused)
        new = sorted(self._now - before, key=lambda one: (one.node, one.reason))
        for refusal in new[:MOST_LINES]:
            log.warning("node-refused", node=refusal.node, reason=refusal.reason)
        if len(new) > MOST_LINES:
            log.warning("nodes-refused", more=len(new) - MOST_LINES, text="see fwd status --json")
        still = {refusal.node for refusal in self._now}
        again = sorted({refusal.node for refusal in before} - still)
        for node in again[:MOST_LINES]:
            log.info("node-refused-no-more", node=node)
