# SPDX-License-Identifier: Apache-2.0
"""cni-conf.json rendered for a node: the known files, and what becomes of each key.

That any file comes out as flannel's plugin would have it: test_cniconf_twin; what is refused:
test_cniconf_refused.
"""

import json
from ipaddress import ip_network
from typing import Any

import pytest

from fwd.core import cniconf
from fwd.model import IPV4, IPV6, Network
from tests.netns.cni_support import SEED

PORTMAP = {"type": "portmap", "capabilities": {"portMappings": True}}

RENDERED = """\
{
  "name": "cbr0",
  "cniVersion": "0.3.1",
  "plugins": [
    {
      "type": "bridge",
      "hairpinMode": true,
      "isDefaultGateway": true,
      "ipMasq": false,
      "mtu": 1450,
      "isGateway": true,
      "ipam": {
        "type": "host-local",
        "ranges": [
          [
            {
              "subnet": "10.244.1.0/24"
            }
          ]
        ],
        "routes": [
          {
            "dst": "10.244.0.0/16"
          }
        ]
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

V4 = (ip_network("10.244.0.0/16"), ip_network("10.244.1.0/24"))
V6 = (ip_network("2001:cafe:42::/56"), ip_network("2001:cafe:42:1::/64"))


def rendered(
    text: str,
    *families: tuple[Network, Network],
    mtu: int = 1450,
    ip_masq: bool = True,
) -> str:
    pairs = {network.version: (network, subnet) for network, subnet in families or (V4,)}
    return cniconf.render(
        cniconf.parse(text),
        networks={family: pair[0] for family, pair in pairs.items()},
        subnets={family: pair[1] for family, pair in pairs.items()},
        mtu=mtu,
        ip_masq=ip_masq,
    )


def conflist(*plugins: Any, **head: Any) -> str:  # noqa: ANN401 - JSON
    return json.dumps({"name": "cbr0", "cniVersion": "0.3.1"} | head | {"plugins": plugins})


def flannel(**keys: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"type": "flannel"} | keys


def first(text: str) -> Any:  # noqa: ANN401
    return json.loads(text)["plugins"][0]


def test_the_manifests_file_to_the_byte() -> None:
    assert rendered(SEED) == RENDERED


def test_the_example_of_the_plugins_own_documentation() -> None:
    text = '{"name": "cni-flannel", "type": "flannel"}'
    env = (ip_network("10.1.0.0/16"), ip_network("10.1.17.0/24"))
    assert json.loads(rendered(text, env, mtu=1472)) == {
        "name": "cni-flannel",
        "cniVersion": "0.3.1",
        "plugins": [
            {
                "ipMasq": False,
                "ipam": {
                    "routes": [{"dst": "10.1.0.0/16"}],
                    "ranges": [[{"subnet": "10.1.17.0/24"}]],
                    "type": "host-local",
                },
                "isGateway": True,
                "mtu": 1472,
                "type": "bridge",
            }
        ],
    }


def test_two_families_are_two_ranges_ipv4_first() -> None:
    ipam = first(rendered(SEED, V6, V4))["ipam"]
    assert ipam["ranges"] == [
        [{"subnet": "10.244.1.0/24"}],
        [{"subnet": "2001:cafe:42:1::/64"}],
    ]
    assert ipam["routes"] == [{"dst": "10.244.0.0/16"}, {"dst": "2001:cafe:42::/56"}]
    assert first(rendered(SEED, V6))["ipam"]["ranges"] == [[{"subnet": "2001:cafe:42:1::/64"}]]


def test_the_bridge_masquerades_when_the_agent_does_not() -> None:
    assert first(rendered(SEED, ip_masq=False))["ipMasq"] is True
    own = conflist(flannel(delegate={"ipMasq": False}))
    assert first(rendered(own, ip_masq=False))["ipMasq"] is False


def test_what_the_delegate_says_stays() -> None:
    own = {"mtu": 1400, "isGateway": False, "bridge": "cni7", "unknown": [1.5, None]}
    plugin = first(rendered(conflist(flannel(delegate=own))))
    assert {key: plugin[key] for key in own} == own


def test_another_delegate_gets_no_key_of_the_bridges() -> None:
    plugin = first(rendered(conflist(flannel(delegate={"type": "ptp", "vlan": "its own"}))))
    assert "isGateway" not in plugin
    assert (plugin["type"], plugin["vlan"], plugin["mtu"]) == ("ptp", "its own", 1450)


def test_a_given_ipam_is_kept_but_for_its_ranges() -> None:
    routes = [{"dst": "192.168.0.0/16", "gw": "10.244.1.7"}, {"dst": "0.0.0.0/0"}]
    given_ipam = {"type": "own", "dataDir": "/d", "routes": routes, "ranges": "any"}
    template = cniconf.parse(conflist(flannel(ipam=given_ipam)))
    assert first(rendered(conflist(flannel(ipam=given_ipam))))["ipam"] == {
        "type": "own",
        "dataDir": "/d",
        "ranges": [[{"subnet": "10.244.1.0/24"}]],
        "routes": [*routes, {"dst": "10.244.0.0/16"}],
    }
    assert template.ignored == ("ipam.ranges",)


def test_capabilities_stay_for_the_runtime_and_those_of_the_delegate_do_not_become_so() -> None:
    entry = flannel(capabilities={"mac": True}, delegate={"capabilities": {"ips": True}})
    assert first(rendered(conflist(entry)))["capabilities"] == {"mac": True}
    assert "capabilities" not in first(rendered(conflist(flannel(delegate=entry["delegate"]))))


def test_the_other_plugins_and_the_lists_keys_are_untouched_and_in_order() -> None:
    before = {"type": "z", "mtu": 9, "n": [1e3, 10**30, {"b": 1, "a": "\u00e9\ud800"}]}
    text = conflist(before, flannel(), PORTMAP, {"type": "tuning"}, cniVersion="1.0.0", other=[0])
    done = json.loads(rendered(text))
    assert list(done) == ["name", "cniVersion", "other", "plugins"]
    assert (done["cniVersion"], done["other"]) == ("1.0.0", [0])
    assert done["plugins"][0] == before
    assert list(done["plugins"][0]["n"][2]) == ["b", "a"]
    assert done["plugins"][2:] == [PORTMAP, {"type": "tuning"}]


@pytest.mark.parametrize(
    ("version", "told"), [("0.3.1", False), ("0.4.0", True), ("0.10.0", True), ("1.0.0", True)]
)
def test_the_routes_name_their_gateway_where_check_may_look(version: str, *, told: bool) -> None:
    routes = [{"dst": "192.168.0.0/16"}]
    text = conflist(flannel(ipam={"routes": routes}), cniVersion=version)
    ipam = first(rendered(text, V4, V6))["ipam"]
    gateways = [{"gw": "10.244.1.1"}, {"gw": "2001:cafe:42:1::1"}] if told else [{}, {}]
    assert ipam["routes"] == [
        *routes,
        {"dst": "10.244.0.0/16"} | gateways[0],
        {"dst": "2001:cafe:42::/56"} | gateways[1],
    ]
    other = conflist(flannel(ipam={"type": "own"}), cniVersion=version)
    assert first(rendered(other))["ipam"]["routes"] == [{"dst": "10.244.0.0/16"}]


@pytest.mark.parametrize("head", [{}, {"cniVersion": ""}])
def test_a_version_is_written_where_none_is(head: dict[str, str]) -> None:
    text = json.dumps({"name": "cbr0", "plugins": [flannel()]} | head)
    assert json.loads(rendered(text))["cniVersion"] == "0.3.1"


def test_keys_without_effect_are_told() -> None:
    entry = flannel(subnetFile="/s", dataDir="/d", DNS={}, name="x", cniVersion="9", Ipam=None)
    assert cniconf.parse(conflist(entry)).ignored == ("subnetFile", "dataDir", "DNS")
    assert first(rendered(conflist(entry))).keys() == first(RENDERED).keys() - {
        "hairpinMode",
        "isDefaultGateway",
    }


def test_keys_of_the_entry_match_whatever_their_case() -> None:
    assert first(rendered(conflist({"Type": "flannel", "DELEGATE": {"type": "ptp"}})))["type"] == (
        "ptp"
    )


def test_rendering_changes_nothing_in_the_template() -> None:
    template = cniconf.parse(conflist(flannel(ipam={"routes": [{"dst": "10.0.0.0/8"}]})))
    done = [
        cniconf.render(
            template,
            networks={family: network},
            subnets={family: subnet},
            mtu=mtu,
            ip_masq=True,
        )
        for family, (network, subnet), mtu in ((IPV4, V4, 1400), (IPV6, V6, 1450), (IPV4, V4, 1400))
    ]
    assert done[0] == done[2]
    assert first(done[1])["mtu"] == 1450
