# SPDX-License-Identifier: Apache-2.0
"""The iperf3 that serves a measurement.  What it measures: tests/netns; how it is read: matrix."""

import subprocess
from typing import Any

import pytest

from fwd.lab import child, netns, probes
from tests.ports import free_port
from tests.unable import leave_out


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> int:
    """One of this machine's own that is free; all runs here and in no namespace."""
    number = free_port()
    monkeypatch.setattr(probes, "_IPERF_PORT", number)
    monkeypatch.setattr(netns, "inside", lambda _, *argv: list(argv))
    return number


def test_a_server_says_no_more_for_a_longer_stream(
    monkeypatch: pytest.MonkeyPatch, port: int
) -> None:
    if child.find("iperf3") is None:
        leave_out("needs iperf3")
    # Nobody reads its pipe, and one that is full stops it: 64 KiB were full after two minutes.
    started: list[subprocess.Popen[bytes]] = []

    class Noted(subprocess.Popen[bytes]):
        def __init__(self, *arguments: Any, **settings: Any) -> None:  # noqa: ANN401
            super().__init__(*arguments, **settings)
            started.append(self)

    monkeypatch.setattr(subprocess, "Popen", Noted)
    with probes._server("here"):
        served = started[-1]
        client = f"iperf3 -c 127.0.0.1 -p {port} -t 2 -P 2 -b 1M"
        assert child.run(client.split()).code == 0
        assert served.stdout is not None
        text = served.stdout.read().decode()
    spans = {line.split("]")[1].split()[0] for line in text.splitlines() if " sec " in line}
    assert len(spans) == 1, text
