# SPDX-License-Identifier: Apache-2.0
"""A program that stays: started in a namespace, waited for by a line of its log.

That one of this package is the code of this lab, and no other fwd that happens to be installed, is
seen to by PYTHONPATH.  Who starts one: ``fwdnode``, ``building``, ``controlplane``.
"""

import os
import re
import sys
import time
from pathlib import Path
from typing import Final

from msgspec import Struct

import fwd
from fwd.lab import agentproc, lastwords, netns
from fwd.lab.agentproc import Process
from fwd.lab.errors import LabError

# Seconds.  A start takes under one; a machine that is busy with something else may take several.
START_LIMIT: Final = 20.0
_POLL: Final = 0.05
_LINES_SHOWN: Final = 12


class Program(Struct, frozen=True):
    """What is to be started.

    Attributes:
        name: a word for its lines in an error's detail.
        title: what an error calls it.
        namespace: where it runs.
        words: what follows ``python -m``.
        log: gets what it says.
        ready: what it says once it is of use, a regular expression for one line.
        binary: a program of somebody else's; ``words`` are its arguments then.
    """

    name: str
    title: str
    namespace: str
    words: tuple[str, ...]
    log: Path
    ready: str
    binary: str = ""


class Service:
    """A program that was started; ``skip`` is where its log ended before, in bytes."""

    def __init__(self, program: Program, process: Process, *, skip: int) -> None:
        self.program = program
        self.process = process
        self._skip = skip

    def await_ready(self, deadline: float) -> None:
        """Wait until the program's log says that it is of use.

        Args:
            deadline: by ``time.monotonic()``.

        Raises:
            LabError: it ended, or the time is up; ``detail`` has its last lines.
        """
        ready = re.compile(self.program.ready)
        while True:
            running = agentproc.alive(self.process)  # before reading: its last words count
            lines = self._lines()
            if any(ready.search(line) for line in lines):
                return
            if not running or time.monotonic() > deadline:
                what = "does not say that it is ready" if running else "ended"
                shown = tuple(f"{self.program.name}| {line}" for line in lines[-_LINES_SHOWN:])
                told = lastwords.telling(lines)
                why = f": {told}" if told else " without a word"
                raise LabError(f"{self.program.title} {what}{why}", detail=shown)
            time.sleep(_POLL)

    def _lines(self) -> list[str]:
        text = self.program.log.read_bytes()[self._skip :].decode(errors="replace")
        return [line for line in text.splitlines() if line.strip()]


def start(program: Program) -> Service:
    """Start it; does not wait."""
    program.log.parent.mkdir(exist_ok=True)
    program.log.touch()
    skip = program.log.stat().st_size
    ours = (sys.executable, "-m") if not program.binary else (program.binary,)
    argv = netns.inside(program.namespace, *ours, *program.words)
    process = agentproc.spawn(argv, env=environment(), log=program.log)
    return Service(program, process, skip=skip)


def environment() -> dict[str, str]:
    """Of a lab's program: what configures an agent or etcd of this machine is not in it.

    Nor is a proxy of this machine: a lab's namespaces do not reach it.
    """
    kept = {name: value for name, value in os.environ.items() if not _is_strangers(name)}
    package = Path(fwd.__path__[0]).resolve().parent
    search = [str(package), *filter(None, [os.environ.get("PYTHONPATH")])]
    return kept | {
        "PYTHONPATH": os.pathsep.join(search),
        "PYTHONSAFEPATH": "1",  # the caller's directory may have modules of our names
        "PYTHONUNBUFFERED": "1",
        "NETRC": os.devnull,  # without it: ~/.netrc, whose password would go beside the token
    }


def _is_strangers(name: str) -> bool:
    if name == "ETCD_UNSUPPORTED_ARCH":  # sets nothing: etcd 3.4 wants it to run at all on arm64
        return False
    return (
        name.startswith(("FLANNELD_", "KUBERNETES_", "ETCD_"))
        or name.lower().endswith("_proxy")  # as Python's urllib takes them
        or name in ("NODE_NAME", "NOTIFY_SOCKET", "KUBECONFIG")
    )
