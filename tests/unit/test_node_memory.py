# SPDX-License-Identifier: Apache-2.0
"""What a node keeps: its MAC, its run directory, subnet.env; and when it speaks or tries again."""

import os
import stat
from ipaddress import ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from fwd.core.backoff import Allowance, Backoff
from fwd.core.dropwatch import DropReport, DropWatch
from fwd.core.identity import MacMemory, choose_mac, random_mac
from fwd.core.text import mac_fault
from fwd.model import IPV4, IPV6, ConfigError
from fwd.node import subnetfile
from fwd.node.rundir import RunDir
from fwd.node.subnetfile import SubnetEnv

A, B = b"\2\0\0\0\0\x0a", b"\2\0\0\0\0\x0b"
ENTROPY = b"\xff\1\2\3\4\5"


def test_the_first_memory_wins_and_others_are_told() -> None:
    choice = choose_mac(
        (MacMemory("lease", None), MacMemory("device", A), MacMemory("run-dir", B)), entropy=ENTROPY
    )
    assert (choice.mac, choice.place) == (A, "device")
    assert choice.remarks == ("run-dir has 02:00:00:00:00:0b, device wins",)


def test_memories_that_agree_are_not_told() -> None:
    choice = choose_mac((MacMemory("lease", A), MacMemory("device", A)), entropy=ENTROPY)
    assert choice.remarks == ()


def test_a_node_without_memory_draws_a_mac() -> None:
    choice = choose_mac((MacMemory("run-dir", bytes(6)),), entropy=ENTROPY)
    assert (choice.mac, choice.place) == (b"\xfe\1\2\3\4\5", "random")


@given(st.binary(min_size=6, max_size=6))
def test_a_drawn_mac_is_local_and_unicast(entropy: bytes) -> None:
    mac = random_mac(entropy)
    assert mac[0] & 3 == 2
    assert mac_fault(mac) is None


def test_the_run_directory_has_one_agent_and_a_memory(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b"
    first = RunDir.open(path)
    with pytest.raises(ConfigError, match="another agent runs with"):
        RunDir.open(path)
    assert first.read_mac("flannel.1") is None
    first.write_mac("flannel.1", A)
    first.close()
    again = RunDir.open(path)
    assert again.read_mac("flannel.1") == A
    (path / "flannel.1.mac").write_text("00:00:00:00:00:00\n")
    assert again.read_mac("flannel.1") is None, "what no VTEP can have is forgotten"
    again.close()


def test_a_run_directory_that_cannot_be_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"cannot use run directory .*: Not a directory"):
        RunDir.open(tmp_path / "file" / "below")


NETWORK = "FLANNEL_NETWORK=10.244.0.0/16"
SUBNETS = ["FLANNEL_SUBNET=10.244.5.1/24", "FLANNEL_SUBNET=10.244.6.1/24"]
MTU = "FLANNEL_MTU=1450"

BOTH = SubnetEnv(
    networks={IPV6: ip_network("2001:cafe:42::/56"), IPV4: ip_network("10.244.0.0/16")},
    subnets={IPV6: ip_network("2001:cafe:42::/64"), IPV4: ip_network("10.244.0.0/24")},
    mtu=1450,
    ip_masq=True,
)


def test_subnet_env_is_flannels_to_the_byte() -> None:
    assert subnetfile.render(BOTH) == (
        "FLANNEL_NETWORK=10.244.0.0/16\n"
        "FLANNEL_SUBNET=10.244.0.1/24\n"
        "FLANNEL_IPV6_NETWORK=2001:cafe:42::/56\n"
        "FLANNEL_IPV6_SUBNET=2001:cafe:42::1/64\n"
        "FLANNEL_MTU=1450\n"
        "FLANNEL_IPMASQ=true\n"
    )


def test_subnet_env_is_written_whole_and_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "new" / "subnet.env"
    subnetfile.write(path, BOTH)
    assert subnetfile.read(path) == BOTH
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert [one.name for one in path.parent.iterdir()] == ["subnet.env"], "nothing left beside it"


