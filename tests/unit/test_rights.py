# SPDX-License-Identifier: Apache-2.0
"""What an agent keeps of its rights, and how it is told.  Processes of their own give theirs up."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fwd.core import rights
from fwd.ops import inforce
from tests.unable import require_header

root = pytest.mark.root
ADMIN = rights.bits([rights.NET_ADMIN])
RAW = rights.bits([rights.NET_RAW])

HEADER = Path("/usr/include/linux/capability.h")

GIVES_UP = """
import json, os, subprocess, sys, threading
from fwd.plane import keep_rights
from fwd.ops import inforce
import msgspec
keep_rights(effective={effective}, permitted={permitted})
mine = inforce.threads(os.getpid())[0]
seen = []
thread = threading.Thread(target=lambda: seen.extend(inforce.threads(os.getpid())))
thread.start()
thread.join()
program = ["cat", "/proc/self/status"]
child = subprocess.run(program, capture_output=True, text=True, check=True).stdout
print(msgspec.json.encode({{"mine": mine, "others": seen, "child": child}}).decode())
"""

AS_A_USER = """
import ctypes, json, os, struct, subprocess, threading
from fwd.plane import keep_rights
from fwd.ops import inforce
libc = ctypes.CDLL(None)
assert libc.prctl(8, 1, 0, 0, 0) == 0  # PR_SET_KEEPCAPS
os.setresgid(65534, 65534, 65534)
os.setresuid(65534, 65534, 65534)
both = 1 << 12 | 1 << 25  # net_admin, sys_time
assert libc.capset(struct.pack("=Ii", 0x20080522, 0), struct.pack("=6I", *3 * [both], 0, 0, 0)) == 0
for one in (12, 25):
    assert libc.prctl(47, 2, one, 0, 0) == 0  # PR_CAP_AMBIENT_RAISE
"""


def test_net_bind_service_is_kept_for_a_low_port_only() -> None:
    assert rights.NET_BIND_SERVICE in rights.kept(healthz_port=80)
    for port in (-1, 0, 1024, 8081):
        assert rights.NET_BIND_SERVICE not in rights.kept(healthz_port=port)


def test_each_capability_has_a_reason_and_its_number() -> None:
    header = [line.split() for line in require_header(HEADER).splitlines()]
    for one in rights.ALL:
        assert one.reason
        assert ["#define", f"CAP_{one.name.upper()}", str(one.number)] in header


def test_sets_have_names() -> None:
    assert rights.names(ADMIN | RAW | 1 << 21) == ("net_admin", "net_raw", "21")
    assert rights.names(0) == ()


@root
def test_what_is_given_up_is_gone_for_threads_and_programs_too() -> None:
    script = GIVES_UP.format(effective=ADMIN, permitted=ADMIN | RAW)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30
    )
    found = json.loads(done.stdout)
    for one in (found["mine"], *found["others"]):
        assert (one["effective"], one["permitted"]) == (ADMIN, ADMIN | RAW)
        assert one["bounding"] == ADMIN | RAW
        assert one["ambient"] == 0
        assert one["no-new-privs"] is True
    assert len(found["others"]) == 2
    child = dict(line.split(":\t", 1) for line in found["child"].splitlines() if ":\t" in line)
    assert int(child["CapEff"], 16) == int(child["CapPrm"], 16) == ADMIN | RAW
    assert child["NoNewPrivs"] == "1"


@root
def test_what_was_not_there_is_not_to_be_had() -> None:
    script = (
        "from fwd.plane import keep_rights\nfrom fwd.ops import inforce\nimport os\n"
        f"keep_rights(effective={ADMIN}, permitted={ADMIN})\n"
        f"keep_rights(effective={ADMIN | RAW}, permitted={ADMIN | RAW})\n"
        "one = inforce.threads(os.getpid())[0]\nprint(one.effective, one.permitted)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout.split() == [str(ADMIN), str(ADMIN)]


@root
def test_a_user_with_ambient_capabilities_hands_them_on() -> None:
    """As systemd starts a service with User= and AmbientCapabilities=."""
    script = AS_A_USER + GIVES_UP.format(effective=ADMIN, permitted=ADMIN)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30
    )
    found = json.loads(done.stdout)
    assert found["mine"]["user"] == 65534
    assert found["mine"]["effective"] == found["mine"]["ambient"] == ADMIN
    child = dict(line.split(":\t", 1) for line in found["child"].splitlines() if ":\t" in line)
    assert int(child["CapEff"], 16) == ADMIN


def test_our_own_threads_are_seen() -> None:
    first = inforce.threads(os.getpid())[0]
    assert first.user == os.geteuid()
    assert inforce.root_is_read_only(os.getpid()) is False


OLDER = """Name:\t{name}
Uid:\t0\t0\t0\t0
CapPrm:\t{rights:x}
CapEff:\t{rights:x}
CapBnd:\t{bound:x}
CapAmb:\t0
NoNewPrivs:\t1
Seccomp:\t{mode}
"""
"""Of a kernel before 5.9."""


@pytest.mark.parametrize(("mode", "confined"), [(2, True), (0, False)])
def test_an_older_kernel_does_not_count_filters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, mode: int, confined: bool
) -> None:
    monkeypatch.setattr(inforce, "_PROC", tmp_path)
    for number, name, held in ((7, "fwd", ADMIN), (8, "fwd-w0", 0)):
        task = tmp_path / "7" / "task" / str(number)
        task.mkdir(parents=True)
        text = OLDER.format(name=name, rights=held, bound=ADMIN, mode=mode)
        (task / "status").write_text(text)
    found = inforce.threads(7)
    assert [one.filters for one in found] == [None if mode else 0] * 2
    assert inforce.are_confined(found) is confined
