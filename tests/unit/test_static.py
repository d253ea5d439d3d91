# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: ASYNC240 - the tests change a file beside a loop that has nothing else to do
"""Leases from a file: what it may say, and how its changes are seen."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwd.model import ConfigError, Lease, OwnLease, Snapshot, Trouble
from fwd.sources import static
from fwd.sources.base import LeaseSource
from tests.unit.in_family import EACH_FAMILY, said


def entry(number: int, **changes: Any) -> dict[str, Any]:  # noqa: ANN401
    made = {
        "node": f"n{number}",
        "subnet": f"10.244.{number}.0/24",
        "public-ip": f"192.168.50.{number}",
        "backend-data": {"VNI": 1, "VtepMAC": f"02:00:00:00:00:0{number}"},
    }
    changed = made | {key.replace("_", "-"): value for key, value in changes.items()}
    return {key: value for key, value in changed.items() if value is not None}


def file(*entries: dict[str, Any]) -> bytes:
    return json.dumps({"leases": list(entries)}).encode()


def parse(family: int, *entries: dict[str, Any]) -> Snapshot:
    return static.parse(file(*said(family, entries)), node="n1", vni=1)


@EACH_FAMILY
def test_the_own_entry_is_set_apart(family: int) -> None:
    wanted = Snapshot(
        own=(
            OwnLease(
                node="n1",
                subnet=ip_network("10.244.1.0/24"),
                public_ip=ip_address("192.168.50.1"),
                vtep_mac=b"\2\0\0\0\0\1",
            ),
        ),
        leases=(
            Lease(
                node="n2",
                subnet=ip_network("10.244.2.0/24"),
                public_ip=ip_address("192.168.50.2"),
                vtep_mac=b"\2\0\0\0\0\2",
                vni=1,
            ),
        ),
    )
    assert parse(family, entry(1), entry(2)) == said(family, wanted)


@EACH_FAMILY
def test_only_the_own_entry_can_do_without_a_mac(family: int) -> None:
    assert parse(family, entry(1, backend_data=None)).own[0].vtep_mac is None
    with pytest.raises(ConfigError, match=r"entry 2 \(node n2\): backend-data: is missing"):
        parse(family, entry(1), entry(2, backend_data=None))


@EACH_FAMILY
def test_an_entry_without_vni_has_ours_and_another_one_is_kept_to_be_refused(family: int) -> None:
    peers = parse(
        family,
        entry(1),
        entry(2, backend_data={"VtepMAC": "02:00:00:00:00:02"}),
        entry(3, backend_data={"VNI": 7, "VtepMAC": "02:00:00:00:00:03"}),
    ).leases
    assert [peer.vni for peer in peers] == [1, 7]


@EACH_FAMILY
@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"subnet": None}, "entry 2: Object missing required field `subnet`"),
        ({"subnet": 7}, "entry 2: Expected `str`, got `int` - at `$.subnet`"),
        ({"public_ip_": "x"}, "entry 2: Object contains unknown field `public-ip-`"),
        ({"node": ""}, "entry 2: node: is empty"),
        ({"node": "n1"}, "entry 2 (node n1): a second IPv4 entry of this node"),
        ({"subnet": "10.244.2.1/24"}, "entry 2 (node n2): subnet: '10.244.2.1/24' has host bits"),
        ({"subnet": "10.244.2.0"}, "entry 2 (node n2): subnet: '10.244.2.0' is not a CIDR"),
        ({"public_ip": "host"}, "entry 2 (node n2): public-ip: 'host' is not an IP address"),
        ({"backend_type": "udp"}, "entry 2 (node n2): backend-type: 'udp' is not 'vxlan'"),
        ({"backend_data": []}, "entry 2 (node n2): backend-data: must be an object, not an array"),
        ({"backend_data": {}}, "entry 2 (node n2): backend-data: VtepMAC is missing"),
        (
            {"backend_data": {"VtepMAC": "00:00:00:00:00:00"}},
            "entry 2 (node n2): backend-data: VtepMAC 00:00:00:00:00:00 is zero",
        ),
        (
            {"backend_data": {"VtepMAC": "01:00:5e:00:00:01"}},
            "entry 2 (node n2): backend-data: VtepMAC 01:00:5e:00:00:01 is a multicast address",
        ),
    ],
)
def test_a_broken_entry_is_named_with_its_field(
    family: int, changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        parse(family, entry(1), entry(2, **changes))
    assert str(raised.value).startswith(said(family, says))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "truncated"),
        (b'{"leases": [', "truncated"),
        (b"[]", "Expected `object`"),
        (file(entry(1)).replace(b"n1", b"n\xe91"), "'utf-8' codec|Invalid UTF-8"),
        (b'{"leases":' + b"[" * 100_000, "recursion"),
        (b"{}", "missing required field `leases`"),
        (file(), "node n1 has no entry"),
        (file(entry(2)), "node n1 has no entry"),
        (
            file(entry(1, backend_data={"VNI": 7, "VtepMAC": "02:00:00:00:00:01"})),
            "entry 1 .*: VNI 7, net-conf.json says 1",
        ),
    ],
)
def test_a_broken_file_is_named(content: bytes, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        static.parse(content, node="n1", vni=1)


@given(
    st.binary()
    | st.recursive(st.none() | st.text(), st.lists).map(lambda x: json.dumps(x).encode())
)
def test_any_content_is_a_snapshot_or_a_config_error(content: bytes) -> None:
    with pytest.raises(ConfigError):
        static.parse(content, node="n1", vni=1)


@EACH_FAMILY
@given(at=st.integers(min_value=0), byte=st.integers(0, 255))
def test_a_byte_gone_wrong_is_a_snapshot_or_a_config_error(family: int, at: int, byte: int) -> None:
    content = bytearray(file(*said(family, [entry(1), entry(2)])))
    content[at % len(content)] = byte
    with suppress(ConfigError):
        static.parse(bytes(content), node="n1", vni=1)


async def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    source = static.StaticSource(tmp_path / "pipe", node="n1", vni=1)
    with pytest.raises(ConfigError, match="is not a regular file"):
        await source.first()


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(static, "POLL_SECONDS", 0.01)
    made = tmp_path / "leases.json"
    made.write_bytes(file(entry(1)))
    return made


def source_of(path: Path) -> LeaseSource:
    return static.StaticSource(path, node="n1", vni=1)


async def following(changes: AsyncIterator[Snapshot | Trouble]) -> Snapshot | Trouble:
    async with asyncio.timeout(5):
        return await anext(changes)


async def silent(changes: AsyncIterator[Snapshot | Trouble]) -> None:
    """Nothing is said for many polls.  Ends the iterator."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await anext(changes)


