# SPDX-License-Identifier: Apache-2.0
"""What the doctor says of sysctls, and of routes that strict filters do not believe."""

import json
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from fwd.config import run_config
from fwd.model import IPV4, Address, Lease
from fwd.node import netlink
from fwd.node.underlay import Underlay
from fwd.ops.doctor.checks import forwarding, netconf
from fwd.ops.doctor.finding import Grade
from fwd.ops.doctor.patient import Options, Patient

NETWORKS: dict[int, dict[str, object]] = {
    4: {"Network": "10.0.0.0/8"},
    6: {"EnableIPv4": False, "EnableIPv6": True, "IPv6Network": "fd00:244::/48"},
}


def of_family(directory: Path, family: int) -> Patient:
    conf = directory / "net-conf.json"
    conf.write_text(json.dumps(NETWORKS[family] | {"Backend": {"Type": "vxlan"}}))
    flags = ["--net-config-path", str(conf), "--run-dir", str(directory), "--node-name", "n1"]
    made = Patient(run_config([*flags, "--static-leases", "leases.json"], {}), Options())
    assert [one.grade for one in netconf.look(made)] == [Grade.WELL]
    return made


@pytest.fixture
def patient(tmp_path: Path) -> Patient:
    return of_family(tmp_path, 4)


@pytest.fixture
def ipv6(tmp_path: Path) -> Patient:
    return of_family(tmp_path, 6)


Sysctls = Callable[[dict[str, int]], None]


@pytest.fixture
def sysctls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sysctls:
    """Sets some, by their paths below net; all others are not there."""
    net = tmp_path / "net"
    monkeypatch.setattr(forwarding, "_NET", net)

    def put(values: dict[str, int]) -> None:
        for name, value in values.items():
            path = net / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{value}\n")

    return put


@pytest.mark.parametrize(
    ("values", "remedy"),
    [
        ({"all": 0, "default": 0, "flannel.1": 0}, ""),
        ({"all": 1, "default": 0, "flannel.1": 0}, "net.ipv4.conf.flannel/1.rp_filter=2"),
        ({"all": 0, "default": 1, "flannel.1": 0}, ""),
        ({"all": 0, "default": 0, "flannel.1": 1}, "net.ipv4.conf.flannel/1.rp_filter=2"),
        ({"all": 1, "default": 0, "flannel.1": 2}, ""),
        ({"all": 2, "default": 0, "flannel.1": 1}, ""),
        ({"all": 0, "default": 1}, "net.ipv4.conf.default.rp_filter=2"),
        ({"all": 1, "default": 0}, "net.ipv4.conf.default.rp_filter=2"),
    ],
)
def test_the_greater_rp_filter_is_in_force(
    patient: Patient, sysctls: Sysctls, values: dict[str, int], remedy: str
) -> None:
    for name, value in values.items():
        where = f"ipv4/conf/{name}"
        sysctls({f"{where}/rp_filter": value, f"{where}/forwarding": 1})
    forward, found = forwarding.look(patient)
    assert forward.grade is Grade.WELL
    assert (found.grade is Grade.WRONG) is bool(remedy)
    assert remedy in found.remedy


IPV4_SWITCH = "sysctl -w net.ipv4.ip_forward=1"
DEVICES_SWITCH = "sysctl -w net.ipv4.conf.flannel/1.forwarding=1"


@pytest.mark.parametrize(
    ("every", "device", "remedy", "said"),
    [
        (1, 1, "", "on"),
        (1, None, "", "on"),
        (1, 0, DEVICES_SWITCH, "off for flannel.1: "),
        (0, 0, IPV4_SWITCH, "off: "),
        (0, None, IPV4_SWITCH, "off: "),
        (0, 1, IPV4_SWITCH, "off, but for flannel.1: the kernel does not carry what Pods send"),
    ],
)
def test_ipv4_is_forwarded_by_the_switch_of_each_device(
    patient: Patient, sysctls: Sysctls, every: int, device: int | None, remedy: str, said: str
) -> None:
    """Those of devices made later, such as Pods' bridges, begin as the one for all."""
    sysctls({"ipv4/conf/all/forwarding": every})
    if device is not None:
        sysctls({"ipv4/conf/flannel.1/forwarding": device})
    found = next(iter(forwarding.look(patient)))
    assert (found.grade is Grade.WRONG) is bool(remedy)
    assert found.found.startswith(said)
    assert found.remedy.startswith(remedy)


@pytest.mark.parametrize(
    ("values", "remedy"),
    [
        ({"ipv6/conf/all/forwarding": 1, "ipv6/conf/flannel-v6.1/forwarding": 0}, ""),
        (
            {"ipv6/conf/all/forwarding": 0, "ipv6/conf/flannel-v6.1/forwarding": 1},
            "sysctl -w net.ipv6.conf.all.forwarding=1",
        ),
    ],
)
def test_ipv6_is_forwarded_by_the_switch_for_all(
    ipv6: Patient, sysctls: Sysctls, values: dict[str, int], remedy: str
) -> None:
    sysctls(values)
    (found,) = forwarding.look(ipv6)
    assert (found.grade is Grade.WRONG) is bool(remedy)
    assert remedy in found.remedy


@pytest.mark.parametrize(
    ("default", "device", "switches"),
    [
        (0, None, ""),
        (0, 0, ""),
        (1, 0, ""),
        (1, None, "net.ipv6.conf.default.disable_ipv6=0"),
        (0, 1, "net.ipv6.conf.flannel-v6/1.disable_ipv6=0"),
        (
            1,
            1,
            "net.ipv6.conf.default.disable_ipv6=0 net.ipv6.conf.flannel-v6/1.disable_ipv6=0",
        ),
    ],
)
def test_a_device_that_may_have_no_ipv6_address(
    ipv6: Patient, sysctls: Sysctls, default: int, device: int | None, switches: str
) -> None:
    """As on nodes that are hardened."""
    sysctls({"ipv6/conf/all/forwarding": 1, "ipv6/conf/default/disable_ipv6": default})
    if device is not None:
        sysctls({"ipv6/conf/flannel-v6.1/disable_ipv6": device})
    _, found = forwarding.look(ipv6)
    assert (found.grade is Grade.WRONG) is bool(switches)
    assert found.remedy.startswith(f"sysctl -w {switches}, " if switches else "")


def test_of_many_nodes_some_routes_are_asked_for(
    patient: Patient, sysctls: Sysctls, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of 5,000 take longer than the check may."""
    sysctls({"ipv4/conf/all/rp_filter": 0, "ipv4/conf/eth0/rp_filter": 1})
    patient.underlays[IPV4] = Underlay(
        name="eth0", index=2, address=ip_address("192.168.0.1"), mtu=1500
    )
    patient.leases = tuple(
        Lease(
            f"n{number}",
            ip_network((0x0A000000 + (number << 8), 24)),
            ip_address("192.168.0.0") + number,
            bytes(6),
            1,
        )
        for number in range(2, 5002)
    )
    asked, astray = [], ip_address("192.168.0.42")

    def route_to(address: Address) -> tuple[int, None]:
        asked.append(address)
        return 3 if address == astray else 2, None

    monkeypatch.setattr(netlink, "route_to", route_to)
    *_, found = forwarding.look(patient)
    assert "from n42 (192.168.0.42), as the route there leads elsewhere" in found.found
    patient.leases = patient.leases[41:]
    asked.clear()
    *_, found = forwarding.look(patient)
    assert (found.grade, len(asked)) == (Grade.WELL, 256)
    assert found.found.endswith(" (routes to 256 of 4959 nodes looked at)")
