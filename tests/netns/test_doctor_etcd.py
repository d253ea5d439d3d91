# SPDX-License-Identifier: Apache-2.0
"""What can be wrong with etcd, in one way each: the doctor names it, what to do, and nothing else.

n1 is the patient, n2 runs fwd too, both with both families.  Some faults are of a second etcd, with
TLS and users, on n1.  Excluded: what is wrong with a node wherever its leases come from
(test_doctor.py).
"""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from fwd.lab import etcdplane
from fwd.lab.topology import Source
from tests.certificates import Authority
from tests.etcd_server import PREFIX, SUBNETS, EtcdServer
from tests.netns import topo
from tests.netns.agent_support import EACH_FAMILY
from tests.netns.doctor_support import Doctor, kept

pytestmark = pytest.mark.netns

CONFIG = f"{PREFIX}/config"
CONF = {
    "Network": "10.244.0.0/16",
    "EnableIPv6": True,
    "IPv6Network": "fd00:10:244::/48",
    "EnableNFTables": True,
    "Backend": {"Type": "vxlan"},
}
SUBNET = {4: "Subnet", 6: "IPv6Subnet"}
"""What keys about subnets begin with."""
SEVENTH = {4: "10.244.7.0", 6: "fd00:10:244:7::"}
TAKEN = {4: "10.244.7.0-24&fd00:10:244:9::-64", 6: "10.244.9.0-24&fd00:10:244:7::-64"}
"""A key with the seventh subnet of a family."""
USERS = (
    *(
        ("user", "add", "root:root"),
        ("role", "add", "root"),
        ("user", "grant-role", "root", "root"),
    ),
    *(("user", "add", "reader:secret"), ("role", "add", "reads")),
    ("role", "grant-permission", "reads", "read", "--prefix=true", PREFIX),
    *(("user", "grant-role", "reader", "reads"), ("auth", "enable")),
)


@pytest.fixture(scope="module")
def doctor() -> Iterator[Doctor]:
    """An agent runs."""
    with topo.built(source=Source.ETCD, kernel=0, families=(4, 6)) as net:
        yield Doctor(net)


