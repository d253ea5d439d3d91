# SPDX-License-Identifier: Apache-2.0
"""Single checks of the doctor's, on files and values made for the purpose."""

import asyncio
import json
import time
from collections.abc import Iterable
from email.utils import formatdate
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from msgspec import structs

from fwd.config import run_config
from fwd.model import IPV4, Lease
from fwd.node.hostparts import OtherRules
from fwd.ops.doctor.checks import agent, cni, kube, netconf, ownlease
from fwd.ops.doctor.finding import Finding, Grade
from fwd.ops.doctor.frame import examine
from fwd.ops.doctor.order import checks
from fwd.ops.doctor.patient import Options, Patient
from fwd.ops.doctor.running import RunningAgent
from fwd.ops.status import HostStatus
from tests.unit.status_document import DOCUMENT

CONF = {"Network": "10.244.0.0/16", "Backend": {"Type": "vxlan"}}


@pytest.fixture
def patient(tmp_path: Path) -> Patient:
    """With net-conf.json, static leases and directories, all in tmp_path."""
    conf = tmp_path / "net-conf.json"
    conf.write_text(json.dumps(CONF))
    leases = tmp_path / "leases.json"
    leases.write_text(json.dumps({"leases": [_entry(1), _entry(2)]}))
    flags = ["--net-config-path", str(conf), "--run-dir", str(tmp_path), "--node-name", "n1"]
    flags += ["--static-leases", str(leases), "--cni-conf-dir", str(tmp_path / "net.d")]
    made = Patient(run_config(flags, {}), Options(cni_bin_dirs=(tmp_path / "bin",)))
    assert _grades(netconf.look(made)) == [Grade.WELL]
    return made


def test_an_engine_that_cannot_be_asked_is_no_fault(patient: Patient) -> None:
    """Of one that the kernel does not know nothing can be left."""

    def found(part: str) -> list[Grade]:
        host = HostStatus(part=part, state="not yet", trouble="no", repairs=0, last_repair=None)
        status = structs.replace(DOCUMENT, host=(host,), refused=())
        running = RunningAgent(status, {}, pid=0)
        return _grades(agent.look(Patient(patient.config, Options(), agent=running)))

    assert found("rules") == [Grade.WELL, Grade.WRONG]
    assert found(OtherRules.name) == [Grade.WELL, Grade.NOTE]


def _entry(number: int, subnet: str = "") -> dict[str, object]:
    return {
        "node": f"n{number}",
        "subnet": subnet or f"10.244.{number}.0/24",
        "public-ip": f"192.0.2.{number}",
        "backend-data": {"VNI": 1, "VtepMAC": f"02:00:00:00:00:0{number}"},
    }


def _grades(found: Iterable[Finding]) -> list[Grade]:
    return [one.grade for one in found]


def _only(found: Iterable[Finding]) -> Finding:
    (one,) = tuple(found)
    return one


@pytest.mark.parametrize(
    ("ahead", "grade", "said"),
    [(0, Grade.WELL, "within 60 s"), (3600, Grade.WRONG, "behind"), (-90, Grade.WRONG, "ahead of")],
)
def test_the_clock(ahead: int, grade: Grade, said: str) -> None:
    finding = _only(kube.clock(formatdate(time.time() + ahead, usegmt=True)))
    assert finding.grade is grade
    assert said in finding.found


def test_a_server_that_does_not_say_the_time() -> None:
    assert list(kube.clock("")) == list(kube.clock("yesterday")) == []


def test_net_conf_that_cannot_be_used(patient: Patient) -> None:
    patient.config.net_config_path.write_text('{"Network": "10.244.0.0/16"}')
    found = _only(netconf.look(patient))
    assert found.grade is Grade.WRONG
    assert "udp" in found.found
    patient.config.net_config_path.unlink()
    assert "No such file" in _only(netconf.look(patient)).found


