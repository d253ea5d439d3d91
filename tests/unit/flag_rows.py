# SPDX-License-Identifier: Apache-2.0
"""Every flag of `fwd run` with what it may be; `test_flag_table` gives it in every way.

All values are written out, none is taken from the program: flannel's names and defaults are a
promise (flannel spec 1.1).
"""

import os
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any, NamedTuple

from fwd.runflags import workers_for


class Exit2:
    """A wrong command line, and in the environment a note beside the default."""

    def __init__(self, text: str) -> None:
        self.text = text


class Exit1:
    """Settings that cannot be, from wherever they come."""

    def __init__(self, text: str) -> None:
        self.text = text


TEXT = object()
"""There is no bad value: any text will do."""
BOOL = Exit2("must be true or false")
PATH = Exit2("must be a path")


class Row(NamedTuple):
    """One flag.  `one` and `two` are texts, `is_one` and `is_two` what becomes of them."""

    flag: str
    variable: str
    default: Any
    one: str
    is_one: Any
    two: str
    is_two: Any
    bad: str | object
    is_bad: Any
    empty: Any
    """What an empty value on the command line is."""


def text(flag: str, default: str, *, one: str = "a b", two: str = "--c=d") -> Row:
    variable = "FLANNELD_" + flag.upper().replace("-", "_")
    return Row(flag, variable, default, one, one, two, two, TEXT, None, "")


def switch(flag: str, variable: str, *, default: bool) -> Row:
    return Row(flag, variable, default, "T", True, "0", False, "yes", BOOL, BOOL)


def path(flag: str, variable: str, default: str | None) -> Row:
    empty = PATH if default else None
    first = None if default is None else Path(default)
    return Row(flag, variable, first, "/x", Path("/x"), "y", Path("y"), TEXT, None, empty)


def number(flag: str, default: int, *, one: str, two: str, bounds: str) -> Row:
    variable = "FLANNELD_" + flag.upper().replace("-", "_")
    no = Exit2(f"must be a number from {bounds}")
    return Row(flag, variable, default, one, int(one, 0), two, int(two, 0), "1x", no, no)


INT = "-2147483647 to 2147483647"
V4, V6 = ip_address("192.0.2.1"), ip_address("2001:db8::1")

