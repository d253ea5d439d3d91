# SPDX-License-Identifier: Apache-2.0
"""The directory that the container runtime reads, and the plugins that it will run."""

import json
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from fwd.model import ConfigError
from fwd.node import cni
from fwd.ops.doctor.finding import Finding, note, well, wrong
from fwd.ops.doctor.patient import Patient

_ENDINGS = {".conf", ".conflist", ".json"}
"""What runtimes read (libcni, ConfFiles)."""
_USUAL_PLUGINS = ("bridge", "host-local", "loopback", "portmap")
_ALWAYS = ("loopback",)
"""Run by the runtime itself."""
_IN_PACKAGE = {
    *_USUAL_PLUGINS,
    *("bandwidth", "dhcp", "dummy", "firewall", "host-device", "ipvlan", "macvlan", "ptp", "sbr"),
    *("static", "tuning", "vlan", "vrf"),
}
"""Of containernetworking-plugins."""
_DELEGATING = {"multus", "multus-shim"}
"""Come before the network's own file on purpose, and run what that says."""
_PLUGINS = "CNI plugins"
_CONFLIST = "CNI conflist"


def look(patient: Patient) -> Iterator[Finding]:
    """The conflist, its rivals, then the plugins that it names."""
    config = patient.config
    if config.cni_conf is not None:
        try:
            cni.load(config.cni_conf, cni.Mode[config.cni_mode.upper()])
        except ConfigError as error:
            yield wrong("cni-conf.json", str(error), "write it as flannel's manifest has it")
    directory = config.cni_conf_dir
    if not directory.is_dir():
        yield note(
            _CONFLIST,
            f"there is no {directory} here",
            "nothing, if another container of the Pod writes it, or no runtime is on this node",
        )
        return
    yield from _rivals(patient, directory)
    yield from _plugins(patient, directory / cni.FILE_NAME)


def _rivals(patient: Patient, directory: Path) -> Iterator[Finding]:
    """A runtime takes the first file by name; what delegates is no rival, but others are to it."""
    names = sorted(
        entry.name for entry in directory.iterdir() if entry.suffix in _ENDINGS and entry.is_file()
    )
    first = [name for name in names if name < cni.FILE_NAME]
    rivals = [name for name in first if not _delegates(directory / name)]
    if len(rivals) < len(first):
        delegating = next(name for name in first if name not in rivals)
        yield note(
            _CONFLIST,
            f"{directory / delegating} comes before {cni.FILE_NAME} and delegates",
            f"see that it delegates to {cni.FILE_NAME}",
        )
    if rivals:
        yield wrong(
            _CONFLIST,
            f"{directory / rivals[0]} comes before {cni.FILE_NAME}: runtimes take that one",
            f"move {', '.join(rivals)} out of {directory}",
        )
    elif cni.FILE_NAME in names:
        later = len(names) - len(first) - 1
        more = f", {later} other{'s' * (later > 1)} behind it" if later else ""
        yield well(_CONFLIST, f"{directory / cni.FILE_NAME}{more}")
    elif patient.config.cni_conf is None:
        said = f"no {cni.FILE_NAME} in {directory}, and no --cni-conf to make it of"
        yield note(_CONFLIST, said, "give --cni-conf, or have an init container write it")
    else:
        yield well(_CONFLIST, f"{directory} is ready for {cni.FILE_NAME}")


def _delegates(path: Path) -> bool:
    """Whether a file is Multus's, or one that names ours; a network's name others may have, too."""
    with suppress(OSError):
        return bool(_named(path) & _DELEGATING) or cni.FILE_NAME.encode() in path.read_bytes()
    return False


def _plugins(patient: Patient, conflist: Path) -> Iterator[Finding]:
    directories = [path for path in patient.options.cni_bin_dirs if path.is_dir()]
    if not directories:
        searched = ", ".join(map(str, patient.options.cni_bin_dirs))
        yield note(_PLUGINS, f"no {searched} here: cannot be seen", "look on the node itself")
        return
    wanted = sorted({*_ALWAYS, *(_named(conflist) or _USUAL_PLUGINS)})
    missing = [name for name in wanted if not any((path / name).exists() for path in directories)]
    where = ", ".join(map(str, directories))
    if missing:
        yield wrong(
            _PLUGINS,
            f"{', '.join(missing)} not in {where}",
            "; ".join(_remedies(patient, conflist, missing)),
        )
    else:
        yield well(_PLUGINS, f"{', '.join(wanted)} in {where}")


def _remedies(patient: Patient, conflist: Path, missing: Collection[str]) -> Iterator[str]:
    """An entry that others have chained outlives their program, and no Pod starts then."""
    others = [name for name in missing if name not in _IN_PACKAGE]
    if len(others) < len(missing):
        yield "install the CNI plugins (containernetworking-plugins) on the node"
    if others:
        source, install = patient.config.cni_conf, f"install {', '.join(others)}"
        if source is None:
            yield f"{install}, or take that out of {conflist}"
        elif _named(source).isdisjoint(others):
            yield f"{install}, or delete {conflist}, which the agent writes anew"
        else:
            yield install


def _named(path: Path) -> set[str]:
    """Types that a file names, those of its IPAM too; none where it cannot be read."""
    try:
        document: Any = json.loads(path.read_bytes())
        plugins = document.get("plugins", [document])
        types = {plugin["type"] for plugin in plugins}
        return types | {plugin["ipam"]["type"] for plugin in plugins if "ipam" in plugin}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return set()
