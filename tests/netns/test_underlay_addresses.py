# SPDX-License-Identifier: Apache-2.0
"""Which of an interface's addresses is chosen, and what becomes of one that peers send to while
it is on another interface of the node.

Which interface is chosen is tests/netns/test_underlay.py's; following by agents that run is
tests/netns/test_agent_underlay.py's.
"""

import errno
import subprocess
from collections.abc import Iterator
from ipaddress import ip_address

import pytest
from pyroute2 import AsyncIPRoute
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg

from fwd.model import IPV4, IPV6, ConfigError
from fwd.node import netlink, underlay
from fwd.node.underlay import Selection, Underlay
from tests.netns.agent_support import EACH_FAMILY, Namespace, wait_for
from tests.netns.names import own

pytestmark = [pytest.mark.netns, pytest.mark.root]

FOREVER = ("valid_lft", "forever", "preferred_lft")
LEASED = ("valid_lft", "9000", "preferred_lft", "9000")
"""As DHCP and router advertisements give them."""


@pytest.fixture
def there() -> Iterator[Namespace]:
    """With two interfaces that ask nobody for duplicates."""
    made = Namespace(own("ag-addresses"))
    try:
        for name, mtu in (("e0", 1500), ("e1", 1400)):
            made.ip("link", "add", name, "type", "bridge")
            made.ip("link", "set", name, "mtu", str(mtu))
            made.run("sysctl", "-w", f"net.ipv6.conf.{name}.accept_dad=0")
            made.ip("link", "set", name, "up")
        yield made
    finally:
        made.remove()


def choose(there: Namespace, family: int, **given: str) -> Underlay:
    wanted = selection(family, **given)
    return there.within(lambda: underlay.choose(wanted))


def follow(there: Namespace, before: Underlay, family: int, **given: str) -> Underlay:
    wanted = selection(family, **given)
    return there.within(lambda: underlay.follow(before, wanted))


def selection(family: int, **given: str) -> Selection:
    """By e0."""
    published = {name: ip_address(text) for name, text in given.items()}
    return Selection(family=family, interfaces=("e0",), **published)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("family", "given", "address"),
    [
        (IPV4, [("10.8.0.1/24", *LEASED), ("10.9.0.1/24",)], "10.9.0.1"),
        (IPV4, [("10.9.0.1/24", *LEASED), ("10.8.0.1/24", *FOREVER, "0")], "10.9.0.1"),
        (IPV4, [("169.254.8.1/16",), ("10.9.0.1/24",)], "10.9.0.1"),
        # By what they are, whatever scope somebody has given them.
        (IPV4, [("169.254.8.1/16", "scope", "global"), ("10.9.0.1/24", "scope", "link")], "10.9."),
        # The kernel lists the youngest first.
        (IPV6, [("fd09::1/64",), ("fd08::1/64", *LEASED)], "fd09::1"),
        (IPV6, [("fd09::1/64", *LEASED), ("fd08::1/64", *FOREVER, "0")], "fd09::1"),
        (IPV6, [("fe80::8/64",), ("fd09::1/64",)], "fd09::1"),
    ],
)
def test_the_best_address_of_an_interface(
    there: Namespace, family: int, given: list[tuple[str, ...]], address: str
) -> None:
    for words in given:
        there.ip("address", "add", *words, "dev", "e0")
    assert str(choose(there, family).address).startswith(address)


def test_a_temporary_address_comes_last(there: Namespace) -> None:
    """RFC 8981: another one tomorrow."""
    there.run("sysctl", "-w", "net.ipv6.conf.e0.use_tempaddr=2")
    there.ip("address", "add", "fd09::1/64", "dev", "e0", "mngtmpaddr", *LEASED)
    shown = ("-6", "address", "show", "dev", "e0", "temporary")
    wait_for("a temporary one", lambda: "fd09:" in there.ip(*shown))
    first, *_ = there.ip("-6", "address", "show", "dev", "e0", "scope", "global").splitlines()[1:]
    assert "temporary" in first, "the kernel lists it first"
    assert str(choose(there, IPV6).address) == "fd09::1"