ROWS: Sequence[Row] = (
    text("node-name", "n1")._replace(variable="NODE_NAME"),
    path("net-config-path", "FLANNELD_NET_CONFIG_PATH", "/etc/kube-flannel/net-conf.json"),
    path("subnet-file", "FLANNELD_SUBNET_FILE", "/run/flannel/subnet.env"),
    path("run-dir", "FLANNELD_RUN_DIR", "/run/flannel"),
    path("static-leases", "FLANNELD_STATIC_LEASES", None),
    switch("kube-subnet-mgr", "FLANNELD_KUBE_SUBNET_MGR", default=False),
    text("kube-api-url", ""),
    path("kubeconfig-file", "FLANNELD_KUBECONFIG_FILE", None),
    text("kube-annotation-prefix", "flannel.alpha.coreos.com"),
    switch("set-node-network-unavailable", "FLANNELD_SET_NODE_NETWORK_UNAVAILABLE", default=True),
    Row(
        "etcd-endpoints",
        "FLANNELD_ETCD_ENDPOINTS",
        ("http://127.0.0.1:4001", "http://127.0.0.1:2379"),
        "http://a:1",
        ("http://a:1",),
        "https://a:1, https://b:2",
        ("https://a:1", " https://b:2"),
        TEXT,
        None,
        (),
    ),
    text("etcd-prefix", "/coreos.com/network"),
    text("etcd-keyfile", ""),
    text("etcd-certfile", ""),
    text("etcd-cafile", ""),
    text("etcd-username", ""),
    text("etcd-password", ""),
    Row(
        "subnet-lease-renew-margin",
        "FLANNELD_SUBNET_LEASE_RENEW_MARGIN",
        60,
        "1",
        1,
        "1439",
        1439,
        "1440",
        Exit1("Invalid subnet-lease-renew-margin option, out of acceptable range"),
        Exit2(f"must be a number from {INT}"),
    ),
    Row("iface", "FLANNELD_IFACE", (), "e0", ("e0",), "::1", ("::1",), TEXT, None, ()),
    Row("iface-regex", "FLANNELD_IFACE_REGEX", (), "^e", ("^e",), "(", ("(",), TEXT, None, ()),
    text("iface-can-reach", ""),
    Row(
        "public-ip",
        "FLANNELD_PUBLIC_IP",
        None,
        "192.0.2.1",
        V4,
        "0.0.0.1",
        ip_address("0.0.0.1"),
        "2001:db8::1",
        Exit1("invalid public IP address: 2001:db8::1"),
        None,
    ),
    Row(
        "public-ipv6",
        "FLANNELD_PUBLIC_IPV6",
        None,
        "2001:db8::1",
        V6,
        "::1",
        ip_address("::1"),
        "192.0.2.1",
        Exit1("invalid public IPv6 address: 192.0.2.1"),
        None,
    ),
    switch("ip-masq", "FLANNELD_IP_MASQ", default=False),
    switch("ip-masq-fully-random-disable", "FLANNELD_IP_MASQ_FULLY_RANDOM_DISABLE", default=False),
    switch("iptables-forward-rules", "FLANNELD_IPTABLES_FORWARD_RULES", default=True),
    number("iptables-resync", 5, one="86401", two="0x7fffffff", bounds="1 to 2147483647"),
    switch("ip-blackhole-route", "FLANNELD_IP_BLACKHOLE_ROUTE", default=False),
    path("cni-conf", "FLANNELD_CNI_CONF", None),
    path("cni-conf-dir", "FLANNELD_CNI_CONF_DIR", "/etc/cni/net.d"),
    Row(
        "cni-mode",
        "FLANNELD_CNI_MODE",
        "render",
        "copy",
        "copy",
        "render",
        "render",
        "both",
        Exit2("must be one of render, copy"),
        Exit2("must be one of render, copy"),
    ),
    number("workers", workers_for(os.cpu_count() or 1), one="1", two="64", bounds="1 to 64"),
    switch("supervise", "FLANNELD_SUPERVISE", default=False),
    switch("spare", "FLANNELD_SPARE", default=True),
    Row(
        "worker-cpus",
        "FLANNELD_WORKER_CPUS",
        (),
        "3",
        (3,),
        "0,2-4",
        (0, 2, 3, 4),
        "4-2",
        Exit2("must be a list of processors such as 0,2-5"),
        (),
    ),
    number("spin-us", 100, one="0", two="1000", bounds="0 to 1000"),
    Row(
        "confine",
        "FLANNELD_CONFINE",
        "full",
        "off",
        "off",
        "log",
        "log",
        "on",
        Exit2("must be one of full, log, capabilities, off"),
        Exit2("must be one of full, log, capabilities, off"),
    ),
    Row(
        "source-check",
        "FLANNELD_SOURCE_CHECK",
        "strict",
        "loose",
        "loose",
        "off",
        "off",
        "on",
        Exit2("must be one of strict, loose, off"),
        Exit2("must be one of strict, loose, off"),
    ),
    Row(
        "disable-offload",
        "FLANNELD_DISABLE_OFFLOAD",
        frozenset(),
        "uso",
        {"uso"},
        "tso,udp-gro",
        {"tso", "udp-gro"},
        "tso,",
        Exit2("must be a comma list of vnet-hdr, tso, uso, multi-queue, udp-segment, udp-gro"),
        frozenset(),
    ),
    switch("tunnel-gso", "FLANNELD_TUNNEL_GSO", default=False),
    text("healthz-ip", "0.0.0.0"),
    number("healthz-port", 0, one="8081", two="-1", bounds=INT),
    switch("metrics-per-peer", "FLANNELD_METRICS_PER_PEER", default=True),
    Row(
        "log-format",
        "FLANNELD_LOG_FORMAT",
        "text",
        "json",
        "json",
        "text",
        "text",
        "xml",
        Exit2("must be one of text, json"),
        Exit2("must be one of text, json"),
    ),
)
REPEATED = {"iface", "iface-regex", "disable-offload"}
