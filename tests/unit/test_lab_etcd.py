# SPDX-License-Identifier: Apache-2.0
"""The lab's etcd: what a kernel node writes and reads there, and its client, with a real one."""

import calendar
import itertools
import time
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from fwd.lab import etcdplane, fwdnode, kernelnode
from fwd.lab.etcdclient import PREFIX, SUBNETS, Change, Etcd
from fwd.lab.kerneletcd import peers_of
from fwd.lab.kernelpeers import LostError
from fwd.lab.netconf import net_conf
from fwd.lab.state import StateDir
from fwd.lab.topology import Source, Spec, Topology, node_specs, plan
from tests.etcd_server import EtcdServer


def lab(*families: int) -> Topology:
    return plan(
        Spec(prefix="t", nodes=node_specs(fwd=1, kernel=1), families=families, source=Source.ETCD)
    )


def test_a_kernel_nodes_lease_is_flannels_text() -> None:
    one = lab(4)
    assert etcdplane.key(one, one.nodes[1]) == "10.244.2.0-24"
    assert etcdplane.value(one, one.nodes[1]) == (
        '{"PublicIP":"192.168.50.2","PublicIPv6":null,"BackendType":"vxlan",'
        '"BackendData":{"VNI":1,"VtepMAC":"02:00:00:00:00:02"}}'
    )


@pytest.mark.parametrize("families", [(4,), (6,), (4, 6)])
def test_what_a_kernel_node_writes_is_the_peer_that_another_reads(
    families: tuple[int, ...],
) -> None:
    made = lab(*families)
    node = made.nodes[1]
    peers = peers_of(etcdplane.key(made, node), etcdplane.value(made, node))
    assert list(peers) == kernelnode.of_topology(made, [node])


def test_reservations_and_other_backends_are_no_peers() -> None:
    assert peers_of("10.244.2.0-24", '{"PublicIP":"192.168.50.2"}') == ()
    assert peers_of("10.244.2.0-24", '{"PublicIP":"192.168.50.2","BackendType":"host-gw"}') == ()


def test_an_agent_begins_with_what_it_had_before(tmp_path: Path) -> None:
    one, state_dir = lab(4, 6), StateDir(tmp_path)
    words = fwdnode.command(one, one.nodes[0], state_dir=state_dir)
    assert words[2:4] == ["--etcd-endpoints", "http://192.168.50.254:2379"]
    before = state_dir.of_node(one.nodes[0].namespace) / "subnet.env"
    assert "FLANNEL_SUBNET=10.244.1.1/24\n" in before.read_text()
    assert "FLANNEL_IPV6_SUBNET=fd00:10:244:1::1/64\n" in before.read_text()
    before.write_text("another")
    fwdnode.command(one, one.nodes[0], state_dir=state_dir)
    assert before.read_text() == "another"


@pytest.mark.parametrize(
    "line",
    [
        "time={}T17:23:38.086Z level=info event=lease-published key=10.244.1.0-24",
        '{{"time": "{}T17:23:38.086Z", "level": "info", "event": "lease-published", "key": "1"}}',
    ],
)
def test_when_an_agent_wrote_its_lease_is_read_from_either_form_of_its_log(
    tmp_path: Path, line: str
) -> None:
    node, state_dir = lab(4).nodes[0], StateDir(tmp_path)
    log = state_dir.log(node.namespace)
    log.parent.mkdir()
    lines = [line.format("2026-11-28"), line.format("2026-11-29")]
    log.write_text("\n".join([*lines, lines[-1].replace("published", "kept")]))
    wanted = calendar.timegm((2026, 11, 29, 17, 23, 38)) + 0.086 - time.time() + time.monotonic()
    found = etcdplane.published_at(node, since=wanted - 60, state_dir=state_dir)
    assert found == pytest.approx(wanted, abs=0.02)


def test_the_client_writes_lists_and_watches(etcd: EtcdServer) -> None:
    client = Etcd(etcd.url)
    client.put(f"{PREFIX}/config", msgspec.json.encode(net_conf(lab(4))).decode())
    client.put(SUBNETS + "a", "1", lease=client.grant(600))
    found, revision = client.list(SUBNETS)
    assert found == {SUBNETS + "a": "1"}
    assert etcd.lease_id("a") != 0
    client.put(SUBNETS + "b", "2")
    client.delete(SUBNETS + "a")
    with closing(client.watch(SUBNETS, after=revision)) as watch:
        seen = list(itertools.islice(watch, 2))
    assert seen == [Change(SUBNETS + "b", "2"), Change(SUBNETS + "a", None)]
    etcd.stop()
    with pytest.raises(LostError):
        client.list(SUBNETS)
