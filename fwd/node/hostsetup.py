# SPDX-License-Identifier: Apache-2.0
"""All that follows on this host from the station besides the tunnel, for as long as the agent runs.

Theory of operation.  The parts stand in flannel's order (spec 10.1): rules, then subnet.env, then
what a runtime takes for the node's readiness.  A round calls each, and each looks before it changes
anything; so the first round, a repair, and the move to another subnet or MTU are one and the same.
Rounds come when the station has changed, and every --iptables-resync seconds.

A round may wait for iptables' lock, or for a program that hangs.  That is why it is a task of its
own, beside the agent's events: leases and packets do not wait for it.

Before the first round has succeeded a part that fails keeps those after it from being tried, and
the node from being ready; afterwards each is for itself.  Failures are said once and tried again.
"""

import asyncio
import time
from contextlib import suppress
from functools import partial
from typing import NoReturn

from msgspec import Struct

from fwd.config import RunConfig
from fwd.core.backoff import Allowance
from fwd.core.netconf import NetConf
from fwd.model import FwdError
from fwd.node import cni, traces
from fwd.node.hostparts import (
    Blackhole,
    Conflist,
    OtherRules,
    Part,
    Rules,
    SubnetFile,
    wanted_rules,
)
from fwd.node.rules.bridge import check_bridge_filter
from fwd.node.rules.keeper import require_programs
from fwd.node.rundir import RunDir
from fwd.node.subnetfile import SubnetEnv
from fwd.ops import log

_REPAIRS_TOLD = 5
_REPAIR_SECONDS = 60.0
"""Of each part so many repairs are told at once, and one each so many seconds: something else on
the node may insist on undoing them."""


class PartState(Struct, frozen=True):
    """How one part stands."""

    name: str
    state: str
    trouble: str | None
    repairs: int
    """Times that something had to be put right after it had been right once."""
    last_repair: str | None
    """When (seconds UTC) and what."""


NOT_YET = "not yet"


class _Told:
    """What is remembered of a part, for the log and for people who ask."""

    def __init__(self) -> None:
        self.env: SubnetEnv | None = None
        """That it was right for, last."""
        self.trouble: str | None = None
        self.repairs = 0
        self.last_repair: str | None = None
        self.allowance = Allowance(burst=_REPAIRS_TOLD, seconds=_REPAIR_SECONDS)


class HostSetup:
    """The parts, their order and their rounds."""

    def __init__(self, config: RunConfig, conf: NetConf, run_dir: RunDir) -> None:
        """Reads what must be read, and refuses what cannot work, before anything is changed.

        Raises ConfigError.
        """
        wanted = wanted_rules(config, SubnetEnv(networks=conf.networks, subnets={}, mtu=0))
        require_programs(nft=conf.enable_nftables, families=wanted.families)
        if not conf.enable_nftables:
            check_bridge_filter(wanted)
        self._seconds = config.iptables_resync
        self._subnet_file = config.subnet_file
        rules = Rules(config, nft=conf.enable_nftables)
        self._parts: list[Part] = [rules, OtherRules(rules), SubnetFile(config.subnet_file)]
        if config.cni_conf is not None:
            found = cni.load(config.cni_conf, cni.Mode[config.cni_mode.upper()])
            for key in found.ignored:
                log.warning("cni-conf-key-ignored", key=key, text="it has no effect here")
            self._parts.append(Conflist(found, config.cni_conf_dir, run_dir=run_dir.path))
        self._parts.append(Blackhole(wanted=config.ip_blackhole_route))
        self._told = {part.name: _Told() for part in self._parts}
        self._wanted: SubnetEnv | None = None
        self._changed = asyncio.Event()
        self.ready = asyncio.Event()
        """Set when all that is needed was there once; flannel's readiness never ends, either."""
        self._note = partial(
            traces.note_start,
            run_dir.path,
            devices=tuple(conf.backend.device(family) for family in conf.networks),
            subnet_file=config.subnet_file,
        )
        self._not_noted: str | None = None
        self._take_note()

    def _take_note(self) -> None:
        """For `fwd cleanup`, before anything is made; a full disk is no reason not to forward."""
        before, self._not_noted = self._not_noted, None
        try:
            self._note()
        except OSError as error:
            self._not_noted = f"cannot note for `fwd cleanup` what is made here: {error}"
            if self._not_noted != before:
                log.warning("run-dir", error=self._not_noted)

    def want(self, env: SubnetEnv) -> None:
        """This is what the host is to be set up for, from now on; keep() does it."""
        if env != self._wanted:
            self._wanted = env
            self._changed.set()

    async def keep(self) -> NoReturn:
        """Sets up, looks and repairs until it is cancelled."""
        await self._changed.wait()
        while True:
            self._changed.clear()
            assert self._wanted is not None
            await self._round(self._wanted)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._seconds):
                    await self._changed.wait()

    async def _round(self, env: SubnetEnv) -> None:
        if self._not_noted is not None:
            self._take_note()
        for part in self._parts:
            right = await self._see_to(part, env)
            if not right and part.needed and not self.ready.is_set():
                return
        if not self.ready.is_set():
            log.info(
                "host-ready",
                parts=", ".join(part.name for part in self._parts),
                text=f"Wrote subnet file to {self._subnet_file}",
            )
            self.ready.set()

    async def _see_to(self, part: Part, env: SubnetEnv) -> bool:
        told = self._told[part.name]
        try:
            found = await part.see_to(env)
        except (FwdError, OSError) as error:
            text = str(error)
            if text != told.trouble:
                log.warning("host-trouble", part=part.name, error=text)
            told.trouble = text
            return False
        if told.trouble is not None:
            log.info("host-trouble-over", part=part.name)
            told.trouble = None
        before, told.env = told.env, env
        if found:
            self._tell_change(part.name, first=str(found[0]), count=len(found), new=before != env)
        return True

    def _tell_change(self, name: str, *, first: str, count: int, new: bool) -> None:
        if new:  # nobody's fault
            log.info("host-set-up", part=name, changes=count, first=first)
            return
        told = self._told[name]
        told.repairs += 1
        told.last_repair = f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {first}"
        now = time.monotonic()
        if told.allowance.wait(now) == 0:
            told.allowance.take(now)
            log.warning(
                "host-repaired", part=name, changes=count, first=first, repairs=told.repairs
            )

    def state(self) -> tuple[PartState, ...]:
        """How each part stands."""
        return tuple(self._state_of(part) for part in self._parts)

    def _state_of(self, part: Part) -> PartState:
        told = self._told[part.name]
        return PartState(
            name=part.name,
            state=NOT_YET if told.env is None else part.state(),
            trouble=told.trouble,
            repairs=told.repairs,
            last_repair=told.last_repair,
        )