def test_who_may_read_subnet_env_is_as_somebody_settled_it(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "subnet.env"
    before = os.umask(0o077)
    try:
        subnetfile.write(path, BOTH)
        modes = [stat.S_IMODE(one.stat().st_mode) for one in (path, *path.parents[:2])]
        assert modes == [0o644, 0o755, 0o755], "everybody, whatever the umask"
        path.chmod(0o600)
        path.parent.chmod(0o700)
        subnetfile.write(path, replace(BOTH, mtu=1400))
    finally:
        os.umask(before)
    modes = [stat.S_IMODE(one.stat().st_mode) for one in (path, path.parent)]
    assert modes == [0o600, 0o700]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "subnet.env"
    path.mkdir()
    with pytest.raises(OSError, match="Is a directory"):
        subnetfile.write(path, BOTH)
    assert [one.name for one in tmp_path.iterdir()] == ["subnet.env"]


@pytest.mark.parametrize(
    ("lines", "subnet"),
    [
        (["FLANNEL_SUBNET=10.244.5.1/24"], "10.244.5.0/24"),
        (["FLANNEL_SUBNET=2001:cafe:42::1/64"], None),
        (["export FLANNEL_SUBNET=10.244.5.1/24"], "10.244.5.0/24"),
        (["  FLANNEL_SUBNET = 10.244.5.1/24  "], "10.244.5.0/24"),
        (["FLANNEL_SUBNET: 10.244.5.1/24 # the bridge's"], "10.244.5.0/24"),
        (["FLANNEL_SUBNET='10.244.5.1/24'  # the bridge's"], "10.244.5.0/24"),
        (['FLANNEL_SUBNET="10.244.5.1/24,x"'], "10.244.5.0/24"),
        (["FLANNEL_SUBNET=10.244.5.1/24", "# FLANNEL_SUBNET=10.244.6.1/24"], "10.244.5.0/24"),
        (["FLANNEL_SUBNET=10.244.5.1/24", "FLANNEL_SUBNET= # none"], None),
        (["FLANNEL SUBNET=10.244.5.1/24", "=", "export"], None),
        ([NETWORK, "FLANNEL_SUBNET=10.244.5.1/24", MTU], "10.244.5.0/24"),
        ([NETWORK, *SUBNETS, MTU], "10.244.6.0/24"),
        ([NETWORK, "FLANNEL_SUBNET=x,10.244.6.1/24", MTU], "10.244.6.0/24"),
        ([NETWORK, "FLANNEL_SUBNET=10.244.5.1/24,10.244.6.1/24", MTU], None),
        ([NETWORK, "FLANNEL_SUBNET=10.244.5.1/24", "FLANNEL_MTU=x"], "10.244.5.0/24"),
        (["\0\N{SNOWMAN}"], None),
    ],
)
def test_subnet_env_of_others_is_read_as_flannel_does(
    tmp_path: Path, lines: list[str], subnet: str | None
) -> None:
    path = tmp_path / "subnet.env"
    path.write_text("\n".join(lines))
    env = subnetfile.read(path)
    assert (None if env is None else str(env.subnets[IPV4])) == subnet


def test_each_subnet_counts_alone(tmp_path: Path) -> None:
    path = tmp_path / "subnet.env"
    path.write_text(f"FLANNEL_IPV6_SUBNET: 2001:cafe:42::1/64\n{NETWORK}\n")
    env = subnetfile.read(path)
    assert env is not None
    assert (env.subnets, env.mtu) == ({IPV6: ip_network("2001:cafe:42::/64")}, 0)


@pytest.mark.parametrize(
    ("written", "mtu"),
    [
        *(("1450", 1450), ('"1450"', 1450), ("0", 0)),
        *((bad, 0) for bad in ("-1450", "1450.0", "", "9" * 5000, "\N{SUPERSCRIPT TWO}")),
    ],
)
def test_an_mtu_that_cannot_be_read_is_none(tmp_path: Path, written: str, mtu: int) -> None:
    path = tmp_path / "subnet.env"
    path.write_text(f"FLANNEL_SUBNET=10.244.5.1/24\nFLANNEL_MTU={written}\n")
    env = subnetfile.read(path)
    assert env is not None
    assert (str(env.subnets[IPV4]), env.mtu) == ("10.244.5.0/24", mtu)


def test_no_subnet_env_is_nothing(tmp_path: Path) -> None:
    assert subnetfile.read(tmp_path / "none") is None


def test_a_drop_is_told_at_once_then_once_a_minute() -> None:
    watch = DropWatch()

    def told(total: int, now: float) -> list[DropReport]:
        return watch.observe({"a": total, "b": 0}, ["a", "b"], now=now)

    assert told(0, 0) == []
    assert told(3, 1) == [DropReport("a", 3, 3)]
    assert told(5, 60.9) == []
    assert told(9, 61) == [DropReport("a", 6, 9)]
    assert told(9, 200) == []
    assert told(10, 201) == [DropReport("a", 1, 10)]


def test_backoff_doubles_to_half_a_minute_and_forgets() -> None:
    backoff = Backoff()
    assert backoff.due(0)
    assert [backoff.failed(100) for _ in range(7)] == [1, 2, 4, 8, 16, 30, 30]
    assert not backoff.due(129.9)
    assert backoff.due(130)
    backoff.succeeded()
    assert backoff.due(101)
    assert backoff.failed(101) == 1


def test_backoff_leaves_to_chance_what_it_is_told_to() -> None:
    backoff = Backoff(first=0.2, longest=4, spread=0.5)
    assert backoff.failed(0, chance=0.0) == pytest.approx(0.2)
    assert backoff.failed(0, chance=0.999) == pytest.approx(0.2, abs=0.01)
    assert backoff.failed(0, chance=0.5) == pytest.approx(0.6)
    assert [backoff.failed(0) for _ in range(3)] == pytest.approx([1.6, 3.2, 4])


def test_backoff_never_comes_before_it_is_asked_to() -> None:
    backoff = Backoff(first=0.2, longest=4, spread=0.5)
    assert backoff.failed(0, chance=0.0, at_least=7) == 7
    assert backoff.failed(0, chance=0.5, at_least=8) == 10, "chance only lengthens it"
    assert backoff.failed(0, at_least=0.1) == pytest.approx(0.8)


def test_an_allowance_is_a_burst_and_then_one_at_a_time() -> None:
    allowance = Allowance(burst=3, seconds=30)
    for _ in range(3):
        assert allowance.wait(100) == 0
        allowance.take(100)
    assert allowance.wait(100) == 30
    assert allowance.wait(115) == 15
    assert allowance.wait(130) == 0
    allowance.take(130)
    assert allowance.wait(130) == 30
    assert allowance.wait(1000) == 0
    for _ in range(3):
        allowance.take(1000)
    assert allowance.wait(1000) == 30, "it never saves up more than the burst"
