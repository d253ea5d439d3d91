# SPDX-License-Identifier: Apache-2.0
"""One line an event on stderr: `time=... level=info event=... key=value ...`.

Python's logging is underneath, so that what asyncio and others say comes out in the same form.
"""

import logging
import re
import sys
import time

_PLAIN = re.compile(r"[\w.:/@%+,\[\]-]+", re.ASCII)
_logger = logging.getLogger("fwd")


def info(event: str, **fields: object) -> None:
    """Something happened that an operator may want to know later."""
    _logger.info(line(event, fields))


def warning(event: str, **fields: object) -> None:
    """The agent goes on, but not as it was told to."""
    _logger.warning(line(event, fields))


def line(event: str, fields: dict[str, object]) -> str:
    """event=... and the fields as key=value; a value is quoted if it needs to be."""
    pairs = {"event": event} | fields
    return " ".join(f"{key.replace('_', '-')}={_quote(value)}" for key, value in pairs.items())


def set_up() -> None:
    """Sends everything that is logged to stderr in this form."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter())
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)


class _Formatter(logging.Formatter):
    """The form.  A message of another logger becomes an event named for that logger."""

    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        text = record.getMessage()
        if record.name != _logger.name:
            fields: dict[str, object] = {"text": text}
            if record.exc_info and record.exc_info[1] is not None:
                fields["error"] = repr(record.exc_info[1])
            text = line(record.name, fields)
        return f"time={stamp}.{int(record.msecs):03d}Z level={record.levelname.lower()} {text}"


def _quote(value: object) -> str:
    text = str(value)
    if _PLAIN.fullmatch(text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
