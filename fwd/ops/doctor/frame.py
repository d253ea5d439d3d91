# SPDX-License-Identifier: Apache-2.0
"""Runs the checks, one after the other, each within its time, and brings their findings together.

A check that fails is a finding too: nothing that goes wrong here keeps the others from being told.
"""

import asyncio
import errno
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence

from msgspec import Struct

from fwd.model import FwdError
from fwd.ops.doctor.finding import Finding, Grade, wrong
from fwd.ops.doctor.patient import Patient


class Check(Struct, frozen=True):
    """A subject, and what looks at it: findings as it comes upon them.

    One that is not asynchronous runs in a thread, for it may block, and netlink wants no loop.
    """

    subject: str
    look: Callable[[Patient], Iterator[Finding] | AsyncIterator[Finding]]
    seconds: float = 10.0


async def examine(patient: Patient, checks: Iterable[Check]) -> list[Finding]:
    """All that was found, without what other findings explain."""
    return without_symptoms([one for check in checks for one in await _findings(check, patient)])


async def _findings(check: Check, patient: Patient) -> list[Finding]:
    found: list[Finding] = []
    try:
        async with asyncio.timeout(check.seconds):
            looking = check.look(patient)
            if isinstance(looking, AsyncIterator):
                async for finding in looking:
                    found.append(finding)  # noqa: PERF401 - counts, whatever comes after it
            else:
                await asyncio.to_thread(found.extend, looking)
    except TimeoutError:
        said = f"not done within {check.seconds:g} s"
        found.append(wrong(check.subject, said, "look at what this node waits for, and try again"))
    except (FwdError, OSError) as error:
        said = (error.strerror if isinstance(error, OSError) else None) or str(error)
        found.append(wrong(check.subject, f"cannot look: {said}", _remedy(error)))
    except Exception as error:  # noqa: BLE001 - of a check that met what it does not know
        said = f"cannot look: {type(error).__name__}: {error}"
        found.append(wrong(check.subject, said, "report this: it is a mistake of fwd doctor"))
    return found


def _remedy(error: FwdError | OSError) -> str:
    if isinstance(error, OSError) and error.errno in {errno.EPERM, errno.EACCES}:
        return "run as root on the node"
    return "mend what is said, and look again"


def without_symptoms(findings: Sequence[Finding]) -> list[Finding]:
    """Leaves out what is only a symptom of something that is told as well."""
    explained = {
        one.cause
        for one in findings
        if one.cause and not one.is_symptom and one.grade is Grade.WRONG
    }
    return [one for one in findings if not (one.is_symptom and one.cause in explained)]
