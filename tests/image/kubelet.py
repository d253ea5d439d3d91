# SPDX-License-Identifier: Apache-2.0
"""A kubelet's part for one Pod of a DaemonSet: its spec in the words of podman.

Each field that bears on rights, files, environment or limits is translated, and one that is not
known here fails: what runs in these tests has what the manifest says, and nothing else.
"""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from fwd.lab import netns
from fwd.lab.apiserver import commands as cmd
from fwd.lab.apiserver.client import ask
from tests.deploy.rendering import Object, of_kind, only, pull_policy
from tests.netns.lab_support import wait_for
from tests.netns.podman_support import Podman

REPOSITORY: Final = "localhost/fwd"
IMAGE: Final = f"{REPOSITORY}:latest"
"""One of the archive's names; manifests have another."""
ACCOUNT: Final = "/var/run/secrets/kubernetes.io/serviceaccount"
_KNOWN_OF_CONTAINER: Final = {
    *("name", "image", "imagePullPolicy", "command", "args", "env", "envFrom", "resources"),
    *("securityContext", "volumeMounts", "livenessProbe", "readinessProbe", "startupProbe"),
}
_KNOWN_OF_SECURITY: Final = {
    *("privileged", "allowPrivilegeEscalation", "readOnlyRootFilesystem", "capabilities"),
}
_PROBE: Final = """
import sys, urllib.error, urllib.request
try:
    print(urllib.request.urlopen(sys.argv[1], timeout=5).status)
except urllib.error.HTTPError as error:
    print(error.code)
except OSError as error:
    print(0)
"""


class Machine(Struct, frozen=True):
    """A lab's node as a kubelet has it."""

    name: str
    namespace: str
    podman: Podman
    root: Path
    """Stands for the node's own root directory."""
    account: Path
    """What is mounted as the ServiceAccount."""
    api: tuple[str, int]
    control: Path
    """Where the API server takes commands."""


class Pod(Struct, frozen=True):
    """One that runs."""

    machine: Machine
    name: str
    spec: Object
    container: str

    def files(self, pattern: str) -> dict[str, str]:
        """Files of its first process's directory in /proc, by their path below that."""
        pid = self.machine.podman.run("inspect", "--format", "{{.State.Pid}}", self.container)
        top = f"/proc/{pid.strip()}"
        script = f'for file in {top}/{pattern}; do echo "== $file"; cat "$file"; done'
        _, *parts = self.machine.podman.exec("sh", "-c", script).split(f"== {top}/")
        return {name: text for name, _, text in (part.partition("\n") for part in parts)}

    def exec(self, *argv: str) -> str:
        return self.machine.podman.run("exec", self.container, *argv)

    def log(self) -> str:
        return self.machine.podman.log(self.container)

    def probe(self, kind: str) -> int:
        """The HTTP status that kubelet would see; 0: no answer."""
        get = self.spec["containers"][0][kind]["httpGet"]
        url = f"http://{get.get('host', '127.0.0.1')}:{get['port']}{get['path']}"
        argv = netns.inside(self.machine.namespace, sys.executable, "-c", _PROBE, url)
        done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=True)
        return int(done.stdout)

    def told(self) -> str:
        """What it has done, and what it knows, if it still runs."""
        try:
            status = self.exec("fwd", "status")
        except AssertionError as error:
            status = str(error)
        return f"{self.log()}{status}"

    def has_started(self) -> bool:
        """What kubelet waits for before it probes anything else."""
        probe = self.spec["containers"][0].get("startupProbe")
        try:
            if probe is not None:
                self.exec(*probe["exec"]["command"])
        except AssertionError:
            return False
        return True

    def wait_ready(self) -> None:
        ready = 200
        wait_for(
            lambda: self.has_started() and self.probe("readinessProbe") == ready, told=self.told
        )

    def stop(self) -> None:
        grace = str(self.spec.get("terminationGracePeriodSeconds", 30))
        self.machine.podman.run("stop", "--time", grace, self.container)
        self.machine.podman.run("rm", "--force", "--time", "0", self.container)


def start(
    machine: Machine,
    found: Sequence[Object],
    *,
    device: bool = True,
    generation: str = "a",
    secrets: Path | None = None,
) -> Pod:
    """The DaemonSet's Pod on this node: init containers to their end, then the container.

    Args:
        device: a CharDevice is given as a device, with a rule in the device cgroup; else it is
            only mounted, as kubelet does it, and the runtime's own rules must allow it.
        generation: tells Pods of one DaemonSet on one node apart.
        secrets: a directory for each Secret that is mounted, with its keys as files.
    """
    daemonset = only(found, "DaemonSet")
    spec = daemonset["spec"]["template"]["spec"]
    assert spec["hostNetwork"], "the node's network is the only one here"
    name = f"{daemonset['metadata']['name']}-{machine.name}-{generation}"
    namespace = daemonset["metadata"]["namespace"]
    ask(machine.control, cmd.PutPod(namespace=namespace, name=name, node=machine.name))
    configs = {one["metadata"]["name"]: one for one in of_kind(found, "ConfigMap")}
    given = _Given(machine, spec, configs, secrets, name, namespace, device)
    for container in spec.get("initContainers", ()):
        if container["image"].startswith(f"{REPOSITORY}:"):  # others come from elsewhere
            argv = given.argv(container, name=f"{name}-{container['name']}")
            machine.podman.run("run", "--rm", *argv)
    (container,) = spec["containers"]
    machine.podman.run("run", "--detach", *given.argv(container, name=name))
    return Pod(machine, name, spec, name)