def test_static_leases(patient: Patient) -> None:
    assert _grades(ownlease.look_static(patient)) == [Grade.WELL, Grade.WELL]
    assert patient.subnets == {IPV4: ip_network("10.244.1.0/24")}
    assert [lease.node for lease in patient.leases] == ["n2"]
    assert patient.some_subnets(IPV4) == (patient.subnets[IPV4], patient.leases[0].subnet)


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ([_entry(1), _entry(2, "10.244.1.128/25")], "overlaps 10.244.1.128/25 of n2"),
        ([_entry(1, "10.99.1.0/24")], "is not within Network 10.244.0.0/16"),
        ([_entry(2)], "node n1 has no entry"),
        (
            [_entry(1), _entry(2), _entry(3, "10.244.2.128/25")],
            "leases.json: subnets 10.244.2.0/24 of node n2 and 10.244.2.128/25 of node n3 overlap",
        ),
        ([_entry(1), _entry(2, "10.99.2.0/24")], "leases.json: node n2: subnet 10.99.2.0/24 is"),
        ([_entry(1), _entry(2) | {"public-ip": "192.0.2.1"}], "n1 and n2 have one public-ip"),
        ([_entry(1, "fd00:244:0:1::/64")], "IPv6 is not enabled in net-conf.json"),
    ],
)
def test_static_leases_that_do_not_fit(
    patient: Patient, entries: list[dict[str, object]], said: str
) -> None:
    """A start would end of it, and each is told once."""
    assert patient.config.static_leases is not None
    patient.config.static_leases.write_text(json.dumps({"leases": entries}))
    told = [one for one in ownlease.look_static(patient) if one.grade is Grade.WRONG]
    assert len([one for one in told if said in one.found]) == 1
    assert all("10.244" not in one.found or said in one.found for one in told)


def test_a_family_without_an_own_subnet(patient: Patient) -> None:
    networks = CONF | {"EnableIPv6": True, "IPv6Network": "fd00:244::/48"}
    patient.config.net_config_path.write_text(json.dumps(networks))
    assert _grades(netconf.look(patient)) == [Grade.WELL]
    leases, subnet = ownlease.look_static(patient)
    assert (leases.grade, subnet.grade) == (Grade.WRONG, Grade.WELL)
    assert "leases.json: node n1 has no IPv6 subnet, and net-conf.json enables it" in leases.found


def test_an_own_entry_without_a_mac(patient: Patient) -> None:
    """It has the remembered one then, or a new one."""
    assert patient.config.static_leases is not None
    own = {name: value for name, value in _entry(1).items() if name != "backend-data"}
    patient.config.static_leases.write_text(json.dumps({"leases": [own, _entry(2)]}))
    assert _grades(ownlease.look_static(patient)) == [Grade.WELL, Grade.WELL]
    (patient.config.run_dir / "flannel.1.mac").write_text("02:00:00:00:00:02\n")
    found = next(iter(ownlease.look_static(patient)))
    assert "nodes n1 and n2 have one VtepMAC, 02:00:00:00:00:02" in found.found


@pytest.mark.parametrize("text", [None, "{"])
def test_static_leases_without_a_net_conf(patient: Patient, text: str | None) -> None:
    """The one that is to be mended is told, and nothing besides."""
    path = patient.config.net_config_path
    if text is None:
        path.unlink()
    else:
        path.write_text(text)
    node = Patient(patient.config, Options())
    looks = [one for one in checks(node) if one.subject in {"net-conf.json", "leases"}]
    found = asyncio.run(examine(node, looks))
    assert [(one.looked_at, one.grade) for one in found] == [
        ("net-conf.json", Grade.WRONG),
        ("leases", Grade.WELL),
    ]


def test_subnets_that_are_not_known_do_not_overlap(patient: Patient) -> None:
    own, other = patient.some_subnets(IPV4)
    assert not own.overlaps(other)
    patient.subnets[IPV4] = ip_network("10.244.200.0/24")
    own, other = patient.some_subnets(IPV4)
    assert not own.overlaps(other)


def test_plugins_of_a_conflist(patient: Patient, tmp_path: Path) -> None:
    directory, programs = tmp_path / "net.d", tmp_path / "bin"
    assert _grades(cni.look(patient)) == [Grade.NOTE]  # no directory
    directory.mkdir()
    plugins = [{"type": "bridge", "ipam": {"type": "host-local"}}, {"type": "bandwidth"}]
    (directory / "10-flannel.conflist").write_text(json.dumps({"plugins": plugins}))
    assert _grades(cni.look(patient)) == [Grade.WELL, Grade.NOTE]  # no programs to be seen
    programs.mkdir()
    for name in ("bridge", "host-local", "loopback"):
        (programs / name).touch()
    *_, found = cni.look(patient)
    assert (found.grade, found.found) == (Grade.WRONG, f"bandwidth not in {programs}")
    (programs / "bandwidth").touch()
    assert _grades(cni.look(patient)) == [Grade.WELL, Grade.WELL]


