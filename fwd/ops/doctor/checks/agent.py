# SPDX-License-Identifier: Apache-2.0
"""The agent that runs here, and what it complains of."""

import os
from collections.abc import Iterator
from contextlib import suppress

from fwd.core.processortime import ProcessorTime
from fwd.node.hostparts import OtherRules
from fwd.ops import inforce
from fwd.ops.control import SOCKET_NAME
from fwd.ops.doctor import running
from fwd.ops.doctor.finding import Finding, note, well, wrong
from fwd.ops.doctor.patient import Patient
from fwd.ops.doctor.running import TunnelView
from fwd.ops.status import HostStatus, Status
from fwd.ops.statustext import duration

_MOST_NODES = 5
_WAITED_SECONDS = 60.0
_CAUSES = {"rules": "rules", "subnet.env": "files", "conflist": "files"}
_SUBJECT = "agent"


def look(patient: Patient) -> Iterator[Finding]:
    """Whether one answers; its troubles are symptoms where another check says more."""
    if os.geteuid() != 0:
        yield note("rights", "not root: an agent cannot be asked, others not seen", "run as root")
    if patient.agent is None:
        yield _silent(patient)
        return
    status = patient.agent.status
    process = f" (pid {patient.agent.pid})" if patient.agent.pid else ""
    leases = f"{len(status.leases)} leases of {status.source.leases_of}"
    subnets = ", ".join(str(tunnel.subnet) for tunnel in patient.agent.tunnels.values())
    yield well(_SUBJECT, f"runs{process}: node {status.node}, {subnets}, {leases}")
    for tunnel in patient.agent.tunnels.values():
        if not tunnel.forwarding:
            yield _down(tunnel)
    yield from _waiting(status)
    yield from _troubles(patient, status)
    yield from _rights(patient.agent.pid)


def _silent(patient: Patient) -> Finding:
    """An agent listens from its first leases on."""
    run_dir = patient.config.run_dir
    if patient.may_start:
        return note(_SUBJECT, f"none runs with {run_dir}: this is how a start would go")
    if running.listens(run_dir):
        return wrong(
            _SUBJECT,
            f"one has the lock in {run_dir} and listens at {SOCKET_NAME}, but does not answer",
            "look at its log; if it hangs or is of another version, restart it",
        )
    if not patient.holder:
        return note(
            _SUBJECT,
            f"one has the lock in {run_dir} and waits for its first leases; it is not to be seen "
            "from here, so its flags are not known",
            "fwd doctor in its container, or with its flags",
        )
    return note(
        _SUBJECT,
        f"runs (pid {patient.holder}) and waits for its first leases",
        "what keeps it is what is wrong below; its log says it too",
    )


def _rights(pid: int) -> Iterator[Finding]:
    with suppress(OSError):
        if pid and not inforce.are_confined(inforce.threads(pid)):
            said = "the agent has kept rights that it does not need"
            yield note(
                "rights",
                said,
                "fwd rights lists them; --confine=full is the default, and where that could not be "
                "done the agent's log has not-confined or calls-not-limited",
            )


def _waiting(status: Status) -> Iterator[Finding]:
    spent = [one for tunnel in status.tunnels for one in tunnel.worker_times if one is not None]
    ran, waited = (
        sum(one.ran_seconds for one in spent),
        sum(one.waited_seconds for one in spent),
    )
    if waited >= _WAITED_SECONDS and ProcessorTime(ran, waited).is_scarce:
        yield note(
            "processors",
            f"workers ran for {duration(ran)} and waited for a processor for {duration(waited)}",
            "others have the processors, and packets wait: give the agent a larger CPU request "
            "(cpu.weight of its control group)",
        )


def _down(tunnel: TunnelView) -> Finding:
    return wrong(
        "tunnel",
        f"{tunnel.device} is down and being made anew",
        "the agent's log says why (tunnel-down)",
        cause="tun",
        is_symptom=True,
    )


def _troubles(patient: Patient, status: Status) -> Iterator[Finding]:
    if status.trouble:
        remedy = "what was good before stays in force; mend what is said"
        is_file = status.trouble.startswith(f"{patient.config.static_leases}: ")
        cause = "source" if is_file else "underlay"
        yield wrong("agent's trouble", status.trouble, remedy, cause=cause, is_symptom=True)
    source = status.source
    if source.standing not in {"watching", "polling"}:
        yield wrong(
            "source of leases",
            f"{source.kind}: {source.standing}, {source.detail}",
            "packets flow by the leases known before; see that it can be reached",
            cause="source",
            is_symptom=True,
        )
    for one in status.refused[:_MOST_NODES]:
        yield wrong(
            f"node {one.node}",
            f"left out: {one.reason}",
            "mend that Node's annotations or podCIDR; its agent writes them when it starts",
        )
    if len(status.refused) > _MOST_NODES:
        more = len(status.refused) - _MOST_NODES
        yield wrong("other nodes", f"{more} more are left out", "fwd status lists them")
    yield from (_host(one) for one in status.host if one.trouble)


def _host(part: HostStatus) -> Finding:
    subject = f"agent's {part.part}"
    if part.part == OtherRules.name:  # which may be out of reach for good, and does no harm
        return note(subject, f"rules of an earlier start may be left: {part.trouble}")
    return wrong(
        subject,
        part.trouble or "",
        "the agent tries again by itself; mend what is said",
        cause=_CAUSES.get(part.part, part.part),
        is_symptom=True,
    )
