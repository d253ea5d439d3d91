# SPDX-License-Identifier: Apache-2.0
"""`fwd doctor`: flags in, report out; the exit code says whether all is well."""

import asyncio
import os
import shlex
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from fwd.config import RunConfig, run_settings
from fwd.flags import Flag, boolean, parse_flags, some_path
from fwd.ops.doctor import render, running
from fwd.ops.doctor.finding import Finding, wrong
from fwd.ops.doctor.frame import examine
from fwd.ops.doctor.order import checks
from fwd.ops.doctor.patient import Options, Patient
from fwd.ops.lockholder import holder_of, is_elsewhere, way_to
from fwd.runflags import RUN_DIR, RUN_FLAGS

_CNI_BIN_DIRS = (Path("/opt/cni/bin"), Path("/usr/lib/cni"), Path("/usr/libexec/cni"))

DOCTOR_FLAGS = (
    Flag(
        name="peers",
        parse=boolean,
        default=False,
        env="",
        help="ask every other node through the tunnel: round trip, loss, largest packet",
    ),
    Flag(name="json", parse=boolean, default=False, env="", help="a document, for machines"),
    Flag(
        name="cni-bin-dir",
        parse=some_path,
        metavar="DIR",
        repeat=True,
        env="",
        help=f"where CNI plugins are (default {', '.join(map(str, _CNI_BIN_DIRS))})",
    ),
)


_FLAGS = (*DOCTOR_FLAGS, *RUN_FLAGS)


def main(argv: Sequence[str]) -> int:
    """0: all is well, 1: something is wrong.  Raises FwdError as `fwd run` does."""
    values, notes = parse_flags(argv, _FLAGS, os.environ)
    run_dir = values[RUN_DIR.key]
    agent = running.find(run_dir)
    pid = agent.pid if agent is not None else holder_of(run_dir) or 0
    if pid and is_elsewhere(pid):
        return _tell([_elsewhere(pid, run_dir)], as_json=values["json"])
    invoked = running.invocation(pid) if pid and not _says_how_to_run(argv) else None
    if invoked is not None:
        with suppress(OSError):
            os.chdir(invoked.directory)
        os.environ.update({**invoked.environ, **os.environ})
        values, notes = parse_flags([*invoked.flags, *argv], _FLAGS, os.environ)
    options, config = _split(values, notes)
    patient = Patient(config, options, agent=agent, holder=pid)
    return _tell(asyncio.run(examine(patient, checks(patient))), as_json=options.json)


def _tell(findings: list[Finding], *, as_json: bool) -> int:
    render.tell(findings, as_json=as_json)
    return 0 if render.is_well(findings) else 1


def _elsewhere(pid: int, run_dir: Path) -> Finding:
    """Nothing of what is here concerns it."""
    return wrong(
        "agent",
        f"runs (pid {pid}) in another network namespace than this: nothing is looked at",
        way_to(pid).replace("COMMAND", shlex.join(["fwd", "doctor", "--run-dir", str(run_dir)])),
    )


def _says_how_to_run(argv: Sequence[str]) -> bool:
    """Whether flags of the agent are given, but for where it runs."""
    values, _ = parse_flags(argv, _FLAGS, {})
    return any(
        values[flag.key] != (() if flag.repeat else flag.default)
        for flag in RUN_FLAGS
        if flag is not RUN_DIR
    )


def _split(values: dict[str, Any], notes: list[str]) -> tuple[Options, RunConfig]:
    """What concerns the doctor, and the rest, as `fwd run` takes it."""
    own = {flag.key: values.pop(flag.key) for flag in DOCTOR_FLAGS}
    options = Options(
        peers=own["peers"], json=own["json"], cni_bin_dirs=own["cni_bin_dir"] or _CNI_BIN_DIRS
    )
    return options, run_settings(values, notes, os.environ)
