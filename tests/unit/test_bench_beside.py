# SPDX-License-Identifier: Apache-2.0
"""What of a flood counts as beside a stream."""

import pytest

from fwd.bench.beside import Look, during
from fwd.bench.traffic import Datagrams


def looks(*, begin: float, end: float, last: float) -> list[Look]:
    """A flood of 300,000 a second that halves while a stream's bytes come, from begin to end."""
    sent = received = came = 0.0
    found = []
    for number in range(round(last * 50) + 1):
        at = number / 50
        found.append(Look(100 + at, _flood(int(sent), int(received)), 5000 + int(came)))
        is_beside = begin <= at < end
        sent += 300_000 / 50
        received += (100_000 if is_beside else 300_000) / 50
        came += 1e9 / 50 * is_beside
    return found


def _flood(sent: int, received: int) -> Datagrams:
    return Datagrams(sent, received, reordered=3, duplicate=2, sending=0.0, receiving=0.0)


@pytest.mark.parametrize(("begin", "end"), [(0.0, 1.0), (0.4, 1.4), (0.5, 2.0)])
def test_what_arrives_while_there_is_no_stream_does_not_count(begin: float, end: float) -> None:
    found = during(looks(begin=begin, end=end, last=2.0))
    assert found is not None
    assert found.arrival_rate == pytest.approx(100_000, rel=1e-3)
    assert found.loss_percent == pytest.approx(100 * 2 / 3, rel=1e-3)
    assert found.sending == pytest.approx(end - begin, abs=0.07)


def test_without_a_stream_there_is_nothing_beside_it() -> None:
    assert during(looks(begin=0.0, end=0.0, last=1.0)) is None
    assert during(looks(begin=0.0, end=1.0, last=1.0)[:1]) is None
