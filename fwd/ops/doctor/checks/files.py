# SPDX-License-Identifier: Apache-2.0
"""What the agent writes: room and rights for it, and whether what is saved can be read."""

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from fwd.node.savedstate import FILE_NAME, SET_ASIDE, SavedState
from fwd.ops.doctor.finding import Finding, note, well, wrong
from fwd.ops.doctor.patient import Patient

_ROOM = "make room there: df -h {0}, df -i {0}"
_REMEDIES = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EROFS: "mount it writable",
    errno.EACCES: "run as root",
    errno.EPERM: "run as root",
}
_TRIAL_BYTES = 8192
"""subnet.env has 200, but a file system gives whole blocks."""


def look(patient: Patient) -> Iterator[Finding]:
    """Directories, then the saved state."""
    yield from _directories(patient)
    yield from _saved(patient)


def _directories(patient: Patient) -> Iterator[Finding]:
    """One finding for all that is wrong with one directory."""
    config = patient.config
    uses: dict[Path, list[str]] = {}
    uses.setdefault(config.subnet_file.parent, []).append(config.subnet_file.name)
    uses.setdefault(config.run_dir, []).append("the agent's own files")
    for directory, names in uses.items():
        named = " and ".join(names)
        trouble = _trouble(directory)
        if trouble is None:
            yield well(str(directory), f"takes {named}")
            continue
        said = f"cannot take {named}: {os.strerror(trouble).lower()}"
        remedy = _REMEDIES.get(trouble, f"see {directory}").format(directory)
        yield wrong(str(directory), said, remedy, cause="files")


def _trouble(directory: Path) -> int | None:
    """errno of writing there, tried out; None: it can be done.  Leaves nothing behind."""
    while not directory.exists() and directory != directory.parent:
        directory = directory.parent  # the agent makes what is missing
    try:
        handle, name = tempfile.mkstemp(prefix=".fwd-doctor.", dir=directory)
    except OSError as error:
        return error.errno
    try:
        os.write(handle, b"\n" * _TRIAL_BYTES)
        os.fsync(handle)
    except OSError as error:
        return error.errno
    finally:
        os.close(handle)
        with suppress(OSError):
            Path(name).unlink()
    return None


def _saved(patient: Patient) -> Iterator[Finding]:
    """Of a source that may be away."""
    config, conf = patient.config, patient.conf
    if conf is None or config.static_leases is not None:
        return
    server = "etcd" if patient.has_etcd else "the API server"
    path = config.run_dir / FILE_NAME
    saved = SavedState(
        config.run_dir, node=config.node_name, networks=conf.networks, vni=conf.backend.vni
    )
    fault = saved.fault()
    if fault is not None and fault.of_others:
        yield note("saved state", f"{path}: {fault.text}", "a start sets it aside by itself")
    elif fault is not None:
        yield wrong(
            "saved state",
            f"{path}: {fault.text}",
            f"rm {path}: the agent writes it anew; until then a start waits for {server}",
        )
    elif not path.exists():
        yield well("saved state", f"none yet: the first start waits for {server}")
    else:
        yield well("saved state", f"{path} can be used")
    aside = path.with_name(path.name + SET_ASIDE)
    if fault is None and aside.exists():
        yield note("saved state", f"{aside.name} is one that could not be used", f"rm {aside}")
