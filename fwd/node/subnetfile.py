# SPDX-License-Identifier: Apache-2.0
"""subnet.env, the file by which flannel tells the CNI plugin of its node (flannel spec 8).

Consumers parse it line by line, so lines, order and form are part of the contract.
"""

import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

from fwd.core.text import parse_cidr
from fwd.model import IPV4, IPV6, Network

_PREFIX = {IPV4: "FLANNEL", IPV6: "FLANNEL_IPV6"}


class SubnetEnv(Struct, frozen=True):
    """Cluster networks and this node's subnets by family, of the families that are on."""

    networks: Mapping[int, Network]
    subnets: Mapping[int, Network]
    mtu: int
    ip_masq: bool = False


def render(env: SubnetEnv) -> str:
    """The file's text.  SUBNET is the gateway's address, which is the subnet's first one."""
    lines = []
    for family in sorted(env.subnets):
        subnet = env.subnets[family]
        lines.append(f"{_PREFIX[family]}_NETWORK={env.networks[family]}")
        lines.append(f"{_PREFIX[family]}_SUBNET={subnet.network_address + 1}/{subnet.prefixlen}")
    lines.append(f"FLANNEL_MTU={env.mtu}")
    lines.append(f"FLANNEL_IPMASQ={str(env.ip_masq).lower()}")
    return "".join(f"{line}\n" for line in lines)


def write(path: Path, env: SubnetEnv) -> bool:
    """Sees to it that the file says this; whether it had to be written.  Raises OSError.

    It is replaced as a whole: a reader sees the old text or the new one.
    """
    content = render(env).encode()
    with suppress(FileNotFoundError):
        if path.read_bytes() == content:
            return False
    write_whole(path, content)
    return True


def write_whole(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Writes beside path, syncs and renames; mode whatever the umask.  Makes the directory."""
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            os.fchmod(file.fileno(), mode)
            file.flush()
            os.fsync(file.fileno())
        Path(name).rename(path)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise


def read(path: Path) -> SubnetEnv | None:
    """What an earlier start wrote, or None where that is nothing of use.

    As flannel reads it: the last value of a key wins; an entry that is no CIDR is passed over; a
    key with several CIDRs counts as empty.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    values: dict[str, str] = {}
    for line in text.splitlines():
        key, equals, value = line.strip().partition("=")
        if equals and not key.startswith("#"):
            values[key] = value.strip("\"'")
    networks: dict[int, Network] = {}
    subnets: dict[int, Network] = {}
    for family, prefix in _PREFIX.items():
        network = _only_cidr(values.get(f"{prefix}_NETWORK", ""))
        subnet = _only_cidr(values.get(f"{prefix}_SUBNET", ""))
        if network and subnet and network.version == subnet.version == family:
            networks[family], subnets[family] = network, subnet
    mtu = values.get("FLANNEL_MTU", "")
    if not subnets or not mtu.isdecimal():
        return None
    return SubnetEnv(
        networks=networks,
        subnets=subnets,
        mtu=int(mtu),
        ip_masq=values.get("FLANNEL_IPMASQ") == "true",
    )


def _only_cidr(text: str) -> Network | None:
    found = []
    for item in text.split(","):
        with suppress(ValueError):
            found.append(parse_cidr(item.strip()))
    return found[0] if len(found) == 1 else None
