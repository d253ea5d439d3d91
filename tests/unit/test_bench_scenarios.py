# SPDX-License-Identifier: Apache-2.0
"""What is made of what was measured."""

import pytest

from fwd.bench import scenarios
from fwd.bench.machine import CpuTimes
from fwd.bench.outcome import Metric
from fwd.lab.probes import Stream

RATE, CPU = Metric("rate", "a rate", "Gbit/s"), Metric("cpu", "CPU", "s/GB")
SPENT = CpuTimes(3.0, 1.0, 0.0)


def test_cpu_is_shared_by_the_bytes_that_the_receiver_counted() -> None:
    stream = Stream(gbit=8.0, received_bytes=1_500_000_000)
    outcome = scenarios._stream(stream, RATE, CPU, spent=SPENT)
    assert outcome.values == {"rate": 8.0, "cpu": pytest.approx(2.0)}


@pytest.mark.parametrize(
    ("stream", "says"),
    [
        (Stream(), "nothing arrived"),
        (Stream(gbit=1.0), "nothing arrived"),
        (Stream(error="hung"), "hung"),
    ],
)
def test_nothing_is_no_figure(stream: Stream, says: str) -> None:
    outcome = scenarios._stream(stream, RATE, CPU, spent=SPENT)
    assert (outcome.error, outcome.values) == (says, {})
