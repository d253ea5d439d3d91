# SPDX-License-Identifier: Apache-2.0
"""subnet.env, the file by which flannel tells the CNI plugin of its node (flannel spec 8).

Consumers parse it line by line, so lines, order and form are part of the contract.
"""

import os
import re
import stat
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

from fwd.core.text import parse_cidr
from fwd.model import IPV4, IPV6, Network

_PREFIX = {IPV4: "FLANNEL", IPV6: "FLANNEL_IPV6"}


_LINE = re.compile(
    r"""\s*(?:export\s+)?(?P<key>[\w.]+)\s*[=:]\s*
    (?:"(?P<double>[^"]*)"|'(?P<single>[^']*)'|(?P<plain>.*?))\s*(?:(?<=\s)\#.*)?""",
    re.VERBOSE,
)
"""As dotenv files have it, which flannel takes this one for."""


_NUMBER = re.compile("[0-9]{1,10}")
"""More digits are no MTU, and of thousands int() makes an error."""


class SubnetEnv(Struct, frozen=True):
    """Cluster networks and this node's subnets by family, of the families that are on."""

    networks: Mapping[int, Network]
    """In a file of somebody else's there may be fewer than subnets."""
    subnets: Mapping[int, Network]
    mtu: int
    """0: such a file says none."""
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

    It is replaced as a whole: a reader sees the old text or the new one.  Who may read it stays as
    somebody has settled it.
    """
    content, mode = render(env).encode(), 0o644
    with suppress(FileNotFoundError):
        if path.read_bytes() == content:
            return False
        mode = stat.S_IMODE(path.stat().st_mode)
    write_whole(path, content, mode=mode)
    return True


def write_whole(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Writes beside path, syncs and renames; mode whatever the umask.  Makes the directory."""
    _make_directory(path.parent)
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


def _make_directory(path: Path) -> None:
    """With those above it, for everybody to read whatever the umask; one that is there stays."""
    if not path.is_dir():
        _make_directory(path.parent)
        with suppress(FileExistsError):  # somebody was faster, or it is a file: writing says so
            path.mkdir(mode=0o755)
            path.chmod(0o755)


def read(path: Path) -> SubnetEnv | None:
    """What an earlier start wrote, or None where that is nothing of use.

    As flannel reads it: a subnet is enough; the last value of a key wins; an entry that is no CIDR
    is passed over; a key with several CIDRs counts as empty.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    values: dict[str, str] = {}
    for line in text.splitlines():
        if found := _LINE.fullmatch(line):
            values[found["key"]] = found["double"] or found["single"] or found["plain"] or ""
    subnets = _cidrs(values, "SUBNET")
    if not subnets:
        return None
    mtu = values.get("FLANNEL_MTU", "")
    return SubnetEnv(
        networks=_cidrs(values, "NETWORK"),
        subnets=subnets,
        mtu=int(mtu) if _NUMBER.fullmatch(mtu) else 0,
        ip_masq=values.get("FLANNEL_IPMASQ") == "true",
    )


def _cidrs(values: Mapping[str, str], name: str) -> dict[int, Network]:
    found: dict[int, Network] = {}
    for family, prefix in _PREFIX.items():
        cidr = _only_cidr(values.get(f"{prefix}_{name}", ""))
        if cidr is not None and cidr.version == family:
            found[family] = cidr
    return found


def _only_cidr(text: str) -> Network | None:
    found = []
    for item in text.split(","):
        with suppress(ValueError):
            found.append(parse_cidr(item.strip()))
    return found[0] if len(found) == 1 else None
