# SPDX-License-Identifier: Apache-2.0
"""The supervisor's log: lines in the form of `ops.log`."""

import contextlib
import os
import signal
import time


def say(event: str, **fields: object) -> None:
    """One line."""
    now = time.time()
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03d}Z"
    words = [f"time={stamp} level=warning event={event}"]
    for key, value in fields.items():
        text = str(value)
        quoted = f'"{text}"' if " " in text else text
        words.append(f"{key.replace('_', '-')}={quoted}")
    with contextlib.suppress(OSError):
        os.write(2, (" ".join(words) + "\n").encode())


def reason(code: int) -> str:
    """How a process has ended; code as `os.waitstatus_to_exitcode` has it."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {-code} ({signal.Signals(-code).name})"
    except ValueError:
        return f"signal {-code}"
