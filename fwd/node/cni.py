# SPDX-License-Identifier: Apache-2.0
"""The CNI configuration in its place, for the container runtime to find.

Two modes: `render`, in which the flannel entry is resolved for this node by `core.cniconf`; `copy`,
for hosts that have flannel's CNI plugin.  A runtime takes the node's network for ready as soon as
the file is there, so whoever calls `place` does it when packets flow, not before.
"""

import json
from collections.abc import Container, Iterable
from contextlib import suppress
from enum import Enum, auto
from pathlib import Path

from msgspec import Struct

from fwd.core import cniconf
from fwd.model import ConfigError
from fwd.node.subnetfile import SubnetEnv, write_whole
from fwd.node.traces import digest

FILE_NAME = "10-flannel.conflist"
"""flannel's; runtimes take the first file by name."""

_Plugins = list[tuple[str, object]]
"""Each with its type."""


class Mode(Enum):
    """What becomes of cni-conf.json."""

    RENDER = "render"
    COPY = "copy"


class Placed(Enum):
    """What `place` has done."""

    WRITTEN = auto()
    UNCHANGED = auto()
    NO_DIRECTORY = auto()
    """Not mounted here: a stock manifest mounts it into its init container only."""


class CniConf(Struct, frozen=True):
    """A cni-conf.json that was read and can be used."""

    text: bytes
    template: cniconf.Template | None = None
    """None: it is copied."""

    @property
    def ignored(self) -> tuple[str, ...]:
        """Keys that are set and have no effect here."""
        return self.template.ignored if self.template else ()

    def content(self, env: SubnetEnv) -> bytes:
        """What belongs into the file on a node with this subnet.env."""
        if self.template is None:
            return self.text
        return cniconf.render(
            self.template,
            networks=env.networks,
            subnets=env.subnets,
            mtu=env.mtu,
            ip_masq=env.ip_masq,
        ).encode()


def load(path: Path, mode: Mode) -> CniConf:
    """Reads cni-conf.json.  Raises ConfigError, which names the key at fault."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"failed to read CNI conf: {path}: {error.strerror}") from error
    try:
        if mode is Mode.RENDER:
            return CniConf(text, cniconf.parse(text))
        cniconf.check(text)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    return CniConf(text)


def place(directory: Path, content: bytes, *, earlier: Iterable[str] = ()) -> Placed:
    """Sees to it that the file in `directory` is this list, whole, mode 0644.  Raises OSError.

    A file that says the same is left alone: runtimes watch the directory.  So are plugins that
    others have put behind ours, as service meshes do, who would put them there again; they stay
    also where this list takes the place of an `earlier` one (digests of such).  Not so a file that
    runtimes refuse, and plugins of a type that the list has itself.
    """
    path = directory / FILE_NAME
    if not directory.exists():
        return Placed.NO_DIRECTORY
    with suppress(FileNotFoundError):
        there = path.read_bytes()
        if there == content:
            return Placed.UNCHANGED
        behind = _behind(there, {digest(content), *earlier})
        if behind is not None:
            content = _chained(content, behind)
            if digest(there) == digest(content):
                return Placed.UNCHANGED
    write_whole(path, content)
    return Placed.WRITTEN


def _behind(there: bytes, lists: Container[str]) -> _Plugins | None:
    """What stands behind the longest of these lists that a file begins with; None: with none."""
    with suppress(ConfigError, RecursionError):
        types, document = cniconf.check(there), json.loads(there)
        plugins = document["plugins"]
        for count in range(len(plugins), 0, -1):
            if digest(_encoded(document, plugins[:count])) in lists:
                return list(zip(types, plugins, strict=True))[count:]
    return None


def _chained(content: bytes, behind: _Plugins) -> bytes:
    """A list of ours with the plugins of others behind it."""
    ours = cniconf.check(content)
    added = [plugin for kind, plugin in behind if kind not in ours]
    if not added:
        return content
    document = json.loads(content)
    return _encoded(document, [*document["plugins"], *added])


def _encoded(document: dict[str, object], plugins: list[object]) -> bytes:
    return (json.dumps(document | {"plugins": plugins}, indent=2) + "\n").encode()
