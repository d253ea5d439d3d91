# SPDX-License-Identifier: Apache-2.0
"""What the doctor says of an agent that runs, by its status."""

from pathlib import Path

import pytest
from msgspec import structs

from fwd.config import run_config
from fwd.core.processortime import ProcessorTime
from fwd.ops.doctor.checks import agent
from fwd.ops.doctor.finding import Grade
from fwd.ops.doctor.patient import Options, Patient
from fwd.ops.doctor.running import RunningAgent
from tests.unit.status_document import DOCUMENT, TUNNEL


@pytest.mark.parametrize(
    ("ran", "waited", "more"),
    [(19.0, 60.0, [Grade.NOTE]), (20.0, 60.0, []), (10.0, 59.0, [])],
    ids=["mostly waited", "not so long", "not for long"],
)
def test_workers_that_wait_for_a_processor(
    tmp_path: Path, ran: float, waited: float, more: list[Grade]
) -> None:
    times = (ProcessorTime(ran / 2, waited / 2), None, ProcessorTime(ran / 2, waited / 2))
    tunnel = structs.replace(TUNNEL, worker_times=times)
    status = structs.replace(DOCUMENT, host=(), refused=(), tunnels=(tunnel,))
    config = run_config(["--run-dir", str(tmp_path)], {})
    patient = Patient(config, Options(), agent=RunningAgent(status, {}, pid=0))
    assert [one.grade for one in agent.look(patient)] == [Grade.WELL, *more]
