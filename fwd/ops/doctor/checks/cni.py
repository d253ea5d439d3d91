# SPDX-License-Identifier: Apache-2.0
"""The directory that the container runtime reads, and the plugins that it will run."""

import json
from collections.abc import Iterator
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
    """A runtime takes the first file by name."""
    names = sorted(
        entry.name for entry in directory.iterdir() if entry.suffix in _ENDINGS and entry.is_file()
    )
    first = [name for name in names if name < cni.FILE_NAME]
    if first:
        yield wrong(
            _CONFLIST,
            f"{directory / first[0]} comes before {cni.FILE_NAME}: runtimes take that one",
            f"move {', '.join(first)} out of {directory}",
        )
    elif cni.FILE_NAME in names:
        later = len(names) - 1
        more = f", {later} other{'s' * (later > 1)} behind it" if later else ""
        yield well(_CONFLIST, f"{directory / cni.FILE_NAME}{more}")
    elif patient.config.cni_conf is None:
        said = f"no {cni.FILE_NAME} in {directory}, and no --cni-conf to make it of"
        yield note(_CONFLIST, said, "give --cni-conf, or have an init container write it")
    else:
        yield well(_CONFLIST, f"{directory} is ready for {cni.FILE_NAME}")


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
            "install the CNI plugins (containernetworking-plugins) on the node",
        )
    else:
        yield well(_PLUGINS, f"{', '.join(wanted)} in {where}")


def _named(conflist: Path) -> set[str]:
    """Types that a conflist names, those of its IPAM too; none where it cannot be read."""
    try:
        document: Any = json.loads(conflist.read_bytes())
        plugins = document["plugins"]
        types = {plugin["type"] for plugin in plugins}
        return types | {plugin["ipam"]["type"] for plugin in plugins if "ipam" in plugin}
    except (OSError, ValueError, KeyError, TypeError):
        return set()
