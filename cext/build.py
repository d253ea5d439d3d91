# SPDX-License-Identifier: Apache-2.0
"""Builds the C of fwd as cffi modules in API mode (abi3), each from one directory.

    fwd._plane      cext/           the data plane; fwd/plane/ turns it into Python
    fwd._traffic    cext/traffic/   the load generator of `fwd bench`; fwd/bench/traffic.py

A module's C ABI is written once, in its api.h: C files include it, and what the C compiler sees
there is also what cffi reads.  setup.py hands `plane` and `traffic` to setuptools for `pip
install`; as a program this file runs the same build without pip and leaves fwd/_*.abi3.so in fwd/,
for development.  Two modules, because the agent must not carry a load generator.

Environment:
    CC              gcc or clang
    FWD_WERROR      1: warnings are errors.  Not the default, because a compiler newer than this
                    code must not make it impossible to install.
    FWD_SANITIZE    address,undefined or thread: an instrumented module (gcc only) for runs such as
                    LD_PRELOAD=$(gcc -print-file-name=libasan.so) python -m fwd run ...
"""

import argparse
import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

from cffi import FFI

ROOT = Path(__file__).resolve().parent.parent

_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_INTEGER = re.compile(r"\s*#\s*define\s+\w+\s+(0[xX][0-9a-fA-F]+|\d+)\s*")

_SANITIZERS = ("address,undefined", "thread")


def declarations(header: str) -> str:
    """A C header as cffi's cdef reads it: of the preprocessor only `#define NAME integer` stays."""
    lines = _COMMENT.sub("", header).splitlines()
    return "\n".join(
        line for line in lines if not line.lstrip().startswith("#") or _INTEGER.fullmatch(line)
    )


def sanitizer_flags(name: str) -> list[str]:
    """Flags, for compiler and linker alike, of one value of FWD_SANITIZE; none for an empty one."""
    if not name:
        return []
    if name not in _SANITIZERS:
        raise SystemExit(f"FWD_SANITIZE={name}: must be one of {' or '.join(_SANITIZERS)}")
    compiler = os.environ.get("CC") or str(sysconfig.get_config_var("CC"))
    if "clang" in compiler:
        # clang 14 has no shared TSan runtime, and a static one cannot be preloaded into python.
        raise SystemExit(f"FWD_SANITIZE={name} needs gcc, CC is {compiler}: set CC=gcc")
    return [f"-fsanitize={name}", "-fno-omit-frame-pointer", "-g", "-UNDEBUG"]


def describe(module: str, directory: str) -> FFI:
    """A module, as setuptools wants it: sources relative to the directory of setup.py."""
    builder = FFI()
    files = ROOT / directory
    builder.cdef(declarations((files / "api.h").read_text()))
    sanitizers = sanitizer_flags(os.environ.get("FWD_SANITIZE", ""))
    werror = ["-Werror"] if os.environ.get("FWD_WERROR") == "1" else []
    builder.set_source(
        module,
        '#include "api.h"',
        sources=sorted(f"{directory}/{path.name}" for path in files.glob("*.c")),
        depends=sorted(f"{directory}/{path.name}" for path in files.glob("*.[hd]*")),
        include_dirs=[directory],
        define_macros=[("_GNU_SOURCE", None)],
        # No -march: one build serves every machine, faster code is chosen at run time.
        extra_compile_args=[
            *("-std=c11", "-O2", "-pthread", "-fvisibility=hidden", "-Wall", "-Wextra"),
            *werror,
            *sanitizers,
        ],
        extra_link_args=["-pthread", *sanitizers],
    )
    return builder


def main() -> None:
    """Builds the modules in place, or below a directory of the caller's choice."""
    parser = argparse.ArgumentParser(description="Build the C modules of fwd.")
    parser.add_argument(
        "--into", metavar="DIR", help="write DIR/fwd/_*.abi3.so (default: in place)"
    )
    into = parser.parse_args().into
    place = ["--build-lib", into] if into else ["--inplace"]
    temporary = ["--build-temp", f"{into or 'build'}/cext"]
    # --force: setuptools looks at times only, and a change of CC or of flags shows in none.
    command = [sys.executable, "setup.py", "--quiet", "build_ext", "--force", *place, *temporary]
    raise SystemExit(subprocess.run(command, cwd=ROOT, check=False).returncode)


if __name__ == "__main__":
    main()
else:
    plane = describe("fwd._plane", "cext")
    traffic = describe("fwd._traffic", "cext/traffic")
