# SPDX-License-Identifier: Apache-2.0
"""flannel's net-conf.json: what it says, with flannel's defaults and error texts (flannel spec 2).

Reading the file is `config`'s, decoding JSON as Go does is `gojson`'s.  Keys that only concern
flannel's etcd mode are decoded, because a wrong type there is an error in every mode, and kept.
"""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from fwd.core import gojson
from fwd.core.text import parse_address, parse_cidr
from fwd.model import IPV4, IPV6, Address, ConfigError, Network

DEFAULT_VNI = 1
DEFAULT_PORT = 8472
"""The kernel's vxlan default, which flannel leaves in force when Port is 0 or absent."""
VNI_LIMIT = 2**24
"""As the wire has it.  A device's name has less room for it, see `_check_names`."""
NAME_CHARACTERS = 15
"""Of a device's name at most: the kernel's IFNAMSIZ without the zero at the end."""

FLANNEL_OVERHEAD = 50
"""20 IPv4 + 8 UDP + 8 VXLAN + 14 inner Ethernet; flannel takes it for IPv6 too (spec 5.5)."""
IPV6_OVERHEAD = 70
MIN_MTU = {IPV4: 576, IPV6: 1280}
"""Of the tunnel device: what every IPv4 host takes (RFC 791), and every IPv6 link (RFC 8200)."""


class Unparsable(ConfigError):  # noqa: N818 - a kind of ConfigError
    """A text that is no net-conf.json: flannel has no subnet manager then."""


class VxlanConf(Struct, frozen=True):
    """The vxlan backend's keys."""

    vni: int = DEFAULT_VNI
    port: int = DEFAULT_PORT
    mtu: int | None = None
    """Budget for outer packets; None: the underlay interface's MTU."""
    gbp: bool = False
    learning: bool = False
    direct_routing: bool = False

    def device(self, family: int) -> str:
        """The name that flannel's vxlan device of this family has."""
        return f"flannel.{self.vni}" if family == IPV4 else f"flannel-v6.{self.vni}"

    def device_mtu(self, family: int, link_mtu: int) -> int:
        """MTU of the tunnel device over an underlay interface (spec 5.5)."""
        mtu = self.pod_mtu(link_mtu)
        if family == IPV6:
            mtu = min(mtu, link_mtu - IPV6_OVERHEAD)
        if mtu < MIN_MTU[family]:
            raise ConfigError(
                f"an underlay MTU of {self.mtu or link_mtu} leaves {mtu} for IPv{family} Pods, "
                f"which need {MIN_MTU[family]}: raise MTU in net-conf.json or of the interface"
            )
        return mtu

    def pod_mtu(self, link_mtu: int) -> int:
        """FLANNEL_MTU: what Pods get, for both families."""
        return (self.mtu or link_mtu) - FLANNEL_OVERHEAD

    def ignored(self) -> tuple[str, ...]:
        """Keys that are set and have no effect here."""
        named = {
            "GBP": self.gbp,
            "Learning": self.learning,
        }
        return tuple(key for key, on in named.items() if on)


class NetConf(Struct, frozen=True):
    """net-conf.json of a vxlan cluster."""

    network: IPv4Network | None = None
    ipv6_network: IPv6Network | None = None
    enable_ipv4: bool = True
    enable_ipv6: bool = False
    enable_nftables: bool = False
    subnet_len: int | None = None
    subnet_min: IPv4Address | None = None
    subnet_max: IPv4Address | None = None
    ipv6_subnet_len: int | None = None
    ipv6_subnet_min: IPv6Address | None = None
    ipv6_subnet_max: IPv6Address | None = None
    backend: VxlanConf = VxlanConf()

    @property
    def networks(self) -> dict[int, Network]:
        """The cluster's network by family, of the families that are on."""
        found: dict[int, Network] = {}
        if self.enable_ipv4 and self.network is not None:
            found[IPV4] = self.network
        if self.enable_ipv6 and self.ipv6_network is not None:
            found[IPV6] = self.ipv6_network
        return found


def parse_netconf(text: str | bytes) -> NetConf:
    """Reads net-conf.json.  Raises ConfigError with flannel's text, and the key at fault."""
    try:
        found = gojson.fields(gojson.parse(text), _KEYS)
    except ValueError as error:
        raise Unparsable(f"error parsing subnet config: {error}") from error
    backend = found.pop("backend", None)
    conf = NetConf(**found)
    if not (conf.enable_ipv4 or conf.enable_ipv6):
        raise ConfigError("none defined stack: EnableIPv4 and EnableIPv6 are both false")
    for key, on, network in (
        ("Network", conf.enable_ipv4, conf.network),
        ("IPv6Network", conf.enable_ipv6, conf.ipv6_network),
    ):
        if on and network is None:
            raise ConfigError(f"please define a correct {key} parameter in the flannel config")
    vxlan = _parse_backend(backend)
    _check_names(vxlan, conf.networks)
    return replace(conf, backend=vxlan)


