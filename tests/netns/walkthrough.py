# SPDX-License-Identifier: Apache-2.0
"""docs/walkthrough.md played: its commands run in their order, with what they print beneath each.

python -m tests.netns.walkthrough      writes the page anew, with what they print here
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

PAGE: Final = Path(__file__).resolve().parents[2] / "docs/walkthrough.md"
_SECONDS: Final = 120.0
_LAB: Final = "fwdlab"
"""In the page."""
_BLOCK: Final = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def commands(text: str) -> Iterator[str]:
    """The commands of a page, or of a block."""
    for line in text.splitlines():
        if line.startswith("# "):
            yield line.removeprefix("# ")


def blocks(text: str) -> list[str]:
    """The blocks of commands, with what is beneath them."""
    return _BLOCK.findall(text)


def played(text: str, *, lab: str = _LAB) -> str:
    """The page with what its commands print now, in a lab of this name."""
    try:
        return _BLOCK.sub(lambda block: f"```console\n{_play(block[1], lab)}```", text)
    finally:
        run(_in(lab, "fwd lab down"))


def _play(block: str, lab: str) -> str:
    return "".join(f"# {command}\n{_printed(command, lab)}" for command in commands(block))


def _printed(command: str, lab: str) -> str:
    said = run(_in(lab, command))
    if lab != _LAB:
        said = said.replace(f"/run/fwd-lab.{lab}/", "/run/fwd-lab/").replace(lab, _LAB)
    return re.sub(r"[ \t]+$", "", said, flags=re.MULTILINE)


def _in(lab: str, command: str) -> str:
    """The command as it is for a lab of another name than the page's."""
    if lab == _LAB:
        return command
    named = re.sub(r"fwd lab (\w+)", rf"fwd lab \1 --prefix {lab}", command)
    return named.replace(f"/run/fwd-lab/{_LAB}", f"/run/fwd-lab.{lab}/{lab}")


def run(command: str) -> str:
    """A line of shell, with this environment's `fwd`; what it prints."""
    done = subprocess.run(
        ["sh", "-c", command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_SECONDS,
        check=False,
        env=os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
    )
    return done.stdout


if __name__ == "__main__":
    PAGE.write_text(played(PAGE.read_text()))
