# SPDX-License-Identifier: Apache-2.0
"""What this process may still do, narrowed for good; and trials of what it may not."""

import errno
import os

from msgspec import Struct

from fwd._plane import ffi, lib


def keep_rights(*, effective: int, permitted: int) -> None:
    """Keeps these capabilities, sets of bits by number, of those there are; and no_new_privs.

    For the thread that calls, and for all that it makes or starts.  permitted is what programs
    that it starts get.  Raises OSError.
    """
    _check(lib.vx_rights_keep(effective, permitted), "give up capabilities")


def limit_calls(*, refuse: bool = True) -> None:
    """System calls from here on: those of cext/syscalls.def; after keep_rights().

    For the thread that calls, and for all that it makes or starts; workers get less.  Without
    refuse the kernel's log tells what would be refused.  Raises OSError where there are no filters.
    """
    _check(lib.vx_calls_limit(refuse), "limit system calls")


def calls_limited() -> str:
    """Whether system calls are `limited`, only `logged`, or `not limited`."""
    words = {lib.VX_CALLS_LIMITED: "limited", lib.VX_CALLS_LOGGED: "logged"}
    return words.get(lib.vx_calls_limited(), "not limited")


class Trial(Struct, frozen=True, rename="kebab"):
    """A forbidden call that was made."""

    text: str
    """Which one it is."""
    of_worker: bool
    outcome: str
    """`killed`, the name of an errno, or `done`."""
    as_it_must: bool


def trials(rights: int, *, confined: bool = True) -> tuple[Trial, ...]:
    """Makes each forbidden call, in processes of these capabilities (bits by number).

    Without confined, without a filter: which shows that it is the filter that forbids it.
    """
    return tuple(_try(i, rights, confined=confined) for i in range(lib.vx_trial_count()))


def _try(i: int, rights: int, *, confined: bool) -> Trial:
    found = lib.vx_trial_run(i, rights, confined)
    return Trial(
        text=ffi.string(lib.vx_trial_text(i)).decode("ascii"),
        of_worker=bool(lib.vx_trial_is_worker(i)),
        outcome=_outcome(found),
        as_it_must=found == lib.vx_trial_answer(i),
    )


def _outcome(found: int) -> str:
    if found < 0:
        return f"not tried ({os.strerror(-found)})"
    if found == lib.VX_KILLED:
        return "killed"
    return errno.errorcode.get(found, str(found)) if found else "done"


def _check(done: int, what: str) -> None:
    if done < 0:
        raise OSError(-done, f"cannot {what}: {os.strerror(-done)}")
