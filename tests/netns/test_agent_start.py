# SPDX-License-Identifier: Apache-2.0
"""What stands around a start: probes, systemd, the settings in the log, `flanneld`'s exit codes."""

import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.agent_support import Cluster, wait_for
from tests.netns.kube_cluster import KubeCluster, running
from tests.netns.probe_support import HEALTH, probe

pytestmark = [pytest.mark.netns, pytest.mark.root]


@pytest.fixture
def kube(tmp_path: Path) -> Iterator[KubeCluster]:
    with running(KubeCluster(tmp_path, families=(4, 6))) as made:
        yield made


def test_an_agent_that_waits_lives_but_is_not_ready(kube: KubeCluster) -> None:
    kube.put(1, cidr="", annotations={})
    agent = kube.start("n1", *HEALTH)
    agent.says("waiting")
    assert probe(kube.n1, "healthz") == "flanneld is running"
    waits = 'kube .*: waiting, node "n1" pod cidr not assigned'
    wanted = rf"503 flanneld is not ready yet: no leases yet \({waits}\)"
    assert re.fullmatch(wanted, probe(kube.n1, "readyz"))
    kube.put(1, annotations={})
    agent.says("forwarding")
    wait_for("ready", lambda: probe(kube.n1, "readyz") == "flanneld is ready")


def test_a_port_of_somebody_else_is_one_line(cluster: Cluster) -> None:
    cluster.started("n1", *HEALTH)
    second = cluster.start("n1", *HEALTH, "--run-dir", str(cluster.directory / "second"))
    assert second.ended() == 1
    assert second.log.splitlines()[-1].startswith(
        "fwd run: cannot serve /healthz on 127.0.0.1 port 8081: "
    )


def test_a_run_directory_too_deep_for_sockets_is_one_line(cluster: Cluster) -> None:
    deep = cluster.directory / ("d" * 100)
    agent = cluster.start("n1", "--run-dir", str(deep))
    assert agent.ended() == 1
    last = agent.log.splitlines()[-1]
    assert last.startswith(f"fwd run: {deep}/")
    assert last.endswith("give a shorter --run-dir")


def test_without_standard_streams_it_is_as_with_them(cluster: Cluster) -> None:
    cluster.before = {"n1": ["sh", "-c", 'exec "$@" <&- >&-', "sh"]}
    agent = cluster.start("n1")
    agent.says("host-ready")  # programs were started for that
    streams = [Path(f"/proc/{agent.pid}/fd/{number}") for number in (0, 1)]
    assert [str(stream.readlink()) for stream in streams] == ["/dev/null"] * 2


def test_the_settings_are_one_line_without_secrets(cluster: Cluster) -> None:
    secrets = ("--etcd-password=hush", "--etcd-endpoints=http://me:hush@a:1,http://b:2", "-v=9")
    agent = cluster.started("n1", *secrets)
    (line,) = agent.lines("settings")
    assert "etcd-endpoints=http://***@a:1,http://b:2" in line.replace('"', "")
    assert f"static-leases={cluster.leases}" in line
    assert "ip-masq=false" in line
    assert "hush" not in agent.log


def test_systemd_hears_of_it_when_packets_flow(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:

    path = cluster.directory / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.settimeout(10)
        listener.bind(str(path))
        monkeypatch.setenv("NOTIFY_SOCKET", str(path))
        agent = cluster.start("n1")
        assert listener.recv(100) == b"READY=1"
    assert agent.lines("forwarding")


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--version"], 0, ""),
        (["-iface-can-raech=1"], 2, "flanneld: there is no flag -iface-can-raech, the nearest is "),
        (["--public-ipv6=1.2.3.4"], 1, "flanneld: invalid public IPv6 address: 1.2.3.4\n"),
        (["--subnet-lease-renew-margin=0"], 1, "flanneld: Invalid subnet-lease-renew-margin opt"),
        (["--kube-subnet-mgr"], 1, "flanneld: Failed to create SubnetManager: env variables POD_"),
    ],
)
def test_the_program_flanneld(words: list[str], code: int, says: str) -> None:
    program = Path(sys.executable).with_name("flanneld")
    done = subprocess.run(
        [program, *words], capture_output=True, text=True, timeout=20, check=False, env={}
    )
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith(says)
    assert done.stderr.count("\n") == 1
