# SPDX-License-Identifier: Apache-2.0
"""The parsers of tests/parsers.py, fuzzed by coverage with atheris, which is libFuzzer for Python.

    python -m tests.fuzz.parsers --seconds 5            each for so long, --jobs at a time
    python -m tests.fuzz.parsers NAME -runs=1 FILE      one, with libFuzzer's own arguments

An input for which a parser raises what it does not document, takes longer than five seconds or more
than a gigabyte is kept as build/fuzz/NAME-crash-*.  Those that meet new code are kept in
build/fuzz/corpus/, and `--minimise` takes the few that are needed into the corpus in the tree.
"""

import argparse
import contextlib
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

try:
    import atheris
except ModuleNotFoundError:
    raise SystemExit("parsers: atheris is not there for this machine (pyproject.toml)") from None

IS_ONE = len(sys.argv) > 1 and not sys.argv[1].startswith("-")
with atheris.instrument_imports(include=["fwd"]) if IS_ONE else contextlib.nullcontext():
    from tests.parsers import CORPUS, PARSERS

OUT: Final = Path(__file__).resolve().parents[2] / "build" / "fuzz"
LIMITS: Final = ("-timeout=5", "-rss_limit_mb=1024", "-verbosity=0", "-print_final_stats=1")
_LONGEST: Final = 4096
"""Bytes; what nests or repeats a hundred thousand times is tests/unit/test_parsers.py's."""
_STARTS: Final = 60.0
"""Seconds at most for a child to start and to end."""
_DONE: Final = re.compile(r"stat::number_of_executed_units: *(\d+)")
_WORD: Final = re.compile(rb"[A-Za-z][A-Za-z0-9.-]{2,30}")


def _prepare(name: str) -> list[str]:
    """Where the corpus grows, with the seeds in it, and words that random bytes would not find."""
    grown = OUT / "corpus" / "parsers" / name
    grown.mkdir(parents=True, exist_ok=True)
    kept = CORPUS / name
    kept.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(PARSERS[name].seeds):
        (grown / f"seed-{number:02}").write_bytes(seed)
    words = {word for seed in PARSERS[name].seeds for word in _WORD.findall(seed)} | {b"null"}
    dictionary = OUT / f"{name}.dict"
    dictionary.write_text("".join(f'"{word.decode()}"\n' for word in sorted(words)))
    return [f"-dict={dictionary}", str(grown), str(kept)]


def _call(name: str, *arguments: str, seconds: float) -> tuple[int, str]:
    """One in a process of its own: libFuzzer ends its process."""
    command = [sys.executable, "-m", "tests.fuzz.parsers", name, *LIMITS]
    command += [f"-max_len={_LONGEST}", f"-artifact_prefix={OUT}/{name}-", *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=seconds + _STARTS, check=False
    )
    return done.returncode, done.stdout + done.stderr


def run(name: str, seconds: int) -> int:
    """Executions.  Ends the program if one of them is a mistake."""
    code, text = _call(name, f"-max_total_time={seconds}", *_prepare(name), seconds=seconds)
    counted = _DONE.search(text)
    if code != 0 or counted is None:
        raise SystemExit(f"{text[-6000:]}\n{name}: see above (exit code {code})")
    return int(counted[1])


def minimise(name: str) -> None:
    """Few and short ones: the corpus lives in the tree."""
    _, grown, kept = _prepare(name)
    code, text = _call(name, "-set_cover_merge=1", "-max_len=600", kept, grown, seconds=600)
    if code != 0:
        raise SystemExit(text[-6000:])


def main() -> None:
    """Prints how many executions there were."""
    if IS_ONE:
        itself = f"{sys.executable} -m tests.fuzz.parsers {sys.argv[1]}"  # to be called by a shell
        atheris.Setup([itself, *sys.argv[2:]], PARSERS[sys.argv[1]])
        atheris.Fuzz()
    parser = argparse.ArgumentParser(description="Fuzz every parser of bytes from outside.")
    parser.add_argument("--seconds", type=int, default=5, help="for each parser (default 5)")
    parser.add_argument("--jobs", type=int, default=1, help="so many at a time (default 1)")
    parser.add_argument("--only", choices=PARSERS, action="append")
    parser.add_argument("--minimise", action="store_true", help="take what was found into the tree")
    options = parser.parse_args()
    names = options.only or list(PARSERS)
    if options.minimise:
        for name in names:
            minimise(name)
            sys.stdout.write(f"{name}: {len(list((CORPUS / name).iterdir()))} inputs are kept\n")
        return
    total = 0
    with ThreadPoolExecutor(options.jobs) as pool:
        counts = pool.map(lambda name: run(name, options.seconds), names)
        for name, count in zip(names, counts, strict=True):
            total += count
            sys.stdout.write(f"{name}: {count:,} executions in {options.seconds} s\n")
            sys.stdout.flush()
    sys.stdout.write(f"parsers: {total:,} executions, none a mistake\n")


if __name__ == "__main__":
    os.environ.setdefault("PYTHONHASHSEED", "0")
    main()