HERE = {IPV4: "192.168.7.{}", IPV6: "fd07::{}"}
"""On e0."""
PUBLIC = {IPV4: ("203.0.113.1", "203.0.113.2"), IPV6: ("2001:db8::1", "2001:db8::2")}
HOST = {IPV4: 32, IPV6: 128}


@EACH_FAMILY
@pytest.mark.parametrize("way", ["public_ip", "lease_ip"])
@pytest.mark.parametrize("device", ["lo", "e1", "e0"])
@pytest.mark.parametrize("lifetime", [(), (*FOREVER, "0")], ids=["lasting", "deprecated"])
def test_peers_are_heard_where_they_send(
    there: Namespace, family: int, way: str, device: str, lifetime: tuple[str, ...]
) -> None:
    """Of the interface that was chosen stay its MTU and its name."""
    there.ip("address", "add", f"{HERE[family].format(1)}/{HOST[family]}", "dev", "e0")
    public = PUBLIC[family][0]
    there.ip("address", "add", f"{public}/{HOST[family]}", "dev", device, *lifetime)
    found = choose(there, family, **{way: public})
    assert (found.name, found.mtu, str(found.address)) == ("e0", 1500, public)


@EACH_FAMILY
def test_an_address_elsewhere_is_followed_apart_from_its_interface(
    there: Namespace, family: int
) -> None:
    public, form = PUBLIC[family][0], HERE[family]

    def change(word: str, address: str, device: str) -> None:
        there.ip("address", word, f"{address}/{HOST[family]}", "dev", device)

    change("add", form.format(1), "e0")
    change("add", public, "e1")
    first = choose(there, family, public_ip=public)
    assert follow(there, first, family, public_ip=public) == first
    there.ip("link", "set", "e0", "mtu", "1480")
    smaller = follow(there, first, family, public_ip=public)
    assert (smaller.name, smaller.mtu, str(smaller.address)) == ("e0", 1480, public)
    change("del", public, "e1")
    with pytest.raises(ConfigError, match=f"^{public} is gone from this node, and peers send"):
        follow(there, smaller, family, public_ip=public)
    change("add", public, "lo")
    assert follow(there, smaller, family, public_ip=public) == smaller
    change("add", form.format(2), "e0")
    change("del", form.format(1), "e0")
    if family == IPV4:  # it took the others of e0 with it, unless it was the last one
        change("replace", form.format(2), "e0")
    moved = follow(there, smaller, family, public_ip=public)
    assert (moved.name, str(moved.address), str(moved.chosen)) == ("e0", public, form.format(2))
    change("add", form.format(2), "e1")
    change("del", form.format(2), "e0")
    assert follow(there, moved, family, public_ip=public).name == "e1"


SERVICES = 200


@pytest.fixture
def beside_services(there: Namespace, family: int) -> Namespace:
    """As kube-proxy leaves a node in IPVS mode."""
    there.ip("link", "add", "kube-ipvs0", "type", "bridge")
    lines = "".join(
        f"address add {HERE[family].format(number)}/{HOST[family]} dev kube-ipvs0\n"
        for number in range(10, SERVICES + 10)
    )
    batch = ("ip", "netns", "exec", there.name, "ip", "-batch", "-")
    subprocess.run(batch, input=lines, text=True, timeout=30, check=True)
    for number in (1, 2):
        there.ip("address", "add", f"{HERE[family].format(number)}/{HOST[family]}", "dev", "e0")
    return there


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """As long as the number of addresses that were."""
    found: list[None] = []
    decode = ifaddrmsg.decode

    def counted(message: ifaddrmsg) -> None:
        found.append(None)
        decode(message)

    monkeypatch.setattr(ifaddrmsg, "decode", counted)
    return found


@EACH_FAMILY
def test_to_stay_where_it_is_costs_as_much_as_its_interface_has(
    beside_services: Namespace, family: int, decoded: list[None]
) -> None:
    """Each change of a link, which a Pod's start is, makes us look."""
    published = HERE[family].format(2)
    first = choose(beside_services, family, public_ip=published)
    decoded.clear()
    assert follow(beside_services, first, family, public_ip=published) == first
    assert 0 < len(decoded) <= 2 * (2 + (family == IPV6)), "each twice, and a link-local one"


