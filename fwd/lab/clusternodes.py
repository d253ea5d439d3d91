# SPDX-License-Identifier: Apache-2.0
"""Node objects as a kubelet reports them, any number of them, and how they change.  Pure.

About 10 kB each, most of it the list of images and ``managedFields``: what an agent has to read
past to find the few fields that it needs.  The same index gives the same Node, always.
"""

import functools
import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from typing import Any, Final

from msgspec import Struct

Object = dict[str, Any]

PREFIX: Final = "flannel.alpha.coreos.com"
# Which annotations a family has: the backend's data and the address.
FAMILY_MARKS: Final = {
    4: (f"{PREFIX}/backend-data", f"{PREFIX}/public-ip"),
    6: (f"{PREFIX}/backend-v6-data", f"{PREFIX}/public-ipv6"),
}
LIMIT: Final = 1 << 16  # so many /24 are in the cluster network

_CLUSTER: Final = IPv4Network("10.0.0.0/8")
_CLUSTER6: Final = IPv6Network("fd00:10::/48")
_ADDRESSES: Final = IPv4Network("198.18.0.0/15")  # RFC 2544: nobody's
_BORN: Final = "2026-01-01T00:00:00Z"
_IMAGES: Final = 38  # a kubelet reports up to 50; so many make 10 kB
_PULLS: Final = 128  # different lists of them: nodes of a cluster have pulled much the same
_IMAGES_CHANGE: Final = 20  # one update of so many; the others are heartbeats
_CONDITIONS: Final = (
    ("MemoryPressure", "False", "KubeletHasSufficientMemory", "sufficient memory available"),
    ("DiskPressure", "False", "KubeletHasNoDiskPressure", "no disk pressure"),
    ("PIDPressure", "False", "KubeletHasSufficientPID", "sufficient PID available"),
    ("Ready", "True", "KubeletReady", "posting ready status"),
)


class Options(Struct, frozen=True):
    """What the Nodes have.

    Attributes:
        registered: flannel's annotations, as of nodes whose agent runs.
        assigned: a podCIDR; without it the controller manager has not come to them yet.
        dual: a second podCIDR, of IPv6.
    """

    registered: bool = True
    assigned: bool = True
    dual: bool = False


def name(index: int) -> str:
    """Name of a Node; sorted as the indices are."""
    return f"node-{index:05}"


def pod_cidr(index: int) -> IPv4Network:
    """A Node's subnet."""
    return IPv4Network((int(_CLUSTER.network_address) + (index << 8), 24))


def public_ip(index: int) -> IPv4Address:
    """A Node's address."""
    return _ADDRESSES[index + 1]


def vtep_mac(index: int) -> str:
    """A Node's VtepMAC; locally administered."""
    return "0e:00:" + ":".join(f"{byte:02x}" for byte in index.to_bytes(4, "big"))


def annotations(*, mac: str, ip: str = "", ip6: str = "") -> dict[str, str]:
    """What flannel writes to a Node (flannel spec 3.3), in its exact text form.

    Args:
        mac: VtepMAC, lower case; of a node with both families the same for both.
        ip: its IPv4 address; empty without this family.
        ip6: its IPv6 address, likewise.
    """
    marks = {f"{PREFIX}/backend-type": "vxlan", f"{PREFIX}/kube-subnet-manager": "true"}
    for family, address in ((4, ip), (6, ip6)):
        data, where = FAMILY_MARKS[family]
        if address:
            marks[data], marks[where] = f'{{"VNI":1,"VtepMAC":"{mac}"}}', address
    return marks


def node(index: int, options: Options | None = None) -> Object:
    """One Node, about 10 kB as JSON.

    Args:
        index: 0 to 65,535.
        options: what it has.
    """
    assert 0 <= index < LIMIT
    options = options or Options()
    address = str(public_ip(index))
    cidrs = _cidrs(index, dual=options.dual) if options.assigned else ()
    marks = annotations(ip=address, mac=vtep_mac(index)) if options.registered else {}
    return made(name(index), seed=index, addresses=(address,), cidrs=cidrs, marks=marks)


def made(
    name: str,
    *,
    seed: int,
    addresses: Sequence[str],
    cidrs: Sequence[str],
    marks: Mapping[str, str],
) -> Object:
    """A Node of this name as a kubelet makes it, about 10 kB as JSON.

    Args:
        name: of the Node.
        seed: what sets it apart from others: its machine's id, its images, its zone.
        addresses: InternalIPs.
        cidrs: podCIDRs; none before the controller manager has come to it.
        marks: annotations besides a kubelet's own.
    """
    pods = {"podCIDR": cidrs[0], "podCIDRs": list(cidrs)} if cidrs else {}
    return {
        "metadata": {
            "name": name,
            "creationTimestamp": _BORN,
            "labels": _labels(name, seed),
            "annotations": {"node.alpha.kubernetes.io/ttl": "0", **marks},
            "managedFields": _managed_fields(),
        },
        "spec": {**pods, "providerID": f"aws:///i-{seed:017x}"},
        "status": _status(name, seed, addresses),
    }


