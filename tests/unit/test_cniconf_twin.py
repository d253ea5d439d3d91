# SPDX-License-Identifier: Apache-2.0
"""A rendered list against the slow twin: flannel's own plugin, as flannel spec 9.1 tells it.

The same file, once rendered and run by a runtime, once run as it is by a runtime that has flannel's
plugin and subnet.env: each plugin that does the work gets the same configuration.
"""

import json
from ipaddress import IPv4Network, IPv6Network
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fwd.core import cniconf
from fwd.lab.cni import plugin_conf
from fwd.model import Network
from fwd.node import subnetfile
from fwd.node.subnetfile import SubnetEnv

Object = dict[str, Any]


def read_env(text: str) -> dict[str, str]:
    """subnet.env as the plugin scans it."""
    return dict(line.split("=", 1) for line in text.splitlines())


def without_host_bits(cidr: str) -> str:
    network = IPv6Network if ":" in cidr else IPv4Network
    return str(network(cidr, strict=False))


def delegated(stdin: Object, env: dict[str, str]) -> Object:
    """What the plugin hands to its delegate at ADD."""
    delegate: Object = dict(stdin.get("delegate") or {})
    if stdin.get("runtimeConfig") is not None:
        delegate["runtimeConfig"] = stdin["runtimeConfig"]
    delegate["name"] = stdin["name"]
    if "type" not in delegate:
        delegate["type"] = "bridge"
    if "ipMasq" not in delegate:
        delegate["ipMasq"] = env["FLANNEL_IPMASQ"] != "true"
    if "mtu" not in delegate:
        delegate["mtu"] = int(env["FLANNEL_MTU"])
    if delegate["type"] == "bridge" and "isGateway" not in delegate:
        delegate["isGateway"] = True
    if stdin["cniVersion"] != "":
        delegate["cniVersion"] = stdin["cniVersion"]
    delegate["ipam"] = delegated_ipam(stdin, env)
    return delegate


def delegated_ipam(stdin: Object, env: dict[str, str]) -> Object:
    ipam: Object = dict(stdin.get("ipam") or {})
    if "type" not in ipam:
        ipam["type"] = "host-local"
    ipam["ranges"] = []
    ipam["routes"] = list(ipam.get("routes") or [])
    for family in ("FLANNEL", "FLANNEL_IPV6"):
        if f"{family}_SUBNET" in env:
            ipam["ranges"].append([{"subnet": without_host_bits(env[f"{family}_SUBNET"])}])
    for family in ("FLANNEL", "FLANNEL_IPV6"):
        if f"{family}_NETWORK" in env:
            networks = env[f"{family}_NETWORK"].split(",")
            ipam["routes"] += [{"dst": network} for network in networks]
    return ipam


def without_our_gateways(conf: Object, env: SubnetEnv) -> None:
    """Takes away what we say beyond flannel: the routes' gateway, where CHECK may look for it."""
    ours = conf["ipam"]["routes"][-len(env.networks) :]
    told = conf["cniVersion"] == "1.0.0" and conf["ipam"]["type"] == "host-local"
    for route, family in zip(ours, sorted(env.networks), strict=True):
        gateway = route.pop("gw", None)
        assert gateway == (str(env.subnets[family].network_address + 1) if told else None)


def subnets(network: Network, length: int) -> st.SearchStrategy[Network]:
    """A network and all it can be split into, without making the list."""
    step = 1 << (network.max_prefixlen - length)
    last = network.num_addresses // step - 1
    return st.integers(0, last).map(
        lambda number: type(network)((int(network.network_address) + number * step, length))
    )


