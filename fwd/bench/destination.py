# SPDX-License-Identifier: Apache-2.0
"""Files that results go to: tried before minutes of measuring, written after them."""

from pathlib import Path

from fwd.lab.errors import LabError


def check(file: str) -> None:
    """See whether it can be written, and leave it as it is.

    Raises:
        LabError: it cannot.
    """
    path = Path(file)
    try:
        is_new = not path.exists()
        if path.is_fifo():  # whose reader would take this for the end of it
            return
        with path.open("ab"):
            pass
        if is_new:
            path.resolve().unlink()  # not the link, if it was one that led nowhere
    except OSError as error:
        raise LabError(f"{file}: {error.strerror}") from error


def write(file: str, text: str) -> str | None:
    """What went wrong: what was measured is shown all the same."""
    try:
        Path(file).write_text(text, encoding="utf-8")
    except OSError as error:
        return f"{file}: {error.strerror}"
    return None
