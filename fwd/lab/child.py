# SPDX-License-Identifier: Apache-2.0
"""Programs that the lab needs and runs: found or named as missing, each with a time limit."""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import Struct

from fwd.lab.errors import LabError

# Program -> Debian package.  `sh` is in every system.
PACKAGES: Final = {
    "etcd": "etcd-server",
    "ethtool": "ethtool",
    "ip": "iproute2",
    "bridge": "iproute2",
    "nft": "nftables",
    "ping": "iputils-ping",
    "iperf3": "iperf3",
    "openssl": "openssl",
}

_SBIN = "/usr/sbin:/sbin"  # `su` leaves them off a user's PATH, and `ip` and `bridge` are there

# Seconds.  A netlink call takes milliseconds; this only keeps a sick kernel from hanging a command.
TIME_LIMIT: Final = 20.0


class Result(Struct, frozen=True):
    """What a program left: its exit code (negative: the signal that ended it) and its output."""

    code: int
    out: str
    err: str

    @property
    def last_line(self) -> str:
        """The last line that says something, for a message of one line."""
        lines = [line for line in (self.err or self.out).splitlines() if line.strip()]
        return lines[-1].strip() if lines else f"exit code {self.code}"


def require_root() -> None:
    """Raise ``LabError`` unless this process may make namespaces."""
    if os.geteuid() != 0:
        raise LabError("the lab makes network namespaces and needs root: run it with sudo")


def require(*programs: str) -> None:
    """Raise ``LabError`` with all that is missing and the Debian packages that have it."""
    missing = [program for program in programs if find(program) is None]
    if missing:
        packages = sorted({PACKAGES[program] for program in missing})
        raise LabError(f"missing: {', '.join(missing)}; apt-get install {' '.join(packages)}")


def find(program: str) -> str | None:
    """Path of a program; None if it is not installed."""
    return shutil.which(program, path=search_path())


def search_path() -> str:
    """Where programs are looked for."""
    return f"{os.environ.get('PATH', '')}:{_SBIN}"


def run(
    argv: Sequence[str],
    *,
    stdin: str = "",
    limit: float = TIME_LIMIT,
    env: Mapping[str, str] | None = None,
) -> Result:
    """Run a program to its end; ``env`` is its whole environment, None this process's own.

    Raises:
        LabError: it did not end within ``limit`` seconds (it is killed), or is not there.
    """
    require(*({argv[0]} & PACKAGES.keys()))
    try:
        done = subprocess.run(
            [find(argv[0]) or argv[0], *argv[1:]],
            input=stdin,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=limit,
            env=env,
            check=False,
        )
    except subprocess.TimeoutExpired as slow:
        raise LabError(f"{' '.join(argv)}: not done after {limit:.0f} s") from slow
    return Result(done.returncode, done.stdout, done.stderr)
