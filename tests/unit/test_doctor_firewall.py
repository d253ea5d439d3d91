# SPDX-License-Identifier: Apache-2.0
"""Whose rules the doctor reads, and how much of them.  nft and iptables are scripts; PATH holds
nothing else."""

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from subprocess import run
from typing import Any

import pytest

from fwd.config import run_config
from fwd.node.rules import programs
from fwd.ops.doctor.checks import bounded, firewall, netconf, nfttables
from fwd.ops.doctor.finding import Finding, Grade
from fwd.ops.doctor.patient import Options, Patient

NFT = f"""#!{sys.executable}
import json, sys, time
from pathlib import Path

def greedy():
    taken = []
    try:
        for _ in range(300):
            taken.append(b"x" * (1 << 20))
    except MemoryError:
        pass  # and prints
    (there / "taken").write_text(str(len(taken)))

there = Path(__file__).parent
words = sys.argv[1:]
with (there / "asked").open("a") as asked:
    print(*words, file=asked)
wanted = words[2:]
found = []
for table in json.loads((there / "tables").read_text()):
    head, objects = {{key: table[key] for key in ("family", "table")}}, table["objects"]
    if wanted[0] == "chains":
        if wanted[1] != table["family"]:
            continue
        objects = [one for one in objects if "chain" in one]
    elif wanted[0] == "table" and wanted[1:] != list(head.values()):
        continue
    elif wanted[0] in {{"ruleset", "table"}}:
        if table["is"] == "slow":
            time.sleep(60)
        if table["is"] == "gone":
            sys.exit("Error: No such file or directory")
        if table["is"] == "dying":
            sys.exit(2)
        if table["is"] == "large":
            greedy()
    found += [{{kind: head | one[kind]}} for one in objects for kind in one]
print(json.dumps({{"nftables": found}}), end="")
"""
CHAINS = [f"list chains {family}" for family in ("ip", "ip6", "inet")]

Tables = Callable[..., None]


@pytest.fixture
def patient(tmp_path: Path) -> Patient:
    conf = tmp_path / "net-conf.json"
    conf.write_text(json.dumps({"Network": "10.244.0.0/16", "Backend": {"Type": "vxlan"}}))
    flags = ["--net-config-path", str(conf), "--run-dir", str(tmp_path), "--node-name", "n1"]
    made = Patient(run_config([*flags, "--static-leases", "none"], {}), Options())
    assert [one.grade for one in netconf.look(made)] == [Grade.WELL]
    return made


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """PATH, with nft in it that lists what the file `tables` says."""
    path = tmp_path / "bin"
    path.mkdir()
    monkeypatch.setenv("PATH", str(path))
    monkeypatch.setattr(programs, "_SBIN", str(path))
    script(path / "nft", NFT)
    return path


@pytest.fixture
def tables(path: Path) -> Tables:
    def put(*found: dict[str, Any]) -> None:
        (path / "tables").write_text(json.dumps(found))

    return put


