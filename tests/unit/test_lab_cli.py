# SPDX-License-Identifier: Apache-2.0
"""`fwd lab` before it does anything: its options, and what it says when it cannot start."""

import os
import signal
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from fwd.lab import child, cli, signals, state, which
from fwd.lab.arguments import parse
from fwd.lab.errors import Interrupted, LabError

# A command that could do nothing if it did start: these tests run as root too.
NO_LAB = ("test", "--prefix", "nosuchlab")


def test_a_lab_is_two_fwd_nodes_and_a_kernel_one_unless_told() -> None:
    arguments = parse(["up"])
    assert (arguments.nodes, arguments.pods) == (2, 1)
    kinds = [node.kind.value for node in which.plan(arguments, default="t").nodes]
    assert kinds == ["fwd", "fwd", "kernel"]
    assert (arguments.mtu, arguments.run_arg, arguments.source) == (1500, [], "kube")


def test_every_option_has_a_form_with_one_dash() -> None:
    words = ["-nodes", "0", "-kernel-nodes=3", "-mtu", "9000", "-state-dir", "/s", "-json"]
    arguments = parse(["demo", *words])
    assert (arguments.nodes, arguments.kernel_nodes, arguments.mtu) == (0, 3, 9000)
    assert (arguments.state_dir, arguments.json) == ("/s", True)


def test_arguments_for_the_agents_add_up() -> None:
    arguments = parse(["up", "--run-arg=--workers=1", "-run-arg=--source-check=off"])
    assert arguments.run_arg == ["--workers=1", "--source-check=off"]
    assert parse(["up"]).run_arg == []


def test_what_follows_exec_is_the_commands_own() -> None:
    arguments = parse(["exec", "--prefix", "x", "n1", "ip", "-json", "--mtu", "link"])
    assert arguments.where == "n1"
    assert arguments.words == ["ip", "-json", "--mtu", "link"]


def test_a_node_joins_by_any_name_and_leaves_by_its_own() -> None:
    assert (parse(["join"]).node, parse(["join"]).kernel) == (None, False)
    joining = parse(["join", "n7", "-kernel"])
    assert (joining.node, joining.kernel) == ("n7", True)
    assert parse(["leave", "n7"]).node == "n7"


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["nosuch"],
        ["leave"],
        ["up", "--source", "nosuch"],
        ["test", "--sec=1"],
        ["test", "--seconds", "-1"],
        ["test", "--seconds", "0"],
    ],
)
def test_wrong_usage_is_two(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words) == 2
    assert "usage: fwd lab" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["up", "--nodes", "two"], "argument --nodes: 'two' is no whole number"),
        (["up", "-mtu", "9k"], "argument -mtu: '9k' is no whole number"),
        (["up", "--pods", "-1"], "argument --pods: must be 0 or more"),
        (["test", "--seconds", "1.5"], "argument --seconds: '1.5' is no whole number"),
        (["test", "--time-limit", "0"], "argument --time-limit: must be 1 or more"),
    ],
)
def test_a_wrong_number_is_told_what_is_wanted(
    words: list[str], wanted: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(words) == 2
    assert capsys.readouterr().err.endswith(f"error: {wanted}\n")


def test_help_is_zero(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["up", "--help"]) == 0
    assert "--kernel-nodes" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "prefix"),
    [("up", state.DEFAULT_PREFIX), ("test", state.DEFAULT_PREFIX), ("demo", state.DEMO_PREFIX)],
)
def test_help_says_where_files_are(
    command: str, prefix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([command, "--help"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    usual, named = state.default(prefix).root, state.default("NAME").root
    assert f"(default {usual}; with --prefix NAME, {named})" in said


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    return said.err


def test_without_root_one_line_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert cli.main([*NO_LAB]) == 1
    assert "needs root: run it with sudo" in one_line(capsys)


def test_all_missing_programs_are_named_with_their_packages(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("ip", "bridge"):
        (programs / name).touch(mode=0o755)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    only = {name: str(programs / name) for name in ("ip", "bridge")}
    monkeypatch.setattr(child, "find", only.get)
    assert cli.main([*NO_LAB]) == 1
    said = one_line(capsys)
    assert "missing: iperf3, ping; apt-get install iperf3 iputils-ping" in said


def test_programs_are_found_in_sbin_even_if_the_path_lacks_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "tool"
    program.touch()
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", "/nonexistent")
    assert child.find("tool") is None
    monkeypatch.setattr(child, "_SBIN", str(tmp_path))
    assert child.find("tool") == str(program)


def test_a_program_that_hangs_is_ended() -> None:
    with pytest.raises(LabError, match="sleep 60: not done after 0 s"):
        child.run(["sleep", "60"], limit=0.05)


@pytest.fixture
def heeded() -> Iterator[None]:
    """Signals as in a program begun from a terminal, however these tests were begun."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, signal.SIG_DFL) for number in numbers}
    yield
    for number, old in before.items():
        signal.signal(number, old)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.usefixtures("heeded")
def test_a_signal_is_an_exception_so_that_what_was_begun_is_undone(number: signal.Signals) -> None:
    assert signal.getsignal(number) is signal.SIG_DFL
    with pytest.raises(Interrupted) as interrupted, signals.as_exceptions():
        signal.raise_signal(number)
    assert interrupted.value.signum == number
    assert signal.getsignal(number) is signal.SIG_DFL


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
@pytest.mark.usefixtures("heeded")
def test_a_signal_that_nohup_ignores_stays_ignored(number: signal.Signals) -> None:
    signal.signal(number, signal.SIG_IGN)
    try:
        with signals.as_exceptions():
            signal.raise_signal(number)
            with signals.shielded():
                signal.raise_signal(number)
            signal.raise_signal(number)
            with pytest.raises(Interrupted):
                signal.raise_signal(signal.SIGTERM)
    except Interrupted as interrupted:  # a KeyboardInterrupt, which would end all tests
        pytest.fail(f"signal {interrupted.signum} was not ignored")
    assert signal.getsignal(number) is signal.SIG_IGN


@pytest.mark.usefixtures("heeded")
def test_undoing_is_not_interrupted() -> None:
    with signals.as_exceptions():
        with signals.shielded():
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGTERM)
        with pytest.raises(Interrupted):
            signal.raise_signal(signal.SIGTERM)
