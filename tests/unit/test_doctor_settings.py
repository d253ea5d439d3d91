# SPDX-License-Identifier: Apache-2.0
"""What is looked at before a start only, and what is said of an agent that has not begun."""

import asyncio
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from fwd.config import load_netconf, run_config
from fwd.node.rundir import RunDir
from fwd.ops.control import SOCKET_NAME
from fwd.ops.doctor.checks import agent, port, settings
from fwd.ops.doctor.finding import Finding, Grade
from fwd.ops.doctor.frame import Check, examine
from fwd.ops.doctor.patient import Options, Patient
from fwd.ops.lockholder import holder_of

TOO_HIGH = 70000


def found(tmp_path: Path, *words: str) -> list[Finding]:
    config = run_config(["--run-dir", str(tmp_path), "--healthz-ip=127.0.0.1", *words], {})
    patient = Patient(config, Options())
    return asyncio.run(examine(patient, [Check("settings", settings.look)]))


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_health_port(tmp_path: Path, taken: int) -> None:
    assert found(tmp_path) == []
    (one,) = found(tmp_path, f"--healthz-port={taken}")
    assert one.grade is Grade.WRONG
    assert one.looked_at == "health port"
    assert f"cannot serve /healthz on 127.0.0.1 port {taken}" in one.found
    assert one.remedy == "give another --healthz-ip or --healthz-port"
    assert one.remedy not in one.found
    (one,) = found(tmp_path, f"--healthz-port={TOO_HIGH}")
    assert (one.grade, "65535 is the highest" in one.found) == (Grade.WRONG, True)
    (one,) = found(tmp_path, f"--healthz-port={taken}", "--healthz-ip=192.0.2.1")
    assert one.grade is Grade.WRONG


def test_a_free_health_port(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert [one.grade for one in found(tmp_path, f"--healthz-port={port}")] == [Grade.WELL]
    socket.create_server(("127.0.0.1", port)).close()  # given back


def test_an_agent_that_has_the_lock_has_the_port(tmp_path: Path, taken: int) -> None:
    run_dir = RunDir.open(tmp_path)
    try:
        assert found(tmp_path, f"--healthz-port={taken}") == []
    finally:
        run_dir.close()


def test_processors_of_workers(tmp_path: Path) -> None:
    mine = os.sched_getaffinity(0)
    good = min(mine)
    (one,) = found(tmp_path, "--workers=2", f"--worker-cpus={good}")
    assert one.grade is Grade.WELL
    (one,) = found(tmp_path, "--workers=2", f"--worker-cpus={good},1023")
    assert one.grade is Grade.WRONG
    assert one.found == "--worker-cpus: processor 1023 is not one that this process may use"
    assert str(good) in one.remedy
    assert os.sched_getaffinity(0) == mine


def test_processors_that_no_worker_would_have(tmp_path: Path) -> None:
    """They are given by turns, and the agent does not look at the rest."""
    good = min(os.sched_getaffinity(0))
    (one,) = found(tmp_path, "--workers=1", f"--worker-cpus={good},1023")
    assert one.grade is Grade.WELL


def test_the_port_of_an_agent_that_waits(tmp_path: Path) -> None:
    """After a crash it goes on by what was kept for it, and may have to wait for its leases."""
    conf = tmp_path / "net-conf.json"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("0.0.0.0", 0))
        number = taken.getsockname()[1]
        backend = {"Type": "vxlan", "Port": number}
        conf.write_text(json.dumps({"Network": "10.244.0.0/16", "Backend": backend}))
        config = run_config(["--run-dir", str(tmp_path), "--net-config-path", str(conf)], {})
        for holder, grade in ((os.getpid(), Grade.WELL), (0, Grade.WRONG)):
            patient = Patient(config, Options(), holder=holder)
            patient.conf = load_netconf(conf)
            assert [one.grade for one in port.look(patient)] == [grade]


def test_an_agent_that_does_not_answer(tmp_path: Path) -> None:
    """It waits for its first leases as long as it does not listen; then it hangs."""

    config = run_config(["--run-dir", str(tmp_path)], {})

    def found() -> Finding:
        *_, last = agent.look(Patient(config, Options(), holder=holder_of(tmp_path) or 0))
        return last

    assert found().found.startswith("none runs")
    run_dir = RunDir.open(tmp_path)
    with socket.socket(socket.AF_UNIX) as listener:
        waits = f"runs (pid {os.getpid()}) and waits for its first leases"
        assert (found().grade, found().found) == (Grade.NOTE, waits)
        listener.bind(str(tmp_path / SOCKET_NAME))  # as one that was killed leaves it
        assert found().grade is Grade.NOTE
        listener.listen()
        assert (found().grade, "does not answer" in found().found) == (Grade.WRONG, True)
    run_dir.close()
