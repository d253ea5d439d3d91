# SPDX-License-Identifier: Apache-2.0
"""Which leases can be in force together, and what changed since the last time.

Two leases that contradict each other would send one node's packets to another, so contradictions
are refused by name before anything is changed.  The LeaseBook then compares whole values by (node,
family): a peer whose address or MAC changed while nobody watched is a change like any other, and
this node's own lease never becomes a peer of itself, because it is filtered on the way in.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from ipaddress import IPv4Address
from typing import TypeAlias

from msgspec import Struct

from fwd.core.text import format_mac, mac_fault
from fwd.model import ConfigError, Lease, Network

Key: TypeAlias = tuple[str, int]


class Delta(Struct, frozen=True):
    """What one snapshot changed: numbers of leases."""

    added: int = 0
    changed: int = 0
    removed: int = 0

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed)


class LeaseBook:
    """The leases of all other nodes that are in force now, checked."""

    def __init__(self, own: Iterable[Lease], *, networks: Mapping[int, Network], vni: int) -> None:
        self._own = tuple(own)
        self._networks = networks
        self._vni = vni
        self._leases: dict[Key, Lease] = {}

    def __len__(self) -> int:
        return len(self._leases)

    @property
    def leases(self) -> tuple[Lease, ...]:
        """All leases in force, in the order in which the source named them."""
        return tuple(self._leases.values())

    def replace(self, leases: Iterable[Lease]) -> Delta:
        """Puts these leases in the place of all others.

        Raises ConfigError, which names the nodes and the values at fault, and changes nothing then.
        """
        ours = {lease.node for lease in self._own}
        others = [lease for lease in leases if lease.node not in ours]
        found = list(faults([*self._own, *others], networks=self._networks, vni=self._vni))
        if found:
            others_too = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
            raise ConfigError(found[0] + others_too)
        old, self._leases = self._leases, {(lease.node, lease.family): lease for lease in others}
        return _compare(old, self._leases)


def _compare(old: Mapping[Key, Lease], new: Mapping[Key, Lease]) -> Delta:
    common = old.keys() & new.keys()
    return Delta(
        added=len(new) - len(common),
        changed=sum(old[key] != new[key] for key in common),
        removed=len(old) - len(common),
    )


def faults(leases: Iterable[Lease], *, networks: Mapping[int, Network], vni: int) -> Iterator[str]:
    """Every reason why these leases cannot be in force together, each naming its nodes.

    Costs one sort: clusters have up to 65,536 leases.
    """
    leases = list(leases)
    for lease in leases:
        fault = _fault(lease, networks=networks, vni=vni)
        if fault:
            yield f"node {lease.node}: {fault}"
    yield from _twice(leases, lambda lease: (lease.node, lease.family), _two_leases)
    yield from _twice(leases, lambda lease: lease.public_ip, _one_public_ip)
    yield from _twice(leases, lambda lease: (lease.vtep_mac, lease.family), _one_mac)
    yield from _overlaps(leases)


def _fault(lease: Lease, *, networks: Mapping[int, Network], vni: int) -> str | None:
    """What is wrong with one lease, whatever the others are."""
    subnet, outer = lease.subnet, lease.public_ip
    network = networks.get(lease.family)
    if network is None:
        return f"subnet {subnet}: IPv{lease.family} is not enabled in net-conf.json"
    if not (
        network.prefixlen <= subnet.prefixlen
        and int(subnet.network_address) & int(network.netmask) == int(network.network_address)
    ):
        return f"subnet {subnet} is outside the network {network}"
    if subnet.max_prefixlen - subnet.prefixlen < _MIN_HOST_BITS:
        return f"subnet {subnet} has no room for a gateway and a Pod"
    if outer.version != lease.family:
        return f"public-ip {outer} is not of the family of subnet {subnet}"
    if outer.is_unspecified or outer.is_multicast or outer == _BROADCAST:
        return f"public-ip {outer} is not the address of a node"
    if outer in network:
        return f"public-ip {outer} is inside the network {network}: tunnels would loop"
    fault = mac_fault(lease.vtep_mac)
    if fault:
        return f"VtepMAC {format_mac(lease.vtep_mac)} {fault}"
    if lease.vni != vni:
        return f"VNI {lease.vni}, but net-conf.json says {vni}"
    return None


def _twice(
    leases: Iterable[Lease],
    value: Callable[[Lease], Hashable],
    describe: Callable[[Lease, Lease], str],
) -> Iterator[str]:
    """A fault for every lease whose value an earlier one has."""
    first: dict[Hashable, Lease] = {}
    for lease in leases:
        earlier = first.setdefault(value(lease), lease)
        if earlier is not lease:
            yield describe(earlier, lease)


def _two_leases(first: Lease, second: Lease) -> str:
    return f"node {first.node} has two IPv{first.family} leases, {first.subnet} and {second.subnet}"


def _one_public_ip(first: Lease, second: Lease) -> str:
    return f"nodes {first.node} and {second.node} have one public-ip, {first.public_ip}"


def _one_mac(first: Lease, second: Lease) -> str:
    mac = format_mac(first.vtep_mac)
    return f"nodes {first.node} and {second.node} have one VtepMAC, {mac}"


def _overlaps(leases: Iterable[Lease]) -> Iterator[str]:
    """A fault for every subnet that begins within a subnet sorted before it.

    CIDRs are nested or disjoint, so it is enough to remember the last one that nothing contained.
    """
    spans = sorted(
        (
            (lease.family, int(lease.subnet.network_address), lease.subnet.prefixlen, i, lease)
            for i, lease in enumerate(leases)
        ),
        key=lambda span: span[:4],
    )
    outer: Lease | None = None
    for _, start, _, _, lease in spans:
        if (
            outer is not None
            and outer.family == lease.family
            and start <= int(outer.subnet.broadcast_address)
        ):
            yield (
                f"subnets {outer.subnet} of node {outer.node} and {lease.subnet} of node "
                f"{lease.node} overlap"
            )
        else:
            outer = lease


_MIN_HOST_BITS = 2
"""flannel refuses the same: SubnetLen must be less than /31 (IPv6: /127)."""

_BROADCAST = IPv4Address("255.255.255.255")
