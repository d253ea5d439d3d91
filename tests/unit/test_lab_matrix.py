# SPDX-License-Identifier: Apache-2.0
"""Which pairs are measured, how ping and iperf3 are read, and what counts as fine.

Excluded: the measuring itself (tests/netns/test_lab.py).
"""

import json

import msgspec
import pytest
from rich.console import Console

from fwd.lab import matrix, probes, report
from fwd.lab.matrix import End, Matrix, Measured, Pair
from fwd.lab.probes import Ping, Stream
from fwd.lab.topology import NodeKind, Spec, node_specs, plan

PAIR = Pair(
    source=End("n1-p1", "t-n1-p1", NodeKind.FWD, pod=True),
    target=End("n2-p1", "t-n2-p1", NodeKind.KERNEL, pod=True),
    family=4,
    address="10.244.2.2",
)
GOOD = Measured(
    PAIR,
    Ping(10, 10, 0.5),
    Stream(gbit=1.0, retransmits=0),
    Stream(gbit=2.0, retransmits=3),
    Stream(gbit=0.04, lost_percent=0.0),
)


def changed(**fields: object) -> Measured:
    return msgspec.structs.replace(GOOD, **fields)


def test_every_ordered_pair_of_pods_on_different_nodes_and_each_node_to_the_others_pods() -> None:
    lab = plan(Spec(prefix="t", nodes=node_specs(fwd=2, kernel=1), pods=2))
    found = [(pair.source.name, pair.target.name) for pair in matrix.pairs(lab)]
    names = [f"n{node}-p{pod}" for node in (1, 2, 3) for pod in (1, 2)]
    assert found == [
        (source, target)
        for source in [*names, "n1", "n2", "n3"]
        for target in names
        if source[:2] != target[:2]
    ]


def test_a_pair_is_measured_at_the_targets_address_of_its_family() -> None:
    lab = plan(Spec(prefix="t", nodes=node_specs(fwd=1, kernel=1), families=(4, 6)))
    found = {(pair.source.name, pair.family): pair.address for pair in matrix.pairs(lab)}
    assert found["n1-p1", 4] == found["n1", 4] == "10.244.2.2"
    assert found["n1-p1", 6] == found["n1", 6] == "fd00:10:244:2::2"


def test_one_node_has_nobody_to_reach_and_that_is_no_success() -> None:
    lab = plan(Spec(prefix="t", nodes=node_specs(fwd=1, kernel=0)))
    assert list(matrix.pairs(lab)) == []
    assert not Matrix([], 0).well


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            """10 packets transmitted, 10 received, 0% packet loss, time 219ms
rtt min/avg/max/mdev = 0.036/0.052/0.167/0.038 ms""",
            Ping(10, 10, 0.052),
        ),
        (
            """10 packets transmitted, 9 received, +2 errors, 10% packet loss, time 9ms
rtt min/avg/max/mdev = 0.036/1.500/0.167/0.038 ms, pipe 2""",
            Ping(10, 9, 1.5),
        ),
        ("10 packets transmitted, 0 received, 100% packet loss, time 219ms\n", Ping(10, 0)),
        ("ping: connect: Network is unreachable\n", None),
    ],
)
def test_ping_is_read(text: str, expected: Ping | None) -> None:
    assert probes.read_ping(text) == expected


def iperf(**end: object) -> str:
    return json.dumps({"start": {}, "intervals": [], "end": end})


def test_a_tcp_stream_is_what_its_receiver_saw() -> None:
    text = iperf(
        sum_sent={"bits_per_second": 2.1e9, "retransmits": 7},
        sum_received={"bits_per_second": 2.0e9, "bytes": 260_000_000},
    )
    seen = Stream(gbit=2.0, received_bytes=260_000_000, retransmits=7)
    assert probes.read_iperf(text) == seen


UDP = {"bits_per_second": 4e7, "bytes": 568_800, "lost_packets": 0, "packets": 400}


def test_datagrams_that_wait_when_the_test_ends_are_not_lost() -> None:
    # iperf3 3.12 over loopback: 400 sent, 398 counted, no gap.
    text = iperf(sum=UDP, sum_sent=UDP, sum_received=UDP | {"packets": 398})
    seen = Stream(gbit=0.04, received_bytes=568_800, lost_percent=0.0)
    assert probes.read_iperf(text) == seen


def test_datagrams_with_a_gap_are_lost() -> None:
    text = iperf(sum=UDP, sum_received=UDP | {"lost_packets": 100})
    assert probes.read_iperf(text).lost_percent == 25.0


