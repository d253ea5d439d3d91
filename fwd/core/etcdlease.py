# SPDX-License-Identifier: Apache-2.0
"""A lease as flannel writes it into etcd: the text of its key and of its value (flannel spec 4.1).

    <prefix>/subnets/10.5.34.0-24
    {"PublicIP":"192.168.64.3","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,...}}

With both families the key is `10.5.34.0-24&fd00:5:34::-64`; without IPv4 it begins with
`0.0.0.0-0&`.  Written texts are flannel's byte for byte.
"""

import json
import posixpath
import re
from collections.abc import Mapping
from ipaddress import IPv4Network

from msgspec import Struct

from fwd.core import backenddata, gojson
from fwd.core.backenddata import BackendData
from fwd.core.text import parse_address, parse_network
from fwd.model import IPV4, IPV6, Address, Lease, Network

_KEY = re.compile(r"(?<![0-9.])([0-9.]+)-([0-9]+)(?:&([0-9a-f:]+)-([0-9]+))?\Z", re.ASCII)
"""As flannel matches it: anchored at the end only.  What begins within a row of digits fails where
the whole row did, so that is not tried: it would take as long as the row's length squared.
But flannel takes the last four numbers of a longer row of digits and dots; here it is refused."""
_LONGEST = {IPV4: 31, IPV6: 127}
"""flannel reads lengths as numbers of 5 and 7 bits."""
_NO_IPV4 = IPv4Network("0.0.0.0/0")
_DATA = {IPV4: "BackendData", IPV6: "BackendV6Data"}


def config_key(prefix: str) -> str:
    """The key of the network's configuration, under --etcd-prefix."""
    return _joined(prefix, "config")


def subnets_prefix(prefix: str) -> str:
    """What the keys of all leases begin with."""
    return _joined(prefix, "subnets") + "/"


def _joined(prefix: str, name: str) -> str:
    """As Go's path.Join, which flannel makes keys with: no slash more than needed, none added."""
    return re.sub("^//", "/", posixpath.normpath(f"{prefix}/{name}" if prefix else name))


def make_key(subnets: Mapping[int, Network]) -> str:
    """The part of the key behind `subnets/`, of subnets by family."""
    words = [_dashed(subnets.get(IPV4, _NO_IPV4))]
    if IPV6 in subnets:
        words.append(_dashed(subnets[IPV6]))
    return "&".join(words)


def _dashed(subnet: Network) -> str:
    return f"{subnet.network_address}-{subnet.prefixlen}"


def parse_key(text: str) -> dict[int, Network]:
    """The subnets that a key names.  ValueError for a key that names none."""
    match = _KEY.search(text)
    if match is None:
        raise ValueError("its key is no subnet such as 10.5.34.0-24")
    found: dict[int, Network] = {}
    for family, (address, length) in ((IPV4, match.group(1, 2)), (IPV6, match.group(3, 4))):
        if address is None:
            continue
        network = parse_network(f"{address}/{length.lstrip('0') or '0'}")
        if network.version != family or network.prefixlen > _LONGEST[family]:
            raise ValueError(f"its key names {network}, which is no IPv{family} subnet of a node")
        if network != _NO_IPV4:
            found[family] = network
    return found


class LeaseValue(Struct, frozen=True):
    """Who has a subnet.  Without a backend it is a reservation, or an agent is about to start."""

    public_ips: Mapping[int, Address]
    backend_type: str = ""
    backends: Mapping[int, BackendData] = {}
    faults: Mapping[int, str] = {}
    """Why a family's backend data cannot be read."""


def encode_value(
    public_ips: Mapping[int, Address], leases: Mapping[int, Lease] | None = None
) -> bytes:
    """The text that flannel writes; without leases that of one who has no backend yet."""
    own4, own6 = public_ips.get(IPV4), public_ips.get(IPV6)
    # flannel's IPv4 type has no null.
    words = [f'"PublicIP":"{own4 or "0.0.0.0"}"']  # noqa: S104 - a text
    words.append('"PublicIPv6":' + ("null" if own6 is None else f'"{own6}"'))
    if leases:
        kind = next(iter(leases.values())).backend_type
        words.append(f'"BackendType":{json.dumps(kind)}')
        words += (
            f'"{_DATA[family]}":{backenddata.encode(leases[family].vni, leases[family].vtep_mac)}'
            for family in sorted(leases)
        )
    return ("{" + ",".join(words) + "}").encode()


def decode_value(data: bytes) -> LeaseValue:
    """What a value says.  Raises ValueError that names the key at fault."""
    found = gojson.fields(gojson.parse(data), _FIELDS)
    public_ips: dict[int, Address] = {}
    for family, name in ((IPV4, "public_ip"), (IPV6, "public_ipv6")):
        text = found.get(name, "")
        if text:
            address = parse_address(text, wanted=family)
            if address.version != family:
                raise ValueError(f"{address} is not an IPv{family} address")
            if not address.is_unspecified:
                public_ips[family] = address
    backends: dict[int, BackendData] = {}
    faults: dict[int, str] = {}
    for family, name in ((IPV4, "backend_data"), (IPV6, "backend_v6_data")):
        if name in found:
            try:
                backends[family] = backenddata.of(found[name])
            except ValueError as error:
                faults[family] = str(error)
    return LeaseValue(
        public_ips=public_ips,
        backend_type=found.get("backend_type", ""),
        backends=backends,
        faults=faults,
    )


_FIELDS: dict[str, gojson.Decode] = {
    "public_ip": gojson.string,
    "public_ipv6": gojson.string,
    "backend_type": gojson.string,
    "backend_data": lambda value: value,  # backenddata reads it, and has faults of its own
    "backend_v6_data": lambda value: value,
}