def script(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def iptables(path: Path, save: str) -> None:
    script(path / "iptables-nft", "#!/bin/sh\necho 'iptables v1.8.9 (nf_tables)'\n")
    script(path / "iptables-nft-save", f"#!/bin/sh\necho '{save}'\n")
    script(path / "iptables-nft-restore", "#!/bin/sh\n")


def table(family: str, name: str, *, kind: str = "filter", is_: str = "") -> dict[str, Any]:
    """One that drops all that comes in."""
    chain = {"name": "in", "type": kind, "hook": "input", "policy": "drop"}
    rule = {"chain": "in", "handle": 1, "expr": [{"drop": None}]}
    objects = [{"chain": chain}, {"rule": rule}]
    return {"family": family, "table": name, "objects": objects, "is": is_}


async def look(patient: Patient) -> list[Finding]:
    return [finding async for finding in firewall.look(patient)]


def told(findings: list[Finding]) -> list[tuple[Grade, str]]:
    """Of the drops only where."""
    return [(one.grade, one.found.partition(" drops ")[0]) for one in findings]


def asked(path: Path) -> list[str]:
    return [line.removeprefix("-j ") for line in (path / "asked").read_text().splitlines()]


async def test_each_table_by_itself_and_none_that_iptables_shows(
    patient: Patient, path: Path, tables: Tables
) -> None:
    iptables(path, "*filter\n:INPUT ACCEPT [0:0]\nCOMMIT")
    own = (table("ip", name) for name in ("filter", "nat", "mangle", "raw", "security"))
    tables(*own, table("inet", "filter"), table("ip", "routes", kind="nat"), table("arp", "filter"))
    assert told(await look(patient)) == [(Grade.WRONG, "nft inet filter in")]
    assert asked(path) == [*CHAINS, "list table inet filter"]


async def test_without_iptables_its_tables_are_nfts(
    patient: Patient, path: Path, tables: Tables
) -> None:
    """One that is gone when it is listed is none."""
    tables(table("ip", "filter"), table("ip", "old", is_="gone"))
    assert told(await look(patient)) == [(Grade.WRONG, "nft ip filter in")]
    assert asked(path)[1:3] == ["list table ip filter", "list table ip old"]


async def test_a_table_that_takes_too_much_memory(
    patient: Patient, path: Path, tables: Tables
) -> None:
    """What nft prints of it when it gets no more does not count."""
    tables(table("ip", "kube-proxy", is_="large"), table("inet", "blocks"))
    assert told(await look(patient)) == [
        (Grade.NOTE, "nft ip kube-proxy is too large to look at, and may drop the overlay"),
        (Grade.WRONG, "nft inet blocks in"),
    ]
    taken = int((path / "taken").read_text())
    assert taken < 1.5 * nfttables.MOST_MEBIBYTES


@pytest.mark.parametrize("is_", ["large", "dying"])
async def test_nothing_but_what_is_too_large(patient: Patient, tables: Tables, is_: str) -> None:
    """Then nothing is said to be well."""
    tables(table("inet", "big", is_=is_))
    assert [one.grade for one in await look(patient)] == [Grade.NOTE]


async def test_a_table_that_takes_too_long(
    patient: Patient, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nfttables, "run", partial(programs.run, limit=2))
    tables(table("ip", "kube-proxy", is_="slow"), table("inet", "blocks"))
    assert [grade for grade, _ in told(await look(patient))] == [Grade.NOTE, Grade.WRONG]


async def test_more_of_iptables_than_is_kept(
    patient: Patient, path: Path, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one table: others count by themselves, and those that nobody needs do not."""
    monkeypatch.setattr(firewall, "_MOST_LINES", 5)
    tables()
    accept = "-A FORWARD -j ACCEPT\n" * 4
    closed, opened = (f":FORWARD DROP [0:0]\n{more}COMMIT\n" for more in ("", accept))
    iptables(path, f"*nat\n{opened}*mangle\n{opened}*filter\n{closed}")
    assert told(await look(patient)) == [
        (Grade.NOTE, "iptables-nft mangle is too large to look at, and may drop the overlay"),
        (Grade.WRONG, "iptables-nft filter FORWARD"),
    ]


@pytest.mark.parametrize(
    ("chain", "expected"),
    [
        ("PREROUTING", [Grade.WELL]),
        ("FORWARD", [Grade.WELL]),
        ("POSTROUTING", [Grade.WRONG]),
    ],
)
async def test_a_mark_of_an_earlier_hook(
    patient: Patient, path: Path, tables: Tables, chain: str, expected: list[Grade]
) -> None:
    """Of another table, wherever that is printed."""
    iptables(
        path,
        "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -m mark ! --mark 0x1 -j DROP\nCOMMIT\n"
        f"*mangle\n:{chain} ACCEPT [0:0]\n-A {chain} -j MARK --set-xmark 0x1/0x1\nCOMMIT",
    )
    tables()
    assert [one.grade for one in await look(patient)] == expected


@pytest.mark.parametrize(
    ("words", "code"),
    [("echo said", 0), ("echo said; exit 3", 3), ("echo said; kill -6 $$", 6)],
)
def test_a_program_within_bounds_ends_as_it_does(words: str, code: int) -> None:
    bounding = [sys.executable, "-I", "-S", bounded.__file__, "64"]
    done = run([*bounding, "/bin/sh", "-c", words], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (code, "said\n")
    missing = run([*bounding, "/nowhere"], capture_output=True, text=True, check=False)
    assert missing.returncode == 127


NO_NETLINK = "Unable to initialize Netlink socket: Protocol not supported"
NO_LEGACY = "Unable to open /proc/net/ip_tables_names: No such file or directory"
NO_RIGHT = "you must be root"


def failing(path: Path, **words: str) -> None:
    """Programs that end with these."""
    for name, said in words.items():
        script(path / name.replace("_", "-"), f"#!/bin/sh\necho '{said}' >&2\nexit 1\n")


@pytest.mark.parametrize("absent", [{}, {"nft": NO_NETLINK}, {"iptables_nft_save": NO_LEGACY}])
async def test_no_rules_at_all_drop_nothing(
    patient: Patient, path: Path, tables: Tables, absent: dict[str, str]
) -> None:
    """A node on which nobody has made one yet.  What the kernel does not know has none either."""
    iptables(path, "")
    tables()
    failing(path, **absent)
    (found,) = await look(patient)
    assert (found.grade, found.found) == (
        Grade.WELL,
        "no rule drops the overlay (tables looked at: 0)",
    )


@pytest.mark.parametrize(
    "refusing", [("nft",), ("iptables_nft_save",), ("nft", "iptables_nft_save")]
)
async def test_rules_that_may_not_be_read_are_not_none(
    patient: Patient, path: Path, tables: Tables, refusing: tuple[str, ...]
) -> None:
    """Though others have none: in a Pod without NET_RAW only the legacy ones are refused."""
    iptables(path, "")
    tables()
    failing(path, **dict.fromkeys(refusing, NO_RIGHT))
    await cannot_be_read(patient)


async def test_no_program_to_ask(patient: Patient, path: Path) -> None:
    (path / "nft").unlink()
    await cannot_be_read(patient)


async def cannot_be_read(patient: Patient) -> None:
    (found,) = await look(patient)
    assert found.grade is Grade.NOTE
    assert found.found.startswith("no rules can be read: ")