@pytest.fixture(scope="module")
def secure(doctor: Doctor, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    """On n1, for certificates of an authority and users."""
    authority = Authority(tmp_path_factory.mktemp("ca"), "authority")
    server = EtcdServer(
        tmp_path_factory.mktemp("etcd"), tls=authority.sign("nobody"), namespace=doctor.node
    )
    server.start()
    try:
        server.configure(CONF)
        for words in USERS:
            server.ctl(*words)
        server.user = ("--user", "root:root")
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def idle(doctor: Doctor) -> Doctor:
    """The agent has ended.  For the tests after those that need it."""
    doctor.net.stop(1)
    return doctor


def flags(server: EtcdServer, **changed: object) -> list[str]:
    """As a reader with the right certificate, but for what is changed."""
    assert server.tls is not None
    certificate, key, ca = server.tls
    given = {"endpoints": server.url, "certfile": certificate, "keyfile": key, "cafile": ca}
    given |= {"username": "reader", "password": "secret"} | changed
    return [f"--etcd-{name}={value}" for name, value in given.items()]


def test_a_healthy_node_is_well(doctor: Doctor) -> None:
    report = doctor.of_agent()
    assert (report.graded("wrong"), report.code) == ([], 0)
    told = {line.partition(" -> ")[0] for line in report.graded("ok")}
    assert {
        f"etcd: {etcdplane.url(doctor.net.plan)}: the configuration may be read",
        "etcd leases: may be read: 2",
        "etcd write: allowed (tried with a condition that never holds)",
        "subnet: 10.244.1.0-24&fd00:10:244:1::-64 is this node's",
    } <= told
    networks = "10.244.0.0/16, fd00:10:244::/48"
    assert any(line.startswith(f"net-conf.json: {networks}, VNI 1") for line in told)
    assert any(line.startswith("saved state: ") for line in told)


def test_a_wrong_endpoint(doctor: Doctor) -> None:
    right = etcdplane.url(doctor.net.plan)
    wrong = right.replace(":2379", ":9")
    doctor.of_flags("--etcd-endpoints", f"{wrong},{right}").names(
        rf"etcd {wrong}: Connect call failed", r"or mend --etcd-endpoints"
    )
    doctor.of_flags("--etcd-endpoints", wrong).names(
        rf"etcd: {wrong}: Connect call failed", r"see that etcd runs there"
    )


@EACH_FAMILY
def test_no_configuration_and_one_that_is_wrong(doctor: Doctor, family: int) -> None:
    plan = doctor.net.plan
    key, longest = f"{SUBNET[family]}Len", {4: 31, 6: 127}[family]
    etcdplane.do(plan, "del", CONFIG)
    try:
        doctor.of_agent().names(
            rf"net-conf.json: {CONFIG} is not in etcd", rf"etcdctl put {CONFIG}"
        )
        etcdplane.do(plan, "put", CONFIG, msgspec.json.encode(CONF | {key: longest}).decode())
        doctor.of_agent().names(
            rf"net-conf.json: {CONFIG}: SubnetLen must be less than /{longest}",
            rf"etcdctl put {CONFIG}",
        )
    finally:
        etcdplane.fill(plan, state_dir=doctor.net._state_dir)


def test_a_wrong_certificate(
    doctor: Doctor, secure: EtcdServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    certificate, key, ca = Authority(tmp_path_factory.mktemp("other"), "stranger").sign("n1")
    doctor.of_flags(*flags(secure, cafile=ca)).names(
        r"etcd: .*CERTIFICATE_VERIFY_FAILED", r"--etcd-cafile"
    )
    doctor.of_flags(*flags(secure, certfile=certificate, keyfile=key)).names(
        r"etcd: .*does this etcd take the client's certificate", r"--etcd-certfile, --etcd-keyfile"
    )
    doctor.of_flags(*flags(secure, endpoints=secure.url.replace("https", "http"))).names(
        r"etcd: .*does this etcd want https", r"write https://"
    )
    doctor.of_flags(*flags(secure, certfile="")).names(
        r"etcd: .*a client certificate and its key go together", r"--etcd-"
    )


def test_a_wrong_password_and_a_role_that_may_only_read(doctor: Doctor, secure: EtcdServer) -> None:
    doctor.of_flags(*flags(secure, password="wrong")).names(
        r"etcd access: authentication failed", r"--etcd-username, --etcd-password"
    )
    doctor.of_flags(*flags(secure)).names(
        rf"etcd access: cannot write into {SUBNETS}: .*permission denied",
        rf"grant-permission ROLE readwrite --prefix {PREFIX}",
    )


def test_a_healthy_node_is_well_before(idle: Doctor) -> None:
    report = idle.of_flags()
    assert (report.graded("wrong"), report.code) == ([], 0)
    assert any(line.startswith("subnet: 10.244.1.0/24 lies in") for line in report.graded("ok"))


@EACH_FAMILY
def test_every_subnet_is_taken(idle: Doctor, secure: EtcdServer, family: int) -> None:
    """Of one family, which is enough."""
    only, length = SEVENTH[family], {4: 24, 6: 64}[family]
    secure.configure(CONF | {f"{SUBNET[family]}{end}": only for end in ("Min", "Max")})
    secure.ctl("put", SUBNETS + TAKEN[family], '{"PublicIP":"192.168.50.77"}')
    idle.of_flags(*flags(secure, username="root", password="root")).names(
        rf"subnet: out of subnets: all 1 from {only}/{length} to {only}/{length}", r"etcdctl del"
    )


def test_a_damaged_saved_state(idle: Doctor, tmp_path: Path) -> None:
    saved = idle.net.directory(1) / "leases.saved"
    with kept(saved):
        saved.write_bytes(saved.read_bytes()[:-1])
        idle.of_flags("--subnet-file", str(tmp_path / "subnet.env")).names(
            rf"saved state: {saved}: ", r"until then a start waits for etcd"
        )
