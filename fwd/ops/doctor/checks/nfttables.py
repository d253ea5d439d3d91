# SPDX-License-Identifier: Apache-2.0
"""nft's tables, one by one, as the agent's container is where the doctor runs, and has 256 MiB.

nft has all in memory that it lists, and Python what it printed.  With 50,000 rules of iptables-nft
`nft -j list ruleset` takes 470 MiB, and `nft list tables`, which reads all rules too (1.0.6), 190;
`nft list chains` takes 40.
"""

import json
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct, structs

from fwd.core.firewall import nft as text
from fwd.core.firewall.walk import Chain
from fwd.node.rules.programs import NotInKernelError, RuleError, run

MOST_MEBIBYTES = 64
"""Of nft: 6,000 rules, or 40,000 elements of a set of ranges.  Python needs 50 to read them."""

_FAMILIES = ("ip", "ip6", "inet")
_SAID = {0, 1, 3}
"""Exit codes of nft's: well, an error, no netlink.  Others: it had no memory, or came to an end."""
_BOUNDED = str(Path(__file__).with_name("bounded.py"))


class Table(Struct, frozen=True):
    """A table, or all of a family's; chains None: too large to look at."""

    where: str
    chains: Mapping[str, Chain] | None
    families: tuple[int, ...]


class Answers:
    """How programs that list rules have ended."""

    def __init__(self) -> None:
        self.given = 0
        self.refused = 0
        """There may be rules: not those by a kernel that does not know this kind."""

    def count(self, error: RuleError | None) -> None:
        """One more."""
        self.given += error is None
        self.refused += error is not None and not isinstance(error, NotInKernelError)


class _TooLargeError(Exception):
    """More memory, or more time, than there is for it."""


async def tables(program: str, *, besides_iptables: bool, answers: Answers) -> AsyncIterator[Table]:
    """Those of the IP families.  besides_iptables: those that iptables keeps are left out."""
    for family in _FAMILIES:
        where, families = f"nft {family}", text.families(family)
        try:
            found = await _found(program, family, besides_iptables=besides_iptables)
        except _TooLargeError:
            yield Table(where, None, families)
            continue
        except RuleError as error:
            answers.count(error)
            continue  # no nf_tables in this kernel, or no right: who needs it has said so
        answers.count(None)
        for name, may_drop in found.items():  # no name for what is read: it is to go before more is
            yield Table(
                f"{where} {name}",
                (await _chains(program, family, name)) if may_drop else {},
                families,
            )


async def _found(program: str, family: str, *, besides_iptables: bool) -> dict[str, bool]:
    """Tables of a family, and whether they have a chain that may drop something."""
    document = await _listed(program, "chains", family)
    return {
        name: any(chain.hook for chain in chains.values())
        for (_, name), chains in text.parse(document, besides_iptables=besides_iptables).items()
    }


async def _chains(program: str, family: str, name: str) -> Mapping[str, Chain] | None:
    try:
        document = await _listed(program, "table", family, name)
    except _TooLargeError:
        return None
    except RuleError:
        return {}  # gone since
    return text.parse(document, besides_iptables=False).get((family, name), {})


async def _listed(program: str, *words: str) -> dict[str, Any]:
    """What nft prints of it.  Raises RuleError."""
    argv = (program, "-j", "list", *words)
    bounded = (sys.executable, "-I", "-S", _BOUNDED, str(MOST_MEBIBYTES))
    try:
        done = await run((*bounded, *argv))
    except RuleError as error:  # not in time
        raise _TooLargeError from error
    if done.code not in _SAID:
        raise _TooLargeError
    document: dict[str, Any] = json.loads(structs.replace(done, argv=argv).checked() or "{}")
    return document
