# SPDX-License-Identifier: Apache-2.0
"""The parts of a host's setup besides the tunnel, each of which can look and put right.

When they are called, and in which order, is `node.hostsetup`'s.
"""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from fwd.config import RunConfig
from fwd.core.backoff import Backoff
from fwd.core.rules import Wanted
from fwd.model import Network
from fwd.node import cni, routetable, subnetfile, traces
from fwd.node.cni import CniConf, Placed
from fwd.node.rules.keeper import RuleKeeper, choose_engine, clean_others
from fwd.node.rules.programs import RuleError
from fwd.node.subnetfile import SubnetEnv
from fwd.ops import log


class Part(Protocol):
    """One thing on the host that follows from the station."""

    name: str
    needed: bool
    """Whether a node without it is not ready."""

    async def see_to(self, env: SubnetEnv) -> Sequence[object]:
        """Makes it as it must be; what had to be changed, for people.

        Raises FwdError or OSError; it is called again later then.
        """

    def state(self) -> str:
        """How it stands, after see_to has succeeded."""


def wanted_rules(config: RunConfig, env: SubnetEnv) -> Wanted:
    """The rules that flags and station ask for."""
    return Wanted(
        networks=env.networks,
        subnets=env.subnets,
        masquerade=config.ip_masq,
        forward=config.iptables_forward_rules,
        random_fully=not config.ip_masq_fully_random_disable,
        tunnel_gso=config.tunnel_gso,
    )


class Rules:
    """Masquerade and forward rules."""

    name = "rules"
    needed = True

    def __init__(self, config: RunConfig, *, nft: bool) -> None:
        self._config = config
        self._nft = nft
        self._installed: Wanted | None = None
        self.keeper: RuleKeeper | None = None

    async def see_to(self, env: SubnetEnv) -> Sequence[object]:
        """Thoroughly when other rules are wanted than before, else what a check sees."""
        wanted = wanted_rules(self._config, env)
        if self.keeper is None:
            engine = await choose_engine(nft=self._nft, families=wanted.families)
            self.keeper = RuleKeeper(engine, wanted)
        if wanted == self._installed:
            return await self.keeper.check()
        self._installed = None
        found = await self.keeper.change(wanted)
        self._installed = wanted
        return found

    def state(self) -> str:
        """With the engine's name."""
        assert self.keeper is not None
        wanted = self.keeper.wanted
        parts = ("masquerade", wanted.masquerade), ("forward", wanted.forward)
        named = " and ".join(name for name, on in parts if on)
        return f"{named} in {self.keeper.engine.name}" if named else "none wanted"


class OtherRules:
    """The end of what was ours in the engines that are not in use, once a start.

    A kernel may refuse an engine whose program is installed: that is no reason to be not ready.
    """

    name = "other engines"
    needed = False

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._clean = False
        self._backoff = Backoff(first=30, longest=600)
        self._refused: RuleError | None = None

    async def see_to(self, _: SubnetEnv) -> Sequence[object]:
        """Nothing to do once it has been done."""
        if self._clean or self._rules.keeper is None:
            return ()
        now = time.monotonic()
        if self._refused is not None and not self._backoff.due(now):
            raise self._refused
        try:
            found = await clean_others(self._rules.keeper.engine)
        except RuleError as error:
            self._refused = error
            self._backoff.failed(now)
            raise
        self._clean = True
        return found

    def state(self) -> str:
        """One word."""
        return "clean"


class SubnetFile:
    """subnet.env."""

    name = "subnet.env"
    needed = True

    def __init__(self, path: Path) -> None:
        self._path = path

    async def see_to(self, env: SubnetEnv) -> Sequence[object]:
        """Leaves a file alone that says the same already."""
        return await asyncio.to_thread(self._write, env)

    def _write(self, env: SubnetEnv) -> Sequence[object]:
        before = subnetfile.read(self._path)
        if not subnetfile.write(self._path, env):
            return ()
        kept = {} if before is None else before.subnets
        if any(kept.get(family, subnet) != subnet for family, subnet in env.subnets.items()):
            log.warning("subnet-changed", text="Pods with addresses of the old subnet must go")
        return (self._path,)

    def state(self) -> str:
        """Where."""
        return str(self._path)


class Conflist:
    """The CNI configuration: a runtime takes the node's network for ready when it is there."""

    name = "conflist"
    needed = True

    def __init__(self, conf: CniConf, directory: Path, *, run_dir: Path) -> None:
        self._conf = conf
        self._directory = directory
        self._run_dir = run_dir
        self._placed: Placed | None = None

    async def see_to(self, env: SubnetEnv) -> Sequence[object]:
        """Without a directory there is nothing to do, which is said once."""
        return await asyncio.to_thread(self._place, env)

    def _place(self, env: SubnetEnv) -> Sequence[object]:
        content, path = self._conf.content(env), self._directory / cni.FILE_NAME
        # Ours of before, or flannel's of the same cni-conf.json.
        earlier = traces.noted_conflist(self._run_dir, path), traces.digest(self._conf.text)
        before = self._placed
        self._placed = cni.place(self._directory, content, earlier=earlier)
        if self._placed is Placed.NO_DIRECTORY:
            if before is not Placed.NO_DIRECTORY:
                log.info(
                    "cni-left-alone",
                    directory=self._directory,
                    text="there is no such directory here: an init container must have put "
                    f"{cni.FILE_NAME} in its place on the node",
                )
            return ()
        # Whoever has written it: what it says is ours, and later on was ours.
        traces.note_conflist(self._run_dir, path, content)
        return (path,) if self._placed is Placed.WRITTEN else ()

    def state(self) -> str:
        """Where, or why not."""
        if self._placed is Placed.NO_DIRECTORY:
            return f"no {self._directory}: left to the init container"
        return str(self._directory / cni.FILE_NAME)


class Blackhole:
    """--ip-blackhole-route: what is for no Pod of ours is dropped, not sent out and back again."""

    name = "blackhole route"
    needed = False

    def __init__(self, *, wanted: bool) -> None:
        self._wanted = wanted
        self._cleared: frozenset[Network] | None = None

    async def see_to(self, env: SubnetEnv) -> Sequence[object]:
        """Removes those of other subnets when the subnet is a new one; without the flag, all."""
        return await asyncio.to_thread(self._put, frozenset(env.subnets.values()))

    def _put(self, subnets: frozenset[Network]) -> Sequence[object]:
        wanted = subnets if self._wanted else frozenset()
        changed: list[object] = []
        if wanted != self._cleared:
            old = [
                route
                for family in routetable.FAMILIES
                for route in routetable.held(family)
                if route.blackhole and route.prefix not in wanted
            ]
            routetable.remove(old)
            changed += old
            self._cleared = wanted
        return [*changed, *(subnet for subnet in wanted if routetable.put_blackhole(subnet))]

    def state(self) -> str:
        """One word."""
        return "in place" if self._wanted else "none wanted"
