# SPDX-License-Identifier: Apache-2.0
"""Which of the installed programs are used, and what is said of those that are missing.

Programs are scripts that print what the real ones would; PATH holds nothing else.
"""

import asyncio
import os
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import pytest

from fwd.core.rules import Repair, Wanted
from fwd.model import IPV4, IPV6, ConfigError
from fwd.node.rules import asnode, backend, keeper, nftables, programs
from fwd.node.rules.bridge import check_bridge_filter
from fwd.node.rules.iptables import Iptables
from fwd.node.rules.keeper import RuleKeeper, choose_engine
from fwd.node.rules.programs import NotInKernelError, RuleError
from tests.unit.rules_model import BOTH, CASES, NETWORKS, SUBNETS

SH = "/bin/sh"
IPV4_ONLY = Wanted({IPV4: NETWORKS[IPV4]}, {IPV4: SUBNETS[IPV4]})
NFT_VERSION = "iptables v1.8.9 (nf_tables)"
HINT = "*mangle\n:KUBE-KUBELET-CANARY - [0:0]\nCOMMIT"

Install = Callable[..., None]
NewLoop = Callable[[], asyncio.AbstractEventLoop]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Makes programs that print this text, and all of their like that print nothing."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(programs, "_SBIN", str(tmp_path))

    def make(*commands: str, version: str = NFT_VERSION, save: str = "", code: int = 0) -> None:
        for command in commands:
            for name, said in ((command, version), (f"{command}-save", save)):
                (tmp_path / name).write_text(f"#!/bin/sh\necho '{said}'\nexit {code}\n")
            (tmp_path / f"{command}-restore").write_text("#!/bin/sh\n")
            for suffix in ("", "-save", "-restore"):
                (tmp_path / f"{command}{suffix}").chmod(0o755)

    return make


async def chosen(families: Sequence[int] = (IPV4,)) -> str:
    return (await choose_engine(nft=False, families=families)).name


RULE = "*nat\n-A POSTROUTING -j KUBE\nCOMMIT"


@pytest.mark.parametrize(
    ("nft", "legacy", "name"),
    [
        ("", "", "iptables-nft"),
        (HINT, RULE, "iptables-nft"),
        (RULE, HINT, "iptables-legacy"),
        (HINT, HINT, "iptables-nft"),
        (RULE, RULE, "iptables-nft"),
        ("", RULE, "iptables-legacy"),
        (RULE, "", "iptables-nft"),
    ],
)
async def test_the_back_end_is_what_the_node_uses(
    install: Install, nft: str, legacy: str, name: str
) -> None:
    install("iptables-nft", save=nft)
    install("iptables-legacy", save=legacy)
    assert await chosen() == name


@pytest.fixture
def load_legacy(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], object]:
    """Makes the kernel have legacy tables; programs of both are there, and legacy's fails."""
    install("iptables-nft", "ip6tables-nft", save=RULE)
    install("iptables-legacy", "ip6tables-legacy", code=1)
    (tmp_path / "iptables-legacy").write_text("#!/bin/sh\necho v1.8.9\n")
    names = tmp_path / "ip_tables_names"
    monkeypatch.setattr(backend, "LEGACY_TABLES", {IPV4: names, IPV6: tmp_path / "none"})
    return lambda: names.write_text("nat\nfilter\n")


async def test_legacy_tables_that_cannot_be_read_are_no_reason_to_take_nft(
    load_legacy: Callable[[], object],
) -> None:
    assert await chosen() == "iptables-nft", "the kernel does not know them"
    load_legacy()
    with pytest.raises(RuleError, match=r"\(nat, filter\).* needs CAP_NET_RAW"):
        await chosen()


async def test_legacy_tables_that_cannot_be_read_are_nothing_to_who_wants_no_rules(
    load_legacy: Callable[[], object],
) -> None:
    load_legacy()
    wanted = CASES["none"]
    engine = await choose_engine(nft=False, families=wanted.families)
    assert engine.name == "iptables-nft"
    kept = RuleKeeper(engine, wanted)
    assert await kept.install() == await kept.check() == []


