# SPDX-License-Identifier: Apache-2.0
"""Of the programs in bench/ what needs no nodes."""

import contextlib
import time
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from bench import scrape, soak
from fwd.bench import traffic
from fwd.bench.traffic import Datagrams


class Ended:
    """In the place of what befalls nodes, and of the streams."""

    latest = "nothing"

    def __init__(self, *_: object) -> None:
        pass

    def settle(self) -> None:
        pass

    def go_on(self, _: float) -> None:
        time.sleep(0.1)
        raise KeyboardInterrupt

    def close(self) -> None:
        pass


@contextlib.contextmanager
def _nodes() -> Iterator[SimpleNamespace]:
    yield SimpleNamespace(n1=SimpleNamespace(name="a"), n2=SimpleNamespace(name="b"))


def _datagrams(*_: object, **__: object) -> Datagrams:
    time.sleep(0.05)
    return Datagrams(1, 1, 0, 0, 0.05, 0.05)


def test_an_interrupted_soak_does_not_wait_for_its_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soak, "nodes", _nodes)
    monkeypatch.setattr(soak, "Soak", Ended)
    monkeypatch.setattr(soak, "Stream", Ended)
    monkeypatch.setattr(traffic, "datagrams", _datagrams)
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        soak.soak(minutes=0.5, seed=1, rate=100)
    assert time.monotonic() - began < 20


@pytest.mark.parametrize(
    ("numbers", "requests"),
    [
        ([], 0),
        ([1, 2, 3], 3),
        ([2, 1, 5, 4], 5),
        ([*range(1, 65536, 1000), 65535, 0, 1, 2], 65538),
        ([*range(1, 65536, 9000), 65530, 4, 65535, 1], 65540),
        ([*range(1, 65536, 9000), *range(1, 65536, 9000), 0], 131072),
    ],
)
def test_requests_are_counted_beyond_sixteen_bits(numbers: list[int], requests: int) -> None:
    assert scrape.requested(numbers) == requests