def _check_names(backend: VxlanConf, families: Iterable[int]) -> None:
    """Raises ConfigError where a device of these families cannot have flannel's name for it."""
    longest = max(map(backend.device, families), key=len)
    if len(longest) > NAME_CHARACTERS:
        digits = NAME_CHARACTERS - len(longest) + len(str(backend.vni))
        raise ConfigError(
            f"Error registering network: {longest} is longer than a device's name may be "
            f"({NAME_CHARACTERS} characters): choose a VNI of {10**digits - 1} at most in "
            "net-conf.json, for all nodes"
        )


def _parse_backend(value: Any) -> VxlanConf:  # noqa: ANN401 - JSON
    if value is None:  # udp is flannel's default; its documentation says vxlan
        raise ConfigError(
            "Error fetching backend: unknown backend type: udp (the default where net-conf.json "
            'has no Backend: write "Backend": {"Type": "vxlan"})'
        )
    try:
        backend_type = gojson.fields(value, {"type": gojson.string}).get("type", "")
    except ValueError as error:
        raise Unparsable(f"error decoding Backend property of config: {error}") from error
    if backend_type.lower() != "vxlan":
        raise ConfigError(
            f"Error fetching backend: unknown backend type: {backend_type} (fwd speaks vxlan)"
        )
    try:
        found = gojson.fields(value, _BACKEND_KEYS)
    except ValueError as error:
        raise ConfigError(
            f"Error registering network: error decoding VXLAN backend config: {error}"
        ) from error
    return VxlanConf(**{key: value for key, value in found.items() if value or key not in _UNSET})


def _cidr(version: int) -> gojson.Decode:
    def decode(value: Any) -> Network:  # noqa: ANN401
        network = parse_cidr(_written(value))
        if network.version != version:
            raise ValueError(f"invalid IPv{version} CIDR format: {network}")
        return network

    return decode


def _address(version: int) -> gojson.Decode:
    def decode(value: Any) -> Address:  # noqa: ANN401
        address = parse_address(_written(value), wanted=version)
        if address.version != version:
            raise ValueError(f"{address} is not an IPv{version} address")
        return address

    return decode


def _or_null(decode: gojson.Decode) -> gojson.Decode:
    """flannel has these as pointers, to which null is the same as nothing."""
    return lambda value: None if value is None else decode(value)


def _written(value: Any) -> str:  # noqa: ANN401
    """A string that must be there: flannel's own address types do not take null."""
    text = gojson.string(value)
    if text is None:
        raise ValueError("must be a string, not null")
    return text


def _within(low: int, high: int) -> gojson.Decode:
    def decode(value: Any) -> int | None:  # noqa: ANN401
        number = gojson.integer(value)
        if number is not None and not low <= number <= high:
            raise ValueError(f"{number} is not within {low} to {high}")
        return number

    return decode


def _raw(value: Any) -> Any:  # noqa: ANN401
    """Go's json.RawMessage: null is a value there, and not the same as an absent key."""
    return gojson.Pairs() if value is None else value


# Keys whose zero means the same as their absence.
_UNSET = ("port", "mtu")

# Field: decoder.  The key is the field's name without underscores, in any case.
_KEYS: dict[str, gojson.Decode] = {
    "network": _cidr(IPV4),
    "ipv6_network": _cidr(IPV6),
    "enable_ipv4": gojson.boolean,
    "enable_ipv6": gojson.boolean,
    "enable_nftables": gojson.boolean,
    "subnet_len": gojson.unsigned,
    "subnet_min": _address(IPV4),
    "subnet_max": _address(IPV4),
    "ipv6_subnet_len": gojson.unsigned,
    "ipv6_subnet_min": _or_null(_address(IPV6)),
    "ipv6_subnet_max": _or_null(_address(IPV6)),
    "backend": _raw,
}

_BACKEND_KEYS: dict[str, gojson.Decode] = {
    "vni": _within(0, VNI_LIMIT - 1),
    "port": _within(0, 65535),
    "mtu": _within(0, 65535),
    "gbp": gojson.boolean,
    "learning": gojson.boolean,
    "direct_routing": gojson.boolean,
}
