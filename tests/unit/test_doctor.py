# SPDX-License-Identifier: Apache-2.0
"""The doctor's frame: time limits, failures, symptoms; its report; whose flags it takes."""

import asyncio
import errno
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from fwd import cli
from fwd.config import run_config
from fwd.model import FwdError
from fwd.ops.doctor import render, running
from fwd.ops.doctor.checks import files
from fwd.ops.doctor.finding import Finding, Grade, note, well, wrong
from fwd.ops.doctor.frame import Check, examine, without_symptoms
from fwd.ops.doctor.order import checks
from fwd.ops.doctor.patient import Options, Patient


def patient(tmp_path: Path, *words: str) -> Patient:
    flags = ["--run-dir", str(tmp_path), "--subnet-file", str(tmp_path / "subnet.env")]
    return Patient(run_config([*flags, *words], {}), Options())


def test_what_was_found_before_the_time_was_up_is_told(tmp_path: Path) -> None:
    async def slow(_: Patient) -> AsyncIterator[Finding]:
        yield well("a", "here")
        await asyncio.sleep(60)
        yield well("b", "never")

    def refused(_: Patient) -> Iterator[Finding]:
        yield well("c", "here")
        raise PermissionError(13, "Permission denied")

    def mistaken(_: Patient) -> Iterator[Finding]:
        yield well("d", "here")
        raise TypeError("'<' not supported")

    looks = [
        Check("slow", slow, seconds=0.05),
        Check("no right", refused),
        Check("mistaken", mistaken),
    ]
    found = asyncio.run(examine(patient(tmp_path), looks))
    told = [(one.looked_at, one.grade) for one in found]
    assert told == [
        ("a", Grade.WELL),
        ("slow", Grade.WRONG),
        ("c", Grade.WELL),
        ("no right", Grade.WRONG),
        ("d", Grade.WELL),
        ("mistaken", Grade.WRONG),
    ]
    assert found[1].found == "not done within 0.05 s"
    assert found[3].found == "cannot look: Permission denied"
    assert found[3].remedy == "run as root on the node"
    assert found[5].found == "cannot look: TypeError: '<' not supported"


@pytest.mark.parametrize(
    "error", [OSError(errno.EINVAL, "Invalid argument"), FwdError("the agent has gone away")]
)
def test_root_is_no_remedy_for_anything_else(tmp_path: Path, error: Exception) -> None:
    def fails(_: Patient) -> Iterator[Finding]:
        yield well("a", "here")
        raise error

    *_, found = asyncio.run(examine(patient(tmp_path), [Check("x", fails)]))
    assert found.grade is Grade.WRONG
    assert found.remedy
    assert "root" not in found.remedy


def test_a_blocking_check_leaves_the_loop_alone(tmp_path: Path) -> None:
    def blocks(_: Patient) -> Iterator[Finding]:
        asyncio.run(asyncio.sleep(0))  # impossible where a loop runs
        time.sleep(0)
        yield well("a", "here")

    assert asyncio.run(examine(patient(tmp_path), [Check("a", blocks)])) == [well("a", "here")]


def test_a_symptom_is_told_only_by_itself() -> None:
    cause = wrong("firewall", "drops", "let it pass", cause="way")
    symptom = wrong("peer n2", "no answer", "look", cause="way", is_symptom=True)
    other = wrong("peer n3", "no answer", "look", cause="mtu", is_symptom=True)
    harmless = Finding(looked_at="x", found="", grade=Grade.NOTE, cause="mtu")
    assert without_symptoms([cause, symptom, other]) == [cause, other]
    assert without_symptoms([symptom]) == [symptom]
    assert without_symptoms([harmless, other]) == [harmless, other]


def test_the_report(capsys: pytest.CaptureFixture[str]) -> None:
    long = "do this: " + "word " * 30 + "/a/long/path/that/is/to/be/copied/as/it/stands"
    findings = [well("short", "fine"), note("a longer one", "hm"), wrong("b", "bad", long)]
    render.tell(findings, as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "ok     short         fine"
    assert lines[1] == "note   a longer one  hm"
    assert lines[2] == "WRONG  b             bad"
    assert lines[3].startswith(" " * 21 + "-> do this: word")
    assert lines[-1] == "1 thing is wrong"
    assert max(map(len, lines)) <= 110
    assert "/a/long/path/that/is/to/be/copied/as/it/stands" in lines[-2]

    render.tell(findings, as_json=True)
    document = json.loads(capsys.readouterr().out)
    assert document["well"] is False
    assert document["findings"][2] == {
        "looked-at": "b",
        "grade": "wrong",
        "found": "bad",
        "remedy": long,
    }
    assert render.is_well(findings[:2])


@pytest.mark.parametrize("words", ["", "--json"])
def test_a_report_that_nobody_reads(tmp_path: Path, words: str) -> None:
    """Python has no stdout then.  The exit code tells, and no traceback."""
    flags = f"--run-dir {tmp_path} --subnet-file {tmp_path}/subnet.env --node-name n1"
    flags += f" --static-leases {tmp_path}/leases.json --net-config-path {tmp_path}/net-conf.json"
    done = subprocess.run(
        ["sh", "-c", f"exec {sys.executable} -m fwd doctor {flags} {words} >&-"],
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize(
    ("words", "flags"),
    [
        ("/opt/bin/flanneld --ip-masq --kube-subnet-mgr", ["--ip-masq", "--kube-subnet-mgr"]),
        ("python3 -m fwd run --ip-masq", ["--ip-masq"]),
        ("/usr/bin/python3 /usr/local/bin/fwd run", []),
        ("tini -- fwd run --node-name=run", ["--node-name=run"]),
        ("nginx -g daemon", None),
    ],
)
def test_the_flags_of_a_running_agent(words: str, flags: list[str] | None) -> None:
    assert running.flags_of(words.split()) == flags


def test_nobody_answers(tmp_path: Path) -> None:
    assert running.find(tmp_path) is None


def test_a_directory_that_takes_nothing(tmp_path: Path) -> None:
    """A file in the way, as root may write everywhere."""
    (tmp_path / "file").write_text("")
    flags = ("--subnet-file", str(tmp_path / "file" / "subnet.env"))
    found = list(files.look(patient(tmp_path, *flags)))
    assert [one.grade for one in found] == [Grade.WRONG, Grade.WELL]
    assert "cannot take subnet.env: not a directory" in found[0].found
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_wrong_flags_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", "--no-such-flag"]) == 2
    assert "there is no flag --no-such-flag" in capsys.readouterr().err
    assert cli.main(["doctor", "--help"]) == 0
    assert "--peers" in capsys.readouterr().out


def test_what_etcd_needs_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = ("fwd.ops.doctor.checks.etcd", "fwd.sources.etcdapi", "fwd.sources.etcdconf")
    for name in (*gone, "fwd.sources.etcdlink"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "grpclib.client", None)
    node = patient(tmp_path)
    found = asyncio.run(examine(node, [one for one in checks(node) if one.subject == "etcd"]))
    remedy = "pip install '.[etcd]' in fwd's source directory"
    assert [(one.grade, one.remedy) for one in found] == [(Grade.WRONG, remedy)]
    assert "leases from etcd need grpclib" in found[0].found
