# SPDX-License-Identifier: Apache-2.0
"""A Pod has started when its own agent forwards, whoever answers at the port of its probes.

Two Pods of a node are side by side while one takes over (maxSurge), and the older one's agent
answers for both.  Would the new one count as available by that, Kubernetes ended the old one though
the new agent cannot go on, and then the next node's.
"""

import subprocess
import sys
from typing import Final

import pytest

from fwd.ops import inforce
from tests.deploy.rendering import BASE, OVERLAYS, agent, only, rendered

YEAR: Final = 365 * 86400
_AS_WORKER: Final = """
import ctypes, subprocess, sys, threading
name, probe = sys.argv[1], sys.argv[2:]
named, asked = threading.Event(), threading.Event()
def work():
    ctypes.CDLL(None).prctl(15, name.encode())
    named.set()
    asked.wait()
threading.Thread(target=work).start()
named.wait()
code = subprocess.run(probe).returncode
asked.set()
sys.exit(code)
"""


def surges(name: str) -> bool:
    strategy = only(rendered(name), "DaemonSet")["spec"]["updateStrategy"]["rollingUpdate"]
    return bool(strategy.get("maxSurge", 0))


@pytest.mark.parametrize("name", [BASE, *OVERLAYS])
def test_where_two_are_side_by_side_one_asks_in_the_pod(name: str) -> None:
    container = agent(rendered(name))
    assert surges(name) == ("startupProbe" in container)
    if surges(name):
        probe = container["startupProbe"]
        assert probe["failureThreshold"] * probe["periodSeconds"] > YEAR // 20, "it may wait"


@pytest.mark.root
@pytest.mark.parametrize(("thread", "code"), [("fwd-w0", 0), ("fwd-w13", 0), ("uvloop", 1)])
def test_it_is_asked_whether_there_is_a_worker_in_this_pid_namespace(
    thread: str, code: int
) -> None:
    """The agent of another Pod, which the machine's /proc would show, is none."""
    command = agent(rendered(BASE))["startupProbe"]["exec"]["command"]
    other = [sys.executable, "-c", _AS_WORKER, "fwd-w0", "sh", "-c", "echo there; cat"]
    apart = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    argv = [*apart, sys.executable, "-c", _AS_WORKER, thread, *command]
    with subprocess.Popen(other, stdin=-1, stdout=-1) as elsewhere:
        assert elsewhere.stdout is not None
        assert elsewhere.stdout.readline() == b"there\n"
        done = subprocess.run(argv, timeout=20, check=False)
        elsewhere.communicate(timeout=20)
    assert done.returncode == code


def test_workers_have_that_name() -> None:
    """In the running agent: tests/netns/test_agent_rights.py reads it there."""
    command = agent(rendered(BASE))["startupProbe"]["exec"]["command"]
    assert f"^{inforce._WORKER} " in command[-1]