def test_a_person_is_not_shown_nft_where_legacy_cannot_be_read(
    load_legacy: Callable[[], object],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    load_legacy()
    monkeypatch.setattr(os, "execv", lambda *_: pytest.fail("became a program"))
    assert asnode.main(["iptables", "-S"]) == 1
    assert "needs CAP_NET_RAW" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("iptables", "iptables-legacy"),
        ("/usr/local/sbin/ip6tables-save", "ip6tables-legacy-save"),
    ],
)
def test_iptables_for_a_person_is_that_of_the_node(
    install: Install, monkeypatch: pytest.MonkeyPatch, name: str, meant: str
) -> None:
    install("iptables-nft", "ip6tables-nft")
    install("iptables-legacy", "ip6tables-legacy", save=HINT)
    became: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda path, argv: became.append([Path(path).name, *argv]))
    asnode.main([name, "-L"])
    assert became == [[meant, meant, "-L"]]


async def test_rules_of_others_are_read_and_not_held(install: Install, tmp_path: Path) -> None:
    """kube-proxy may have 100,000, and the container a limit."""
    rule = '-A KUBE-SVC -p tcp -m comment --comment "a/b:http cluster IP" -j KUBE-SEP-{}\n'
    for name, rules in (("iptables-nft", 20_000), ("iptables-legacy", 20_001)):
        install(name)
        lines = "".join(rule.format(number) for number in range(rules))
        lines += "-A ELSEWHERE -j FLANNEL-POSTRTG\n-A POSTROUTING -j KUBE-POSTROUTING\n"
        (tmp_path / "rules").mkdir(exist_ok=True)
        (tmp_path / "rules" / name).write_text(f"*nat\n{lines}COMMIT\n")
        (tmp_path / f"{name}-save").write_text(f"#!{SH}\nexec /bin/cat {tmp_path}/rules/{name}\n")
    tracemalloc.start()
    try:
        engine = await choose_engine(nft=False, families=(IPV4,))
        findings = (await engine.plan_removal()).findings
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert engine.name == "iptables-legacy"
    assert [one.rule for one in findings] == ["-j FLANNEL-POSTRTG"]
    assert peak < 1_000_000


async def test_kubelets_hint_counts_in_either_family(install: Install) -> None:
    install("iptables-nft", "ip6tables-nft", save=RULE)
    install("iptables-legacy")
    install("ip6tables-legacy", save=HINT)
    assert await chosen() == "iptables-legacy"


async def test_a_back_end_that_the_kernel_does_not_know_is_not_chosen(install: Install) -> None:
    install("iptables-legacy")
    install("iptables-nft", save="")
    failing = Path(os.environ["PATH"]) / "iptables-nft-save"
    failing.write_text("#!/bin/sh\nexit 1\n")
    assert await chosen() == "iptables-legacy"


@pytest.mark.parametrize(
    ("version", "name"),
    [(NFT_VERSION, "iptables-nft"), ("iptables v1.6.1", "iptables-legacy")],
)
async def test_a_plain_iptables_says_what_it_is(install: Install, version: str, name: str) -> None:
    install("iptables", version=version)
    assert await chosen() == name


@pytest.mark.parametrize(
    ("version", "modern"),
    [("1.4.21", False), ("1.6.1", False), ("1.6.2", True), ("1.8", True), ("1.8.11", True)],
)
async def test_old_programs_neither_wait_nor_know_random_fully(
    install: Install, version: str, *, modern: bool
) -> None:
    install("iptables", version=f"iptables v{version}")
    (engine,) = await backend.installed()
    assert engine.modern is modern


