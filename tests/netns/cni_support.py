# SPDX-License-Identifier: Apache-2.0
"""A container runtime's part of CNI, with Debian's plugins: a list executed for a namespace.

What libcni does, and no more: each plugin gets its configuration on stdin with the list's name and
cniVersion, the result of the plugin before it, and what it declared a capability for; ADD and CHECK
go down the list, DEL goes up it; the result of ADD is kept until DEL.  A node's plugins see a
/var/lib of its own, so that nodes on one machine do not share a file of host-local's and nothing is
left on it.
"""

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest
from msgspec import Struct

PLUGINS: Final = Path("/usr/lib/cni")
NEEDED: Final = ("bridge", "host-local", "loopback", "portmap")
LIMIT: Final = 20.0  # seconds for one plugin

# As in the ConfigMap of flannel's manifests before v0.12.0; later ones add cniVersion 0.3.1.
SEED: Final = """\
{
  "name": "cbr0",
  "plugins": [
    {
      "type": "flannel",
      "delegate": {
        "hairpinMode": true,
        "isDefaultGateway": true
      }
    },
    {
      "type": "portmap",
      "capabilities": {
        "portMappings": true
      }
    }
  ]
}
"""

Conf = dict[str, Any]
Result = dict[str, Any]


def require_plugins() -> None:
    """Skip without the plugins; fail instead where nobody looks at skips."""
    if missing := [name for name in NEEDED if not os.access(PLUGINS / name, os.X_OK)]:
        reason = f"needs {', '.join(missing)} in {PLUGINS} (containernetworking-plugins)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)


class PluginError(Exception):
    """A plugin's answer that is not a result; `code` is CNI's."""

    def __init__(self, plugin: str, command: str, code: int, text: str) -> None:
        super().__init__(f"{plugin} {command}: {text} ({code})")
        self.code = code


class Pod(Struct, frozen=True):
    """A sandbox: an id and a network namespace's file, and what it asks of the plugins."""

    container: str
    netns: Path
    args: dict[str, Any] = {}
    """By capability, as in {"portMappings": [...]}."""

    @property
    def environment(self) -> dict[str, str]:
        return {
            "CNI_CONTAINERID": self.container,
            "CNI_NETNS": str(self.netns),
            "CNI_IFNAME": "eth0",
            "CNI_ARGS": f"IgnoreUnknown=1;K8S_POD_NAMESPACE=test;K8S_POD_NAME={self.container}",
            "CNI_PATH": str(PLUGINS),
        }


def host_port(port: int, *, protocol: str = "udp") -> dict[str, Any]:
    """Pod.args of a Pod with a hostPort equal to its containerPort."""
    mapping = {"hostPort": port, "containerPort": port, "protocol": protocol}
    return {"portMappings": [mapping]}


def shown(namespace: str, *words: str) -> Any:  # noqa: ANN401 - JSON
    """What `ip` shows in a namespace."""
    argv = ["ip", "-n", namespace, "-json", "-details", *words]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=LIMIT, check=True)
    return json.loads(done.stdout or "[]")


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


class Runtime:
    """The runtime of one node: a network namespace, its list, its files."""

    def __init__(self, namespace: str, *, conflist: Path, var_lib: Path) -> None:
        self.namespace = namespace
        self._conflist = conflist
        self._var_lib = var_lib
        self.path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
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
            said = self._run(kind, {"cniVersion": "1.0.0"}, {"CNI_COMMAND": "VERSION"})
            assert said is not None
            assert conf["cniVersion"] in said["supportedVersions"], kind

    def add(self, pod: Pod) -> Result:
        """Connects a Pod; the last plugin's result.  What fails is taken back before it is told."""
        conf, prev = self.conf, None
        try:
            for number in range(len(conf["plugins"])):
                prev = self._call("ADD", conf, number, pod=pod, prev=prev)
        except PluginError:
            self._delete(conf, pod, prev=None)
            raise
        assert prev is not None
        kept = {"conf": conf, "args": pod.args, "result": prev}
        self._result(pod).write_text(json.dumps(kept))
        return prev

    def check(self, pod: Pod) -> None:
        """CHECK down the list, with what ADD was given then."""
        kept = json.loads(self._result(pod).read_text())
        assert kept["conf"]["cniVersion"] not in ("0.1.0", "0.2.0", "0.3.0", "0.3.1")
        if not kept["conf"].get("disableCheck"):
            for number in range(len(kept["conf"]["plugins"])):
                self._call("CHECK", kept["conf"], number, pod=pod, prev=kept["result"])

    def delete(self, pod: Pod) -> None:
        """Disconnects a Pod; one that is not connected is no error."""
        try:
            kept = json.loads(self._result(pod).read_text())
        except FileNotFoundError:
            kept = {"conf": self.conf, "result": None}
        old = kept["conf"]["cniVersion"] in ("0.1.0", "0.2.0", "0.3.0", "0.3.1")
        self._delete(kept["conf"], pod, prev=None if old else kept["result"])
        self._result(pod).unlink(missing_ok=True)

    def _delete(self, conf: Conf, pod: Pod, *, prev: Result | None) -> None:
        for number in reversed(range(len(conf["plugins"]))):
            self._call("DEL", conf, number, pod=pod, prev=prev)

    def _result(self, pod: Pod) -> Path:
        return self._var_lib / f"cni/results/{self.conf['name']}-{pod.container}-eth0"

    def _call(
        self, command: str, conf: Conf, number: int, *, pod: Pod, prev: Result | None
    ) -> Result | None:
        stdin = plugin_conf(conf, number, args=pod.args, prev=prev)
        environment = {"CNI_COMMAND": command} | pod.environment
        return self._run(conf["plugins"][number]["type"], stdin, environment)

    def _run(self, plugin: str, stdin: Conf, environment: dict[str, str]) -> Result | None:
        # `ip netns exec` gives it a mount namespace of its own too.
        private = 'mount --bind "$0" /var/lib && exec "$@"'
        done = subprocess.run(
            [
                *("ip", "netns", "exec", self.namespace),
                *("sh", "-c", private, str(self._var_lib), str(PLUGINS / plugin)),
            ],
            env={"PATH": self.path} | environment,
            input=json.dumps(stdin),
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )
        if done.returncode != 0:
            try:
                said = json.loads(done.stdout)
            except ValueError:
                pytest.fail(f"{plugin}: {done.stdout}{done.stderr}")
            text = f"{said['msg']} {said.get('details', '')}".strip()
            raise PluginError(plugin, environment["CNI_COMMAND"], said["code"], text)
        result: Result | None = json.loads(done.stdout) if done.stdout.strip() else None
        return result
