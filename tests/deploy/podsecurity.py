# SPDX-License-Identifier: Apache-2.0
"""Kubernetes' Pod Security Standards, as its admission checks them: which a Pod does not keep to.

Every control of "baseline" and "restricted" as of 1.34 (kubernetes.io, Pod Security Standards),
less those of Windows.  A level is what a namespace must say for the Pod to be admitted.
"""

from collections.abc import Callable, Iterator
from typing import Final

from tests.deploy.rendering import Object

HARMLESS: Final = {
    *("AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD"),
    *("NET_BIND_SERVICE", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"),
}
SYSCTLS: Final = {
    *("kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.tcp_syncookies"),
    *("net.ipv4.ping_group_range", "net.ipv4.ip_unprivileged_port_start"),
    *("net.ipv4.ip_local_reserved_ports", "net.ipv4.tcp_keepalive_time"),
    *("net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes"),
}
VOLUMES: Final = {
    *("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim"),
    *("projected", "secret"),
}
HERE: Final = {"", "127.0.0.1", "::1"}
PROFILES: Final = {"RuntimeDefault", "Localhost"}
SELINUX: Final = {"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"}


def containers(spec: Object) -> list[Object]:
    return [*spec.get("initContainers", ()), *spec["containers"]]


def contexts(spec: Object) -> list[Object]:
    return [container.get("securityContext", {}) for container in containers(spec)]


def with_pods(spec: Object) -> list[Object]:
    return [spec.get("securityContext", {}), *contexts(spec)]


def added(context: Object) -> set[str]:
    return set(context.get("capabilities", {}).get("add", ()))


def hosts(spec: Object) -> Iterator[str]:
    for container in containers(spec):
        handlers = [
            container.get(f"{kind}Probe", {}) for kind in ("liveness", "readiness", "startup")
        ]
        handlers += container.get("lifecycle", {}).values()
        for handler in handlers:
            for kind in ("httpGet", "tcpSocket"):
                yield handler.get(kind, {}).get("host", "")


def in_force(spec: Object, context: Object, name: str) -> object:
    """A container's own setting, else its Pod's."""
    return context.get(name, spec.get("securityContext", {}).get(name))


def profile(setting: object) -> str:
    return setting["type"] if isinstance(setting, dict) else ""


BASELINE: Final[dict[str, Callable[[Object], bool]]] = {
    "host namespaces": lambda spec: (
        not any(spec.get(name) for name in ("hostNetwork", "hostPID", "hostIPC"))
    ),
    "privileged": lambda spec: not any(one.get("privileged") for one in contexts(spec)),
    "capabilities": lambda spec: all(added(one) <= HARMLESS for one in contexts(spec)),
    "hostPath": lambda spec: not any("hostPath" in one for one in spec.get("volumes", ())),
    "host ports": lambda spec: (
        not any(port.get("hostPort") for one in containers(spec) for port in one.get("ports", ()))
    ),
    "host probes": lambda spec: set(hosts(spec)) <= HERE,
    "AppArmor": lambda spec: all(
        profile(one.get("appArmorProfile")) in PROFILES | {""} for one in with_pods(spec)
    ),
    "SELinux": lambda spec: all(
        (found := one.get("seLinuxOptions", {})).get("type", "") in SELINUX
        and not (found.get("user") or found.get("role"))
        for one in with_pods(spec)
    ),
    "/proc mount": lambda spec: all(
        one.get("procMount", "Default") == "Default" for one in contexts(spec)
    ),
    "seccomp": lambda spec: all(
        profile(one.get("seccompProfile")) in PROFILES | {""} for one in with_pods(spec)
    ),
    "sysctls": lambda spec: (
        {one["name"] for one in spec.get("securityContext", {}).get("sysctls", ())} <= SYSCTLS
    ),
}

RESTRICTED: Final[dict[str, Callable[[Object], bool]]] = {
    "volume types": lambda spec: all(
        set(one) - {"name"} <= VOLUMES for one in spec.get("volumes", ())
    ),
    "privilege escalation": lambda spec: all(
        one.get("allowPrivilegeEscalation") is False for one in contexts(spec)
    ),
    "not as root": lambda spec: all(
        in_force(spec, one, "runAsNonRoot") is True for one in contexts(spec)
    ),
    "user is not root": lambda spec: all(one.get("runAsUser") != 0 for one in with_pods(spec)),
    "seccomp is on": lambda spec: all(
        profile(in_force(spec, one, "seccompProfile")) in PROFILES for one in contexts(spec)
    ),
    "all capabilities dropped": lambda spec: all(
        "ALL" in one.get("capabilities", {}).get("drop", ()) for one in contexts(spec)
    ),
    "no capabilities added": lambda spec: all(
        added(one) <= {"NET_BIND_SERVICE"} for one in contexts(spec)
    ),
}


def broken(spec: Object, controls: dict[str, Callable[[Object], bool]]) -> set[str]:
    """Names of the controls that it does not keep to."""
    return {name for name, holds in controls.items() if not holds(spec)}


def level(spec: Object) -> str:
    """What the namespace must enforce at most."""
    if broken(spec, BASELINE):
        return "privileged"
    return "baseline" if broken(spec, RESTRICTED) else "restricted"
