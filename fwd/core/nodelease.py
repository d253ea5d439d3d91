# SPDX-License-Identifier: Apache-2.0
"""What a Node means: leases of a peer, or the reason why not; this node's own subnet and address.

By flannel's rules and in its words (flannel spec 3.4, 3.5), but family by family: a peer that lacks
its IPv6 half is still reached over IPv4, where flannel leaves out the whole node.  Whether leases
fit together and into the network is `core.leases`'s.
"""

from collections.abc import Iterable, Mapping

from msgspec import Struct

from fwd.core import backenddata
from fwd.core.annotations import MANAGED, FamilyAnnotations
from fwd.core.nodewire import Node
from fwd.core.text import parse_address, parse_cidr, parse_public_ip
from fwd.model import IPV4, Address, ConfigError, Lease, Network, OwnLease

_MOST_CIDRS = 2
_OVERWRITE = ("public-ip-overwrite", "overwrite")
_NODE_PUBLIC_IP = ("node-public-ip", "node_public_ip")
"""Annotations of an operator, and their fields."""


class Claims(Struct, frozen=True):
    """A peer's leases, at most one a family, and why it has not one more."""

    leases: tuple[Lease, ...] = ()
    faults: tuple[str, ...] = ()


class NoSubnet(Struct, frozen=True):
    """Why this node has no subnet yet; it may come by waiting."""

    text: str


def claims(node: Node, *, families: Iterable[int], vni: int) -> Claims:
    """The leases of another node.  One that flannel does not manage has none, and no fault."""
    annotations = node.annotations
    if annotations.kube_subnet_manager != MANAGED:
        return Claims()
    if annotations.backend_type != "vxlan":
        subnets = ", ".join(node.pod_cidrs)
        return Claims(faults=(f"ignoring non-vxlan {subnets}: type={annotations.backend_type}",))
    leases: list[Lease] = []
    faults: list[str] = []
    silent: list[str] = []
    for family in families:
        values = annotations.family(family)
        try:
            leases.append(_lease(node, values, family=family, vni=vni))
        except ValueError as error:
            said = faults if values.backend_data or values.public_ip else silent
            said.append(f'Error turning node "{node.name}" to lease: {error}')
    # A node without a word of a family has no fault, unless it has nothing else either.
    return Claims(tuple(leases), tuple(faults if leases or faults else silent))


def _lease(node: Node, values: FamilyAnnotations, *, family: int, vni: int) -> Lease:
    """Raises ValueError with flannel's text, and what it leaves out after a colon."""
    public_ip = _public_ip(values.public_ip, family)
    subnet = _subnets(node).get(family) if len(node.pod_cidrs) <= _MOST_CIDRS else None
    if subnet is None:
        raise ValueError(f"missing IPv{family} address on n.Spec.PodCIDRs")
    try:
        data = backenddata.decode(values.backend_data)
    except ValueError as error:
        raise ValueError(f"error decoding subnet lease JSON: {error}") from error
    return Lease(
        node=node.name,
        subnet=subnet,
        public_ip=public_ip,
        vtep_mac=data.vtep_mac,
        vni=vni if data.vni is None else data.vni,
    )


def _public_ip(text: str, family: int) -> Address:
    try:
        address = parse_address(text, wanted=family)
    except ValueError:
        raise ValueError(f"invalid IP address format: public-ip {text!r}") from None
    if address.version != family:
        raise ValueError(f"invalid IPv{family} address format: {text}")
    return address


def _subnets(node: Node, *, last: bool = False) -> dict[int, Network]:
    """podCIDRs by family; of several of one the first, or the last, which an owner takes."""
    found: dict[int, Network] = {}
    for text in node.pod_cidrs:
        cidr = parse_cidr(text)
        if last or cidr.version not in found:
            found[cidr.version] = cidr
    return found


def own_leases(node: Node, *, networks: Mapping[int, Network]) -> tuple[OwnLease, ...] | NoSubnet:
    """This node's leases, one a family that is on, without what only the machine knows.

    Raises ConfigError, in flannel's words, for what waiting does not cure.
    """
    if not node.pod_cidrs:
        return NoSubnet(f'node "{node.name}" pod cidr not assigned')
    if len(node.pod_cidrs) > _MOST_CIDRS:
        raise ConfigError(
            _failed(f'node "{node.name}" pod cidrs should be IPv4/IPv6 only or dualstack')
        )
    try:
        subnets = _subnets(node, last=True)
    except ValueError as error:
        raise ConfigError(_failed(f'node "{node.name}": {error}')) from error
    missing = sorted(set(networks) - set(subnets))
    if missing:
        return NoSubnet(f'node "{node.name}" pod cidr not assigned for IPv{missing[0]}')
    return tuple(
        _own_lease(node, subnets[family], network) for family, network in sorted(networks.items())
    )


def _own_lease(node: Node, subnet: Network, network: Network) -> OwnLease:
    inside = network.prefixlen <= subnet.prefixlen and subnet.network_address in network
    if not inside:
        kind = "PodCIDR" if subnet.version == IPV4 else "IPv6 PodCIDR"
        raise ConfigError(
            _failed(
                f'subnet "{network}" specified in the flannel net config doesn\'t contain '
                f'"{subnet}" {kind} of the "{node.name}" node'
            )
        )
    values = node.annotations.family(subnet.version)
    try:
        mac = backenddata.decode(values.backend_data).vtep_mac
    except ValueError:
        mac = None  # none, or another backend's: a new one will be written
    return OwnLease(
        node=node.name,
        subnet=subnet,
        public_ip=overwrite(node, subnet.version),
        underlay_ip=_operators(values.node_public_ip, subnet.version),
        vtep_mac=mac,
    )


def overwrite(node: Node, family: int) -> Address | None:
    """What its operator has it publish, if it is an address."""
    return _operators(node.annotations.family(family).overwrite, family)


def _operators(text: str, family: int) -> Address | None:
    """An address that an operator wrote; one that no peer could read counts as none."""
    try:
        return _public_ip(text, family)
    except ValueError:
        return None


def refuse_node_public_ip(node: Node, *, families: Iterable[int]) -> None:
    """Raises ConfigError for one that is no address: it acts like --public-ip (spec 3.2)."""
    for family in families:
        if text := node.annotations.family(family).node_public_ip:
            try:
                parse_public_ip(text, family)
            except ValueError as error:
                raise ConfigError(f"{error} (annotation node-public-ip)") from error


def overwrite_faults(node: Node, *, families: Iterable[int]) -> tuple[str, ...]:
    """Annotations of this node that are set and have no effect, because they are no addresses.

    flannel publishes public-ip-overwrite unread, and peers then leave the node out.
    """
    return _no_addresses(node, families, _OVERWRITE)


def operator_faults(node: Node, *, families: Iterable[int]) -> tuple[str, ...]:
    """All annotations of this node that should be addresses and are none."""
    return _no_addresses(node, families, _OVERWRITE, _NODE_PUBLIC_IP)


def _no_addresses(node: Node, families: Iterable[int], *names: tuple[str, str]) -> tuple[str, ...]:
    return tuple(
        f"{name} {text!r} is not an IPv{family} address"
        for family in families
        for name, field in names
        if (text := getattr(node.annotations.family(family), field))
        and _operators(text, family) is None
    )


def _failed(text: str) -> str:
    return f"Error registering network: failed to acquire lease: {text}"
