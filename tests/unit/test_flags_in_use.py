# SPDX-License-Identifier: Apache-2.0
"""Each flag of `fwd run` comes to where it acts: every one has another value than it has by itself.

Excluded: how a flag is written (test_flag_table.py), and what it does there.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from fwd import start
from fwd.begin import Begun
from fwd.config import RunConfig, run_config
from fwd.core.etcdclaim import Who
from fwd.core.rules import Wanted
from fwd.flannelflags import WITHOUT_EFFECT
from fwd.model import Network, OwnLease
from fwd.node import hostsetup, netlink, station, subnetfile, underlay
from fwd.node.handover.keeping import Revived, StoreKeeping
from fwd.node.handover.legacy import NoLegacy
from fwd.node.handover.store import Store
from fwd.node.hostparts import Blackhole, Conflist, SubnetFile, wanted_rules
from fwd.node.hostsetup import HostSetup
from fwd.node.rundir import RunDir
from fwd.node.subnetfile import SubnetEnv
from fwd.ops.health import Health
from fwd.ops.metrics import Metrics
from fwd.plane import Offload, PlaneSettings, SourceCheck
from fwd.runflags import RUN_FLAGS
from fwd.sources import etcdconf
from fwd.sources.choice import etcd_access, known_as, make_source
from fwd.sources.etcd import EtcdSettings, EtcdSource
from fwd.sources.etcdaccess import Endpoint, EtcdAccess
from fwd.sources.kube import KubeSettings, KubeSource
from fwd.sources.kubeclient import ApiAccess
from tests.unit.in_family import EACH_FAMILY, FAMILIES, said
from tests.unit.kube_member import CONF

PUBLIC = {4: ip_address("192.0.2.1"), 6: ip_address("2001:db8::1")}
MAC = b"\x02\0\0\0\0\x07"
SUBNETS: dict[int, Network] = {of: ip_network(said(of, "10.244.7.0/24")) for of in FAMILIES}
ENV = SubnetEnv(networks=CONF[FAMILIES].networks, subnets=SUBNETS, mtu=1430, ip_masq=True)
WORDS = (
    "--node-name=n7 --net-config-path=/x/net --kube-api-url=https://x:1 --kubeconfig-file=/x/kube"
    " --kube-annotation-prefix=a.b/c --set-node-network-unavailable=false"
    " --etcd-endpoints=http://x:1 --etcd-prefix=/x --etcd-keyfile=/x/key --etcd-certfile=/x/cert"
    " --etcd-cafile=/x/ca --etcd-username=me --etcd-password=hush --subnet-lease-renew-margin=7"
    " --iface=eth7 --iface=192.0.2.9 --iface-regex=^en --iface-regex=^wl"
    f" --iface-can-reach=192.0.2.77 --public-ip={PUBLIC[4]} --public-ipv6={PUBLIC[6]}"
    " --ip-masq --ip-masq-fully-random-disable --iptables-forward-rules=false --iptables-resync=77"
    " --ip-blackhole-route --cni-mode=copy --supervise --spare=false --confine=off --workers=7"
    " --worker-cpus=1,3 --spin-us=77 --source-check=loose --disable-offload=uso,udp-gro"
    " --tunnel-gso --healthz-ip=127.0.0.7 --healthz-port=7777 --metrics-per-peer=false"
    " --log-format=json"
).split()
STATIC, KUBE, ETCD = "--static-leases=/x/leases", "--kube-subnet-mgr", "--kube-subnet-mgr=false"


@pytest.fixture
def run_dir(tmp_path: Path) -> Iterator[RunDir]:
    made = RunDir.open(tmp_path / "run")
    yield made
    made.close()


def words(tmp_path: Path) -> list[str]:
    """All flags but the source of leases; what is to be a file is within tmp_path."""
    files = {"subnet-file": "subnet.env", "run-dir": "run", "cni-conf": "cni", "cni-conf-dir": "d"}
    return [*WORDS, *(f"--{flag}={tmp_path / name}" for flag, name in files.items())]


def config(tmp_path: Path, source: str) -> RunConfig:
    pod = {"POD_NAMESPACE": "ns", "POD_NAME": "pod"}
    return run_config([*words(tmp_path), source], pod)


def test_every_flag_has_a_value_of_its_own(tmp_path: Path) -> None:
    without = {flag.name for flag in WITHOUT_EFFECT} | {"version"}
    given = {word.removeprefix("--").partition("=")[0] for word in [*words(tmp_path), STATIC, KUBE]}
    assert given == {flag.name for flag in RUN_FLAGS} - without
    made, plain = config(tmp_path, STATIC), run_config(["--node-name=n1", "--static-leases=x"], {})
    same = {name for name in made.__struct_fields__ if getattr(made, name) == getattr(plain, name)}
    assert same == {"pod", "kube_subnet_mgr", "notes"}


@EACH_FAMILY
@pytest.mark.parametrize("source", [STATIC, KUBE])
async def test_the_interface_and_what_the_plane_is_made_for(
    family: int, source: str, tmp_path: Path, run_dir: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[underlay.Selection] = []
    here = underlay.Underlay(name="eth7", index=2, address=PUBLIC[family], mtu=1500)

    def choose(selection: underlay.Selection) -> underlay.Underlay:
        asked.append(selection)
        return here

    monkeypatch.setattr(underlay, "choose", choose)
    monkeypatch.setattr(netlink, "find_device", lambda _: None)
    own = OwnLease("n7", SUBNETS[family], vtep_mac=MAC)
    made = await station.find_station(own, config(tmp_path, source), CONF[FAMILIES], run_dir)
    assert asked == [
        underlay.Selection(
            family=family,
            others=(10 - family,),
            interfaces=("eth7", "192.0.2.9"),
            patterns=("^en", "^wl"),
            can_reach="192.0.2.77",
            public_ip=PUBLIC[family],
            beside=PUBLIC[10 - family],
            by_lease=source == STATIC,
        )
    ]
    assert made.settings == PlaneSettings(
        device={4: "flannel.1", 6: "flannel-v6.1"}[family],
        family=family,
        mac=MAC,
        local=PUBLIC[family],
        vni=1,
        port=8472,
        mtu={4: 1450, 6: 1430}[family],
        workers=7,
        cpus=(1, 3),
        source_check=SourceCheck.LOOSE,
        offloads=Offload.VNET_HDR
        | Offload.TSO
        | Offload.MULTI_QUEUE
        | Offload.UDP_SEGMENT
        | Offload.TUNNEL_GSO,
        spin_us=77,
    )


def test_the_rules(tmp_path: Path) -> None:
    assert wanted_rules(config(tmp_path, STATIC), ENV) == Wanted(
        networks=ENV.networks,
        subnets=ENV.subnets,
        masquerade=True,
        forward=False,
        random_fully=False,
        tunnel_gso=True,
    )


async def test_the_other_parts_of_the_host(
    tmp_path: Path, run_dir: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hostsetup, "require_programs", lambda **_: None)
    monkeypatch.setattr(hostsetup, "check_bridge_filter", lambda _: None)
    (tmp_path / "cni").write_text('{"name": "cbr0", "plugins": [{"type": "flannel"}]}')
    made = HostSetup(config(tmp_path, STATIC), CONF[FAMILIES], run_dir)
    assert made._seconds == 77
    _, _, file, conflist, blackhole = made._parts
    assert isinstance(file, SubnetFile)
    assert file._path == tmp_path / "subnet.env"
    assert isinstance(conflist, Conflist)
    assert (conflist._directory, conflist._conf.template) == (tmp_path / "d", None)
    assert isinstance(blackhole, Blackhole)
    assert blackhole._wanted


async def test_the_api_server(tmp_path: Path, run_dir: RunDir) -> None:
    source, conf = await make_source(config(tmp_path, KUBE), CONF[FAMILIES], run_dir)
    assert isinstance(source, KubeSource)
    assert conf == CONF[FAMILIES]
    assert source._settings == KubeSettings(
        node_name="n7",
        pod=("ns", "pod"),
        access=ApiAccess(url="https://x:1", kubeconfig=Path("/x/kube")),
        annotation_prefix="a.b/c",
        set_node_network_unavailable=False,
    )


async def test_etcd(tmp_path: Path, run_dir: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    async def read_netconf(api: Any, _contact: Any, prefix: str, *, saved: Path) -> Any:  # noqa: ANN401
        asked.extend((api._link._access, prefix, saved))
        return CONF[FAMILIES], b"{}"

    monkeypatch.setattr(etcdconf, "read_netconf", read_netconf)
    made = config(tmp_path, ETCD)
    source, _ = await make_source(made, None, run_dir)
    assert isinstance(source, EtcdSource)
    await source._close()
    access = EtcdAccess(
        endpoints=(Endpoint(url="http://x:1", host="x", port=1, is_tls=False),),
        key_file="/x/key",
        cert_file="/x/cert",
        ca_file="/x/ca",
        username="me",
        password="hush",
    )
    assert etcd_access(made) == access
    assert asked == [access, "/x", run_dir.path / "net-conf.saved"]
    assert source._settings == EtcdSettings(node_name="n7", prefix="/x", renew_margin=420.0)


async def test_by_what_etcd_knows_this_node(tmp_path: Path, run_dir: RunDir) -> None:
    made = config(tmp_path, ETCD)
    subnetfile.write(made.subnet_file, ENV)
    run_dir.write_mac("flannel.1", MAC)
    wanted = Who(public_ips=PUBLIC, macs={4: MAC}, previous=SUBNETS)
    assert await known_as(made, CONF[FAMILIES]) == wanted


async def test_probes_and_scrapes(
    tmp_path: Path, run_dir: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[object] = []

    class Listening(Health):
        def __init__(self, metrics: Metrics) -> None:
            seen.append(metrics._peers)
            super().__init__(metrics)

        @asynccontextmanager
        async def served(self, host: str, port: int) -> AsyncIterator[None]:
            seen.append((host, port))
            yield

    async def find_legacy(_: RunDir, *, node: str) -> NoLegacy:
        seen.append(node)
        return NoLegacy()

    async def no_source(*_: object) -> None:
        raise EnoughError

    monkeypatch.setattr(start, "Health", Listening)
    monkeypatch.setattr(start, "find_legacy", find_legacy)
    monkeypatch.setattr(start, "make_source", no_source)
    store = Store()
    keeping = StoreKeeping(store)
    begun = Begun(
        run_dir=RunDir.enter(run_dir.path),
        store=store,
        keeping=keeping,
        revived=Revived({}, keeping),
    )
    with pytest.raises(EnoughError):
        await start.run(config(tmp_path, ETCD), begun)
    assert seen == ["n7", None, ("127.0.0.7", 7777)]


class EnoughError(Exception):
    """What was to be seen has been."""