async def test_a_change_is_seen_and_the_same_content_is_none(path: Path) -> None:
    source = source_of(path)
    assert (await source.first()).leases == ()
    changes = source.changes()
    path.write_bytes(file(entry(1), entry(2)))
    said = await following(changes)
    assert isinstance(said, Snapshot)
    assert [lease.node for lease in said.leases] == ["n2"]
    path.touch()
    await silent(changes)


async def test_a_change_of_equal_size_within_one_tick_is_seen(path: Path) -> None:
    """The file keeps inode, size and (here by force) mtime."""
    source = source_of(path)
    path.write_bytes(file(entry(1), entry(2)))
    before = path.stat()
    await source.first()
    path.write_bytes(file(entry(1), entry(3)))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    said = await following(source.changes())
    assert isinstance(said, Snapshot)
    assert [lease.node for lease in said.leases] == ["n3"]


async def test_a_swapped_symlink_is_a_change(path: Path, tmp_path: Path) -> None:
    """As a mounted ConfigMap is updated."""
    link = tmp_path / "link"
    link.symlink_to(path)
    source = source_of(link)
    await source.first()
    (tmp_path / "second").write_bytes(file(entry(1), entry(2)))
    (tmp_path / "new").symlink_to(tmp_path / "second")
    (tmp_path / "new").rename(link)
    assert isinstance(await following(source.changes()), Snapshot)


async def test_trouble_is_said_once_and_its_end_is_a_snapshot(path: Path) -> None:
    source = source_of(path)
    await source.first()
    changes = source.changes()
    good = path.read_bytes()
    path.unlink()
    assert await following(changes) == Trouble(f"{path}: No such file or directory")
    path.write_bytes(b"{")
    said = await following(changes)
    assert isinstance(said, Trouble)
    assert said.text.startswith(f"{path}: ")
    path.write_bytes(good)
    assert isinstance(await following(changes), Snapshot)
    path.unlink()
    assert isinstance(await following(changes), Trouble)
    await silent(changes)


async def test_a_broken_file_at_start_is_a_config_error(path: Path) -> None:
    path.write_bytes(b"{")
    with pytest.raises(ConfigError, match=f"^{path}: "):
        await source_of(path).first()
    path.unlink()
    with pytest.raises(ConfigError, match="No such file or directory"):
        await source_of(path).first()
