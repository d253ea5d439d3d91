# SPDX-License-Identifier: Apache-2.0
"""What masquerade and forward rules need: programs, and br_netfilter."""

from collections.abc import AsyncIterator

from fwd.model import ConfigError
from fwd.node.hostparts import wanted_rules
from fwd.node.rules.bridge import DIRECTORY, FILES, check_bridge_filter
from fwd.node.rules.keeper import choose_engine
from fwd.node.rules.programs import RuleError
from fwd.node.subnetfile import SubnetEnv
from fwd.ops.doctor.finding import Finding, note, well, wrong
from fwd.ops.doctor.patient import Patient


async def look(patient: Patient) -> AsyncIterator[Finding]:
    """The engine that would be used, then the kernel module that iptables needs."""
    conf = patient.conf
    if conf is None:
        return
    env = SubnetEnv(networks=conf.networks, subnets={}, mtu=0)
    wanted = wanted_rules(patient.config, env)
    try:
        engine = await choose_engine(nft=conf.enable_nftables, families=wanted.families)
    except (ConfigError, RuleError) as error:
        yield wrong("rules", *_split(str(error)), cause="rules")
        return
    patient.back_end = engine.name.removeprefix("iptables")
    if not wanted.families:
        yield well("rules", "none are wanted")
        return
    yield well("rules", f"by {engine.name}")
    if conf.enable_nftables:
        yield well("br_netfilter", "not needed, as nft is used")
        return
    try:
        check_bridge_filter(wanted)
    except ConfigError as error:
        said, _, remedy = str(error).partition(" (")
        yield wrong("br_netfilter", said, remedy.rstrip(")"), cause="rules")
        return
    off = [
        name
        for family in wanted.families
        if (DIRECTORY / (name := FILES[family])).read_text().strip() == "0"
    ]
    if off:
        yield note(
            "br_netfilter",
            f"loaded, but {', '.join(off)} is 0: Services do not work between Pods of one node",
            f"sysctl -w net.bridge.{off[0]}=1",
        )
    else:
        yield well("br_netfilter", "loaded")


def _split(text: str) -> tuple[str, str]:
    found, colon, remedy = text.partition(": ")
    return (found, remedy) if colon else (text, "install iptables or nftables")
