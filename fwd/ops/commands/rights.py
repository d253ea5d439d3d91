# SPDX-License-Identifier: Apache-2.0
"""`fwd rights`: what the running agent may do, by the kernel's word, and trials of what it may not.

The trials are made by processes of this command that have the agent's rights and filters: the
agent's own could not go on after them.
"""

from collections.abc import Iterator
from itertools import groupby

import msgspec
from msgspec import Struct

from fwd import plane
from fwd.core import rights
from fwd.model import FwdError
from fwd.ops import inforce
from fwd.ops.commands.arguments import Parser
from fwd.ops.doctor import running
from fwd.ops.inforce import ThreadRights

_LIMITED = "limited"


class Report(Struct, frozen=True, rename="kebab"):
    """All that is known."""

    pid: int
    system_calls: str
    """As the agent says: a filter may only log."""
    read_only_root: bool
    threads: tuple[ThreadRights, ...]
    tried: tuple[plane.Trial, ...]
    """None, where the agent's calls are not limited: these processes' would be."""


def main(argv: list[str]) -> int:
    """0 if the agent is confined, 1 if it is not."""
    parser = Parser("fwd rights", "What the running agent may do.")
    parser.add_run_dir()
    parser.add_argument("--json", action="store_true", help="for machines")
    given = parser.parse_args(argv)
    agent = running.find(given.run_dir)
    if agent is None or agent.pid == 0:
        raise FwdError(f"no agent answers with {given.run_dir}, or it is not to be seen from here")
    report = Report(
        pid=agent.pid,
        system_calls=agent.status.system_calls,
        read_only_root=inforce.root_is_read_only(agent.pid),
        threads=inforce.threads(agent.pid),
        tried=_trials() if agent.status.system_calls == _LIMITED else (),
    )
    if given.json:
        print(msgspec.json.encode(report).decode())
    else:
        print("\n".join(lines(report)))
    return 0 if is_confined(report) else 1


def _trials() -> tuple[plane.Trial, ...]:
    return plane.trials(rights.bits([rights.NET_ADMIN]))


def is_confined(report: Report) -> bool:
    """Whether no thread has more than it needs, and all that was tried fails."""
    return (
        report.system_calls == _LIMITED
        and inforce.are_confined(report.threads)
        and all(one.as_it_must for one in report.tried)
    )


def lines(report: Report) -> Iterator[str]:
    """For people; threads that may do the same are told together."""
    yield f"agent: pid {report.pid}, user {report.threads[0].user}"
    yield f"root file system: {'read-only' if report.read_only_root else 'can be written'}"
    yield f"system calls: {report.system_calls}"
    for name, found in groupby(sorted(report.threads, key=_kind), key=_kind):
        alike = list(found)
        yield f"{name} ({len(alike)}):"
        yield from (f"  {line}" for line in _thread(alike[0]))
        if any(_same(one) != _same(alike[0]) for one in alike):
            yield "  and not all alike: see --json"
    if not report.tried:
        yield "not tried: the agent's calls are not limited"
        return
    yield "tried, by processes that may do what the agent may, and its workers:"
    width = max(len(one.text) for one in report.tried)
    for one in report.tried:
        who = "worker " if one.of_worker else "control"
        grade = "" if one.as_it_must else "   NOT AS IT MUST BE"
        yield f"  {who}  {one.text:<{width}}  {one.outcome}{grade}"


def _kind(thread: ThreadRights) -> str:
    return "workers" if thread.is_worker else "control threads"


def _same(thread: ThreadRights) -> ThreadRights:
    return msgspec.structs.replace(thread, name="")


def _thread(thread: ThreadRights) -> Iterator[str]:
    yield f"capabilities in effect:  {_set(thread.effective)}"
    yield f"for programs started:    {_set(thread.permitted)}"
    yield f"bounding set:            {_set(thread.bounding)}"
    if thread.ambient:
        yield f"ambient set:             {_set(thread.ambient)}"
    yield f"no_new_privs:            {'yes' if thread.no_new_privs else 'NO'}"
    yield f"filters of system calls: {_filters(thread)}"


def _filters(thread: ThreadRights) -> str:
    return "not counted" if thread.filters is None else str(thread.filters or "NONE")


def _set(mask: int) -> str:
    return " ".join(rights.names(mask)) or "none"
