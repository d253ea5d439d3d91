# SPDX-License-Identifier: Apache-2.0
"""``fwd lab``: argv in, exit code out; progress to stderr, results to stdout.

Exit codes: 0 fine; 1 it failed, with one line; 2 wrong usage; 128 + n ended by signal n;
of ``exec`` the command's own.
"""

import contextlib
import os
import shutil
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

from fwd.lab import (
    child,
    episode,
    lab,
    matrix,
    membership,
    netns,
    report,
    signals,
    state,
    survey,
    topology,
    which,
)
from fwd.lab.arguments import parse
from fwd.lab.episode import Episode
from fwd.lab.errors import LabError, NoVxlanError
from fwd.lab.matrix import Matrix, Measured, Pair
from fwd.lab.program import exit_code
from fwd.lab.state import StateDir
from fwd.lab.topology import Source, Topology

_NO_KERNEL_NODES: Final = "give --kernel-nodes 0"
_WIDTH: Final = 110  # of tables that go into a file or a pipe


def main(argv: list[str]) -> int:
    """Run ``fwd lab`` with the words after ``lab``; returns the exit code."""
    try:
        arguments = parse(argv)
    except SystemExit as usage:  # argparse has said what is wrong
        return usage.code if isinstance(usage.code, int) else 2
    return exit_code("fwd lab", lambda: _COMMANDS[arguments.command](arguments))


def _up(arguments: Namespace) -> int:
    child.require("ip", "bridge", "nft", "openssl")
    wanted = which.plan(arguments, default=state.DEFAULT_PREFIX)
    directory = which.directory(arguments, wanted.spec.prefix)
    began = time.monotonic()
    with directory.locked(), _advising(_NO_KERNEL_NODES):
        there = _build(wanted, directory)
        if there is None:
            print(f"{_sentence(topology.plan(directory.state().spec))} was already up")
        else:
            print(f"{_sentence(there)} is up ({time.monotonic() - began:.1f} s)")
    return 0


def _join(arguments: Namespace) -> int:
    child.require("ip", "bridge", "nft")
    _, _, directory = which.find(arguments)
    kind = topology.NodeKind.KERNEL if arguments.kernel else topology.NodeKind.FWD
    began = time.monotonic()
    with directory.locked(), _advising("join without --kernel"):
        after, node = membership.join(
            directory.state(), name=arguments.node, kind=kind, state_dir=directory
        )
    addresses = (
        f"{pod.name} {plan.pod(node.index, pod.index).ip}"
        for pod in node.pods
        for plan in after.plans
    )
    pods = ", ".join(addresses)
    print(f"{node.name} ({kind.value}) joined: {pods} ({time.monotonic() - began:.1f} s)")
    return 0


def _leave(arguments: Namespace) -> int:
    child.require("ip", "bridge")
    _, _, directory = which.find(arguments)
    with directory.locked():
        membership.leave(directory.state(), name=arguments.node, state_dir=directory)
    print(f"{arguments.node} left")
    return 0


def _test(arguments: Namespace) -> int:
    child.require("ip", "iperf3", "ping")
    running, _, directory = which.find(arguments)
    with directory.locked():
        return _tell(_measure(running, arguments), None, as_json=arguments.json)


def _demo(arguments: Namespace) -> int:
    child.require("ip", "bridge", "iperf3", "nft", "openssl", "ping")
    wanted = which.plan(arguments, default=state.DEMO_PREFIX)
    prefix = wanted.spec.prefix
    directory = which.directory(arguments, prefix)
    with directory.locked(), _advising(_NO_KERNEL_NODES):
        lab.refuse_others(prefix, directory)
        # The demo's own prefix is nobody else's: whatever is there was left by a demo.
        if prefix != state.DEMO_PREFIX and (directory.load() is not None or netns.existing(prefix)):
            raise LabError("a lab is up here: run `fwd lab test`, or `fwd lab down` first")
        try:
            lab.remove(prefix, directory)
            wanted = _build_demo(wanted, arguments, directory)
            measured = _measure(wanted, arguments)
            changed = _change(wanted, directory)
            return _tell(measured, changed, as_json=arguments.json)
        finally:
            with signals.shielded():
                lab.remove(prefix, directory)


def _status(arguments: Namespace) -> int:
    child.require("ip")
    running, known, directory = which.find(arguments)
    found = survey.status(running, known, state_dir=directory)
    if arguments.json:
        print(report.dumps(report.status_document(found)))
    else:
        _stdout().print(report.status_table(found))
    return 0 if found.well else 1


def _exec(arguments: Namespace) -> int:
    child.require("ip")
    running, _, _ = which.find(arguments)
    words = arguments.words[1:] if arguments.words[:1] == ["--"] else arguments.words
    namespace = running.namespace_of(arguments.where)
    if namespace is None:
        known = [
            name for node in running.nodes for name in (node.name, *(p.name for p in node.pods))
        ]
        raise LabError(f"no node or Pod {arguments.where!r}: there are {', '.join(known)}, switch")
    if not words:
        raise LabError("exec needs a command after the node or Pod")
    if not netns.path(namespace).exists():
        raise LabError(f"namespace {namespace} is gone: run `fwd lab up` to build the lab again")
    if shutil.which(words[0]) is None:
        print(f"fwd lab: {words[0]}: command not found", file=sys.stderr)
        return 127  # as a shell has it
    sys.stdout.flush()
    sys.stderr.flush()
    # Not a child: the exit code, the terminal and the signals are then the command's own.
    argv = netns.inside(namespace, *words)
    return os.execv(argv[0], argv)  # noqa: S606  # no shell is wanted