@st.composite
def environments(draw: st.DrawFn) -> SubnetEnv:
    both: dict[int, tuple[Network, int]] = {
        4: (IPv4Network("10.244.0.0/16"), draw(st.integers(17, 30))),
        6: (IPv6Network("2001:cafe:42::/56"), draw(st.integers(57, 126))),
    }
    families = draw(st.sampled_from([(4,), (6,), (4, 6)]))
    return SubnetEnv(
        networks={family: both[family][0] for family in families},
        subnets={family: draw(subnets(*both[family])) for family in families},
        mtu=draw(st.integers(68, 65535)),
        ip_masq=draw(st.booleans()),
    )


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
VALUES = st.recursive(
    SCALARS.filter(lambda value: value not in (float("inf"), float("-inf"))),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
# Keys that nobody knows, whatever their case.
OTHER_KEYS = st.text("xyz", min_size=1, max_size=3)
CAPABILITIES = st.dictionaries(st.sampled_from(["mac", "ips", "portMappings"]), st.booleans())
ROUTES = st.lists(
    st.fixed_dictionaries(
        {"dst": st.sampled_from(["10.0.0.0/8", "192.168.1.7/24", "::/0"])},
        optional={"gw": st.just("10.244.1.9")},
    ),
    max_size=2,
)

DELEGATES = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["bridge", "ptp", "own"]),
        "mtu": st.none() | st.integers(0, 9000),
        "ipMasq": st.booleans(),
        "isGateway": st.booleans(),
        "hairpinMode": st.none() | st.booleans(),
        "bridge": st.just("cni7"),
        "runtimeConfig": st.just({"ips": ["10.244.1.3/24"]}),
        "cniVersion": st.just("0.1.0"),
    },
)
IPAMS = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["host-local", "own"]),
        "routes": st.none() | ROUTES,
        "ranges": VALUES,
        "dataDir": st.just("/data"),
    },
)


@st.composite
def entries(draw: st.DrawFn) -> Object:
    optional: dict[str, st.SearchStrategy[Any]] = {
        "delegate": st.none()
        | st.builds(dict.__or__, st.dictionaries(OTHER_KEYS, VALUES), DELEGATES),
        "ipam": st.none() | IPAMS,
        "capabilities": st.none() | CAPABILITIES,
        "runtimeConfig": st.none() | st.just({"mac": "02:00:00:00:00:07"}),
        "subnetFile": st.text(),
        "dataDir": st.text(),
        "name": st.text(),
        "cniVersion": st.text(),
        "x": VALUES,
    }
    entry: Object = draw(st.fixed_dictionaries({"type": st.just("flannel")}, optional=optional))
    return entry


OTHERS = st.builds(
    dict.__or__,
    st.dictionaries(OTHER_KEYS, VALUES, max_size=3),
    st.fixed_dictionaries(
        {"type": st.sampled_from(["portmap", "bandwidth"])}, optional={"capabilities": CAPABILITIES}
    ),
)


@given(
    entry=entries(),
    before=st.lists(OTHERS, max_size=2),
    after=st.lists(OTHERS, max_size=2),
    version=st.sampled_from([None, "", "0.3.1", "1.0.0"]),
    env=environments(),
)
def test_every_plugin_gets_what_flannels_would_have_given_it(
    entry: Object, before: list[Object], after: list[Object], version: str | None, env: SubnetEnv
) -> None:
    document: Object = {"name": "cbr0", "plugins": [*before, entry, *after]}
    if version is not None:
        document["cniVersion"] = version
    template = cniconf.parse(json.dumps(document))
    values = {"networks": env.networks, "subnets": env.subnets}
    text = cniconf.render(template, **values, mtu=env.mtu, ip_masq=env.ip_masq)
    rendered = json.loads(text)

    taken = document | {"cniVersion": version or "0.3.1"}
    args = {"mac": "02:00:00:00:00:09", "portMappings": [{"hostPort": 1}]}
    for number in range(len(taken["plugins"])):
        expected = plugin_conf(taken, number, args=args, prev=None)
        if number == len(before):
            expected = delegated(expected, read_env(subnetfile.render(env)))
        got = plugin_conf(rendered, number, args=args, prev=None)
        if number == len(before):
            without_our_gateways(got, env)
        # A word to the runtime, which has heeded it.
        for conf in (expected, got):
            conf.pop("capabilities", None)
        assert got == expected
