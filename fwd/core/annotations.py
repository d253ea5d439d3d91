# SPDX-License-Identifier: Apache-2.0
"""flannel's annotations of a Node: their keys, their values by field, and what an owner writes.

Every key is a prefix and a suffix (flannel spec 3.2).  Here is the table of suffixes; what a set of
values means as a lease is `core.nodelease`'s.
"""

import re
from collections.abc import Iterable
from functools import cached_property

from msgspec import Struct
from msgspec.structs import fields

from fwd.core import backenddata
from fwd.model import IPV4, IPV6, ConfigError, Lease

DEFAULT_PREFIX = "flannel.alpha.coreos.com"
MANAGED = "true"
"""The value of kube-subnet-manager; anything else is no lease."""

_PREFIX = re.compile(r"([a-z0-9_-]+\.)+[a-z0-9_-]+/([a-z0-9_-]+-)?$", re.ASCII)
"""As flannel matches it: anchored at the end only."""


class Annotations(Struct, frozen=True):
    """The values as they are written; an empty one is the same as none, as it is to flannel."""

    kube_subnet_manager: str = ""
    backend_type: str = ""
    backend_data: str = ""
    backend_v6_data: str = ""
    public_ip: str = ""
    public_ipv6: str = ""
    public_ip_overwrite: str = ""
    public_ipv6_overwrite: str = ""
    node_public_ip: str = ""
    node_public_ipv6: str = ""

    def family(self, version: int) -> "FamilyAnnotations":
        """The values of one family."""
        names = _OF_FAMILY[version]
        return FamilyAnnotations(*(getattr(self, name) for name in names))


class FamilyAnnotations(Struct, frozen=True):
    """Those of one family: of its lease the first two, from the node's operator the others."""

    backend_data: str = ""
    public_ip: str = ""
    overwrite: str = ""
    """Published in place of the address found."""
    node_public_ip: str = ""
    """Acts like --public-ip, and beats it."""


_OF_FAMILY = {
    IPV4: ("backend_data", "public_ip", "public_ip_overwrite", "node_public_ip"),
    IPV6: ("backend_v6_data", "public_ipv6", "public_ipv6_overwrite", "node_public_ipv6"),
}


class Keys:
    """The annotation keys that one prefix makes."""

    def __init__(self, prefix: str = DEFAULT_PREFIX) -> None:
        self.prefix = _complete(prefix)

    def key(self, field: str) -> str:
        """The key of a field of Annotations."""
        return self.prefix + field.replace("_", "-")

    @cached_property
    def names(self) -> dict[str, str]:
        """Key by field, of all fields."""
        return {field.name: self.key(field.name) for field in fields(Annotations)}


def _complete(prefix: str) -> str:
    """What stands before every suffix.  ConfigError in flannel's words."""
    if prefix.count("/") > 1:
        raise ConfigError(_error("prefix can contain at most single slash"))
    whole = prefix if "/" in prefix else prefix + "/"
    if whole[-1] not in "/-":
        whole += "-"
    if not _PREFIX.search(whole):
        raise ConfigError(_error("prefix must be in a format: fqdn/[0-9a-z-_]*"))
    return whole


def _error(text: str) -> str:
    return f"Failed to create SubnetManager: error creating network manager: subnet/kube: {text}"


def published(leases: Iterable[Lease]) -> dict[str, str]:
    """What the owner of these leases, one a family, has to have written: value by field.

    The texts are the ones that stock flanneld compares (flannel spec 3.2, 3.3).
    """
    wanted: dict[str, str] = {}
    for lease in leases:
        data, public_ip, *_ = _OF_FAMILY[lease.family]
        wanted |= {
            "kube_subnet_manager": MANAGED,
            "backend_type": lease.backend_type,
            data: backenddata.encode(lease.vni, lease.vtep_mac),
            public_ip: str(lease.public_ip),
        }
    return wanted


def unwritten(wanted: dict[str, str], found: Annotations) -> dict[str, str]:
    """The part of `wanted` that a Node does not have yet, or has otherwise."""
    return {name: value for name, value in wanted.items() if getattr(found, name) != value}