def nodes(count: int, options: Options | None = None) -> Iterator[Object]:
    """The first ``count`` Nodes."""
    return (node(index, options) for index in range(count))


def conditions(when: str) -> list[Object]:
    """What a kubelet says of itself every so often."""
    return [
        {
            "type": kind,
            "status": status,
            "lastHeartbeatTime": when,
            "lastTransitionTime": _BORN,
            "reason": reason,
            "message": f"kubelet has {text}",
        }
        for kind, status, reason, text in _CONDITIONS
    ]


def updates(names: Sequence[str], *, seed: int = 0) -> Iterator[tuple[str, Object]]:
    """Changes that mean nothing to the network, without end: heartbeats, now and then new images.

    Yields:
        a Node's name, and a strategic merge patch that changes it.
    """
    chance = random.Random(seed)  # noqa: S311 - nothing secret
    for number in itertools.count(1):
        minutes, seconds = divmod(number, 60)
        hours, minutes = divmod(minutes, 60)
        when = f"2026-{1 + hours // 672 % 12:02}-{1 + hours // 24 % 28:02}T"
        when += f"{hours % 24:02}:{minutes:02}:{seconds:02}Z"
        status: Object = {"conditions": conditions(when)}
        if number % _IMAGES_CHANGE == 0:
            status["images"] = images(chance.randrange(_PULLS))
        yield names[chance.randrange(len(names))], {"status": status}


@functools.cache
def images(seed: int) -> list[Object]:
    """What a node has pulled, each with a digest and a tag; shared, not to be changed."""
    chance = random.Random(seed)  # noqa: S311 - nothing secret
    return [
        {
            "names": [
                f"registry.example/team-{place % 7}/job-{place}@{_digest(chance)}",
                f"registry.example/team-{place % 7}/job-{place}:v1.{seed % 90}.{place}",
            ],
            "sizeBytes": chance.randrange(1 << 20, 1 << 30),
        }
        for place in range(_IMAGES)
    ]


def _digest(chance: random.Random) -> str:
    return f"sha256:{chance.getrandbits(256):064x}"


def _labels(name: str, seed: int) -> dict[str, str]:
    return {
        "beta.kubernetes.io/arch": "amd64",
        "beta.kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "node.kubernetes.io/instance-type": "m5.xlarge",
        "topology.kubernetes.io/region": "eu-central-1",
        "topology.kubernetes.io/zone": f"eu-central-1{'abc'[seed % 3]}",
    }


def _cidrs(index: int, *, dual: bool) -> tuple[str, ...]:
    first = str(pod_cidr(index))
    if not dual:
        return (first,)
    base = int(_CLUSTER6.network_address)
    return (first, str(IPv6Network((base + (index << 64), 64))))


def _status(name: str, seed: int, addresses: Sequence[str]) -> Object:
    room = {
        "cpu": "4",
        "ephemeral-storage": "83873772Ki",
        "hugepages-1Gi": "0",
        "hugepages-2Mi": "0",
        "memory": "16069004Ki",
        "pods": "110",
    }
    identity = f"{seed:032x}"
    return {
        "capacity": room,
        "allocatable": room | {"cpu": "3920m", "memory": "15052172Ki"},
        "conditions": conditions(_BORN),
        "addresses": [
            *({"type": "InternalIP", "address": address} for address in addresses),
            {"type": "Hostname", "address": name},
        ],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
        "nodeInfo": {
            "machineID": identity,
            "systemUUID": identity,
            "bootID": identity,
            "kernelVersion": "6.1.0-18-amd64",
            "osImage": "Debian GNU/Linux 12 (bookworm)",
            "containerRuntimeVersion": "containerd://1.7.13",
            "kubeletVersion": "v1.36.2",
            "kubeProxyVersion": "",
            "operatingSystem": "linux",
            "architecture": "amd64",
        },
        "images": images(seed % _PULLS),
    }


def _managed_fields() -> list[Object]:
    def entry(manager: str, fields: Object, **extra: str) -> Object:
        return {
            "manager": manager,
            "operation": "Update",
            "apiVersion": "v1",
            "time": _BORN,
            "fieldsType": "FieldsV1",
            "fieldsV1": fields,
            **extra,
        }

    heartbeat: Object = {"f:lastHeartbeatTime": {}, "f:message": {}, "f:reason": {}, "f:status": {}}
    told = {f'k:{{"type":"{kind}"}}': heartbeat for kind, *_ in _CONDITIONS}
    labels: Object = {f"f:{label}": {} for label in _labels("", 0)}
    status = {"f:conditions": told, "f:images": {}, "f:nodeInfo": {"f:bootID": {}}}
    return [
        entry("kubelet", {"f:metadata": {"f:labels": {".": {}, **labels}}}),
        entry("kube-controller-manager", {"f:spec": {"f:podCIDR": {}, "f:podCIDRs": {".": {}}}}),
        entry("kubelet", {"f:status": status}, subresource="status"),
    ]
