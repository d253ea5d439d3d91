# SPDX-License-Identifier: Apache-2.0
"""The addresses of one family in a lab: of the underlay, of nodes, of Pods.  Pure."""

from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_interface,
    ip_network,
)
from typing import Final

from msgspec import Struct

IPAddress = IPv4Address | IPv6Address
IPInterface = IPv4Interface | IPv6Interface
IPNetwork = IPv4Network | IPv6Network

_CONTROL_INDEX: Final = 254  # the last octet of the control plane's address: no node's


class FamilyPlan(Struct, frozen=True):
    """The addresses of one family: node i owns the i-th subnet of the cluster network."""

    underlay: IPNetwork
    cluster: IPNetwork
    subnet_length: int

    @property
    def family(self) -> int:
        """4 or 6."""
        return self.cluster.version

    def node(self, index: int) -> IPInterface:
        """Node's underlay address, with the underlay's prefix length."""
        return ip_interface(f"{self.underlay[index]}/{self.underlay.prefixlen}")

    @property
    def control(self) -> IPInterface:
        """The control plane's underlay address, on the switch itself."""
        return self.node(_CONTROL_INDEX)

    def subnet(self, index: int) -> IPNetwork:
        """Node's Pod subnet: what Kubernetes calls ``spec.podCIDR``."""
        step = 1 << (self.cluster.max_prefixlen - self.subnet_length)
        return ip_network(f"{self.cluster[index * step]}/{self.subnet_length}")

    def vtep(self, index: int) -> IPAddress:
        """Address of node's VXLAN device: the subnet's network address (flannel spec 5.1)."""
        return self.subnet(index).network_address

    def gateway(self, index: int) -> IPInterface:
        """Address of node's ``cni0``: network + 1, as the CNI bridge plugin has it."""
        subnet = self.subnet(index)
        return ip_interface(f"{subnet[1]}/{subnet.prefixlen}")

    def pod(self, index: int, pod: int) -> IPInterface:
        """Address of a Pod; the first one has network + 2, as host-local gives them out."""
        subnet = self.subnet(index)
        return ip_interface(f"{subnet[1 + pod]}/{subnet.prefixlen}")


FAMILY_PLANS: Final = {
    4: FamilyPlan(ip_network("192.168.50.0/24"), ip_network("10.244.0.0/16"), 24),
    6: FamilyPlan(ip_network("fd00:50::/64"), ip_network("fd00:10:244::/48"), 64),
}
