# SPDX-License-Identifier: Apache-2.0
"""What there is to set: flags and environment into settings, net-conf.json from its file."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec import Struct, field

from fwd.core.annotations import DEFAULT_PREFIX
from fwd.core.netconf import NetConf, parse_netconf
from fwd.core.text import parse_address
from fwd.flags import Flag, boolean, number, one_of, parse_flags
from fwd.model import Address, ConfigError

OFFLOADS = ("vnet-hdr", "tso", "uso", "multi-queue", "udp-segment", "udp-gro")
SOURCE_CHECKS = ("strict", "loose", "off")
MAX_WORKERS = 64
DEFAULT_RUN_DIR = Path("/run/flannel")


class RunConfig(Struct, frozen=True, kw_only=True):
    """Settings of `fwd run`."""

    static_leases: Path | None = None
    """One of two sources of leases; the other is Kubernetes."""
    kube_subnet_mgr: bool = False
    kube_api_url: str = ""
    kubeconfig_file: Path | None = None
    kube_annotation_prefix: str = DEFAULT_PREFIX
    set_node_network_unavailable: bool = True
    pod: tuple[str, str] | None = None
    """Namespace and name of the Pod that we are, for a node that was not told its name."""
    node_name: str = ""
    iface: tuple[str, ...] = ()
    public_ip: Address | None = None
    net_config_path: Path
    subnet_file: Path
    run_dir: Path
    workers: int
    source_check: str
    disable_offload: frozenset[str] = frozenset()
    notes: tuple[str, ...] = field(default=())
    """What was wrong in the environment and is not in force."""


def offload_names(text: str) -> frozenset[str]:
    """A comma list of offloads."""
    names = frozenset(text.split(","))
    if not names <= set(OFFLOADS):
        raise ValueError(f"must be a comma list of {', '.join(OFFLOADS)}")
    return names


RUN_DIR = Flag(
    name="run-dir",
    parse=Path,
    default=DEFAULT_RUN_DIR,
    metavar="DIR",
    help="where the status socket, the lock and the node's MAC are kept",
)

RUN_FLAGS = (
    Flag(
        name="static-leases",
        parse=Path,
        metavar="FILE",
        help="leases as JSON, read again when it changes",
    ),
    Flag(
        name="kube-subnet-mgr",
        parse=boolean,
        default=False,
        help="leases from the Kubernetes API",
    ),
    Flag(
        name="kube-api-url",
        default="",
        metavar="URL",
        help="API server, where a kubeconfig or the Pod's environment does not say",
    ),
    Flag(name="kubeconfig-file", parse=Path, metavar="FILE", help="how to reach the API server"),
    Flag(
        name="kube-annotation-prefix",
        default=DEFAULT_PREFIX,
        metavar="PREFIX",
        help="of the Node annotations",
    ),
    Flag(
        name="set-node-network-unavailable",
        parse=boolean,
        default=True,
        help="set the Node's condition NetworkUnavailable to false when packets flow",
    ),
    Flag(
        name="node-name",
        env="NODE_NAME",
        default="",
        metavar="NAME",
        help="this node's name in the leases; in Kubernetes POD_NAME and POD_NAMESPACE can "
        "stand in for it",
    ),
    Flag(
        name="iface",
        metavar="IF",
        repeat=True,
        help="underlay interface by name or address; the first that exists is taken",
    ),
    Flag(
        name="public-ip",
        parse=parse_address,
        metavar="IP",
        help="underlay address of this node; without --iface it selects the interface",
    ),
    Flag(
        name="net-config-path",
        parse=Path,
        default=Path("/etc/kube-flannel/net-conf.json"),
        metavar="FILE",
        help="flannel's net-conf.json",
    ),
    Flag(
        name="subnet-file",
        parse=Path,
        default=Path("/run/flannel/subnet.env"),
        metavar="FILE",
        help="written for the CNI plugin",
    ),
    RUN_DIR,
    Flag(
        name="workers",
        parse=number(1, MAX_WORKERS),
        default=min(4, os.cpu_count() or 1),
        metavar="N",
        help="hot-loop threads",
    ),
    Flag(
        name="source-check",
        parse=one_of(*SOURCE_CHECKS),
        default="strict",
        metavar="MODE",
        help="which inner sources a peer may use: strict (its own), loose (any), off (any sender)",
    ),
    Flag(
        name="disable-offload",
        parse=offload_names,
        metavar="LIST",
        repeat=True,
        help=f"do without some of {', '.join(OFFLOADS)}",
    ),
)

STATUS_FLAGS = (
    RUN_DIR,
    Flag(name="json", parse=boolean, default=False, help="the whole document, for machines"),
)


def run_config(argv: Sequence[str], environ: Mapping[str, str]) -> RunConfig:
    """Settings of `fwd run` from its arguments."""
    values, notes = parse_flags(argv, RUN_FLAGS, environ)
    if values["kube_subnet_mgr"] and values["static_leases"] is not None:
        raise ConfigError("two sources of leases: give --kube-subnet-mgr or --static-leases")
    if values["kube_subnet_mgr"]:
        values["pod"] = _pod(environ)
        depth = environ.get("EVENT_QUEUE_DEPTH", "")
        if depth and not depth.removeprefix("-").isdecimal():
            raise ConfigError(f"env EVENT_QUEUE_DEPTH={depth} format error: it is no number")
    elif values["static_leases"] is None:
        raise ConfigError("no source of leases: give --kube-subnet-mgr or --static-leases FILE")
    if not values["node_name"] and not values.get("pod"):
        if values["kube_subnet_mgr"]:
            raise ConfigError(
                "Failed to create SubnetManager: env variables POD_NAME and POD_NAMESPACE must be "
                "set (or NODE_NAME)"
            )
        raise ConfigError("this node has no name: set NODE_NAME or give --node-name")
    disabled = frozenset().union(*values.pop("disable_offload"))
    return RunConfig(**values, disable_offload=disabled, notes=tuple(notes))


def _pod(environ: Mapping[str, str]) -> tuple[str, str] | None:
    namespace, name = environ.get("POD_NAMESPACE", ""), environ.get("POD_NAME", "")
    return (namespace, name) if namespace and name else None


def version() -> str:
    """This program's version, as it is installed."""
    # Late: it costs 2 MB of memory, and most processes are never asked.
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415

    try:
        return version("fwd")
    except PackageNotFoundError:
        return "0 (not installed)"


def load_netconf(path: Path) -> NetConf:
    """net-conf.json from its file.  Raises ConfigError in flannel's words."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"failed to read net conf: {path}: {error.strerror}") from error
    try:
        return parse_netconf(content)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