def test_an_old_iperf_has_one_sum_for_udp() -> None:
    assert probes.read_iperf(iperf(sum=UDP)).lost_percent == 0.0


def test_no_datagram_at_all_is_all_lost() -> None:
    seen = UDP | {"bits_per_second": 0, "bytes": 0, "packets": 0}
    assert probes.read_iperf(iperf(sum_received=seen, sum=UDP)).lost_percent == 100.0


def test_what_the_receivers_socket_had_no_room_for_was_not_lost_on_the_way() -> None:
    snmp = "Ip: Forwarding\nIp: 1\nUdp: InDatagrams RcvbufErrors\nUdp: 300 96\nUdpLite: X\n"
    assert probes.read_overflowed(snmp + "Udp6RcvbufErrors   \t7\n", 4) == 96
    assert probes.read_overflowed(snmp + "Udp6RcvbufErrors   \t7\n", 6) == 7
    assert probes.read_overflowed("", 4) == probes.read_overflowed("", 6) == 0
    seen = Stream(gbit=0.03, lost_percent=25.0)
    assert probes.arrived(seen, overflowed=96).lost_percent == pytest.approx(1.0)
    assert probes.arrived(seen, overflowed=0) == seen
    assert probes.arrived(Stream(error="hung"), overflowed=9) == Stream(error="hung")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"end": {}, "error": "no such server"}', "no such server"),
        ('{"end": {}}', "cannot read"),
        ('{"end": {"sum_received": 1}}', "cannot read"),
        ("[]", "cannot read"),
        ('"error"', "cannot read"),
        ("iperf3: warning", "cannot read"),
    ],
)
def test_a_stream_that_failed_says_why(text: str, words: str) -> None:
    assert (probes.read_iperf(text).error or "").startswith(words)


def test_a_good_pair_has_no_problem() -> None:
    assert GOOD.problems == ()
    assert Matrix([GOOD], 0).well


@pytest.mark.parametrize(
    ("measured", "words"),
    [
        (Measured(PAIR), "not measured: out of time"),
        (changed(ping=Ping(10, 9, 0.5)), "ping: 1 of 10 lost"),
        (changed(ping=Ping(0, 0, error="no route")), "ping: no route"),
        (changed(tcp=Stream(error="refused")), "TCP there: refused"),
        (changed(tcp_back=Stream(error="refused")), "TCP back: refused"),
        (changed(tcp=Stream(gbit=0.0)), "TCP there: nothing arrived"),
        (changed(udp=Stream(gbit=0.04, lost_percent=2.5)), "UDP: 2.5 % lost"),
        (changed(udp=Stream(error="hung")), "UDP: hung"),
    ],
)
def test_one_bad_pair_fails_the_whole(measured: Measured, words: str) -> None:
    assert measured.problems == (words,)
    assert not Matrix([GOOD, measured], 0).well


def test_what_ping_could_not_reach_is_not_tried_further() -> None:
    assert Measured(PAIR, Ping(10, 0)).problems == ("ping: 10 of 10 lost",)


def test_time_grows_with_the_pairs_and_a_demo_stays_under_two_minutes() -> None:
    assert matrix.time_limit(12, seconds=1) < 90
    assert matrix.time_limit(100, seconds=1) == 500


@pytest.mark.parametrize("seconds", [2, 10, 60, 3600])
def test_time_grows_with_the_streams(seconds: int) -> None:
    for count in (2, 12, 100):
        assert matrix.time_limit(count, seconds=seconds) > count * (2 * seconds + 1)


def test_the_table_and_the_document_say_the_same() -> None:
    results = [GOOD, changed(ping=Ping(10, 9, 0.5))]
    console = Console(width=110, record=True, file=None, quiet=True)
    with console.capture() as captured:
        console.quiet = False
        console.print(report.matrix_table(results))
    text = captured.get()
    assert "n1-p1 (fwd)" in text
    assert "n2-p1 (kernel)" in text
    assert "10 %" in text
    assert "ping: 1 of 10 lost" in text
    document = json.loads(report.dumps(report.document(Matrix(results, 1.23), None)))
    assert document["ok"] is False
    assert document["seconds"] == 1.2
    assert document["pairs"][0]["pair"]["source"]["kind"] == "fwd"
    assert document["pairs"][1]["loss_percent"] == pytest.approx(10)
    assert document["pairs"][1]["problems"] == ["ping: 1 of 10 lost"]
    assert report.matrix_summary(Matrix(results, 1.2)) == "1 of 2 pairs fail (1 s)"