async def test_what_is_missing_is_said_in_one_line(install: Install) -> None:
    with pytest.raises(ConfigError, match=r"^iptables is not installed, .*: install iptables, or"):
        await chosen()
    with pytest.raises(ConfigError, match=r"^nft is not installed, .*: install nftables, or"):
        await choose_engine(nft=True, families=(IPV4,))
    install("iptables-nft")
    with pytest.raises(ConfigError, match=r"^ip6tables is not installed") as raised:
        await chosen((IPV4, IPV6))
    assert "\n" not in str(raised.value)


async def test_without_rules_no_program_is_needed(install: Install) -> None:
    engine = await choose_engine(nft=False, families=CASES["none"].families)
    kept = RuleKeeper(engine, CASES["none"])
    assert await kept.install() == await kept.check() == await kept.remove() == []
    install("ip6tables-nft")
    with pytest.raises(ConfigError, match=r"^iptables is not installed"):
        await chosen()


async def test_ip6tables_may_be_missing_where_ipv6_is_off(install: Install) -> None:
    install("iptables-nft")
    engine = await choose_engine(nft=False, families=IPV4_ONLY.families)
    assert (await engine.plan(IPV4_ONLY, thorough=True)).findings
    assert (await engine.plan_removal()).findings == ()


async def test_what_is_not_installed_has_left_nothing_to_clean(install: Install) -> None:
    assert await keeper.clean_all() == []
    install("iptables-nft")
    engine = await choose_engine(nft=False, families=(IPV4,))
    assert await keeper.clean_others(engine) == []


async def test_an_engine_that_cannot_be_asked_keeps_no_other_from_being_cleaned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    class Engine(Iptables):
        async def plan_removal(self) -> Repair:
            asked.append(self.back_end)
            if self.back_end == "legacy":
                return Repair(findings=(), transactions=())
            refusal = NotInKernelError if self.back_end == "unknown" else RuleError
            raise refusal(f"{self.back_end} does not answer")

    engines = [Engine(end, {}, version=()) for end in ("own", "unknown", "nft", "late", "legacy")]

    async def installed() -> list[Engine]:
        return engines

    monkeypatch.setattr(keeper, "installed_engines", installed)
    with pytest.raises(RuleError, match=r"^nft does not answer"):
        await keeper.clean_others(engines[0])
    assert asked == ["unknown", "nft", "late", "legacy"]


def test_the_bridge_module_is_asked_for_only_where_rules_need_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"^Failed to check br_netfilter: stat {tmp_path}/bridge"):
        check_bridge_filter(IPV4_ONLY, directory=tmp_path)
    check_bridge_filter(CASES["none"], directory=tmp_path)
    (tmp_path / "bridge-nf-call-iptables").write_text("0\n")
    check_bridge_filter(IPV4_ONLY, directory=tmp_path)
    with pytest.raises(ConfigError, match="bridge-nf-call-ip6tables: no such file"):
        check_bridge_filter(BOTH, directory=tmp_path)


MASQUERADED = msgspec.structs.replace(IPV4_ONLY, masquerade=True)


async def test_nft_is_asked_what_it_knows(install: Install) -> None:
    install("nft", code=1)
    assert not (await nftables.choose()).comments
    install("nft")
    engine = await nftables.choose()
    await engine.plan(MASQUERADED, thorough=True)
    assert (engine.random_fully, engine.comments) == (True, True)


async def test_the_kernel_looks_at_masquerading_only_where_it_is_wanted(
    install: Install, tmp_path: Path
) -> None:
    install("nft")
    told = tmp_path / "told"
    (tmp_path / "nft").write_text(f"#!{SH}\n/bin/cat >>{told}\n")
    engine = await nftables.choose()
    await engine.plan(IPV4_ONLY, thorough=True)
    await engine.plan_removal()
    plain = msgspec.structs.replace(MASQUERADED, random_fully=False)
    await engine.plan(plain, thorough=True)
    assert "masquerade" not in told.read_text()
    await engine.plan(MASQUERADED, thorough=True)
    assert "masquerade fully-random" in told.read_text()
