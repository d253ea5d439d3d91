# SPDX-License-Identifier: Apache-2.0
"""What there is to set: flags and environment into settings, net-conf.json from its file."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct, field

from fwd.core.annotations import DEFAULT_PREFIX
from fwd.core.netconf import NetConf, Unparsable, parse_netconf
from fwd.core.text import parse_public_ip
from fwd.flags import Flag, VersionAsked, boolean, parse_flags
from fwd.flannelflags import ETCD_ENDPOINTS, WITHOUT_EFFECT
from fwd.model import IPV4, IPV6, Address, ConfigError
from fwd.runflags import RUN_DIR, RUN_FLAGS

MINUTES_OF_A_DAY = 1440
_FAILED = "Failed to create SubnetManager"


class RunConfig(Struct, frozen=True, kw_only=True):
    """Settings of `fwd run`: `runflags.RUN_FLAGS`, and what else the environment says."""

    node_name: str = ""
    pod: tuple[str, str] | None = None
    """Namespace and name of the Pod that we are, for a node that was not told its name."""
    net_config_path: Path
    subnet_file: Path
    run_dir: Path

    static_leases: Path | None = None
    """One of three sources of leases; neither this nor kube_subnet_mgr is etcd, as in flannel."""
    kube_subnet_mgr: bool = False
    kube_api_url: str = ""
    kubeconfig_file: Path | None = None
    kube_annotation_prefix: str = DEFAULT_PREFIX
    set_node_network_unavailable: bool = True
    etcd_endpoints: tuple[str, ...] = ETCD_ENDPOINTS
    etcd_prefix: str = "/coreos.com/network"
    etcd_keyfile: str = ""
    etcd_certfile: str = ""
    etcd_cafile: str = ""
    etcd_username: str = ""
    etcd_password: str = ""
    subnet_lease_renew_margin: int = 60
    """Minutes, 1 to 1439."""

    iface: tuple[str, ...] = ()
    iface_regex: tuple[str, ...] = ()
    iface_can_reach: str = ""
    public_ip: Address | None = None
    public_ipv6: Address | None = None

    ip_masq: bool = False
    ip_masq_fully_random_disable: bool = False
    iptables_forward_rules: bool = True
    iptables_resync: int = 5
    """Seconds."""
    ip_blackhole_route: bool = False
    cni_conf: Path | None = None
    cni_conf_dir: Path = Path("/etc/cni/net.d")
    cni_mode: str = "render"
    """Or "copy"."""

    supervise: bool = False
    spare: bool = True
    confine: str = "full"
    """One of `runflags.CONFINEMENTS`."""
    workers: int
    worker_cpus: tuple[int, ...] = ()
    spin_us: int = 100
    source_check: str
    disable_offload: frozenset[str] = frozenset()
    tunnel_gso: bool = False

    healthz_ip: str = "0.0.0.0"  # noqa: S104 - flannel's default
    """This, :: or nothing: every address, of either family."""
    healthz_port: int = 0
    """0 or less: no health server."""
    metrics_per_peer: bool = True
    log_format: str = "text"
    """Or "json"."""
    notes: tuple[str, ...] = field(default=())
    """What was wrong in the environment and is not in force."""


CLEANUP_FLAGS = (
    RUN_DIR,
    Flag(name="dry-run", parse=boolean, default=False, env="", help="list only, change nothing"),
)

STATUS_FLAGS = (
    RUN_DIR,
    Flag(name="json", parse=boolean, default=False, env="", help="the document, for machines"),
    Flag(name="peers", parse=boolean, default=False, env="", help="all peers, however many"),
    Flag(
        name="watch",
        parse=boolean,
        default=False,
        env="",
        help="a live view, until Ctrl-C; where there is no terminal a picture each second, or with"
        " --json a document",
    ),
)


def run_config(argv: Sequence[str], environ: Mapping[str, str]) -> RunConfig:
    """Settings of `fwd run` from its arguments.

    Raises UsageError for a wrong command line, ConfigError for settings that cannot be.
    """
    values, notes = parse_flags(argv, RUN_FLAGS, environ)
    return run_settings(values, notes, environ)


def run_settings(
    values: dict[str, Any], notes: Sequence[str], environ: Mapping[str, str]
) -> RunConfig:
    """The same from the values of RUN_FLAGS, which are taken out of `values`.

    Raises ConfigError, or VersionAsked.
    """
    if values.pop("version"):
        raise VersionAsked
    for flag in WITHOUT_EFFECT:
        del values[flag.key]
    if not 1 <= values["subnet_lease_renew_margin"] < MINUTES_OF_A_DAY:
        raise ConfigError("Invalid subnet-lease-renew-margin option, out of acceptable range")
    for key in ("iface", "iface_regex"):
        values[key] = tuple(text for text in values[key] if text)
    values["public_ip"] = _public(values["public_ip"], family=IPV4)
    values["public_ipv6"] = _public(values["public_ipv6"], family=IPV6)
    values["disable_offload"] = frozenset().union(*values["disable_offload"])
    values["pod"] = _pod(environ) if values["kube_subnet_mgr"] else None
    config = RunConfig(**values, notes=tuple(notes))
    _check_source(config, environ)
    return config


def shown(config: RunConfig) -> dict[str, object]:
    """The settings for the log.  Secrets are left out, wherever somebody wrote them."""
    fields: dict[str, object] = {"text": "CLI flags config:"}
    for name in config.__struct_fields__:
        value = getattr(config, name)
        if name in _NOT_SHOWN:
            continue
        if isinstance(value, tuple | frozenset):
            value = ",".join(sorted(value) if isinstance(value, frozenset) else map(str, value))
        elif isinstance(value, bool):
            value = str(value).lower()
        text = str("" if value is None else value)
        fields[name] = _USER.sub(r"\1***@", text) if name in _URLS else text
    return fields


_NOT_SHOWN = {"etcd_password", "notes"}
_URLS = {"kube_api_url", "etcd_endpoints"}
_USER = re.compile(r"^(https?://)?.*@", re.DOTALL)
"""All up to the last one: a password may have anything in it, also what splits a list."""


def _check_source(config: RunConfig, environ: Mapping[str, str]) -> None:
    """One source of leases, and what it has to know of this node."""
    if config.kube_subnet_mgr:
        if config.static_leases is not None:
            raise ConfigError("two sources of leases: give --kube-subnet-mgr or --static-leases")
        _check_queue_depth(environ.get("EVENT_QUEUE_DEPTH", ""))
        if not config.node_name and config.pod is None:
            raise ConfigError(
                f"{_FAILED}: env variables POD_NAME and POD_NAMESPACE must be set (or NODE_NAME)"
            )
    elif config.static_leases is not None and not config.node_name:
        raise ConfigError("this node has no name: set NODE_NAME or give --node-name")


def _check_queue_depth(text: str) -> None:
    """There is no such queue, but flannel does not start with what Go's Atoi does not take."""
    if not text:
        return
    most = 2**63 - (not text.startswith("-"))
    fault = ""
    if not re.fullmatch("[+-]?[0-9]+", text):
        fault = "invalid syntax"
    elif int(text.lstrip("+-0")[:20] or "0") > most:  # Python reads 4300 digits and no more
        fault = "value out of range"
    if fault:
        raise ConfigError(
            f"{_FAILED}: error creating network manager: env EVENT_QUEUE_DEPTH={text} format "
            f'error: strconv.Atoi: parsing "{text}": {fault}'
        )


def _public(text: str, *, family: int) -> Address | None:
    """--public-ip or --public-ipv6, empty for none.  Raises ConfigError in flannel's words."""
    if not text:
        return None
    try:
        return parse_public_ip(text, family)
    except ValueError as error:
        raise ConfigError(str(error)) from error


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
        text = f"{_FAILED}: failed to read net conf: {path}: {error.strerror}"
        raise ConfigError(text) from error
    try:
        return parse_netconf(content)
    except Unparsable as error:
        raise ConfigError(f"{_FAILED}: {error} (in {path})") from error
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
