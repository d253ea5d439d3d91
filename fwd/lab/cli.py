# SPDX-License-Identifier: Apache-2.0
"""``fwd lab``: argv in, exit code out; progress to stderr, results to stdout.

Exit codes: 0 fine; 1 it failed, with one line; 2 wrong usage; 128 + n ended by signal n;
of ``exec`` the command's own.
"""

import os
import shutil
import sys
import time
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

from fwd.lab import child, lab, matrix, netns, report, signals, state, survey, topology
from fwd.lab.arguments import parse
from fwd.lab.errors import Interrupted, LabError
from fwd.lab.matrix import Measured, Pair
from fwd.lab.state import State, StateDir
from fwd.lab.topology import Spec, Topology

DEMO_PREFIX: Final = "fwddemo"  # of its own, so that a demo leaves a lab that is up alone
_WIDTH: Final = 110  # of tables that go into a file or a pipe


def main(argv: list[str]) -> int:
    """Run ``fwd lab`` with the words after ``lab``; returns the exit code."""
    try:
        arguments = parse(argv)
    except SystemExit as usage:  # argparse has said what is wrong
        return usage.code if isinstance(usage.code, int) else 2
    try:
        with signals.as_exceptions():
            child.require_root()
            return _COMMANDS[arguments.command](arguments)
    except LabError as error:
        for line in error.detail:
            print(line, file=sys.stderr)
        print(f"fwd lab: {error}", file=sys.stderr)
        return 1
    except Interrupted as interrupted:
        print("fwd lab: interrupted", file=sys.stderr)
        return 128 + interrupted.signum


def _up(arguments: Namespace) -> int:
    child.require("ip", "bridge")
    wanted = _plan(arguments, default=state.DEFAULT_PREFIX)
    directory = _directory(arguments, wanted.spec.prefix)
    began = time.monotonic()
    with directory.locked():
        changed = _build(wanted, directory)
    took = f" ({time.monotonic() - began:.1f} s)" if changed else ""
    print(f"{_sentence(wanted)} {'is' if changed else 'was already'} up{took}")
    return 0


def _test(arguments: Namespace) -> int:
    child.require("ip", "iperf3", "ping")
    running, _, directory = _find(arguments)
    with directory.locked():
        return _measure(running, arguments)


def _demo(arguments: Namespace) -> int:
    child.require("ip", "bridge", "iperf3", "ping")
    wanted = _plan(arguments, default=DEMO_PREFIX)
    prefix = wanted.spec.prefix
    directory = _directory(arguments, prefix)
    with directory.locked():
        # The demo's own prefix is nobody else's: whatever is there was left by a demo.
        if prefix != DEMO_PREFIX and (directory.load() is not None or netns.existing(prefix)):
            raise LabError("a lab is up here: run `fwd lab test`, or `fwd lab down` first")
        try:
            lab.remove(prefix, directory)
            _build(wanted, directory)
            return _measure(wanted, arguments)
        finally:
            with signals.shielded():
                lab.remove(prefix, directory)


def _status(arguments: Namespace) -> int:
    child.require("ip")
    running, known, directory = _find(arguments)
    found = survey.status(running, known, state_dir=directory)
    if arguments.json:
        print(report.dumps(report.status_document(found)))
    else:
        _stdout().print(report.status_table(found))
    return 0 if found.well else 1


def _exec(arguments: Namespace) -> int:
    child.require("ip")
    running, _, _ = _find(arguments)
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
    prefix, directory = _whose(arguments)
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
    "test": _test,
    "status": _status,
    "exec": _exec,
    "down": _down,
    "demo": _demo,
}


def _plan(arguments: Namespace, *, default: str) -> Topology:
    spec = Spec(
        prefix=arguments.prefix or default,
        nodes=topology.node_specs(fwd=arguments.nodes, kernel=arguments.kernel_nodes),
        pods=arguments.pods,
        mtu=arguments.mtu,
        run_args=tuple(arguments.run_arg),
    )
    try:
        return topology.plan(spec)
    except ValueError as error:
        raise LabError(str(error)) from error


def _directory(arguments: Namespace, prefix: str) -> StateDir:
    if arguments.state_dir is None:
        return state.default(prefix)
    return StateDir(Path(arguments.state_dir).absolute())


def _whose(arguments: Namespace) -> tuple[str | None, StateDir]:
    """The prefix and the directory that a command means; None when the directory does not tell.

    A prefix is not guessed for a directory that was named: the guess would be another lab's.
    """
    directory = _directory(arguments, arguments.prefix or state.DEFAULT_PREFIX)
    known = directory.load()
    if isinstance(known, State):
        if arguments.prefix not in (None, known.spec.prefix):
            raise LabError(f"{directory.root} belongs to lab {known.spec.prefix}")
        return known.spec.prefix, directory
    if arguments.prefix is None and arguments.state_dir is not None:
        return None, directory
    return arguments.prefix or state.DEFAULT_PREFIX, directory


def _find(arguments: Namespace) -> tuple[Topology, State, StateDir]:
    """The lab that is up."""
    _, directory = _whose(arguments)
    known = directory.load()
    if known is None:
        raise LabError("no lab is up: run `fwd lab up`")
    if not isinstance(known, State):
        raise LabError(f"{directory.root}/lab.json is damaged: run `fwd lab down`, then up")
    return topology.plan(known.spec), known, directory


def _build(wanted: Topology, directory: StateDir) -> bool:
    console = Console(stderr=True)
    with console.status("lab: starting") as spinner:
        return lab.up(wanted, directory, say=lambda what: spinner.update(f"lab: {what}"))


def _measure(running: Topology, arguments: Namespace) -> int:
    began = time.monotonic()
    results = _with_progress(running, seconds=arguments.seconds, limit=arguments.time_limit)
    seconds = time.monotonic() - began
    if arguments.json:
        print(report.dumps(report.matrix_document(results, seconds=seconds)))
    else:
        console = _stdout()
        console.print(report.matrix_table(results))
        console.print(report.matrix_summary(results, seconds=seconds), highlight=False)
    return 0 if report.passed(results) else 1


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
    return f"lab {wanted.spec.prefix}: {', '.join(planes)}, {pods} Pods, MTU {wanted.spec.mtu}"


def _stdout() -> Console:
    terminal = sys.stdout.isatty()
    return Console(width=None if terminal else _WIDTH)
