# SPDX-License-Identifier: Apache-2.0
"""What the agent tells by itself, and the status socket."""

import asyncio
import logging
import re
import stat
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from fwd.model import FwdError, Refusal
from fwd.ops import status, statustext
from fwd.ops.control import Asker, ControlServer, Request, StatusRequest
from fwd.ops.refusals import MOST_LINES, RefusalLog
from fwd.ops.report import Reporter
from fwd.plane import ALL_OFFLOADS, Offload
from tests.unit.status_document import DOCUMENT, TUNNEL


def test_an_offload_that_fell_back_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    reporter = Reporter()
    with caplog.at_level(logging.INFO, "fwd"):
        reporter.offloads(ALL_OFFLOADS, ALL_OFFLOADS)
        assert not caplog.messages
        for _ in range(3):
            reporter.offloads(ALL_OFFLOADS, ALL_OFFLOADS & ~Offload.USO)
        for _ in range(3):
            reporter.offloads(ALL_OFFLOADS, ALL_OFFLOADS & ~(Offload.USO | Offload.UDP_SEGMENT))
        for _ in range(3):
            reporter.offloads(ALL_OFFLOADS & ~Offload.TSO, Offload.VNET_HDR)
    assert [text.partition(" text=")[0] for text in caplog.messages] == [
        "event=offload-fallen-back offload=uso",
        "event=offload-fallen-back offload=udp-segment",
        "event=offload-disabled offload=tso",
        "event=offload-fallen-back offload=multi-queue",
        "event=offload-fallen-back offload=udp-gro",
    ]


def test_a_path_that_refuses_batches_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    reporter = Reporter()
    with caplog.at_level(logging.INFO, "fwd"):
        for second in range(5):
            reporter.drops({"out_gso_refused": second}, now=float(second))
    assert [text.partition(" text=")[0] for text in caplog.messages] == [
        "event=udp-segment-refused count=1"
    ]


async def asked(run_dir: Path) -> bytes:
    return await asyncio.to_thread(status.fetch, run_dir)


async def test_every_connection_gets_the_document_of_the_moment(tmp_path: Path) -> None:
    (tmp_path / "fwd.sock").write_text("left over")

    async def serve(request: Request, asker: Asker) -> None:
        assert request == StatusRequest()
        await asker.send_line(DOCUMENT)

    server = await ControlServer.open(tmp_path, serve)
    server.take_name()
    assert stat.S_IMODE((tmp_path / "fwd.sock").stat().st_mode) == 0o600
    for document in await asyncio.gather(*(asked(tmp_path) for _ in range(5))):
        assert status.decode(document) == DOCUMENT
    server.close()
    assert not (tmp_path / "fwd.sock").exists()


def test_the_document_speaks_kebab_case() -> None:
    document = msgspec.json.decode(msgspec.json.encode(DOCUMENT))
    (tunnel,) = document["tunnels"]
    assert {"public-ip", "vtep-mac", "worker-counters", "retired-tables"} <= set(tunnel)


def test_nobody_answers(tmp_path: Path) -> None:
    with pytest.raises(FwdError, match=r"no agent answers at .*fwd\.sock"):
        status.fetch(tmp_path)


def test_another_versions_document_is_an_error_not_a_crash() -> None:
    with pytest.raises(FwdError, match="is not of this version"):
        status.decode(b"{}")


def test_people_see_what_is_not_zero() -> None:
    shown = statustext.render(DOCUMENT)
    assert re.search(r"out_packets +7$", shown, re.MULTILINE)
    assert "in_packets" not in shown
    assert shown.endswith("flannel.1  in_too_short: no room")
    assert shown.count("in_too_short") == 1
    assert re.search(r"fallen back +uso$", shown, re.MULTILINE)


def test_people_see_whether_workers_wait_for_a_processor() -> None:
    assert re.search(
        r"^  workers +2, ran for 2m, waited for a processor for 3\.5s$",
        statustext.render(DOCUMENT),
        re.MULTILINE,
    )
    silent = replace(DOCUMENT, tunnels=(replace(TUNNEL, worker_times=(None, None)),))
    assert re.search(r"^  workers +2$", statustext.render(silent), re.MULTILINE)


def test_each_family_has_its_part() -> None:
    other = replace(TUNNEL, family=6, public_ip="fd02::1", device="flannel-v6.1", drops=())
    shown = statustext.render(replace(DOCUMENT, tunnels=(TUNNEL, other)))
    assert re.search(
        r"^device +flannel\.1 .*^device +flannel-v6\.1 ", shown, re.MULTILINE | re.DOTALL
    )
    assert "[fd02::1]:8472 on eth0" in shown
    assert "192.168.50.1:8472 on eth0" in shown


def test_a_refused_node_is_told_once_and_again_when_it_is_accepted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    refusals = RefusalLog()
    bad = Refusal("n9", "node n9: VNI 7, but net-conf.json says 1")
    with caplog.at_level(logging.INFO, "fwd"):
        for _ in range(3):
            refusals.tell([bad])
        assert len(caplog.messages) == 1
        assert "event=node-refused node=n9" in caplog.messages[0]
        refusals.tell([])
        assert caplog.messages[1:] == ["event=node-refused-no-more node=n9"]


def test_five_thousand_refused_nodes_are_not_five_thousand_lines(
    caplog: pytest.LogCaptureFixture,
) -> None:
    refusals = RefusalLog()
    with caplog.at_level(logging.INFO, "fwd"):
        refusals.tell(Refusal(f"n{number}", "bad") for number in range(5000))
        assert len(caplog.messages) == MOST_LINES + 1
        assert "more=4980" in caplog.messages[-1]
