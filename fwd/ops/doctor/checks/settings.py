# SPDX-License-Identifier: Apache-2.0
"""Settings that this machine may not have what they need for: tried out, before a start only."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterable

from fwd.model import ConfigError
from fwd.ops.doctor.finding import Finding, well, wrong
from fwd.ops.doctor.patient import Patient
from fwd.ops.health import Health

_PORT = "health port"
_OTHER_PORT = "give another --healthz-ip or --healthz-port"
_PROCESSORS = "--worker-cpus"


async def look(patient: Patient) -> AsyncIterator[Finding]:
    """An agent that runs has what it needs, and would be in the way."""
    config = patient.config
    if not patient.may_start:
        return
    if config.healthz_port > 0:
        yield await _health_port(config.healthz_ip, config.healthz_port)
    if config.worker_cpus:  # of each worker one, by turns
        yield await asyncio.to_thread(_processors, config.worker_cpus[: config.workers])


async def _health_port(host: str, port: int) -> Finding:
    try:
        async with Health().served(host, port):
            return well(_PORT, f"{port} is free at {host or '*'}")
    except ConfigError as error:
        return wrong(_PORT, str(error).removesuffix(f": {_OTHER_PORT}"), _OTHER_PORT)


def _processors(wanted: Iterable[int]) -> Finding:
    """A thread's own set of processors may be left, a container's not: so it is tried."""
    mine = os.sched_getaffinity(0)
    try:
        missing = sorted({cpu for cpu in wanted if not _takes(cpu)})
    finally:
        os.sched_setaffinity(0, mine)
    if not missing:
        return well("workers", f"may use the processors of {_PROCESSORS}")
    one = len(missing) == 1
    named = ", ".join(map(str, missing))
    return wrong(
        "workers",
        f"{_PROCESSORS}: processor{'' if one else 's'} {named} {'is' if one else 'are'} not "
        f"{'one' if one else 'some'} that this process may use",
        f"name some of {', '.join(map(str, sorted(mine)))}",
    )


def _takes(cpu: int) -> bool:
    """This thread."""
    try:
        os.sched_setaffinity(0, {cpu})
    except OSError:
        return False
    return True