def _configured(patient: Patient, name: str, content: object) -> list[Finding]:
    """What is said of the directory with one more file."""
    directory = patient.config.cni_conf_dir
    directory.mkdir(exist_ok=True)
    (directory / name).write_text(json.dumps(content))
    return [one for one in cni.look(patient) if one.looked_at == "CNI conflist"]


OURS = {"name": "cbr0", "plugins": [{"type": "bridge", "bridge": "cbr0"}]}


@pytest.mark.parametrize(
    "content",
    [
        {"name": "multus-cni-network", "type": "multus", "delegates": [OURS]},
        {"type": "multus-shim", "clusterNetwork": "/host/etc/cni/net.d/10-flannel.conflist"},
        {"name": "m", "plugins": [{"type": "multus-shim"}]},
        {"type": "another", "default": "10-flannel.conflist"},
    ],
)
def test_what_delegates_comes_first_on_purpose(patient: Patient, content: object) -> None:
    (own,) = _configured(patient, "10-flannel.conflist", OURS)
    assert own.grade is Grade.WELL
    first, *rest = _configured(patient, "00-multus.conf", content)
    assert (first.grade, rest) == (Grade.NOTE, [own])
    assert "00-multus.conf comes before 10-flannel.conflist and delegates" in first.found
    _, rival = _configured(patient, "05-cilium.conflist", {"plugins": [{"type": "cilium-cni"}]})
    assert rival.grade is Grade.WRONG
    assert rival.remedy.startswith("move 05-cilium.conflist out of")


@pytest.mark.parametrize(
    "content", [{"type": "bridge", "bridge": "cbr0"}, {"type": []}, [], "", OURS]
)
def test_a_network_of_that_name_is_a_rival(patient: Patient, content: object) -> None:
    """kubenet's bridge is called as flannel's network is."""
    _configured(patient, "10-flannel.conflist", OURS)
    (found,) = _configured(patient, "05-other.conf", content)
    assert found.grade is Grade.WRONG


def test_a_plugin_that_was_chained_behind_ours(patient: Patient) -> None:
    programs = patient.options.cni_bin_dirs[0]
    programs.mkdir()
    for name in ("bridge", "loopback", "istio-cni"):
        (programs / name).touch()
    chained = {"name": "cbr0", "plugins": [*OURS["plugins"], {"type": "istio-cni"}]}
    _configured(patient, "10-flannel.conflist", chained)
    assert _grades(cni.look(patient)) == [Grade.WELL, Grade.WELL]


@pytest.mark.parametrize(
    ("source", "otherwise"),
    [
        (None, ", or take that out of {}"),
        ([], ", or delete {}, which the agent writes anew"),
        (["istio-cni"], ""),
    ],
)
def test_a_plugin_that_was_chained_and_has_gone(
    patient: Patient, source: list[str] | None, otherwise: str
) -> None:
    """containernetworking-plugins does not bring it back."""
    patient.options.cni_bin_dirs[0].mkdir()
    conf = patient.config.cni_conf_dir.with_name("cni-conf.json")
    types = ["flannel", *(source or ())]
    conf.write_text(json.dumps({"name": "cbr0", "plugins": [{"type": name} for name in types]}))
    config = structs.replace(patient.config, cni_conf=None if source is None else conf)
    chained = OURS | {"plugins": [*OURS["plugins"], {"type": "istio-cni"}]}
    _configured(patient, "10-flannel.conflist", chained)
    *_, found = cni.look(Patient(config, patient.options))
    path = config.cni_conf_dir / "10-flannel.conflist"
    packaged, other = found.remedy.split("; ")
    assert packaged == "install the CNI plugins (containernetworking-plugins) on the node"
    assert other == f"install istio-cni{otherwise.format(path)}"


def test_a_lease_is_of_its_family(patient: Patient) -> None:
    lease = Lease("n2", ip_network("10.244.2.0/24"), ip_address("192.0.2.2"), bytes(6), 1)
    patient.leases = (lease,)
    assert patient.leases_of(IPV4) == (lease,)
    assert patient.leases_of(6) == ()
