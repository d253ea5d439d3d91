# SPDX-License-Identifier: Apache-2.0
"""The supervisor's log: lines in the form of `ops.log`, written without what that one loads."""

import contextlib
import os
import signal
import time

_form = "text"


def set_up(form: str) -> None:
    """What `--log-format` says: `text` or `json`."""
    global _form  # noqa: PLW0603 - a process has one log
    _form = form


def say(event: str, **fields: str | float) -> None:
    """One line."""
    now = time.time()
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03d}Z"
    pairs: dict[str, str | float] = {"time": stamp, "level": "warning", "event": event}
    pairs |= {key.replace("_", "-"): value for key, value in fields.items()}
    if _form == "json":
        words = [f"{_json(key)}: {_json(value)}" for key, value in pairs.items()]
        line = "{" + ", ".join(words) + "}"
    else:
        line = " ".join(f"{key}={_quoted(value)}" for key, value in pairs.items())
    with contextlib.suppress(OSError):
        os.write(2, f"{line}\n".encode(errors="replace"))


def _quoted(value: str | float) -> str:
    text = value if isinstance(value, str) else f"{value:.10g}"
    return f'"{text}"' if " " in text else text


def _json(value: str | float) -> str:
    """As the module json has it, which would bring twelve others."""
    if not isinstance(value, str):
        return f"{value:.10g}"
    plain = (one if one >= " " and one not in '"\\' else f"\\u{ord(one):04x}" for one in value)
    return f'"{"".join(plain)}"'


def reason(code: int) -> str:
    """How a process has ended; code as `os.waitstatus_to_exitcode` has it."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {-code} ({signal.Signals(-code).name})"
    except ValueError:
        return f"signal {-code}"
