# SPDX-License-Identifier: Apache-2.0
"""`fwd bench`, as short as it gets: it measures, says what it measured, and leaves nothing behind.

Nothing here says how fast anything is.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from fwd.bench import calls, contenders, traffic
from fwd.lab import child, netns, state
from fwd.lab.probes import Route
from fwd.lab.steps import ip, sysctl
from fwd.lab.topology import Wiring
from tests.netns.lab_support import ROOT, require
from tests.netns.names import own

pytestmark = [pytest.mark.netns, pytest.mark.root]

PREFIX = own("bt")
FOREIGN = ("openvswitch", "wireguard-go")  # may be missing
CONTENDERS = [name for name in contenders.KNOWN if name not in FOREIGN]
LIMIT = 120  # seconds
PROGRAM = "import sys; from fwd.bench.cli import main; sys.exit(main(sys.argv[1:]))"
# No repeats: what disturbs a measurement here is the other tests, which will not end for it.
SHORT = ("--quick", "--rounds=1", "--repeats=0", "--udp-sizes=64", f"--prefix={PREFIX}")


@pytest.fixture(autouse=True)
def _possible() -> None:
    require(fwd=True)


def argv(*words: str) -> list[str]:
    return [sys.executable, "-c", PROGRAM, *SHORT, *words]


def bench(*words: str, env: dict[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        argv(*words),
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )


def left_behind() -> list[str]:
    letters = (one.letter for one in contenders.KNOWN.values())
    names = [name for letter in letters for name in netns.existing(PREFIX + letter)]
    return [*names, *map(str, Path("/run").glob(f"fwd-lab.{PREFIX}*"))]


@pytest.fixture(scope="module")
def measured() -> dict[str, Any]:
    require(fwd=True)
    names = ",".join(CONTENDERS)
    done = bench(f"--contenders={names}", "--scenarios=tcp1,udp,rr-udp", "--json")
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def test_every_contender_has_every_figure(measured: dict[str, Any]) -> None:
    assert measured["complete"]
    assert measured["absent"] == {}
    figures = {
        (one["underlay"], one["metric"], one["contender"]): one for one in measured["summaries"]
    }
    for metric in measured["metrics"]:
        underlays = ("on", "off") if metric["scenario"].startswith("tcp") else ("on",)
        for underlay in underlays:
            for contender in taking_part(underlay):
                one = figures.pop((underlay, metric["name"], contender))
                # A search on a busy machine may find no rate without loss: then it says so.
                if one["failed"]:
                    assert metric["name"].endswith("-clean")
                    assert one["remarks"]
                    continue
                assert one["least"] == one["median"] == one["most"] > 0
                assert one["ratio"] is None or one["ratio"] > 0
    assert figures == {}


def taking_part(underlay: str) -> list[str]:
    known = contenders.KNOWN
    return [name for name in CONTENDERS if contenders.takes_part(known[name], underlay)]


def test_it_says_where_and_with_what(measured: dict[str, Any]) -> None:
    machine = measured["machine"]
    assert machine["cores"] == len(os.sched_getaffinity(0))
    assert machine["kernel"].startswith(os.uname().release)
    assert machine["iperf3"][0].isdigit()
    for offload in ("on", "off"):
        assert set(measured["underlay"][offload].values()) == {offload}
    (one, other) = measured["agents"]["fwd"]
    assert one["workers"] == other["workers"] > 0
    assert one["rss_mib"] > 1
    assert measured["agents"]["kernel"] == []


def test_samples_are_interleaved(measured: dict[str, Any]) -> None:
    names = [one["contender"] for one in measured["samples"]]
    whole, cut = (taking_part(underlay) for underlay in ("on", "off"))
    assert names == [*whole, *whole, *whole, *cut]


def test_nothing_was_reordered(measured: dict[str, Any]) -> None:
    order = {one["contender"]: one for one in measured["order"]}
    assert order["fwd"]["datagrams"] > 0
    assert (order["fwd"]["reordered"], order["fwd"]["duplicate"]) == (0, 0)


def test_nothing_is_left(measured: dict[str, Any]) -> None:
    assert measured
    assert left_behind() == []


def test_the_other_scenarios_and_the_table(tmp_path: Path) -> None:
    document = tmp_path / "bench.json"
    done = bench(
        *("--contenders=fwd,kernel", "--underlay=on", f"--output={document}"),
        "--scenarios=tcp4-back,rr-tcp,connect,flood,order",
    )
    assert done.returncode == 0, done.stderr
    samples = json.loads(document.read_text())["samples"]
    assert [one["outcome"]["error"] for one in samples] == [None] * 10
    for words in ("TCP, 4 streams back", "TCP round trip p99.9", "beside a flood", "kernel"):
        assert words in done.stdout
    assert "datagrams out of order" in done.stdout
    assert left_behind() == []


def test_nodes_that_masquerade_carry_all_contenders(tmp_path: Path) -> None:
    document = tmp_path / "bench.json"
    done = bench(
        *("--wiring=cni", f"--contenders={','.join(CONTENDERS)}"),
        *("--scenarios=rr-udp", "--underlay=on", f"--output={document}"),
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(document.read_text())
    assert (found["wiring"], found["absent"]) == ("cni", {})
    assert [one["outcome"]["error"] for one in found["samples"]] == [None] * len(CONTENDERS)
    assert "track connections" in done.stdout
    assert left_behind() == []


def test_connections_do_not_queue_for_a_slow_server() -> None:
    name = own("btq")
    netns.create([name])
    try:
        # Room for one that waits; one that finds no room is tried again a second later.
        netns.apply(name, [sysctl("net/core/somaxconn", 1), ip("link set lo up")])
        path = Route(name, name, "127.0.0.1", 4, 1500)
        assert calls.connections(path, seconds=0.3) > 10
    finally:
        netns.delete([name])


# As iproute2 on a kernel without vxlan.
IP = """\
#!/bin/sh
lines=
for word; do [ "$word" = -batch ] && lines=$(cat); done
case "$* $lines" in *" type vxlan"*) echo "Error: Unknown device type." >&2; exit 2 ;; esac
[ -z "$lines" ] && exec {ip} "$@"
echo "$lines" | exec {ip} "$@"
"""


def test_without_the_kernels_vxlan_all_others_are_measured(tmp_path: Path) -> None:
    (tmp_path / "ip").write_text(IP.format(ip=child.find("ip")))
    (tmp_path / "ip").chmod(0o755)
    done = bench(
        *(f"--contenders={','.join(CONTENDERS)}", "--scenarios=rr-udp", "--underlay=on", "--json"),
        env=os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"},
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["absent"].keys() == {"kernel", "mixed"}
    errors = {one["contender"]: one["outcome"]["error"] for one in document["samples"]}
    assert errors == dict.fromkeys(set(CONTENDERS) - {"kernel", "mixed"})
    assert left_behind() == []


@pytest.mark.parametrize("name", ["routed", "proxy"])
def test_over_ipv6_pods_find_out_what_fits_beside_longer_headers(name: str) -> None:
    shape = contenders.Shape(PREFIX, 1500, (6,), Wiring.VETH)
    with contenders.built(contenders.KNOWN[name], shape, say=lambda _: None) as running:
        size = running.topology.pod_mtu - 48
        assert traffic.datagrams(running.path(), size=size, seconds=0.3, rate=1000).received
        node = running.topology.nodes[0]
        assert cut(node.namespace) == 0
        assert cut(node.pods[0].namespace) > 0


def cut(namespace: str) -> int:
    """Fragments that a namespace has made."""
    shown = child.run(netns.inside(namespace, "cat", "/proc/net/snmp6")).out
    return int(dict(line.split() for line in shown.splitlines())["Ip6FragCreates"])


def test_time_that_runs_out_is_said() -> None:
    done = bench("--contenders=kernel", "--scenarios=tcp1,tcp4", "--time-limit=1")
    assert done.returncode == 0, done.stderr
    assert "INCOMPLETE" in done.stdout


def test_what_cannot_be_built_is_said_and_the_rest_is_measured(tmp_path: Path) -> None:
    done = bench(
        *("--contenders=fwd,kernel", "--run-arg=--nosuchflag", "--scenarios=rr-udp"),
        *("--underlay=on", f"--output={tmp_path / 'bench.json'}"),
    )
    assert done.returncode == 0, done.stderr
    assert "fwd is missing: " in done.stdout
    assert "nosuchflag" in done.stdout
    assert left_behind() == []


def test_nothing_to_measure_is_one_line() -> None:
    done = bench("--contenders=fwd", "--run-arg=--nosuchflag")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("fwd bench: nothing to measure: fwd: ")
    assert done.stderr.count("\n") == 1


@contextmanager
def begun() -> "Iterator[subprocess.Popen[bytes]]":
    """A bench of fwd, whose lab is up, and of the kernel, whose lab is begun."""
    words = argv("--contenders=fwd,kernel", "--scenarios=tcp1", "--json")
    with subprocess.Popen(
        words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        deadline = time.monotonic() + 30
        try:
            while not netns.existing(f"{PREFIX}k"):
                assert time.monotonic() < deadline
                time.sleep(0.05)
            yield process
        finally:
            if process.poll() is None:
                process.terminate()


def test_an_agent_that_ends_is_said() -> None:
    with begun() as process:
        agents = state.default(f"{PREFIX}f").state().agents
        os.kill(agents["n2"].pid, signal.SIGKILL)
        said, _ = process.communicate(timeout=LIMIT)
    errors = [one["outcome"]["error"] for one in json.loads(said)["samples"]]
    told = "; the agent of n2 has ended by signal 9, and last said: "
    assert [told in (one or "") for one in errors] == [True, False, True, False]
    assert "of n1" not in str(errors)
    assert left_behind() == []


def test_interrupted_it_cleans_up() -> None:
    with begun() as process:
        time.sleep(1.5)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert said == b"fwd bench: interrupted\n"
    assert left_behind() == []
