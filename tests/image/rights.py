# SPDX-License-Identifier: Apache-2.0
"""What a container's threads may do, by what the kernel says of each."""

from collections.abc import Mapping
from typing import Final

from tests.deploy.rendering import run
from tests.image.kubelet import Pod

NET_ADMIN: Final = 1 << 12
SETS: Final = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
FILTER: Final = "2"
"""Of seccomp's modes: none, strict, filter."""

Threads = Mapping[str, Mapping[str, str]]
"""Fields of /proc/PID/task/TID/status by their path below the container's /proc."""


def threads_of(pod: Pod) -> Threads:
    """All threads of all the container's processes."""
    found = {}
    for path, text in pod.files("root/proc/[0-9]*/task/*/status").items():
        fields = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
        found[path] = fields
    return found


def decoded(mask: str) -> str:
    """The names of capabilities."""
    return run("capsh", f"--decode={mask}").strip().partition("=")[2]


def shown(threads: Threads) -> str:
    """A line each."""
    lines = []
    for path, fields in threads.items():
        sets = " ".join(f"{name}={decoded(fields[name])}" for name in SETS)
        lines.append(
            f"{path.split('/')[-2]:>4} {fields['Name']:<16} {sets} "
            f"NoNewPrivs={fields['NoNewPrivs']} Seccomp={fields['Seccomp']}"
        )
    return "\n".join(lines)


def assert_net_admin_and_nothing_else(threads: Threads) -> None:
    """Each has no other capability, gains none, and is under a seccomp filter."""
    assert len(threads) > 2, "the agent's control thread and its workers"
    for fields in threads.values():
        for name in SETS:
            assert int(fields[name], 16) & ~NET_ADMIN == 0, f"{name}: {decoded(fields[name])}"
        assert fields["Seccomp"] == FILTER
        assert fields["NoNewPrivs"] == "1"
