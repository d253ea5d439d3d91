# SPDX-License-Identifier: Apache-2.0
"""Tests with the C modules under a sanitizer: python -m tests.sanitized address|thread [ARGS]

A copy of the tree in build/sanitized/ has instrumented modules, and every Python process of a run
there the sanitizer's runtime, preloaded by a script that takes the interpreter's place.  Other
programs have mistakes of their own.  Python is not instrumented, what it hands to C is checked all
the same.  A finding ends its process (address, undefined) or is noted (thread), is kept as a file
and makes the run fail, whatever the tests say.  Root; needs gcc's runtimes, which come with gcc.

ARGS are those of pytest; without any it is all of tests/netns.  FWD_TEST_SLOWER tells tests by how
much less they may ask for; here it is four.
"""

import os
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

from msgspec import Struct

ROOT: Final = Path(__file__).resolve().parents[1]
OUT: Final = ROOT / "build" / "sanitized"


class Sanitizer(Struct, frozen=True):
    """One way to build and to run."""

    flag: str
    """FWD_SANITIZE of cext/build.py."""
    runtime: str
    options: dict[str, str]
    """Environment; {log} is where findings go."""


SANITIZERS: Final = {
    "address": Sanitizer(
        flag="address,undefined",
        runtime="libasan.so",
        options={
            # Leaks: the interpreter's own, at exit, are not ours.
            "ASAN_OPTIONS": "detect_leaks=0:log_path={log}",
            "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1:log_path={log}",
            "PYTHONMALLOC": "malloc",  # so that bytes objects have edges
        },
    ),
    "thread": Sanitizer(
        flag="thread",
        runtime="libtsan.so",
        options={
            "TSAN_OPTIONS": "ignore_noninstrumented_modules=1:die_after_fork=0"
            ":report_signal_unsafe=0:second_deadlock_stack=1:log_path={log}",
        },
    ),
}


def _copy(to: Path) -> None:
    """What git knows, and what is new, but only what has changed: times are what builds go by."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout
    for name in filter(None, listed.decode().split("\0")):
        source, target = ROOT / name, to / name
        if not source.is_file():
            target.unlink(missing_ok=True)
            continue
        there = target.stat().st_mtime_ns if target.exists() else -1
        if there != source.stat().st_mtime_ns:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)


def _build(tree: Path, sanitizer: Sanitizer) -> None:
    built = list((tree / "fwd").glob("_*.so"))
    newest = max(path.stat().st_mtime for path in (tree / "cext").rglob("*.*"))
    if len(built) == 2 and min(path.stat().st_mtime for path in built) > newest:
        return
    subprocess.run(
        [sys.executable, "cext/build.py"],
        cwd=tree,
        env=os.environ | {"CC": "gcc", "FWD_SANITIZE": sanitizer.flag},
        check=True,
    )


def _runtime(name: str) -> str:
    found = subprocess.run(
        ["gcc", f"-print-file-name={name}"], capture_output=True, text=True, check=True
    ).stdout.strip()
    if not Path(found).is_absolute():
        raise SystemExit(f"gcc has no {name}")
    return found


# The options, too: there are tests that start programs in an environment of their own.
_WRAPPER: Final = """#!/bin/sh
export {options}
LD_PRELOAD={runtime}${{LD_PRELOAD:+:$LD_PRELOAD}} exec {python} "$@"
"""
_SITE: Final = """import os, sys
os.environ.pop("LD_PRELOAD", None)  # is for this process
sys.executable = {wrapper!r}
"""


def _wrap(tree: Path, runtime: str, options: dict[str, str]) -> tuple[Path, Path]:
    """The script, and a directory that makes its processes start others by it."""
    wrapper, site = tree / "build" / "bin" / "python", tree / "build" / "site"
    for directory in (wrapper.parent, site):
        directory.mkdir(parents=True, exist_ok=True)
    exported = " ".join(f"{key}={shlex.quote(text)}" for key, text in options.items())
    text = _WRAPPER.format(options=exported, runtime=runtime, python=sys.executable)
    wrapper.write_text(text)
    for name in ("fwd", "flanneld"):
        _, rest = Path(sys.executable).with_name(name).read_text().split("\n", 1)
        (wrapper.parent / name).write_text(f"#!{wrapper}\n{rest}")
    for path in wrapper.parent.iterdir():
        path.chmod(0o755)
    (site / "sitecustomize.py").write_text(_SITE.format(wrapper=str(wrapper)))
    return wrapper, site


def main() -> None:
    """Exit code 1 if a test failed or there was a finding."""
    if len(sys.argv) < 2 or sys.argv[1] not in SANITIZERS:
        raise SystemExit(__doc__)
    name, arguments = sys.argv[1], sys.argv[2:] or ["tests/netns"]
    sanitizer, tree, logs = SANITIZERS[name], OUT / name, OUT / f"{name}-findings"
    _copy(tree)
    _build(tree, sanitizer)
    shutil.rmtree(logs, ignore_errors=True)
    logs.mkdir(parents=True)
    options = {key: text.format(log=logs / "of") for key, text in sanitizer.options.items()}
    wrapper, site = _wrap(tree, _runtime(sanitizer.runtime), options)
    environment = os.environ | {"PYTHONPATH": f"{site}:{tree}"}
    environment["FWD_SANITIZE"] = sanitizer.flag
    environment.setdefault("FWD_TEST_SLOWER", "4")
    # gcc 12's sanitizers do not know the larger address randomisation of some distributions.
    command = ["setarch", "-R", str(wrapper), "-m", "pytest", "-p", "no:cacheprovider"]
    with subprocess.Popen([*command, *arguments], cwd=tree, env=environment) as tests:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # pytest has it, too, and takes all down
        failed = tests.wait()
    found = sorted(logs.iterdir())
    for path in found[:5]:
        sys.stdout.write(f"\n{path.name}:\n{path.read_text(errors='replace')[:4000]}\n")
    sys.stdout.write(f"{name}: {len(found)} findings\n")
    raise SystemExit(failed or bool(found))


if __name__ == "__main__":
    main()
