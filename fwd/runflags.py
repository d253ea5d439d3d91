# SPDX-License-Identifier: Apache-2.0
"""The flags of `fwd run`, by subject: flannel's (spec 1.1) and our own.

Names, defaults and forms only; what the values mean together is `config`'s.  Where flannel takes a
text and judges it later, so do we: a bad --public-ip in the environment must end the start, not
become a note beside a default that advertises another address.
"""

import os
from pathlib import Path

from fwd.core.annotations import DEFAULT_PREFIX
from fwd.flags import Flag, boolean, comma_list, number, one_of, optional_path, some_path

OFFLOADS = ("vnet-hdr", "tso", "uso", "multi-queue", "udp-segment", "udp-gro")
SOURCE_CHECKS = ("strict", "loose", "off")
CNI_MODES = ("render", "copy")
MAX_WORKERS = 64
DEFAULT_RUN_DIR = Path("/run/flannel")
ETCD_ENDPOINTS = ("http://127.0.0.1:4001", "http://127.0.0.1:2379")
_MOST = 2**31 - 1
_DAY_SECONDS = 86400


def offload_names(text: str) -> frozenset[str]:
    """A comma list of offloads."""
    names = frozenset(comma_list(text))
    if not names <= set(OFFLOADS):
        raise ValueError(f"must be a comma list of {', '.join(OFFLOADS)}")
    return names


RUN_DIR = Flag(
    name="run-dir",
    parse=some_path,
    default=DEFAULT_RUN_DIR,
    metavar="DIR",
    help="where the status socket, the lock and the node's MAC are kept",
)

NODE = (
    Flag(
        name="node-name",
        env="NODE_NAME",
        default="",
        metavar="NAME",
        help="this node's name in the leases; in Kubernetes POD_NAME and POD_NAMESPACE can "
        "stand in for it",
    ),
    Flag(
        name="net-config-path",
        parse=some_path,
        default=Path("/etc/kube-flannel/net-conf.json"),
        metavar="FILE",
        help="flannel's net-conf.json",
    ),
    Flag(
        name="subnet-file",
        parse=some_path,
        default=Path("/run/flannel/subnet.env"),
        metavar="FILE",
        help="written for the CNI plugin",
    ),
    RUN_DIR,
)

STATIC_LEASES = (
    Flag(
        name="static-leases",
        parse=optional_path,
        metavar="FILE",
        help="leases as JSON, read again when it changes",
    ),
)

KUBERNETES = (
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
    Flag(
        name="kubeconfig-file",
        parse=optional_path,
        metavar="FILE",
        help="how to reach the API server",
    ),
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
)

ETCD = (
    Flag(
        name="etcd-endpoints",
        parse=comma_list,
        default=ETCD_ENDPOINTS,
        metavar="LIST",
        help="comma list of URLs",
    ),
    Flag(
        name="etcd-prefix",
        default="/coreos.com/network",
        metavar="KEY",
        help="under which the network's configuration and its leases are",
    ),
    Flag(name="etcd-keyfile", default="", metavar="FILE", help="client key, PEM"),
    Flag(name="etcd-certfile", default="", metavar="FILE", help="client certificate, PEM"),
    Flag(name="etcd-cafile", default="", metavar="FILE", help="authority of the server, PEM"),
    Flag(name="etcd-username", default="", metavar="NAME", help="user of etcd"),
    Flag(name="etcd-password", default="", metavar="TEXT", help="better in the environment"),
    Flag(
        name="subnet-lease-renew-margin",
        parse=number(-_MOST, _MOST),
        default=60,
        metavar="MINUTES",
        help="before its end a lease is renewed, 1 to 1439",
    ),
)

UNDERLAY = (
    Flag(
        name="iface",
        metavar="IF",
        repeat=True,
        help="underlay interface by name or address; the first that can be used is taken",
    ),
    Flag(
        name="iface-regex",
        metavar="REGEX",
        repeat=True,
        help="after --iface: the first interface with such an address, else with such a name",
    ),
    Flag(
        name="iface-can-reach",
        default="",
        metavar="IP",
        help="after these two: the interface of the route to this address",
    ),
    Flag(
        name="public-ip",
        default="",
        metavar="IP",
        help="IPv4 address that peers send to; without --iface it selects the interface",
    ),
    Flag(
        name="public-ipv6",
        default="",
        metavar="IP",
        help="IPv6 address that peers send to",
    ),
)

RULES = (
    Flag(
        name="ip-masq",
        parse=boolean,
        default=False,
        help="masquerade what leaves the cluster's network",
    ),
    Flag(
        name="ip-masq-fully-random-disable",
        parse=boolean,
        default=False,
        help="masquerade without random source ports",
    ),
    Flag(
        name="iptables-forward-rules",
        parse=boolean,
        default=True,
        help="accept the network's packets in FORWARD",
    ),
    Flag(
        name="iptables-resync",
        parse=number(1, _DAY_SECONDS),
        default=5,
        metavar="SECONDS",
        help="between two checks of the rules",
    ),
    Flag(
        name="ip-blackhole-route",
        parse=boolean,
        default=False,
        help="a blackhole route for this node's subnet, behind the bridge's own",
    ),
)

CNI = (
    Flag(
        name="cni-conf",
        parse=optional_path,
        metavar="FILE",
        help="flannel's cni-conf.json; without it no CNI configuration is written",
    ),
    Flag(
        name="cni-conf-dir",
        parse=some_path,
        default=Path("/etc/cni/net.d"),
        metavar="DIR",
        help="where the container runtime looks for it",
    ),
    Flag(
        name="cni-mode",
        parse=one_of(*CNI_MODES),
        default="render",
        metavar="MODE",
        help="render (resolved for this node) or copy (for flannel's CNI plugin)",
    ),
)

DATA_PLANE = (
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

HEALTH = (
    Flag(
        name="healthz-ip",
        default="0.0.0.0",  # noqa: S104 - flannel's; nothing listens until a port is given
        metavar="IP",
        help="where /healthz and /readyz are served",
    ),
    Flag(
        name="healthz-port",
        parse=number(-_MOST, _MOST),
        default=0,
        metavar="PORT",
        help="0 or less: nowhere",
    ),
    Flag(
        name="version",
        parse=boolean,
        default=False,
        env="",
        help="print the version on stderr",
    ),
)

WITHOUT_EFFECT = (
    Flag(
        name="v",
        parse=number(-_MOST, _MOST),
        default=0,
        metavar="LEVEL",
        help="flannel's; no effect",
    ),
    Flag(name="vmodule", default="", metavar="TEXT", help="flannel's; no effect"),
    Flag(name="log_backtrace_at", default="", metavar="TEXT", help="flannel's; no effect"),
)

RUN_FLAGS = (
    *NODE,
    *STATIC_LEASES,
    *KUBERNETES,
    *ETCD,
    *UNDERLAY,
    *RULES,
    *CNI,
    *DATA_PLANE,
    *HEALTH,
    *WITHOUT_EFFECT,
)
