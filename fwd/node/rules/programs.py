# SPDX-License-Identifier: Apache-2.0
"""Running iptables' programs and nft: no shell, and no wait without an end."""

import asyncio
import os
import re
import shutil
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import BinaryIO

from msgspec import Struct

from fwd.model import FwdError

TIME_LIMIT = 20.0
"""Seconds.  Milliseconds are usual; a node with 100,000 rules of kube-proxy may take some
seconds, and LOCK_SECONDS of it may be spent waiting."""
LOCK_SECONDS = 5
"""How long iptables waits for its lock, which each of its users holds for one command."""
KILL_SECONDS = 10.0
"""Only what is stuck in the kernel takes long to die; then we go on without seeing it."""

_CHUNK = 65536
_MOST_COMPLAINT = 65536
"""Bytes of stderr that are kept."""

_NOT_IN_KERNEL = re.compile(
    r"(?:initialize nft|Netlink socket): Protocol not supported"  # without nfnetlink
    r"|(?:generation id|cache initialization failed): Invalid argument"  # without nf_tables
    r"|/proc/net/ip6?_tables_names: No such file"  # iptables-legacy-save; new ones print nothing
)

_SBIN = "/usr/sbin:/sbin"
"""Not on everybody's PATH."""


class RuleError(FwdError):
    """The kernel's rules could not be read or changed; trying again later may help."""


class NotInKernelError(RuleError):
    """The program's kind of rules is unknown to this kernel, so there are none."""


class LockHeldError(RuleError):
    """iptables' lock was waited for long enough."""


class Done(Struct, frozen=True):
    """A program that ended by itself."""

    argv: tuple[str, ...]
    code: int
    out: str
    err: str

    def checked(self) -> str:
        """What it printed.  RuleError, with its last words, if it failed."""
        if self.code == 0:
            return self.out
        text = f"{' '.join(self.argv)}: {self._reason()}"
        raise NotInKernelError(text) if _NOT_IN_KERNEL.search(self.err) else RuleError(text)

    def _reason(self) -> str:
        # nft shows the line at fault under its message, and iptables advises to ask --help.
        lines = [line.strip() for line in self.err.splitlines() if line.strip()]
        errors = [line for line in lines if "rror:" in line or line.startswith(("ip", "Another"))]
        return next(iter(errors or lines), f"exit code {self.code}")


def find(program: str) -> str | None:
    """Its path, if it is installed."""
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:{_SBIN}")


async def run(argv: Sequence[str], *, stdin: str = "", limit: float = TIME_LIMIT) -> Done:
    """Runs argv, a path and its arguments, to its end.

    Raises RuleError if it cannot be run, or has not ended after limit seconds; it is killed then,
    as it is when the caller is cancelled.
    """
    out = bytearray()
    code, err = await _finish(argv, out.extend, stdin=stdin, limit=limit)
    return Done(argv=tuple(argv), code=code, out=out.decode(errors="replace"), err=err)


async def read_lines(
    argv: Sequence[str], take: Callable[[str], None], *, limit: float = TIME_LIMIT
) -> Done:
    """The same of a program that may print very much: `take` has each line, and `out` none.

    Whether the lines count is known only at the end: the program may fail after some.
    """
    rest = b""

    def split(chunk: bytes) -> None:
        nonlocal rest
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            take(line.decode(errors="replace"))

    code, err = await _finish(argv, split, stdin="", limit=limit)
    if rest:
        take(rest.decode(errors="replace"))
    return Done(argv=tuple(argv), code=code, out="", err=err)


async def _finish(
    argv: Sequence[str], take: Callable[[bytes], object], *, stdin: str, limit: float
) -> tuple[int, str]:
    """Exit code, and what stderr said at first; `take` has the output as it comes."""
    try:
        process = await _start(argv, stdin)
    except OSError as error:
        raise RuleError(f"cannot run {argv[0]}: {error.strerror}") from error
    assert process.stdout is not None
    assert process.stderr is not None
    complaint = asyncio.ensure_future(_beginning(process.stderr))
    try:
        async with asyncio.timeout(limit):
            while chunk := await process.stdout.read(_CHUNK):
                take(chunk)
            err = await complaint
            code = await process.wait()
    except TimeoutError as error:
        raise RuleError(f"{' '.join(argv)}: not done after {limit:g} s") from error
    finally:
        complaint.cancel()
        await asyncio.wait([complaint])  # a pipe has one reader at a time, and _kill reads both
        if process.returncode is None:
            await _kill(process)
    return code, err.decode(errors="replace")


async def _beginning(stream: asyncio.StreamReader) -> bytes:
    """Of what comes until the end; the rest is read, so that its writer need not wait."""
    kept = bytearray()
    while chunk := await stream.read(_CHUNK):
        kept += chunk[: _MOST_COMPLAINT - len(kept)]
    return bytes(kept)


async def _start(argv: Sequence[str], stdin: str) -> asyncio.subprocess.Process:
    """Who is cancelled meanwhile waits nevertheless: what has been started must be reaped."""
    with _readable(stdin) as file:
        starting = asyncio.ensure_future(
            asyncio.create_subprocess_exec(
                *argv,
                stdin=file,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=os.environ | {"LC_ALL": "C"},
                start_new_session=True,
            )
        )
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            with suppress(OSError):
                await _kill(await starting)
            raise


def _readable(text: str) -> BinaryIO:
    """A file in memory, at its beginning.

    Not a pipe: uvloop fails when it writes to one of a program that has ended already.
    """
    file = os.fdopen(os.memfd_create("stdin"), "w+b")
    file.write(text.encode())
    file.seek(0)
    return file


async def _kill(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # its group: iptables may have started modprobe
    with suppress(TimeoutError):
        async with asyncio.timeout(KILL_SECONDS):
            # Not wait(): asyncio (3.11) takes a process for running until its pipes have been read
            # to their end.
            await process.communicate()
