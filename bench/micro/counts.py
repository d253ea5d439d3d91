# SPDX-License-Identifier: Apache-2.0
"""Instructions for each packet in the hot loop, counted by callgrind, against the recorded ones.

`counts.py PATH-PROGRAM` prints them, `--record` writes them to recorded.json.  A case runs for some
turns and for twice as many: the difference is what a packet costs, without the set-up.  Unlike
times, the figures depend on the compiler alone, not on the machine or its load.  The kernel's part
is not in them; wire_stub.c's copies are, equally in each.
"""

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

RECORDED = Path(__file__).with_name("recorded.json")
CASES = ("out-udp-64", "out-udp-1300", "out-tcp-64k", "in-udp-64", "in-udp-1300", "in-tcp-64k")
LEASES = (3, 5_000, 65_536)
TURNS = 60
LIMIT_SECONDS = 120


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


def compiler() -> str:
    """Whose code it is: figures of different compilers do not compare."""
    done = subprocess.run(
        ["cc", "--version"], capture_output=True, text=True, timeout=10, check=True
    )
    return done.stdout.splitlines()[0]


def main() -> int:
    """0 always: what is worth how many instructions, a person decides."""
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    found = {
        case: {str(leases): a_packet(options.program, case, leases) for leases in LEASES}
        for case in CASES
    }
    recorded = json.loads(RECORDED.read_text()) if RECORDED.exists() else {}
    before = recorded.get("instructions", {})
    print("instructions a packet" + "".join(f"{leases:>20,}" for leases in LEASES) + "   leases")
    for case, row in found.items():
        cells = []
        for leases, now in row.items():
            was = before.get(case, {}).get(leases)
            cells.append(f"{now:11.1f} " + (f"({now / was - 1:+7.1%})" if was else " " * 9))
        print(f"{case:21}{''.join(cells)}")
    if recorded and recorded["compiler"] != compiler():
        print(f"recorded with another compiler: {recorded['compiler']}")
    if options.record:
        RECORDED.write_text(
            json.dumps({"compiler": compiler(), "instructions": found}, indent=1) + "\n"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
