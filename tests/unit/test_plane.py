# SPDX-License-Identifier: Apache-2.0
"""The wrapper around the C module, as far as it needs no device (tests/netns has the rest)."""

import errno

import pytest

from fwd import runflags
from fwd.node.station import wanted_offloads
from fwd.ops.report import _SLOWER, drop_reasons
from fwd.plane import ALL_OFFLOADS, CounterKind, Offload, counter_info
from fwd.plane.errors import check


def test_the_librarys_offloads_are_those_of_the_option() -> None:
    assert set(ALL_OFFLOADS.names) == set(runflags.OFFLOADS)
    for name in runflags.OFFLOADS:
        assert Offload.named(name).names == (name,)
    assert set(_SLOWER) == {*ALL_OFFLOADS, Offload.TUNNEL_GSO}, "each has a text for the log"


def test_without_a_vnet_header_there_is_no_segmentation_either() -> None:
    assert wanted_offloads(()) == ALL_OFFLOADS
    assert wanted_offloads((), tunnel_gso=True) == ALL_OFFLOADS | Offload.TUNNEL_GSO
    for needed in ("vnet-hdr", "tso", "udp-segment"):
        assert Offload.TUNNEL_GSO not in wanted_offloads({needed}, tunnel_gso=True)
    assert wanted_offloads({"uso"}).names == tuple(n for n in runflags.OFFLOADS if n != "uso")
    assert not wanted_offloads({"vnet-hdr"}) & (Offload.TSO | Offload.USO | Offload.VNET_HDR)


def test_every_counter_has_a_name_of_its_own_and_a_text() -> None:
    info = counter_info()
    assert len({one.name for one in info}) == len(info)
    assert all(one.name.isidentifier() and one.text for one in info)
    assert {one.kind for one in info} == set(CounterKind)
    assert {one.name for one in drop_reasons()} == {
        one.name for one in info if one.kind is not CounterKind.TRAFFIC
    }


@pytest.mark.parametrize(
    ("what", "code", "says"),
    [
        ("open TUN device flannel.1", errno.ENOENT, "there is no /dev/net/tun: load"),
        ("open TUN device flannel.1", errno.EPERM, "needs CAP_NET_ADMIN"),
        ("open TUN device flannel.1", errno.EINVAL, "remove it with `ip link del flannel.1`"),
        ("receive on 192.168.50.1 UDP port 8472", errno.EADDRINUSE, "the port is taken"),
        ("send from 192.168.50.1", errno.EADDRNOTAVAIL, "that is no address of this node"),
        ("commit 3 routes", errno.ENOMEM, "cannot commit 3 routes: Cannot allocate memory"),
    ],
)
def test_an_errno_is_one_oserror_that_says_what_to_do(what: str, code: int, says: str) -> None:
    with pytest.raises(OSError, match=f"cannot {what}: ") as raised:
        check(-code, what, device="flannel.1")
    assert raised.value.errno == code
    assert says in str(raised.value)


def test_what_succeeds_raises_nothing() -> None:
    check(0, "commit", device="flannel.1")
    check(7, "open", device="flannel.1")
