# SPDX-License-Identifier: Apache-2.0
"""flannel's flags (spec 1.1), by subject, with their defaults and forms.

What the values mean together is `config`'s.  Where flannel takes a text and judges it later, so do
we: a bad --public-ip in the environment must end the start, not become a note beside a default that
advertises another address.
"""

from pathlib import Path

from fwd.core.annotations import DEFAULT_PREFIX
from fwd.flags import MOST, Flag, boolean, comma_list, number, optional_path, some_path

ETCD_ENDPOINTS = ("http://127.0.0.1:4001", "http://127.0.0.1:2379")

NODE = (
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
        parse=number(-MOST, MOST),
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
        parse=number(1, MOST),
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

HEALTH = (
    Flag(
        name="healthz-ip",
        default="0.0.0.0",  # noqa: S104 - flannel's; nothing listens until a port is given
        metavar="IP",
        help="where /healthz and /readyz are served; 0.0.0.0: everywhere, also over IPv6",
    ),
    Flag(
        name="healthz-port",
        parse=number(-MOST, MOST),
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
        parse=number(-MOST, MOST),
        default=0,
        metavar="LEVEL",
        help="flannel's; no effect",
    ),
    Flag(name="vmodule", default="", metavar="TEXT", help="flannel's; no effect"),
    Flag(name="log_backtrace_at", default="", metavar="TEXT", help="flannel's; no effect"),
)
