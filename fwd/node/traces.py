# SPDX-License-Identifier: Apache-2.0
"""What the agent has left on this host, noted before it is made, so that `fwd cleanup` finds it.

The rules' chains and our routes are told by their own marks and are not in here.  The note grows:
what an earlier start with other flags has made is still there.
"""

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from fwd.core.unreadable import UNREADABLE
from fwd.node.subnetfile import write_whole

FILE_NAME = "traces.json"


class Traces(Struct, frozen=True, rename="kebab"):
    """The note."""

    devices: tuple[str, ...] = ()
    subnet_files: tuple[str, ...] = ()
    conflists: Mapping[str, str] = {}
    """Path, and the digest of our list there: others write to the same path."""


def load(run_dir: Path) -> Traces:
    """Empty where there is no note, or none of use."""
    try:
        return msgspec.json.decode((run_dir / FILE_NAME).read_bytes(), type=Traces)
    except (OSError, *UNREADABLE):
        return Traces()


def note_start(run_dir: Path, *, devices: tuple[str, ...], subnet_file: Path) -> None:
    """Before the first of these is made.  Raises OSError."""
    before = load(run_dir)
    after = replace(
        before,
        devices=tuple(sorted({*before.devices, *devices})),
        subnet_files=tuple(sorted({*before.subnet_files, str(subnet_file.absolute())})),
    )
    _save(run_dir, before, after)


def note_conflist(run_dir: Path, path: Path, content: bytes) -> None:
    """Once it is there: before, the file may be another's.  Raises OSError."""
    before = load(run_dir)
    mine = {str(path.absolute()): digest(content)}
    _save(run_dir, before, replace(before, conflists={**before.conflists, **mine}))


def noted_conflist(run_dir: Path, path: Path) -> str:
    """The digest of our list there; empty: there is no note of one."""
    return load(run_dir).conflists.get(str(path.absolute()), "")


def digest(content: bytes) -> str:
    """SHA-256 of what a conflist says: who adds to one writes all of it anew, in another form."""
    with suppress(ValueError, RecursionError):  # what is no JSON is digested as it is
        content = json.dumps(json.loads(content), sort_keys=True).encode()
    return hashlib.sha256(content).hexdigest()


def _save(run_dir: Path, before: Traces, after: Traces) -> None:
    if after != before:
        write_whole(run_dir / FILE_NAME, msgspec.json.encode(after))
