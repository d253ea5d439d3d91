# SPDX-License-Identifier: Apache-2.0
"""How a command ends: Ctrl-C, nobody who reads what it prints, a file that is not there."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from fwd import cli, config
from fwd.ops.control import SOCKET_NAME

HELPS = [["--help"], ["version"], ["run", "--help"], ["status", "--help"], ["drops", "--help"]]


@pytest.fixture(params=["", "1"], ids=["buffered", "unbuffered"])
def _buffer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", request.param)


def fwd(*words: str, stdout: int) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "fwd", *words]
    return subprocess.run(
        command, stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=20, check=False
    )


def test_an_interrupt_is_one_line(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / SOCKET_NAME))
        silent.listen()
        command = [sys.executable, "-m", "fwd", "status", "--run-dir", str(tmp_path)]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as asking:
            silent.settimeout(20)
            with silent.accept()[0]:
                asking.send_signal(signal.SIGINT)
                assert asking.communicate(timeout=20)[1] == "fwd status: interrupted\n"
    assert asking.returncode == 130


@pytest.mark.parametrize("name", ["run", "doctor", "rights", "cleanup", "lab", "bench"])
def test_an_interrupt_while_it_loads_is_one_line(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setitem(cli._COMMANDS, name, interrupted)
    assert cli.main([name]) == 130
    assert capsys.readouterr() == ("", f"fwd {name}: interrupted\n")


@pytest.mark.usefixtures("_buffer")
@pytest.mark.parametrize("words", HELPS, ids=" ".join)
def test_a_reader_who_has_gone_is_no_error(words: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = fwd(*words, stdout=writing)
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.usefixtures("_buffer")
@pytest.mark.parametrize("words", HELPS, ids=" ".join)
def test_what_cannot_be_printed_is_one_line(words: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = fwd(*words, stdout=full.fileno())
    assert done.returncode == 1
    assert done.stderr.endswith(": stdout: No space left on device\n")
    assert done.stderr.count("\n") == 1


def test_without_a_stdout_there_is_nothing_to_say() -> None:
    command = f"{sys.executable} -m fwd --help >&-"
    done = subprocess.run(command, shell=True, stderr=subprocess.PIPE, timeout=20, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_file_is_named_with_what_is_wrong_with_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def opens(_: list[str]) -> int:
        Path("/nonexistent/x").open("wb")  # noqa: SIM115 - it cannot
        return 0

    monkeypatch.setitem(cli._COMMANDS, "capture", opens)
    assert cli.main(["capture"]) == 1
    assert capsys.readouterr().err == "fwd capture: /nonexistent/x: No such file or directory\n"


def test_what_a_command_is_to_do_comes_from_its_words_alone() -> None:
    for flag in (*config.STATUS_FLAGS, *config.CLEANUP_FLAGS):
        assert flag.variable == ("FLANNELD_RUN_DIR" if flag.name == "run-dir" else "")
