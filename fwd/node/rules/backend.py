# SPDX-License-Identifier: Apache-2.0
"""Which of iptables' back ends: the one that the node already uses.

Rules in both would see packets twice.  kubernetes-sigs/iptables-wrappers, by which flannel's image
chooses, asks in this order, and so do we: kubelet's chain in the nft tables; kubelet's chain in the
legacy tables; where there is neither, legacy if it has more rules than nft, else nft.  Where only
one is installed, it is that one; a plain `iptables` counts where there is none with the back end in
its name.
"""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from fwd.core.rules import FAMILIES
from fwd.model import IPV4, IPV6, ConfigError
from fwd.node.rules.iptables import COMMANDS, Iptables, Programs
from fwd.node.rules.programs import RuleError, read_lines, run

BACK_ENDS = ("nft", "legacy")

LEGACY_TABLES = {
    IPV4: Path("/proc/net/ip_tables_names"),
    IPV6: Path("/proc/net/ip6_tables_names"),
}
"""The kernel's lists, one name a line; not there without its legacy modules."""

_HINTS = (":KUBE-IPTABLES-HINT ", ":KUBE-KUBELET-CANARY ")


class _Count:
    """What counts of iptables-save, which may be 100,000 lines of kube-proxy's."""

    def __init__(self) -> None:
        self.rules = 0
        self.is_kubelets = False

    def take(self, line: str) -> None:
        if line.startswith("-A "):
            self.rules += 1
        elif line.startswith(_HINTS):
            self.is_kubelets = True


async def installed() -> list[Iptables]:
    """All back ends that this node has programs for."""
    found = []
    for back_end in BACK_ENDS:
        programs = {
            family: programs
            for family in FAMILIES
            if (programs := Programs.find(f"{COMMANDS[family]}-{back_end}"))
        }
        if programs:
            found.append(await _open(back_end, programs))
    if found:
        return found
    plain = {
        family: programs for family in FAMILIES if (programs := Programs.find(COMMANDS[family]))
    }
    return [await _open("", plain)] if plain else []


async def _open(back_end: str, programs: Mapping[int, Programs]) -> Iptables:
    said = (await run([next(iter(programs.values())).command, "--version"])).checked()
    number = re.search(r"v(\d+(?:\.\d+)*)", said)
    version = tuple(map(int, number[1].split("."))) if number else ()
    return Iptables(
        back_end or ("nft" if "nf_tables" in said else "legacy"), programs, version=version
    )


def require_programs(families: Sequence[int]) -> None:
    """ConfigError if no back end has programs for one of these families."""
    endings = (*(f"-{back_end}" for back_end in BACK_ENDS), "")
    for family in families:
        if not any(Programs.find(f"{COMMANDS[family]}{ending}") for ending in endings):
            raise ConfigError(missing(family))


async def choose(engines: Sequence[Iptables], *, families: Sequence[int]) -> Iptables:
    """The back end that the node uses, for rules of these families.

    Raises ConfigError if what they need is not there; without rules nothing is needed.  Then any
    back end will do, so a node that does not let us see which one it uses is no trouble.
    """
    if not engines and not families:
        return Iptables("nft", {}, version=())
    if not engines:
        raise ConfigError(missing(families[0]))
    try:
        engine = await in_use(engines)
    except RuleError:
        if families:
            raise
        return next(engine for engine in engines if engine.back_end == "nft")
    for family in families:
        if family not in engine.programs:
            raise ConfigError(missing(family))
    return engine


async def in_use(engines: Sequence[Iptables]) -> Iptables:
    """Of one or both back ends.  Raises RuleError where it cannot be known."""
    by_name = {engine.back_end: engine for engine in engines}
    if len(by_name) == 1:
        return engines[0]
    rules = {}
    for back_end in BACK_ENDS:
        counts = await _counts(by_name[back_end])
        if any(count.is_kubelets for count in counts):
            return by_name[back_end]
        rules[back_end] = sum(count.rules for count in counts) if counts else -1
    return by_name["legacy" if rules["legacy"] > rules["nft"] else "nft"]


async def _counts(engine: Iptables) -> list[_Count]:
    """All tables, of each family; none: the kernel does not know this back end.

    Raises RuleError where there are legacy tables and we may not read them.  To take nft then would
    be a guess, and rules in both back ends the price of a wrong one.
    """
    counts = []
    for family, programs in engine.programs.items():
        count = _Count()
        done = await read_lines([programs.save], count.take)
        if done.code == 0:
            counts.append(count)
        elif engine.back_end == "legacy" and (tables := _legacy_tables(family)):
            raise RuleError(
                f"{programs.save} cannot read this node's tables ({', '.join(tables)}): legacy "
                "iptables needs CAP_NET_RAW (or set EnableNFTables in net-conf.json)"
            )
    return counts


def _legacy_tables(family: int) -> list[str]:
    """Those that this network namespace has; to see them takes no right."""
    with suppress(OSError):
        return LEGACY_TABLES[family].read_text(encoding="ascii").split()
    return []


def missing(family: int) -> str:
    """One line: what is not there, and what to do."""
    return (
        f"{COMMANDS[family]} is not installed, and IPv{family} rules need it: install iptables, or "
        "set EnableNFTables in net-conf.json, or turn --ip-masq and --iptables-forward-rules off"
    )
