# SPDX-License-Identifier: Apache-2.0
"""A process that would be the next agent: it has loaded what it needs to forward, and waits.

It may wait for months, and the program may be replaced under it meanwhile.  So when its turn comes
it looks whether its files are those that it was loaded from, and if not begins anew, as whoever is
started then.
"""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from fwd.node.handover.store import Store

PACKAGE = Path(__file__).parents[2]
_COMM = Path("/proc/self/comm")

Files = frozenset[tuple[str, int, int]]
"""Path, inode and time of change in ns of each."""


def wait_for_turn(store: Store) -> None:
    """Returns when this process is the agent.  Ends it when its supervisor has."""
    loaded = files_of(PACKAGE)
    own_name = _renamed("fwd-spare")
    # Ends without a word, by whatever: nobody depends on it yet.
    handler = signal.signal(signal.SIGINT, signal.SIG_DFL)
    if not store.wait_for_go():
        raise SystemExit(0)
    signal.signal(signal.SIGINT, handler)
    _renamed(own_name)
    if files_of(PACKAGE) != loaded:
        store.keep_over_exec()
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - this program


def files_of(package: Path) -> Files:
    """What there is of the program.  Some 200 files, a millisecond."""
    return frozenset(_walk(str(package)))


def _walk(directory: str) -> Iterator[tuple[str, int, int]]:
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.name.endswith((".py", ".so")):
                found = entry.stat()
                yield entry.path, found.st_ino, found.st_mtime_ns
            elif entry.is_dir() and entry.name != "__pycache__":
                yield from _walk(entry.path)


def _renamed(name: str) -> str:
    """What `ps` and `top` call this process; what they did before."""
    before = "python"
    with suppress(OSError):
        before = _COMM.read_text().strip()
        _COMM.write_text(name)
    return before