def _down(arguments: Namespace) -> int:
    child.require("ip")
    prefix, directory = which.whose(arguments)
    if prefix is None:
        if directory.root.exists():
            raise LabError(f"{directory.root} does not say whose it is: give --prefix too")
        print("nothing to remove")
        return 0
    with directory.locked(), signals.shielded():
        removed = lab.remove(prefix, directory)
    if removed.namespaces or removed.processes:
        what = f"{removed.namespaces} namespaces, {removed.processes} processes"
        print(f"lab {prefix} is down ({what})")
    else:
        print("nothing to remove")
    return 0


_COMMANDS: Final[dict[str, Callable[[Namespace], int]]] = {
    "up": _up,
    "join": _join,
    "leave": _leave,
    "test": _test,
    "status": _status,
    "exec": _exec,
    "down": _down,
    "demo": _demo,
}


def _build(wanted: Topology, directory: StateDir) -> Topology | None:
    with _spinning("lab: starting") as say:
        return lab.up(wanted, directory, say=say)


def _build_demo(wanted: Topology, arguments: Namespace, directory: StateDir) -> Topology:
    """Returns what was built: where the kernel has no vxlan, no kernel node unless asked for."""
    try:
        _build(wanted, directory)
    except NoVxlanError as error:
        if arguments.kernel_nodes is not None:
            raise
        print(f"fwd lab: {error}: no kernel node takes part", file=sys.stderr)
        arguments = Namespace(**vars(arguments) | {"kernel_nodes": 0})
        wanted = which.plan(arguments, default=state.DEMO_PREFIX)
        _build(wanted, directory)
    return wanted


@contextlib.contextmanager
def _advising(instead: str) -> Iterator[None]:
    """Say what to do on a kernel without vxlan."""
    try:
        yield
    except NoVxlanError as error:
        raise LabError(f"{error}: {instead}") from error


@contextlib.contextmanager
def _spinning(what: str) -> Iterator[Callable[[str], None]]:
    console = Console(stderr=True)
    with console.status(what) as spinner:
        yield lambda words: spinner.update(f"lab: {words}")


def _change(running: Topology, directory: StateDir) -> Episode | None:
    """A node comes and goes, where a control plane can tell of it and TCP can be disturbed."""
    if running.spec.source is Source.STATIC or len(running.nodes) < 2:
        return None
    with _spinning("lab: TCP flows") as say:
        kind = topology.NodeKind.FWD
        return episode.play(running, kind=kind, state_dir=directory, say=say)


def _measure(running: Topology, arguments: Namespace) -> Matrix:
    began = time.monotonic()
    results = _with_progress(running, seconds=arguments.seconds, limit=arguments.time_limit)
    measured = Matrix(results, time.monotonic() - began)
    if not arguments.json:
        console = _stdout()
        console.print(report.matrix_table(results))
        console.print(report.matrix_summary(measured), highlight=False)
    return measured


def _tell(measured: Matrix, changed: Episode | None, *, as_json: bool) -> int:
    """What is still to be said, and the exit code."""
    if as_json:
        print(report.dumps(report.document(measured, changed)))
    elif changed is not None:
        for line in report.episode_lines(changed):
            _stdout().print(line, highlight=False, soft_wrap=True)
    well = measured.well and not (changed and changed.problems)
    return 0 if well else 1


def _with_progress(running: Topology, *, seconds: int, limit: float | None) -> list[Measured]:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    console = Console(stderr=True)
    # Nothing at all where nobody watches: a log keeps the table only.
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as shown:
        task = shown.add_task("", total=sum(1 for _ in matrix.pairs(running)))
        before: list[Pair] = []

        def say(pair: Pair, what: str) -> None:
            if pair not in before[-1:]:
                before.append(pair)
            words = f"{pair.source.name} to {pair.target.name}: {what}"
            shown.update(task, description=f"{words:<28}", completed=len(before) - 1)

        return matrix.measure_all(running, seconds=seconds, limit=limit, say=say)


def _sentence(wanted: Topology) -> str:
    kinds = {kind: [] for kind in topology.NodeKind}  # type: dict[topology.NodeKind, list[str]]
    for node in wanted.nodes:
        kinds[node.kind].append(node.name)
    planes = [f"{' '.join(names)} ({kind.value})" for kind, names in kinds.items() if names]
    pods = sum(1 for _ in wanted.pods)
    families = " and ".join(f"IPv{family}" for family in wanted.spec.families)
    what = f"{', '.join(planes)}, {pods} Pods, {families}, MTU {wanted.spec.mtu}"
    return f"lab {wanted.spec.prefix}: {what}"


def _stdout() -> Console:
    terminal = sys.stdout.isatty()
    return Console(width=None if terminal else _WIDTH)
