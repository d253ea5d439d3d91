# SPDX-License-Identifier: Apache-2.0
"""A container runtime's part of CNI: a node's list of plugins, executed for a Pod.

What libcni does, and no more: each plugin gets its configuration on stdin with the list's name and
cniVersion, the result of the plugin before it, and what it declared a capability for; ADD and CHECK
go down the list, DEL goes up it; the result of ADD is kept until DEL.  A node's plugins see a
/var/lib of its own, so that nodes on one machine do not share a file of host-local's and nothing is
left on it.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from fwd.lab import child, netns
from fwd.lab.errors import LabError

NEEDED: Final = ("bridge", "host-local", "loopback", "portmap")
DIRECTORIES: Final = (Path("/usr/lib/cni"), Path("/opt/cni/bin"))
"""Debian's, and the one that Kubernetes takes for granted."""
INTERFACE: Final = "eth0"  # the Pod's end

_NO_CHECK: Final = ("0.1.0", "0.2.0", "0.3.0", "0.3.1")
"""Versions of CNI without CHECK, and without a result in DEL."""
# `ip netns exec` gives it a mount namespace of its own too.
_PRIVATE: Final = 'mount --bind "$0" /var/lib && exec "$@"'

Conf = dict[str, Any]
Result = dict[str, Any]


class PluginError(LabError):
    """A plugin's answer that is not a result; `code` is CNI's."""

    def __init__(self, plugin: str, command: str, code: int, text: str) -> None:
        super().__init__(f"{plugin} {command}: {text} ({code})")
        self.code = code


class Sandbox(Struct, frozen=True):
    """A Pod as a runtime has it: an id, a network namespace's file, what it asks of the plugins."""

    container: str
    netns: Path
    args: dict[str, Any] = {}
    """By capability, as in {"portMappings": [...]}."""

    def environment(self, plugins: Path) -> dict[str, str]:
        """What every plugin finds in its environment."""
        return {
            "CNI_CONTAINERID": self.container,
            "CNI_NETNS": str(self.netns),
            "CNI_IFNAME": INTERFACE,
            "CNI_ARGS": f"IgnoreUnknown=1;K8S_POD_NAMESPACE=lab;K8S_POD_NAME={self.container}",
            "CNI_PATH": str(plugins),
        }


def plugins() -> Path | None:
    """The directory in which all plugins are that a list of flannel's needs; None: nowhere."""
    for directory in DIRECTORIES:
        if all(os.access(directory / name, os.X_OK) for name in NEEDED):
            return directory
    return None


def require() -> Path:
    """The same.

    Raises:
        LabError: they are nowhere.
    """
    found = plugins()
    if found is None:
        raise LabError(
            f"missing: CNI plugins in {DIRECTORIES[0]}; apt-get install"
            " containernetworking-plugins, or give --wiring=veth"
        )
    return found


