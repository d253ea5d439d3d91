# SPDX-License-Identifier: Apache-2.0
"""One line an event on stderr: `time=... level=info event=... key=value ...`, or the same as JSON.

An event that comes again and again is told some times and then seldom, with how often it was not:
a node in trouble must not fill its disk with lines about it.  Python's logging is underneath, so
that what asyncio and others say comes out in the same form.
"""

import json
import logging
import re
import sys
import time
from collections.abc import Callable

from fwd.core.backoff import Allowance
from fwd.ops.printable import printable

BURST = 30
"""Lines of one event at once."""
AGAIN_SECONDS = 10.0
"""And one more each so many."""

_PLAIN = re.compile(r"[\w.:/@%+,\[\]-]+", re.ASCII)
_logger = logging.getLogger("fwd")
_FIELDS = "fwd_fields"


def info(event: str, **fields: object) -> None:
    """Something happened that an operator may want to know later."""
    _tell(logging.INFO, event, fields)


def warning(event: str, **fields: object) -> None:
    """The agent goes on, but not as it was told to."""
    _tell(logging.WARNING, event, fields)


def _tell(level: int, event: str, fields: dict[str, object]) -> None:
    pairs = {"event": event} | {key.replace("_", "-"): value for key, value in fields.items()}
    _logger.log(level, "%s", _text(pairs), extra={_FIELDS: pairs})


def line(event: str, fields: dict[str, object]) -> str:
    """event=... and the fields as key=value; a value is quoted if it needs to be."""
    return _text({"event": event} | {key.replace("_", "-"): fields[key] for key in fields})


def _text(pairs: dict[str, object]) -> str:
    return " ".join(f"{key}={_quote(value)}" for key, value in pairs.items())


def set_up(form: str = "text") -> None:
    """Sends everything that is logged to stderr in this form, `text` or `json`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if form == "json" else _Text())
    handler.addFilter(Seldom())
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)


class Seldom(logging.Filter):
    """Lets pass so many lines of one event, and says with the next one how many it did not."""

    def __init__(
        self,
        *,
        burst: int = BURST,
        seconds: float = AGAIN_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._clock = clock
        self._burst = burst
        self._seconds = seconds
        self._allowances: dict[object, Allowance] = {}
        self._kept_back: dict[object, int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether this one is told."""
        pairs = _pairs(record)
        kind = pairs["event"]
        allowance = self._allowances.setdefault(
            kind, Allowance(burst=self._burst, seconds=self._seconds)
        )
        now = self._clock()
        if allowance.wait(now) > 0:
            self._kept_back[kind] = self._kept_back.get(kind, 0) + 1
            return False
        allowance.take(now)
        if missed := self._kept_back.pop(kind, 0):
            setattr(record, _FIELDS, pairs | {"not-told": missed})
        return True


def _pairs(record: logging.LogRecord) -> dict[str, object]:
    """An event and its fields; a message of another logger is an event named for that logger."""
    pairs: dict[str, object] | None = getattr(record, _FIELDS, None)
    if pairs is None:
        pairs = {"event": record.name, "text": record.getMessage()}
        if record.exc_info and record.exc_info[1] is not None:
            pairs["error"] = repr(record.exc_info[1])
    return pairs


def _head(record: logging.LogRecord) -> dict[str, object]:
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    return {"time": f"{stamp}.{int(record.msecs):03d}Z", "level": record.levelname.lower()}


class _Text(logging.Formatter):
    """key=value."""

    def format(self, record: logging.LogRecord) -> str:
        return _text(_head(record) | _pairs(record))


class _Json(logging.Formatter):
    """An object."""

    def format(self, record: logging.LogRecord) -> str:
        pairs = _head(record) | _pairs(record)
        plain = {key: value if _is_plain(value) else str(value) for key, value in pairs.items()}
        return json.dumps(plain, ensure_ascii=False)


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, bool | int | float)


def _quote(value: object) -> str:
    text = str(value)
    if _PLAIN.fullmatch(text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{printable(escaped)}"'
