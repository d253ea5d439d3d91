# SPDX-License-Identifier: Apache-2.0
"""Masquerade and forward rules for as long as the agent lives, and their end.

In the agent:

    engine = await choose_engine(nft=conf.enable_nftables, families=wanted.families)
    keeper = RuleKeeper(engine, wanted)
    await keeper.install()           # before subnet.env is written (flannel spec 10.1)
    await clean_others(engine)       # after it: at no moment is there no rule at all
    await keeper.check()             # every --iptables-resync seconds, in both modes
    await keeper.change(wanted)      # another network or subnet

Each returns what it has put right, for the log, and raises RuleError, after which the next check
tries again.  Nothing is undone when the agent ends, as with flannel (spec 10.3); `remove` and
`clean_all` do that.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from fwd.core.rules import Finding, Repair, Wanted
from fwd.node.rules import backend, nftables
from fwd.node.rules.programs import LockHeldError, NotInKernelError, RuleError

ATTEMPTS = 3
"""Others change the same tables: what was seen may not hold when it is acted upon."""


class Engine(Protocol):
    """One way to the kernel's rules."""

    @property
    def name(self) -> str:
        """For logs."""

    async def plan(self, wanted: Wanted, *, thorough: bool) -> Repair:
        """What is wrong now; thorough: also in families and tables where nothing is wanted."""

    async def plan_removal(self) -> Repair:
        """All that is ours."""

    async def apply(self, repair: Repair) -> None:
        """Makes it so.  RuleError if it cannot be done; nothing is half done in one table."""


class RuleKeeper:
    """The rules of one engine.  One call at a time."""

    def __init__(self, engine: Engine, wanted: Wanted) -> None:
        self.engine = engine
        self.wanted = wanted

    async def install(self) -> list[Finding]:
        """Makes all as it must be, also what other flags or an earlier flannel left behind.

        Changes nothing where all is right: a restart disturbs no flow.
        """
        return await self._enforce(thorough=True)

    async def check(self) -> list[Finding]:
        """Looks at what is wanted, and repairs it in one transaction a family."""
        return await self._enforce(thorough=False)

    async def change(self, wanted: Wanted) -> list[Finding]:
        """Puts other rules in the place of these ones.

        What belongs to an earlier network or subnet need not be known: our chains hold the wanted
        rules and nothing else.
        """
        self.wanted = wanted
        return await self.install()

    async def remove(self, *, dry_run: bool = False) -> list[Finding]:
        """Removes all that is ours in this engine; dry_run: only says what that is."""
        return await _remove(self.engine, dry_run=dry_run)

    async def _enforce(self, *, thorough: bool) -> list[Finding]:
        return await _until_right(
            lambda: self.engine.plan(self.wanted, thorough=thorough), self.engine.apply
        )


async def _until_right(
    plan: Callable[[], Awaitable[Repair]], apply: Callable[[Repair], Awaitable[None]]
) -> list[Finding]:
    """What was repaired.  RuleError if something is wrong after ATTEMPTS."""
    repaired: list[Finding] = []
    refused: RuleError | None = None
    for _ in range(ATTEMPTS):
        repair = await plan()
        if not repair.findings:
            return repaired
        try:
            await apply(repair)
        except LockHeldError:  # has been waited for
            raise
        except RuleError as error:
            refused = error
        else:
            refused = None
            repaired += repair.findings
    if refused is not None:
        raise refused
    left = (await plan()).findings
    if left:
        raise RuleError(f"the rules do not stay as they are written: {left[0]}")
    return repaired


def require_programs(*, nft: bool, families: Sequence[int]) -> None:
    """Looks, without running any, whether choose_engine will find what it needs.

    Raises ConfigError.
    """
    if nft:
        nftables.require_program()
    else:
        backend.require_programs(families)


async def choose_engine(*, nft: bool, families: Sequence[int]) -> Engine:
    """The engine for rules of these families.  ConfigError if a program is missing."""
    if nft:
        return await nftables.choose()
    return await backend.choose(await backend.installed(), families=families)


async def installed_engines() -> list[Engine]:
    """All of this node; one that is not installed can have left nothing that we could remove."""
    engines: list[Engine] = [*await backend.installed()]
    found = await nftables.Nftables.find()
    return [*engines, found] if found is not None else engines


async def clean_others(engine: Engine, *, dry_run: bool = False) -> list[Finding]:
    """Removes what is ours in all engines but this one: it was switched, or the back end was.

    More than flannel, which leaves the jumps, and looks for FLANNEL-FWD in the wrong table.
    RuleError, of the first one that cannot be asked, after all others are clean.
    """
    errors: list[RuleError] = []
    others = [one for one in await installed_engines() if one.name != engine.name]
    found = await _remove_each(others, dry_run=dry_run, refused=errors.append)
    if errors:
        raise errors[0]
    return found


async def clean_all(
    *, dry_run: bool = False, refused: Callable[[RuleError], None] | None = None
) -> list[Finding]:
    """Removes what is ours in every engine, for `fwd cleanup`.

    `refused` is told of an engine that cannot be asked, which the others need not suffer from.
    """
    return await _remove_each(await installed_engines(), dry_run=dry_run, refused=refused)


async def _remove_each(
    engines: Sequence[Engine], *, dry_run: bool, refused: Callable[[RuleError], None] | None
) -> list[Finding]:
    found: list[Finding] = []
    for engine in engines:
        try:
            found += await _remove(engine, dry_run=dry_run)
        except NotInKernelError:
            continue  # its program is installed, and can have left nothing
        except RuleError as error:
            if refused is None:
                raise
            refused(error)
    return found


async def _remove(engine: Engine, *, dry_run: bool) -> list[Finding]:
    if dry_run:
        return list((await engine.plan_removal()).findings)
    return await _until_right(engine.plan_removal, engine.apply)
