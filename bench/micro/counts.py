# SPDX-License-Identifier: Apache-2.0
"""Instructions for each packet in the hot loop, counted by callgrind, against the recorded ones.

`counts.py PATH-PROGRAM` prints them, and fails if one has moved by more than 5 %, up or down: what
is worth how many instructions a person decides, who then says `--record WHY`, which writes them to
recorded.json.  A case runs for some turns and for twice as many: the difference is what a packet
costs, without the set-up.  Unlike times, the figures depend neither on a machine's speed nor on its
load, but on the compiler and on whether there is AVX2: of others they are printed and no more.  The
kernel's part is not in them; wire_stub.c's copies are, equally in each.
"""

import argparse
import json
import os
import platform
import re
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

RECORDED = Path(__file__).with_name("recorded.json")
CASES = ("out-udp-64", "out-udp-1300", "out-tcp-64k", "in-udp-64", "in-udp-1300", "in-tcp-64k")
LEASES = (3, 5_000, 65_536)
TURNS = 60
LIMIT_SECONDS = 120
AT_A_TIME = 2
MOVED = 0.05

Counts = dict[str, dict[str, float]]
"""Instructions a packet, by case and number of leases."""


def collected(program: str, case: str, leases: int, turns: int) -> tuple[int, int]:
    """Instructions of a whole run, and the packets of one turn."""
    counting = ("valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null")
    done = subprocess.run(
        [*counting, program, case, str(leases), str(turns)],
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
    )
    total = re.search(r"Collected : (\d+)", done.stderr)
    packets = re.search(r"(\d+) packets a turn", done.stdout)
    if done.returncode or not total or not packets:
        sys.exit(f"{case} at {leases} leases: {done.stderr.strip()[-300:]}")
    return int(total[1]), int(packets[1])


def a_packet(program: str, case: str, leases: int) -> float:
    """Instructions for one packet."""
    once, packets = collected(program, case, leases, TURNS)
    twice, _ = collected(program, case, leases, 2 * TURNS)
    return round((twice - once) / (TURNS * packets), 1)


def counted(program: str) -> Counts:
    """All of them."""
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        found = {
            case: {leases: pool.submit(a_packet, program, case, leases) for leases in LEASES}
            for case in CASES
        }
    return {
        case: {str(leases): one.result() for leases, one in row.items()}
        for case, row in found.items()
    }


def made_by() -> dict[str, str]:
    """Whose code it is, and which of the sums it takes: figures of others do not compare.

    The compiler is the Makefile's $(CC), of which there may be several words.
    """
    words = shlex.split(os.environ.get("CC") or "cc")
    done = subprocess.run(
        [*words, "--version"], capture_output=True, text=True, timeout=10, check=True
    )
    # gcc begins with the name by which it was called, and is the same by any.
    names = "|".join(re.escape(Path(word).name) for word in words)
    wide = "avx2" in Path("/proc/cpuinfo").read_text().split()
    return {
        "compiler": re.sub(rf"^({names}) (?=\()", "cc ", done.stdout.splitlines()[0]),
        "processor": platform.machine() + (" with AVX2" if wide else ""),
    }


def told(found: Counts, before: Counts) -> list[str]:
    """Prints them; those that have moved, or were not there before."""
    moved = []
    print("instructions a packet" + "".join(f"{leases:>20,}" for leases in LEASES) + "   leases")
    for case, row in found.items():
        cells = []
        for leases, now in row.items():
            was = before.get(case, {}).get(leases)
            cells.append(f"{now:11.1f} " + (f"({now / was - 1:+7.1%})" if was else " " * 9))
            if not was or abs(now / was - 1) > MOVED:
                moved.append(f"{case} at {leases} leases")
        print(f"{case:21}{''.join(cells)}")
    return moved


def main() -> int:
    """Exit code 1 if something has moved that nobody has recorded."""
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--record", metavar="WHY", help="what has moved them")
    options = parser.parse_args()
    found, here = counted(options.program), made_by()
    recorded = json.loads(RECORDED.read_text())
    moved = told(found, recorded["instructions"])
    if options.record:
        document = here | {"why": options.record, "instructions": found}
        RECORDED.write_text(json.dumps(document, indent=1) + "\n")
        return 0
    others = [text for key, text in here.items() if recorded[key] != text]
    if others:
        print(f"recorded with {recorded['compiler']} on {recorded['processor']}: not compared")
        return 0
    if moved:
        print(
            f"moved by more than {MOVED:.0%}: {', '.join(moved)}.  If it is worth it: "
            "make -C bench/micro counts ARGS='--record \"WHY\"'"
        )
    return bool(moved)


if __name__ == "__main__":
    sys.exit(main())
