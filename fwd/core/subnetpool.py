# SPDX-License-Identifier: Apache-2.0
"""The subnets that etcd mode gives to nodes: which there are, and which are free.

Kubernetes assigns subnets itself; here net-conf.json says their length and their range (flannel
spec 2), and each node takes one that nobody has (4.2).
"""

from collections.abc import Callable, Iterable, Mapping
from ipaddress import ip_network

from msgspec import Struct

from fwd.core.netconf import NetConf
from fwd.model import IPV4, IPV6, Address, ConfigError, Network

CANDIDATES = 100
"""flannel draws among so many: enough that nodes which start together seldom draw the same."""

_BITS = {IPV4: 32, IPV6: 128}
_USUAL = {IPV4: 24, IPV6: 64}
_ROOM = 2
"""Bits: a network holds at least four subnets, and a subnet four addresses."""


class Pool(Struct, frozen=True):
    """Subnets of one family and one length, from the first one's address to the last one's."""

    family: int
    length: int
    first: int
    last: int

    @property
    def size(self) -> int:
        """Addresses of a subnet."""
        return 1 << (_BITS[self.family] - self.length)

    @property
    def count(self) -> int:
        """Of subnets.  No __len__: an IPv6 network can have more than that may say."""
        return max(0, (self.last - self.first) // self.size + 1)

    def __getitem__(self, place: int) -> Network:
        if not -self.count <= place < self.count:
            raise IndexError(place)
        place %= self.count
        # The class is chosen by family, as small numbers are addresses of both.
        address = (self.first + place * self.size).to_bytes(_BITS[self.family] // 8)
        return ip_network((address, self.length))

    def __contains__(self, subnet: Network) -> bool:
        return (
            subnet.version == self.family
            and subnet.prefixlen == self.length
            and self.first <= int(subnet.network_address) <= self.last
        )


def make_pools(conf: NetConf) -> dict[int, Pool]:
    """By family, of the families that are on.  Raises ConfigError in flannel's words."""
    found: dict[int, Pool] = {}
    if conf.enable_ipv4:
        found[IPV4] = _pool(
            conf.network, conf.subnet_len, conf.subnet_min, conf.subnet_max, family=IPV4
        )
    if conf.enable_ipv6:
        found[IPV6] = _pool(
            conf.ipv6_network,
            conf.ipv6_subnet_len,
            conf.ipv6_subnet_min,
            conf.ipv6_subnet_max,
            family=IPV6,
        )
    return found


def _pool(
    network: Network | None,
    length: int | None,
    low: Address | None,
    high: Address | None,
    *,
    family: int,
) -> Pool:
    of = "" if family == IPV4 else "IPv6"
    if network is None or not (network.prefixlen or int(network.network_address)):
        raise ConfigError(f"please define a correct {of}Network parameter in the flannel config")
    length = _length(network, length or 0, family=family)
    size = 1 << (_BITS[family] - length)
    bounds = {f"{of}SubnetMin": low, f"{of}SubnetMax": high}
    given = {name: bound for name, bound in bounds.items() if bound is not None and int(bound)}
    for name, bound in given.items():
        if bound not in network:
            raise ConfigError(f"{name} is not in the range of the {of}Network")
    for name, bound in given.items():
        if int(bound) % size:
            raise ConfigError(f"{name} is not on a SubnetLen boundary: {bound}")
    first = int(given.get(f"{of}SubnetMin", network.network_address + size))
    last = int(given.get(f"{of}SubnetMax", network.broadcast_address - (size - 1)))
    if first > last:
        raise ConfigError(f"{of}SubnetMin {low} is above {of}SubnetMax {high}: there is no subnet")
    return Pool(family, length, first, last)


def _length(network: Network, length: int, *, family: int) -> int:
    longest = _BITS[family] - _ROOM
    if length:
        if length > longest:
            raise ConfigError(f"SubnetLen must be less than /{longest + 1}")
        if length < network.prefixlen + _ROOM:
            raise ConfigError("network must be able to accommodate at least four subnets")
        return length
    if network.prefixlen > longest - _ROOM:
        name = "network" if family == IPV4 else "IPv6Network"
        raise ConfigError(
            f"{name} is too small. Minimum useful network prefix is /{longest - _ROOM}"
        )
    return max(_USUAL[family], network.prefixlen + _ROOM)


def free_subnets(pool: Pool, taken: Iterable[Network], *, limit: int = CANDIDATES) -> list[Network]:
    """The first ones, in order, that overlap none of those that are taken, of whatever length."""
    found: list[Network] = []
    place, last = 0, pool.count - 1
    for low, high in _places(pool, taken):
        found += (pool[one] for one in range(place, min(low, place + limit - len(found))))
        place = max(place, high + 1)
    found += (pool[one] for one in range(place, min(last + 1, place + limit - len(found))))
    return found


def _places(pool: Pool, taken: Iterable[Network]) -> list[tuple[int, int]]:
    """The places of the pool that each taken subnet covers: first and last, in order."""
    covered = []
    for one in taken:
        if one.version != pool.family:
            continue
        low = (int(one.network_address) - pool.first) // pool.size
        high = (int(one.broadcast_address) - pool.first) // pool.size
        if high >= 0 and low < pool.count:
            covered.append((max(low, 0), high))
    return sorted(covered)


def allocate(
    pools: Mapping[int, Pool],
    taken: Iterable[Network],
    *,
    choose: Callable[[int], int],
) -> dict[int, Network] | None:
    """One free subnet a family, or None if a family has none.

    `choose(n)` is a random number from 0 to n - 1.
    """
    taken = tuple(taken)
    chosen: dict[int, Network] = {}
    for family, pool in pools.items():
        free = free_subnets(pool, taken)
        if not free:
            return None
        chosen[family] = free[choose(len(free))]
    return chosen
