# SPDX-License-Identifier: Apache-2.0
"""The node that is looked at: what it was told, and what earlier checks have found out about it.

Checks stand in an order in which each finds what it needs here, or does without it.
"""

from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path

from msgspec import Struct

from fwd.config import RunConfig
from fwd.core.netconf import NetConf
from fwd.core.text import parse_mac
from fwd.model import Lease, Network, OwnLease
from fwd.node.underlay import Underlay
from fwd.ops.doctor.running import RunningAgent
from fwd.ops.lockholder import is_locked
from fwd.plane import Offload


class Options(Struct, frozen=True, kw_only=True):
    """What the doctor was asked, besides the agent's own settings."""

    peers: bool = False
    json: bool = False
    cni_bin_dirs: tuple[Path, ...] = ()


class Patient:
    """One node."""

    def __init__(
        self,
        config: RunConfig,
        options: Options,
        *,
        agent: RunningAgent | None = None,
        holder: int = 0,
    ) -> None:
        self.config = config
        self.options = options
        self.agent = agent
        """None: none answers."""
        self.holder = holder
        """Process that has the run directory; 0: there is none, or none to be seen."""
        self.may_start = agent is None and not holder and not is_locked(config.run_dir)
        """Whether the run directory is free: what is looked at is how a start would go."""
        self.conf: NetConf | None = None
        """None until net-conf.json was read, and if it cannot be used."""
        self.underlays: dict[int, Underlay] = {}
        """By family."""
        self.subnets: dict[int, Network] = {}
        """This node's own, by family, as far as they are known."""
        self.owns: dict[int, OwnLease] = {}
        """This node's own leases, by family, as their source says them."""
        self.back_end = "none"
        """Of iptables that the agent's rules are made with: `-nft` or `-legacy`; else another
        word."""
        self.offloads = Offload(0)
        """That are in force, or would be."""
        self.leases: tuple[Lease, ...] = ()
        """Of the other nodes, as far as they are known."""
        if agent is not None:
            self.subnets = {family: one.subnet for family, one in agent.tunnels.items()}
            self.leases = _leases(agent)

    @property
    def has_etcd(self) -> bool:
        """Whether configuration and leases are in etcd."""
        return self.config.static_leases is None and not self.config.kube_subnet_mgr

    @property
    def families(self) -> tuple[int, ...]:
        """Those that are on."""
        return () if self.conf is None else tuple(sorted(self.conf.networks))

    def networks(self) -> Iterator[tuple[int, Network]]:
        """The cluster's network of each family."""
        if self.conf is not None:
            yield from sorted(self.conf.networks.items())

    def device(self, family: int) -> str:
        """Name of the tunnel's device."""
        assert self.conf is not None
        return self.conf.backend.device(family)

    def leases_of(self, family: int) -> tuple[Lease, ...]:
        """The other nodes' leases of a family."""
        return tuple(lease for lease in self.leases if lease.family == family)

    def own(self, family: int) -> OwnLease:
        """The own lease, or one that says nothing where it is not known."""
        known = self.owns.get(family)
        return known or OwnLease("", self.some_subnets(family)[0])

    def some_subnets(self, family: int) -> tuple[Network, Network]:
        """A subnet of this node's and one of another's: made up where they are not known."""
        assert self.conf is not None
        low, high = _halves(self.conf.networks[family])
        own = self.subnets.get(family, low)
        others = [lease.subnet for lease in self.leases_of(family)]
        return own, next(iter(others), low if own.overlaps(high) else high)


def _halves(network: Network) -> tuple[Network, Network]:
    if network.prefixlen == network.max_prefixlen:
        return network, network
    low, high = network.subnets()
    return low, high


def _leases(agent: RunningAgent) -> tuple[Lease, ...]:
    """Those in force."""
    status = agent.status
    return tuple(
        Lease(
            node=lease.node,
            subnet=ip_network(lease.subnet),
            public_ip=ip_address(lease.public_ip),
            vtep_mac=parse_mac(lease.vtep_mac),
            vni=status.vni,
        )
        for lease in status.leases
    )
