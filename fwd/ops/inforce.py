# SPDX-License-Identifier: Apache-2.0
"""What the kernel says of a process's rights: proc_pid_status(5), proc_pid_mountinfo(5)."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from msgspec import Struct

from fwd.core import rights

_PROC = Path("/proc")
_WORKER = "fwd-w"
"""How cext/plane.c names its threads."""


class ThreadRights(Struct, frozen=True, rename="kebab"):
    """Of one thread.  Sets of capabilities are bits by number."""

    name: str
    user: int
    effective: int
    permitted: int
    bounding: int
    ambient: int
    no_new_privs: bool
    filters: int | None
    """Of system calls; each one must let a call pass.  None: some; they are counted since 5.9."""

    @property
    def is_worker(self) -> bool:
        """Whether it carries packets."""
        return self.name.startswith(_WORKER)

    @property
    def is_confined(self) -> bool:
        """Whether it has no more than it needs: a worker nothing, and a filter of its own."""
        most, filters = (0, 2) if self.is_worker else (rights.bits(rights.ALL), 1)
        enough = self.filters is None or self.filters >= filters
        return self.no_new_privs and not self.permitted & ~most and enough


def are_confined(threads: Iterable[ThreadRights]) -> bool:
    """Whether all are."""
    return all(one.is_confined for one in threads)


def threads(pid: int) -> tuple[ThreadRights, ...]:
    """Those of a process, the first one first.  Raises OSError where it cannot be seen."""
    tasks = _PROC / str(pid) / "task"
    numbers = sorted(int(path.name) for path in tasks.iterdir())
    return tuple(_read(tasks / str(number)) for number in numbers if (tasks / str(number)).exists())


def _read(task: Path) -> ThreadRights:
    fields = dict(_fields((task / "status").read_text()))
    return ThreadRights(
        name=fields["Name"],
        user=int(fields["Uid"].split()[1]),
        effective=int(fields["CapEff"], 16),
        permitted=int(fields["CapPrm"], 16),
        bounding=int(fields["CapBnd"], 16),
        ambient=int(fields["CapAmb"], 16),
        no_new_privs=fields.get("NoNewPrivs") == "1",
        filters=_filters(fields),
    )


def _fields(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        name, _, value = line.partition(":")
        yield name, value.strip()


def _filters(fields: Mapping[str, str]) -> int | None:
    """How many is known since Linux 5.9; before, whether there is one."""
    if "Seccomp_filters" not in fields and fields.get("Seccomp") == "2":
        return None
    return int(fields.get("Seccomp_filters", 0))


def root_is_read_only(pid: int) -> bool:
    """Whether nothing but what is mounted below can be written.  Raises OSError."""
    options = ""
    for line in (_PROC / str(pid) / "mountinfo").read_text().splitlines():
        words = line.split()
        if words[4] == "/":
            options = words[5]
    return "ro" in options.split(",")