@EACH_FAMILY
def test_a_kernel_that_lists_more_than_was_asked_for(
    beside_services: Namespace, family: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before Linux 4.20, which has no such option."""

    def setsockopt(*_: object) -> None:
        raise OSError(errno.ENOPROTOOPT, "Protocol not available")

    def addresses(index: int) -> set[str]:
        found = beside_services.within(lambda: netlink.find_addresses(family, index=index))
        return {str(one.address) for one in found if not one.address.is_link_local}

    (link,) = beside_services.show("link", "show", "e0")
    monkeypatch.setattr(AsyncIPRoute, "setsockopt", setsockopt)
    assert addresses(link["ifindex"]) == {HERE[family].format(number) for number in (1, 2)}
    assert len(addresses(0)) >= SERVICES


@EACH_FAMILY
def test_an_interface_that_is_gone_has_no_address(there: Namespace, family: int) -> None:
    assert there.within(lambda: netlink.find_addresses(family, index=77)) == []


@EACH_FAMILY
def test_an_address_that_moves_to_lo_leaves_its_interface_behind(
    there: Namespace, family: int
) -> None:
    public, other = PUBLIC[family][0], HERE[family].format(1)
    there.ip("address", "add", f"{public}/{HOST[family]}", "dev", "e0")
    said = choose(there, family, public_ip=public)
    plain = choose(there, family)
    assert said == plain
    there.ip("address", "del", f"{public}/{HOST[family]}", "dev", "e0")
    there.ip("address", "add", f"{public}/{HOST[family]}", "dev", "lo")
    with pytest.raises(ConfigError):
        follow(there, plain, family)
    there.ip("address", "add", f"{other}/{HOST[family]}", "dev", "e0")
    for before, given, address in ((said, {"public_ip": public}, public), (plain, {}, other)):
        now = follow(there, before, family, **given)
        assert (now.name, now.mtu, str(now.address)) == ("e0", 1500, address)


@EACH_FAMILY
def test_an_address_of_a_translator_is_taken_once_it_is_the_nodes(
    there: Namespace, family: int
) -> None:
    """And an overwrite of it is waited for, once it has been there."""
    public, other = PUBLIC[family]
    there.ip("address", "add", f"{HERE[family].format(1)}/{HOST[family]}", "dev", "e0")
    said = {"public_ip": public, "lease_ip": other}
    found = choose(there, family, **said)
    assert str(found.address) == HERE[family].format(1)
    for address in (public, other):
        there.ip("address", "add", f"{address}/{HOST[family]}", "dev", "lo")
        found = follow(there, found, family, **said)
        assert (found.name, str(found.address)) == ("e0", address)
    there.ip("address", "del", f"{other}/{HOST[family]}", "dev", "lo")
    with pytest.raises(ConfigError, match=f"^{other} is gone from this node"):
        follow(there, found, family, **said)


def test_an_address_elsewhere_counts_once_nobody_else_has_it(there: Namespace) -> None:
    """Duplicate address detection takes a second, and nobody can be bound to it meanwhile."""
    there.ip("link", "add", "e2", "type", "veth", "peer", "name", "e3")
    for name in ("e2", "e3"):
        there.ip("link", "set", name, "up")
    there.ip("address", "add", f"{HERE[IPV6].format(1)}/128", "dev", "e0")
    first, second = PUBLIC[IPV6]
    there.ip("address", "add", f"{first}/128", "dev", "e2")
    found = choose(there, IPV6, public_ip=first)
    assert (found.name, str(found.address)) == ("e0", first)
    assert not there.ip("address", "show", "dev", "e2", "tentative", "to", first)
    there.ip("address", "add", f"{second}/128", "dev", "e2")
    assert follow(there, found, IPV6, public_ip=first, lease_ip=second) == found
    wait_for(
        "the other",
        lambda: str(follow(there, found, IPV6, public_ip=first, lease_ip=second).address) == second,
    )
