# SPDX-License-Identifier: Apache-2.0
"""Which leases can be in force together, and what changed since the last time.

Two leases that contradict each other would send one node's packets to another, so of these only the
first is in force and the other is refused by name.  The order is the source's: this node's own
lease, then the others by age, so that no newcomer, mistaken or hostile, takes anything from a node
that has it.  A file that contradicts itself is a mistake of its author, of which any half may be
the wrong one: such a source wants all or nothing.

The LeaseBook compares whole values by (node, family): a peer whose address or MAC changed while
nobody watched is a change like any other, and this node's own lease never becomes a peer of itself,
because it is filtered on the way in.
"""

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address
from typing import TypeAlias

from msgspec import Struct

from fwd.core.text import format_mac, mac_fault
from fwd.model import Address, ConfigError, Lease, Network, Refusal

Key: TypeAlias = tuple[str, int]


class LeasesError(ConfigError):
    """What the source says cannot be in force: it, not the node, is to be put right."""


class Delta(Struct, frozen=True):
    """What one snapshot changed: numbers of leases."""

    added: int = 0
    changed: int = 0
    removed: int = 0

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed)


class LeaseBook:
    """The leases of all other nodes that are in force now, checked."""

    def __init__(
        self,
        own: Iterable[Lease],
        *,
        networks: Mapping[int, Network],
        vni: int,
        all_or_nothing: bool = True,
    ) -> None:
        self._own = tuple(own)
        self._networks = networks
        self._vni = vni
        self._all_or_nothing = all_or_nothing
        self._leases: dict[Key, Lease] = {}
        self._judged: dict[Key, _Judged] = {}
        """Of the last snapshot.  Most leases of the next one are the same objects."""
        self.refused: tuple[Refusal, ...] = ()

    def __len__(self) -> int:
        return len(self._leases)

    @property
    def leases(self) -> tuple[Lease, ...]:
        """All leases in force, in the order in which the source named them."""
        return tuple(self._leases.values())

    def replace(self, leases: Iterable[Lease]) -> Delta:
        """Puts these leases in the place of all others, and notes in `refused` which it does not.

        Raises LeasesError, which names the nodes and the values at fault, and changes nothing then:
        if the own lease is at fault, or any while all or nothing is wanted.
        """
        ours = {lease.node for lease in self._own}
        others = [lease for lease in leases if lease.node not in ours]
        sieve = _Sieve()
        mistakes = [
            fault
            for lease in self._own
            if (fault := sieve.refuses(self._judge(lease)) or _room_fault(lease))
        ]
        accepted: dict[Key, Lease] = {}
        judged: dict[Key, _Judged] = {}
        refused = []
        for lease in others:
            key = (lease.node, lease.subnet.version)
            known = self._judged.get(key)
            if known is None or known.lease is not lease:
                known = self._judge(lease)
            judged[key] = known
            fault = sieve.refuses(known)
            if fault is None:
                accepted[key] = lease
            else:
                refused.append(Refusal(lease.node, fault))
        if self._all_or_nothing:
            mistakes += [refusal.reason for refusal in refused]
        if mistakes:
            count = f"{len(mistakes)} mistakes, the first: " if len(mistakes) > 1 else ""
            raise LeasesError(count + mistakes[0])
        old, self._leases, self._judged = self._leases, accepted, judged
        self.refused = tuple(refused)
        return _compare(old, accepted)

    def _judge(self, lease: Lease) -> "_Judged":
        return _judged(lease, _fault(lease, networks=self._networks, vni=self._vni))


def compatible(more: Iterable[Lease], leases: Iterable[Lease]) -> tuple[Lease, ...]:
    """Those of `more` that contradict none of `leases`, whatever else may be wrong with them."""
    sieve = _Sieve()
    for lease in leases:
        sieve.refuses(_judged(lease))
    return tuple(lease for lease in more if sieve.refuses(_judged(lease)) is None)


def _compare(old: Mapping[Key, Lease], new: Mapping[Key, Lease]) -> Delta:
    common = old.keys() & new.keys()
    return Delta(
        added=len(new) - len(common),
        changed=sum(old[key] is not new[key] and old[key] != new[key] for key in common),
        removed=len(old) - len(common),
    )


class _Judged(Struct, frozen=True):
    """A lease, what is wrong with it whatever the others are, and its subnet as numbers."""

    lease: Lease
    fault: str | None
    family: int
    length: int
    bits: int
    """The leading `length` bits."""


def _judged(lease: Lease, fault: str | None = None) -> _Judged:
    subnet = lease.subnet
    return _Judged(
        lease=lease,
        fault=fault,
        family=subnet.version,
        length=subnet.prefixlen,
        bits=int(subnet.network_address) >> (subnet.max_prefixlen - subnet.prefixlen),
    )


