# SPDX-License-Identifier: Apache-2.0
"""python -I -S bounded.py MEBIBYTES PROGRAM ARGS: a program that may not use more memory.

Ends as it does, or with TOO_MUCH if it used more.  It gets half as much again of address space, and
what it used is looked at in the end: a program that gets no more memory may go on nevertheless and
print less than there is.  (nft does not look whether each allocation of jansson's succeeds.)
"""

import os
import resource
import sys

TOO_MUCH = 75


def main(mebibytes: str, *argv: str) -> int:
    """Runs it, and returns the exit code."""
    most = int(mebibytes) << 20
    pid = os.fork()
    if pid == 0:
        _become(argv, most + most // 2)
    _, status, usage = os.wait4(pid, 0)
    return TOO_MUCH if usage.ru_maxrss << 10 > most else abs(os.waitstatus_to_exitcode(status))


def _become(argv: tuple[str, ...], address_space: int) -> None:
    try:
        resource.setrlimit(resource.RLIMIT_AS, (address_space, address_space))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # it may end by abort()
        os.environ.pop("LD_PRELOAD", None)  # a sanitizer, which is for Python and takes all
        os.execv(argv[0], argv)  # noqa: S606 - as it is told
    finally:
        os._exit(127)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
