# SPDX-License-Identifier: Apache-2.0
"""The leases that outlive the agent, and files that only look like them."""

import logging
import os
import stat
import zlib
from ipaddress import IPv4Address, IPv4Network, ip_address, ip_network
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fwd.model import Lease, Network, OwnLease, Snapshot
from fwd.node import savedstate
from fwd.node.savedstate import FILE_NAME, SavedState
from tests.unit.in_family import EACH_FAMILY, said, saying

NETWORKS = {4: ip_network("10.244.0.0/16")}
OWN = (OwnLease("n1", ip_network("10.244.1.0/24"), public_ip=ip_address("192.168.0.1")),)


def lease(number: int) -> Lease:
    return Lease(
        node=f"n{number}",
        subnet=IPv4Network((0x0AF40000 + (number << 8), 24)),
        public_ip=IPv4Address(0xC0A80000 + number),
        vtep_mac=b"\x02\0" + number.to_bytes(4),
        vni=1,
    )


LEASES = (lease(2), lease(3))


def saved(directory: Path, **changes: Any) -> SavedState:  # noqa: ANN401
    given: dict[str, Any] = {"node": "n1", "networks": NETWORKS, "vni": 1} | changes
    return SavedState(directory, **given)


def ours(family: int) -> tuple[tuple[OwnLease, ...], tuple[Lease, ...], dict[int, Network]]:
    say = saying(family)
    return say(OWN), say(LEASES), {family: say(NETWORKS[4])}


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


@EACH_FAMILY
def test_what_was_saved_is_loaded(tmp_path: Path, family: int) -> None:
    own, leases, networks = ours(family)
    saved(tmp_path, networks=networks).save(own, leases)
    assert saved(tmp_path, networks=networks).load() == Snapshot(own=own, leases=leases)
    assert stat.S_IMODE((tmp_path / FILE_NAME).stat().st_mode) == 0o600
    assert names(tmp_path) == {FILE_NAME}


def test_both_families_and_what_an_operator_chose(tmp_path: Path) -> None:
    own = (
        OwnLease("n1", ip_network("10.244.1.0/24"), underlay_ip=ip_address("192.168.7.1")),
        OwnLease("n1", ip_network("fd00:0:0:1::/64"), public_ip=ip_address("fd01::1")),
    )
    v6 = Lease("n2", ip_network("fd00::/64"), ip_address("fd01::2"), b"\x02\0\0\0\6\2", 1)
    saved(tmp_path).save(own, (lease(2), v6))
    assert saved(tmp_path).load() == Snapshot(own=own, leases=(lease(2), v6))


def test_the_own_mac_is_not_in_it(tmp_path: Path) -> None:
    """The device may know better: stock flannel may have been here in between."""
    own = (OwnLease("n1", ip_network("10.244.1.0/24"), vtep_mac=b"\x02\0\0\0\0\1"),)
    saved(tmp_path).save(own, ())
    found = saved(tmp_path).load()
    assert found is not None
    assert [one.vtep_mac for one in found.own] == [None]


def test_a_node_that_does_not_know_its_name_yet_takes_the_files(tmp_path: Path) -> None:
    saved(tmp_path).save(OWN, LEASES)
    assert saved(tmp_path, node="").load() == Snapshot(own=OWN, leases=LEASES)


def test_no_file_is_no_news(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert saved(tmp_path).load() is None
    assert not caplog.records


def test_an_unreadable_file_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / FILE_NAME).mkdir()
    with caplog.at_level(logging.INFO):
        assert saved(tmp_path).load() is None
    assert "cannot read" in caplog.text


@EACH_FAMILY
@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"node": "n2"}, "it is of node n1, and this is n2"),
        (
            {"networks": ip_network("10.0.0.0/8")},
            "it is of network 10.244.0.0/16, this is 10.0.0.0/8",
        ),
        ({"vni": 2}, "it is of VNI 1, and this is 2"),
    ],
)
def test_a_foreign_file_is_set_aside_by_the_first_of_our_own(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    family: int,
    changes: dict[str, Any],
    says: str,
) -> None:
    own, leases, networks = ours(family)
    saved(tmp_path, networks=networks).save(own, leases)
    other = said(family, changes.get("networks"))
    changes = changes | {"networks": {family: other} if other else networks}
    with caplog.at_level(logging.INFO):
        state = saved(tmp_path, **changes)
        assert state.load() is None
    assert said(family, says) in caplog.text
    content = (tmp_path / FILE_NAME).read_bytes()
    state.save(own, leases)
    state.save(own, leases[:1])
    assert names(tmp_path) == {FILE_NAME, FILE_NAME + ".set-aside"}
    assert (tmp_path / f"{FILE_NAME}.set-aside").read_bytes() == content
    assert (tmp_path / FILE_NAME).read_bytes() != content
    assert caplog.text.count("saved-state-set-aside") == 1


