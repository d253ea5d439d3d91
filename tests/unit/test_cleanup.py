# SPDX-License-Identifier: Apache-2.0
"""`fwd cleanup` where a program of rules does not answer.

Programs are scripts that fail as the real ones do; PATH holds nothing else.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from fwd import cli
from fwd.node import netlink, routetable, traces
from fwd.node.rules import programs

Install = Callable[[str, str], None]
NO_RIGHT = "Could not fetch rule set generation id: Permission denied (you must be root)"


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Makes nft and iptables-nft fail with these words; the machine has nothing else of ours."""
    monkeypatch.setattr(netlink, "find_device", lambda _: None)
    monkeypatch.setattr(netlink, "find_devices", lambda _: [])
    monkeypatch.setattr(routetable, "held", lambda _: [])
    place = tmp_path / "bin"
    place.mkdir()
    monkeypatch.setenv("PATH", str(place))
    monkeypatch.setattr(programs, "_SBIN", str(place))

    def make(iptables: str, nft: str) -> None:
        says = {"iptables-nft": "", "iptables-nft-save": iptables, "nft": nft}
        for name, words in (says | {"iptables-nft-restore": ""}).items():
            ending = f"echo '{words}' >&2; exit 1" if words else "exit 0"
            (place / name).write_text(f"#!/bin/sh\n{ending}\n")
            (place / name).chmod(0o755)

    return make


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """As an agent has left it."""
    made = tmp_path / "run"
    made.mkdir()
    (made / "leases.saved").touch()
    subnet_file = tmp_path / "subnet" / "subnet.env"
    traces.note_start(made, devices=("flannel.1",), subnet_file=subnet_file)
    return made


def clean(run_dir: Path, *flags: str) -> int:
    return cli.main(["cleanup", "--run-dir", str(run_dir), *flags])


def test_rules_that_may_be_left_are_an_error_and_the_note_stays(
    install: Install, run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    install(NO_RIGHT, "")
    note = (run_dir / traces.FILE_NAME).read_bytes()
    for flags in (["--dry-run"], []):
        assert clean(run_dir, *flags) == 1
        said = capsys.readouterr()
        assert said.err.startswith("fwd cleanup: rules may be left (")
        assert said.err.endswith(f"{NO_RIGHT}): run fwd cleanup again, as root\n")
        assert f"{run_dir}/leases.saved" in said.out
        assert traces.FILE_NAME not in said.out
    assert [path.name for path in run_dir.iterdir()] == [traces.FILE_NAME]
    assert (run_dir / traces.FILE_NAME).read_bytes() == note
    assert clean(run_dir) == 1
    assert capsys.readouterr().out == ""
    install("", "")
    assert clean(run_dir) == 0
    assert not run_dir.exists()


def test_each_that_does_not_answer_is_named_in_one_line(
    install: Install, run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    install(NO_RIGHT, "netlink: Error: cache initialization failed: Operation not permitted")
    assert clean(run_dir) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "iptables-nft-save: " in said
    assert "nft -n list table ip" in said


@pytest.mark.parametrize(
    ("iptables", "nft"),
    [
        (
            "iptables-nft-save/1.8.7 Failed to initialize nft: Protocol not supported",
            "netlink.c:62: Unable to initialize Netlink socket: Protocol not supported",
        ),
        (
            "iptables v1.8.9 (nf_tables): Could not fetch rule set generation id: Invalid argument",
            "netlink: Error: cache initialization failed: Invalid argument",
        ),
        ("Unable to open /proc/net/ip_tables_names: No such file or directory", ""),
    ],
)
def test_what_the_kernel_does_not_know_can_have_left_nothing(
    install: Install, run_dir: Path, iptables: str, nft: str
) -> None:
    """The image brings all programs, the node's kernel not always all of nf_tables."""
    install(iptables, nft)
    assert clean(run_dir) == 0
    assert not run_dir.exists()