class _Sieve:
    """Takes leases one by one and lets pass those that fit with all that passed before."""

    def __init__(self) -> None:
        self._by_node: dict[Key, Lease] = {}
        self._by_public_ip: dict[object, Lease] = {}
        self._by_mac: dict[tuple[bytes, int], Lease] = {}
        self._subnets = _Subnets()

    def refuses(self, judged: _Judged) -> str | None:
        """Why it does not fit, or None if it passed."""
        lease = judged.lease
        if judged.fault:
            return f"node {lease.node}: {judged.fault}"
        node, mac = (lease.node, judged.family), (lease.vtep_mac, judged.family)
        if first := self._by_node.get(node):
            return (
                f"node {lease.node} has two IPv{judged.family} leases, "
                f"{first.subnet} and {lease.subnet}"
            )
        if first := self._by_public_ip.get(lease.public_ip):
            return (
                f"nodes {first.node} and {lease.node} have one public-ip, {lease.public_ip}; "
                "if one is gone, delete it"
            )
        if first := self._by_mac.get(mac):
            text = format_mac(lease.vtep_mac)
            return f"nodes {first.node} and {lease.node} have one VtepMAC, {text}"
        if first := self._subnets.overlapping(judged):
            return (
                f"subnets {first.subnet} of node {first.node} and {lease.subnet} of node "
                f"{lease.node} overlap"
            )
        self._by_node[node] = self._by_public_ip[lease.public_ip] = self._by_mac[mac] = lease
        self._subnets.add(judged)
        return None


_Holders: TypeAlias = dict[int, Lease]


class _Subnets:
    """Subnets that do not overlap, asked one by one whether another one does.

    CIDRs are nested or disjoint.  So an overlap is either with a subnet that contains the new one,
    found at one of the lengths that are in use, or with one within it, which left a trace at each
    shorter length.  A cluster has one length a family; hostile ones cost a step for each.
    """

    def __init__(self) -> None:
        self._at: dict[int, dict[int, _Holders]] = {}
        """By family and length, then by the leading bits: who has that subnet."""
        self._above: dict[int, dict[int, _Holders]] = {}
        """By the same: who has one within, for the lengths somebody asked for."""

    def overlapping(self, asked: _Judged) -> Lease | None:
        length, bits = asked.length, asked.bits
        for other, holders in self._at.get(asked.family, {}).items():
            if other <= length and (holder := holders.get(bits >> (length - other))):
                return holder
        return self._traces(asked.family, length).get(bits)

    def add(self, judged: _Judged) -> None:
        length, bits = judged.length, judged.bits
        self._at.setdefault(judged.family, {}).setdefault(length, {})[bits] = judged.lease
        for other, traces in self._above.get(judged.family, {}).items():
            if other < length:
                traces.setdefault(bits >> (length - other), judged.lease)

    def _traces(self, family: int, length: int) -> _Holders:
        """Made when a length is first asked for, and kept up by add()."""
        above = self._above.setdefault(family, {})
        if length not in above:
            above[length] = {}
            for other, holders in self._at.get(family, {}).items():
                if other > length:
                    for bits, holder in holders.items():
                        above[length].setdefault(bits >> (other - length), holder)
        return above[length]


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
    if outer.version != lease.family:
        return f"public-ip {outer} is not of the family of subnet {subnet}"
    if not can_be_nodes(outer):
        return f"public-ip {outer} is not the address of a node"
    if fault := inside_fault(outer, network):
        return fault
    fault = mac_fault(lease.vtep_mac)
    if fault:
        return f"VtepMAC {format_mac(lease.vtep_mac)} {fault}"
    if lease.vni not in (vni, vni & _OLD_VNI_BITS):
        return f"VNI {lease.vni}, but net-conf.json says {vni}"
    return None


_OLD_VNI_BITS = 0xFFFF
"""flannel before 0.27.4 published so much of the VNI, and sent all of it."""


def can_be_nodes(address: Address) -> bool:
    """Whether a peer could send there: flannel's choice, global unicast and link-local."""
    special = address.is_unspecified or address.is_loopback or address.is_multicast
    return not special and address != _BROADCAST


_BROADCAST = IPv4Address("255.255.255.255")


def inside_fault(address: Address, network: Network) -> str | None:
    """What is wrong with a node's address in the underlay, if it is one of the tunnel's, too."""
    if address not in network:
        return None
    return f"public-ip {address} is inside the network {network}: tunnels would loop"


def _room_fault(lease: Lease) -> str | None:
    """Of the own lease.  What a peer does with its subnet is the peer's, as in flannel."""
    subnet = lease.subnet
    if subnet.max_prefixlen - subnet.prefixlen >= _MIN_HOST_BITS:
        return None
    return f"node {lease.node}: subnet {subnet} has no room for a gateway and a Pod"


_MIN_HOST_BITS = 2
"""flannel refuses the same in etcd mode: SubnetLen must be less than /31 (IPv6: /127)."""
