# SPDX-License-Identifier: Apache-2.0
"""``fwd bench``: argv in, exit code out; progress to stderr, results to stdout.

Exit codes: 0 measured; 1 it failed, with one line, nothing came to a figure or a file could not be
written; 2 wrong usage; 128 + n ended by signal n.
"""

import contextlib
import sys
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from fwd.bench import contenders, destination, links, machine, report, rounds, scenarios
from fwd.bench.arguments import Options, parse
from fwd.bench.contenders import Running, Shape
from fwd.bench.report import Result
from fwd.bench.rounds import Measured, Schedule
from fwd.lab import child, cni
from fwd.lab.errors import LabError
from fwd.lab.program import exit_code
from fwd.lab.topology import Wiring

_WIDTH: Final = 120  # of tables that go into a file or a pipe


def main(argv: list[str]) -> int:
    """Run ``fwd bench`` with the words after ``bench``; returns the exit code."""
    try:
        options = parse(argv)
    except SystemExit as usage:  # argparse has said what is wrong
        return usage.code if isinstance(usage.code, int) else 2
    schedule = _schedule(options)
    if not rounds.planned(options.contenders, schedule):
        print(f"fwd bench: {_nothing(options)}", file=sys.stderr)
        return 2
    return exit_code("fwd bench", lambda: _measure_and_show(options, schedule))


def _schedule(options: Options) -> Schedule:
    return Schedule(
        rounds=options.rounds,
        underlays=options.underlays,
        scenarios=scenarios.chosen(options.scenarios, udp_sizes=options.udp_sizes),
        timing=options.timing,
        repeats=options.repeats,
        time_limit=options.time_limit,
    )


def _nothing(options: Options) -> str:
    what, where = ",".join(options.scenarios), ",".join(options.underlays)
    who = ",".join(one.name for one in options.contenders)
    return f"nothing to measure: no {what} of {who} with --underlay={where}"


def _measure_and_show(options: Options, schedule: Schedule) -> int:
    for file in filter(None, (options.output, options.html)):
        destination.check(file)
    return _show(_bench(options, schedule), options)


def _bench(options: Options, schedule: Schedule) -> Result:
    child.require("ip", "bridge", "iperf3", "ethtool", "nft")
    if options.wiring is Wiring.CNI:
        cni.require()
    described = machine.describe()  # minutes later the clock and the source tree may say otherwise
    with contextlib.ExitStack() as stack:
        progress = stack.enter_context(_progress())
        task = progress.add_task("", total=None)
        running, absent = _build(
            options, stack, say=lambda what: progress.update(task, description=what)
        )
        if not rounds.planned([one.contender for one in running], schedule):
            raise LabError(f"{_nothing(options)}: {_each(absent)}")
        offloads = {}
        for underlay in options.underlays:
            links.switch(running[0].topology, underlay)
            offloads[underlay] = links.shown(running[0].topology)

        def say(what: str, done: int, total: int) -> None:
            progress.update(task, description=what, completed=done, total=total)

        measured: Measured = rounds.run(running, schedule, say=say)
        return Result(
            machine=described,
            mtu=options.mtu,
            families=options.families,
            wiring=options.wiring,
            rounds=options.rounds,
            baseline=contenders.BASELINE,
            metrics=tuple(
                (one.name, metric) for one in schedule.scenarios for metric in one.metrics
            ),
            measured=measured,
            absent=absent,
            offloads=offloads,
            agents={one.contender.name: machine.agents(one) for one in running},
        )


def _build(
    options: Options, stack: contextlib.ExitStack, *, say: contenders.Say
) -> tuple[list[Running], dict[str, str]]:
    """All that can be built here, and why the others cannot.

    Raises:
        LabError: none can.
    """
    shape = Shape(
        prefix=options.prefix,
        mtu=options.mtu,
        families=options.families,
        wiring=options.wiring,
    )
    running, absent = [], {}
    for one in options.contenders:
        lab = contenders.built(one, shape, say=say)
        try:
            running.append(stack.enter_context(lab))
        except (LabError, OSError) as error:
            absent[one.name] = str(error)
    if not running:
        raise LabError(f"nothing to measure: {_each(absent)}")
    return running, absent


def _each(absent: dict[str, str]) -> str:
    return "; ".join(f"{name}: {why}" for name, why in absent.items())


def _progress() -> Progress:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    # Nothing at all where nobody watches: a log keeps the tables only.
    return Progress(
        *columns,
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
        # It is drawn on the processors that are measured.
        refresh_per_second=1,
    )


def _show(result: Result, options: Options) -> int:
    text = report.dumps(result)
    failed = []
    if options.output:
        failed.append(destination.write(options.output, text + "\n"))
    if options.html:
        from fwd.bench import page  # noqa: PLC0415 - matplotlib: an extra, and slow to load

        failed.append(destination.write(options.html, page.render(result)))
    if options.json:
        print(text)
    else:
        terminal = sys.stdout.isatty()
        Console(width=None if terminal else _WIDTH).print(report.tables(result), highlight=False)
    for why in filter(None, failed):
        print(f"fwd bench: {why}", file=sys.stderr)
    if any(failed):
        return 1
    return 0 if any(sample.outcome.values for sample in result.measured.samples) else 1
