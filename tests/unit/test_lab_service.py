# SPDX-License-Identifier: Apache-2.0
"""Programs that the lab starts: their environment, and the wait for their log."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fwd.lab import agentproc, service
from fwd.lab.agentproc import Process
from fwd.lab.errors import LabError
from fwd.lab.service import Program, Service


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(
        name="n1",
        title="fwd on n1",
        namespace="t-n1",
        words=("fwd", "run"),
        log=tmp_path / "agent.log",
        ready="forwarding",
    )


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Process]:
    """A process that says nothing and stays."""
    started = agentproc.spawn(["/bin/sleep", "60"], env=dict(os.environ), log=tmp_path / "none")
    yield started
    agentproc.stop([started], grace=0)


def test_settings_of_this_machines_agent_are_not_the_labs(monkeypatch: pytest.MonkeyPatch) -> None:
    strangers = {"FLANNELD_PUBLIC_IP", "NODE_NAME", "NOTIFY_SOCKET", "KUBERNETES_SERVICE_HOST"}
    strangers |= {"ETCD_NAME", "HTTPS_PROXY", "http_proxy", "All_Proxy", "no_proxy"}
    kept = {"KEPT", "ETCD_UNSUPPORTED_ARCH"}
    for name in strangers | kept:
        monkeypatch.setenv(name, "x")
    environment = service.environment()
    assert kept <= environment.keys()
    assert not strangers & environment.keys()


def test_no_netrc_of_the_caller_opens_the_labs_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    for given in ("/root/passwords", None):
        if given is None:
            monkeypatch.delenv("NETRC")
        else:
            monkeypatch.setenv("NETRC", given)
        assert service.environment()["NETRC"] == os.devnull  # unset it means ~/.netrc


def test_a_program_is_ready_when_its_log_says_so(program: Program, process: Process) -> None:
    program.log.write_text("something else\nforwarding node=n1\n")
    Service(program, process, skip=0).await_ready(time.monotonic() + 10)


def test_what_an_earlier_run_wrote_does_not_count(program: Program, process: Process) -> None:
    program.log.write_text("forwarding node=n1\n")
    again = Service(program, process, skip=program.log.stat().st_size)
    with pytest.raises(LabError, match="fwd on n1 does not say that it is ready"):
        again.await_ready(time.monotonic())


def test_a_program_that_ends_is_reported_with_its_last_words(program: Program) -> None:
    script = "for i in $(seq 30); do echo line $i; done; echo no such interface >&2"
    argv = ["/bin/sh", "-c", script]
    process = agentproc.spawn(argv, env=dict(os.environ), log=program.log)
    with pytest.raises(LabError, match="fwd on n1 ended: no such interface") as error:
        Service(program, process, skip=0).await_ready(time.monotonic() + 10)
    assert error.value.detail[-2:] == ("n1| line 30", "n1| no such interface")
    assert len(error.value.detail) == 12
    agentproc.stop([process])
