# SPDX-License-Identifier: Apache-2.0
"""The log's two forms, and that one event does not fill a disk."""

import json
import logging
from collections.abc import Callable

import pytest

from fwd.ops import log


class _Catching(logging.Handler):
    def __init__(self, records: list[logging.LogRecord]) -> None:
        super().__init__()
        self._records = records

    def emit(self, record: logging.LogRecord) -> None:
        self._records.append(record)


def made(event: str, **fields: object) -> logging.LogRecord:
    """The record that log.info() makes."""
    records: list[logging.LogRecord] = []
    catching = _Catching(records)
    logger = logging.getLogger("fwd")
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(catching)
    try:
        log.info(event, **fields)
    finally:
        logger.removeHandler(catching)
        logger.setLevel(level)
    (record,) = records
    record.created, record.msecs = 1.5, 500.0
    return record


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("flannel.1", "flannel.1"),
        ("10.244.1.0/24", "10.244.1.0/24"),
        (7, "7"),
        ("", '""'),
        ("two words", '"two words"'),
        ('say "x"\n\\', '"say \\"x\\"\\n\\\\"'),
        ("a=b", '"a=b"'),
        ("\N{LATIN SMALL LETTER O WITH DIAERESIS}", '"\N{LATIN SMALL LETTER O WITH DIAERESIS}"'),
    ],
)
def test_a_value_is_quoted_only_if_it_must_be(value: object, text: str) -> None:
    assert made("event", a_key=value).getMessage() == f"event=event a-key={text}"


def test_a_line_is_one_object_in_json() -> None:
    told = log._Json().format(made("event", a_key='two "words"\n', number=7, on=True, no=None))
    assert "\n" not in told
    assert json.loads(told) == {
        "time": "1970-01-01T00:00:01.500Z",
        "level": "info",
        "event": "event",
        "a-key": 'two "words"\n',
        "number": 7,
        "on": True,
        "no": None,
    }


_AS_JSON = """\
{"time": "1970-01-01T00:00:01.500Z", "level": "error", "event": "asyncio", "text": "task died"}"""


@pytest.mark.parametrize(
    ("form", "told"),
    [
        (log._Text(), 'time=1970-01-01T00:00:01.500Z level=error event=asyncio text="task died"'),
        (log._Json(), _AS_JSON),
    ],
)
def test_what_others_log_has_the_same_form(form: logging.Formatter, told: str) -> None:
    record = logging.LogRecord("asyncio", logging.ERROR, "", 0, "task %s", ("died",), None)
    record.created, record.msecs = 1.5, 500.0
    assert form.format(record) == told


def seldom(now: Callable[[], float]) -> log.Seldom:
    return log.Seldom(burst=3, seconds=10.0, clock=now)


def test_an_event_is_told_some_times_and_then_seldom_with_how_often_it_was_not() -> None:
    now = 0.0
    passing = seldom(lambda: now)
    assert [passing.filter(made("again")) for _ in range(5)] == [True] * 3 + [False] * 2
    assert passing.filter(made("another")), "each has an allowance of its own"
    now = 10.0
    record = made("again")
    assert passing.filter(record)
    assert log._Text().format(record).endswith("event=again not-told=2")
    assert not passing.filter(made("again"))
    now = 100.0
    record = made("again")
    assert passing.filter(record)
    assert log._Text().format(record).endswith("event=again not-told=1")
    record = made("again")
    assert passing.filter(record)
    assert log._Text().format(record).endswith("event=again")