class _Given(Struct, frozen=True):
    """All that a container's command line depends on."""

    machine: Machine
    spec: Object
    configs: dict[str, Object]
    """By name."""
    secrets: Path | None
    name: str
    namespace: str
    device: bool

    def argv(self, container: Object, *, name: str) -> list[str]:
        unknown = set(container) - _KNOWN_OF_CONTAINER
        assert not unknown, f"not translated: {unknown}"
        assert pull_policy(container) != "Always", "an imported image is nowhere to be pulled from"
        host, port = self.machine.api
        command, args = container.get("command"), container.get("args", [])
        return [
            *("--name", name, "--pull", "never", "--network", "host"),
            *("--ulimit", "nofile=20000:20000", "--ulimit", "nproc=4096:4096"),
            *_security(container.get("securityContext", {})),
            *_resources(container.get("resources", {})),
            *("--env", f"KUBERNETES_SERVICE_HOST={host}"),
            *("--env", f"KUBERNETES_SERVICE_PORT={port}"),
            *(word for one in container.get("envFrom", ()) for word in self._env_from(one)),
            *(word for one in container.get("env", ()) for word in self._env(one)),
            *("--volume", f"{self.machine.account}:{ACCOUNT}:ro"),
            *(word for one in container.get("volumeMounts", ()) for word in self._mount(one)),
            *(("--entrypoint", json.dumps(command)) if command else ()),
            container["image"],
            *args,
        ]

    def _env_from(self, one: Object) -> Iterator[str]:
        for name, value in self.configs[one["configMapRef"]["name"]]["data"].items():
            yield from ("--env", f"{name}={value}")

    def _env(self, one: Object) -> Iterator[str]:
        yield "--env"
        if "value" in one:
            yield f"{one['name']}={one['value']}"
        else:
            fields = {
                "metadata.name": self.name,
                "metadata.namespace": self.namespace,
                "spec.nodeName": self.machine.name,
            }
            yield f"{one['name']}={fields[one['valueFrom']['fieldRef']['fieldPath']]}"

    def _mount(self, mount: Object) -> Iterator[str]:
        (volume,) = (one for one in self.spec["volumes"] if one["name"] == mount["name"])
        mode = ":ro" if mount.get("readOnly") else ""
        target = mount["mountPath"].rstrip("/")
        if "configMap" in volume:
            yield from ("--volume", f"{self._config(volume['configMap']['name'])}:{target}:ro")
        elif "secret" in volume:
            assert self.secrets is not None
            directory = self.secrets / volume["secret"]["secretName"]
            yield from ("--volume", f"{directory}:{target}:ro")
        elif volume["hostPath"].get("type") == "CharDevice":
            source = volume["hostPath"]["path"]
            assert Path(source).is_char_device()
            yield from ("--device", source) if self.device else ("--volume", f"{source}:{target}")
        else:
            yield from ("--volume", f"{self._host(volume['hostPath'])}:{target}{mode}")

    def _config(self, name: str) -> Path:
        directory = Path(self.machine.root, "configmap", name)
        directory.mkdir(parents=True, exist_ok=True)
        for key, text in self.configs[name]["data"].items():
            (directory / key).write_text(text)
        return directory

    def _host(self, host_path: Object) -> Path:
        path = Path(self.machine.root, host_path["path"].lstrip("/"))
        match host_path.get("type", ""):
            case "" | "DirectoryOrCreate":  # a runtime makes what is missing, too
                path.mkdir(parents=True, exist_ok=True)
            case "FileOrCreate":
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
            case other:
                raise AssertionError(f"not translated: hostPath of type {other}")
        return path


def _security(context: Object) -> Iterator[str]:
    unknown = set(context) - _KNOWN_OF_SECURITY
    assert not unknown, f"not translated: {unknown}"
    if context.get("privileged"):
        yield "--privileged"
    if context.get("allowPrivilegeEscalation") is False:
        yield from ("--security-opt", "no-new-privileges")
    if context.get("readOnlyRootFilesystem"):
        # podman would add file systems in memory, which Kubernetes does not.
        yield from ("--read-only", "--read-only-tmpfs=false")
    capabilities: dict[str, list[str]] = context.get("capabilities", {})
    for what in ("drop", "add"):
        for name in capabilities.get(what, ()):
            yield from (f"--cap-{what}", name)


def _resources(resources: Object) -> Iterator[str]:
    limits: dict[str, Any] = resources.get("limits", {})
    if "memory" in limits:
        yield from ("--memory", limits["memory"].removesuffix("i"))
    if "cpu" in limits:
        yield from ("--cpus", str(int(limits["cpu"].removesuffix("m")) / 1000))
