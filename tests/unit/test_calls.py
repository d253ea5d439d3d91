# SPDX-License-Identifier: Apache-2.0
"""System calls that an agent may make: the list, and what becomes of those that are not on it.

That the list is long enough, tests/netns shows: there agents do all that they do.
"""

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from fwd import plane
from tests.unable import require_filters, require_header, require_list_of_calls

CEXT = Path(__file__).resolve().parents[2] / "cext"
ENTRY = re.compile(r'^(CALL|ABSENT|DEADLY)\((\w+), (WORKER|CONTROL|ALL),(?: (\w+),)? "(.+)"\)$')
OTHERS = Path("/usr/include/asm-generic/unistd.h")
"""arm64's, and of all later architectures."""


def entries() -> list[tuple[str, str, str, str]]:
    """Kind, name, who, reason."""
    text = re.sub(r"/\*.*?\*/", "", (CEXT / "syscalls.def").read_text(), flags=re.DOTALL)
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    found = [ENTRY.match(line) for line in lines]
    assert all(found), [line for line, one in zip(lines, found, strict=True) if not one]
    return [(one[1], one[2], one[3], one[5]) for one in found if one]


def test_each_call_is_listed_once_for_each_kind_of_thread() -> None:
    seen: Counter[tuple[str, str]] = Counter()
    for _, name, who, _ in entries():
        seen.update((name, one) for one in (("WORKER", "CONTROL") if who == "ALL" else (who,)))
    assert [one for one, times in seen.items() if times > 1] == []


def test_what_a_worker_may_the_process_may_too() -> None:
    """The process's filter is in force for workers as well."""
    may = {
        side: {name for kind, name, who, _ in entries() if kind == "CALL" and who in {side, "ALL"}}
        for side in ("WORKER", "CONTROL")
    }
    assert may["WORKER"] < may["CONTROL"]
    assert len(may["WORKER"]) < 40


def test_what_is_not_for_one_architecture_alone_is_known_on_all() -> None:
    text = (CEXT / "syscalls.def").read_text()
    general = re.sub(r"#ifdef __x86_64__.*?#endif", "", text, flags=re.DOTALL)
    names = set(re.findall(r"^(?:CALL|ABSENT|DEADLY)\((\w+),", general, re.MULTILINE))
    header = require_header(OTHERS) + (CEXT / "callnumbers.h").read_text()
    known = set(re.findall(r"#define __NR(?:3264)?_(\w+)", header))
    known |= {"newfstatat"}  # by way of __NR3264_fstatat
    assert names - known == set()


def test_forbidden_calls_fail_as_they_must() -> None:
    require_filters()
    tried = plane.trials(0)
    assert {one.of_worker for one in tried} == {True, False}
    assert [(one.text, one.outcome) for one in tried if not one.as_it_must] == []


def test_without_a_filter_they_would_reach_the_kernel() -> None:
    """But for calls that it may not have."""
    require_list_of_calls()
    done = {one.text: one.outcome for one in plane.trials(0, confined=False)}
    assert "killed" not in done.values()
    assert [text for text, outcome in done.items() if outcome == "done"]
    lacking = {text.partition(":")[0] for text, outcome in done.items() if outcome == "ENOSYS"}
    assert lacking <= {"init_module", "kexec_load", "userfaultfd", "bpf", "keyctl"}


GOES_ON = """
import os, socket, subprocess, sys, threading, time
from fwd.plane import keep_rights, limit_calls
keep_rights(effective=0, permitted=0)
limit_calls(refuse={refuse})
threads = [threading.Thread(target=time.sleep, args=(0.01,)) for _ in range(3)]
for one in threads:
    one.start()
for one in threads:
    one.join()
print(subprocess.run(["echo", "a program"], capture_output=True, text=True).stdout.strip())
import sqlite3, ssl, decimal  # libraries
script = "find /etc/hostname -quit; cat /proc/self/comm | wc -c; ls -l / | wc -l"
subprocess.run(["sh", "-ec", script], check=True, stdout=subprocess.DEVNULL)
try:
    socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
except OSError as error:
    print(os.strerror(error.errno))
try:
    os.setuid(1)
except OSError as error:
    print(error.strerror)
print(open("/proc/self/status").read().partition("Seccomp:")[2].split()[0])
"""


@pytest.mark.parametrize("refuse", [True, False])
def test_a_limited_process_goes_on(*, refuse: bool) -> None:
    require_filters()
    done = subprocess.run(
        [sys.executable, "-c", GOES_ON.format(refuse=refuse)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    program, family, user, mode = done.stdout.splitlines()
    assert program == "a program"
    assert mode == "2"
    refusals = ("Address family not supported by protocol", "Function not implemented")
    kernels = ("Operation not permitted", "Operation not permitted")
    assert (family, user) == (refusals if refuse else kernels)