class Runtime:
    """The runtime of one node: a network namespace, its list, its files.

    Raises:
        LabError: there are no plugins.
    """

    def __init__(self, namespace: str, *, conflist: Path, var_lib: Path) -> None:
        self.namespace = namespace
        self.path = child.search_path()
        self._plugins = require()
        self._conflist = conflist
        self._var_lib = var_lib
        (var_lib / "cni/results").mkdir(parents=True, exist_ok=True)

    @property
    def conf(self) -> Conf:
        """The list as it is in its file now."""
        conf: Conf = json.loads(self._conflist.read_text())
        return conf

    def addresses(self) -> list[str]:
        """What host-local has given out and not got back."""
        directory = self._var_lib / "cni/networks" / self.conf["name"]
        skipped = ("last_reserved_ip", "lock")
        if not directory.exists():
            return []
        return sorted(one.name for one in directory.iterdir() if not one.name.startswith(skipped))

    def validate(self) -> None:
        """That every plugin speaks the list's version: what a runtime asks first."""
        conf = self.conf
        for plugin in conf["plugins"]:
            kind = plugin["type"]
            said = self._run(kind, {"cniVersion": "1.0.0"}, {"CNI_COMMAND": "VERSION"}) or {}
            if conf["cniVersion"] not in said.get("supportedVersions", ()):
                raise PluginError(kind, "VERSION", 1, f"does not speak {conf['cniVersion']}")

    def add(self, sandbox: Sandbox) -> Result:
        """Connects a Pod; the last plugin's result.  What fails is taken back before it is told."""
        conf, prev = self.conf, None
        try:
            for number in range(len(conf["plugins"])):
                prev = self._call("ADD", conf, number, sandbox=sandbox, prev=prev)
        except PluginError:
            self._delete(conf, sandbox, prev=None)
            raise
        assert prev is not None
        kept = {"conf": conf, "args": sandbox.args, "result": prev}
        self._result(sandbox).write_text(json.dumps(kept))
        return prev

    def check(self, sandbox: Sandbox) -> None:
        """CHECK down the list, with what ADD was given then."""
        kept = json.loads(self._result(sandbox).read_text())
        assert kept["conf"]["cniVersion"] not in _NO_CHECK
        if not kept["conf"].get("disableCheck"):
            for number in range(len(kept["conf"]["plugins"])):
                self._call("CHECK", kept["conf"], number, sandbox=sandbox, prev=kept["result"])

    def delete(self, sandbox: Sandbox) -> None:
        """Disconnects a Pod; one that is not connected is no error."""
        try:
            kept = json.loads(self._result(sandbox).read_text())
        except FileNotFoundError:
            kept = {"conf": self.conf, "result": None}
        is_old = kept["conf"]["cniVersion"] in _NO_CHECK
        self._delete(kept["conf"], sandbox, prev=None if is_old else kept["result"])
        self._result(sandbox).unlink(missing_ok=True)

    def _delete(self, conf: Conf, sandbox: Sandbox, *, prev: Result | None) -> None:
        for number in reversed(range(len(conf["plugins"]))):
            self._call("DEL", conf, number, sandbox=sandbox, prev=prev)

    def _result(self, sandbox: Sandbox) -> Path:
        name = f"{self.conf['name']}-{sandbox.container}-{INTERFACE}"
        return self._var_lib / "cni/results" / name

    def _call(
        self, command: str, conf: Conf, number: int, *, sandbox: Sandbox, prev: Result | None
    ) -> Result | None:
        stdin = plugin_conf(conf, number, args=sandbox.args, prev=prev)
        environment = {"CNI_COMMAND": command} | sandbox.environment(self._plugins)
        return self._run(conf["plugins"][number]["type"], stdin, environment)

    def _run(self, plugin: str, stdin: Conf, environment: dict[str, str]) -> Result | None:
        argv = ("sh", "-c", _PRIVATE, str(self._var_lib), str(self._plugins / plugin))
        done = child.run(
            netns.inside(self.namespace, *argv),
            stdin=json.dumps(stdin),
            env={"PATH": self.path} | environment,
        )
        try:
            said: Result | None = json.loads(done.out) if done.out.strip() else None
        except ValueError:
            said = None
        if done.code != 0:
            text = f"{said['msg']} {said.get('details', '')}".strip() if said else done.last_line
            code = said["code"] if said else done.code
            raise PluginError(plugin, environment["CNI_COMMAND"], code, text)
        return said


def plugin_conf(
    conflist: Conf, number: int, *, args: Mapping[str, Any] | None = None, prev: Result | None
) -> Conf:
    """What plugin `number` of the list gets on stdin."""
    plugin: Conf = conflist["plugins"][number]
    conf = plugin | {key: conflist[key] for key in ("name", "cniVersion") if key in conflist}
    declared = plugin.get("capabilities") or {}
    asked = {key: value for key, value in (args or {}).items() if declared.get(key)}
    if asked:
        conf["runtimeConfig"] = asked
    return conf | ({} if prev is None else {"prevResult": prev})