def test_the_file_of_an_agent_that_runs_stays_until_there_is_another_in_its_place(
    tmp_path: Path,
) -> None:
    """The next one waits beside it, with a network of one more family, and may never forward."""
    running = saved(tmp_path)
    running.save(OWN, LEASES)
    both = NETWORKS | {6: ip_network("fd00::/48")}
    next_one = saved(tmp_path, networks=both)
    assert next_one.load() is None
    assert names(tmp_path) == {FILE_NAME}
    assert saved(tmp_path).load() == Snapshot(own=OWN, leases=LEASES)
    running.save(OWN, LEASES[:1])
    assert next_one.load() is None
    next_one.save(OWN, LEASES)
    assert saved(tmp_path, networks=both).load() == Snapshot(own=OWN, leases=LEASES)
    assert names(tmp_path) == {FILE_NAME, FILE_NAME + ".set-aside"}


@EACH_FAMILY
def test_every_truncation_and_every_flipped_byte_is_found(tmp_path: Path, family: int) -> None:
    own, leases, networks = ours(family)
    saved(tmp_path, networks=networks).save(own, leases)
    path = tmp_path / FILE_NAME
    good = path.read_bytes()
    for at in range(len(good)):
        for bad in (good[:at], good[:at] + bytes([good[at] ^ 0x40]) + good[at + 1 :]):
            path.write_bytes(bad)
            assert saved(tmp_path, networks=networks).load() is None, at
    path.write_bytes(good)
    assert saved(tmp_path, networks=networks).load() is not None


def framed(body: bytes) -> bytes:
    return savedstate._HEADER + zlib.crc32(body).to_bytes(4) + body


def test_a_right_checksum_is_one_of_these(tmp_path: Path) -> None:
    saved(tmp_path).save(OWN, LEASES)
    content = (tmp_path / FILE_NAME).read_bytes()
    assert framed(content[len(framed(b"")) :]) == content


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=100))
def test_a_right_checksum_does_not_make_it_ours(tmp_path: Path, body: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(framed(body))
    assert saved(tmp_path).load() is None


def test_the_same_is_not_written_twice(tmp_path: Path) -> None:
    state = saved(tmp_path)
    state.save(OWN, LEASES)
    inode = (tmp_path / FILE_NAME).stat().st_ino
    state.save(OWN, LEASES)
    assert (tmp_path / FILE_NAME).stat().st_ino == inode
    again = saved(tmp_path)
    again.load()
    again.save(OWN, LEASES)
    assert (tmp_path / FILE_NAME).stat().st_ino == inode
    again.save(OWN, LEASES[:1])
    assert (tmp_path / FILE_NAME).stat().st_ino != inode


def test_what_others_removed_or_replaced_is_written_again(tmp_path: Path) -> None:
    """Such as an agent of another VNI that was to come next, and has not."""
    state = saved(tmp_path)
    state.save(OWN, LEASES)
    (tmp_path / FILE_NAME).unlink()
    state.save(OWN, LEASES)
    assert saved(tmp_path).load() == Snapshot(own=OWN, leases=LEASES)
    saved(tmp_path, vni=2).save(OWN, LEASES)
    state.save(OWN, LEASES)
    assert saved(tmp_path).load() == Snapshot(own=OWN, leases=LEASES)


def test_a_whole_file_without_a_lease_of_this_node_is_of_no_use(tmp_path: Path) -> None:
    saved(tmp_path).save(OWN, LEASES)
    content = (tmp_path / FILE_NAME).read_bytes()
    node, networks, vni, _, leases = msgspec.msgpack.decode(content[len(framed(b"")) :])
    body = msgspec.msgpack.encode([node, networks, vni, [], leases])
    (tmp_path / FILE_NAME).write_bytes(framed(body))
    assert saved(tmp_path).load() is None


def test_a_save_that_fails_leaves_the_file_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = saved(tmp_path)
    state.save(OWN, LEASES)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        state.save(OWN, LEASES[:1])
    assert names(tmp_path) == {FILE_NAME}
    monkeypatch.undo()
    found = saved(tmp_path).load()
    assert found is not None
    assert found.leases == LEASES
    state.save(OWN, LEASES[:1])
