# SPDX-License-Identifier: Apache-2.0
"""`fwd install-conf SRC DST`: a copy that is there whole or not at all (flannel spec 9.4).

flannel's manifest runs it in an init container, to put cni-conf.json where a container runtime,
which watches the directory, never reads half a file.  Nothing is looked at: any file will do.
"""

import errno
import os
import stat
import sys
from collections.abc import Sequence
from pathlib import Path

from fwd.node.subnetfile import write_whole

USAGE = "usage: fwd install-conf SRC DST\n"


def install(source: Path, target: Path) -> None:
    """Copies content and mode.  The target's directory must be there.  Raises OSError."""
    if not target.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(target.parent))
    with source.open("rb") as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        content = file.read()
    write_whole(target, content, mode=mode)


def main(argv: Sequence[str]) -> int:
    """The command; returns the exit code, which is 1 for a wrong command line too, as flannel's."""
    if argv and argv[0] in {"-h", "-help", "--help"}:
        sys.stdout.write(USAGE)
        return 0
    if len(argv) != 2:
        sys.stderr.write(USAGE)
        return 1
    source, target = map(Path, argv)
    try:
        install(source, target)
    except OSError as error:
        named = error.filename2 or error.filename or target
        sys.stderr.write(f"fwd install-conf: {named}: {error.strerror or error}\n")
        return 1
    return 0
