# SPDX-License-Identifier: Apache-2.0
"""A rendered list run by a real container runtime: podman's CNI back end, on three fwd nodes.

Lab and containers have both families; each test looks at one of them.
"""

import contextlib
import itertools
import subprocess
from collections.abc import Iterator, Mapping

import pytest
from msgspec import Struct

from fwd.lab import netns
from tests.netns.agent_support import EACH_FAMILY, FACTS
from tests.netns.cni_lab import HOST_PORT, OUTSIDE, CniLab, Node, built, unanswered
from tests.netns.lab_support import wait_for
from tests.netns.podman_support import Podman, no_cgroups_left, require_podman
from tests.netns.sockets import LIMIT, any_like, udp_in

pytestmark = [pytest.mark.netns, pytest.mark.root]

# Answers with its name and who asked, whom a socket of both families calls by an IPv6 address.
SERVER = """
$s = IO::Socket::IP->new(
    Type => Socket::SOCK_DGRAM, LocalHost => "::", LocalPort => $ARGV[1], V6Only => 0) or die;
while (defined($asker = $s->recv($_, 100))) {
    ($error, $host) = Socket::getnameinfo($asker, Socket::NI_NUMERICHOST);
    $host =~ s/^::ffff://;
    $s->send("$ARGV[0] $host", 0, $asker);
}
"""
CLIENT = """
alarm 10;
$s = IO::Socket::IP->new(
    Type => Socket::SOCK_DGRAM, PeerHost => $ARGV[0], PeerPort => $ARGV[1]) or die;
$s->send("question");
defined($s->recv($_, 100)) or die;
print;
"""


class Member(Struct, frozen=True):
    """A node and its container, which is called `web`."""

    node: Node
    podman: Podman
    name: str
    addresses: Mapping[int, str]
    """Of its container, by family."""

    def ask(self, address: str) -> str:
        """The answer that the container gets from HOST_PORT of `address`."""
        perl = ("perl", "-MIO::Socket::IP", "-e", CLIENT)
        return self.podman.run("exec", "web", *perl, address, str(HOST_PORT))


def ask(namespace: str, address: str, port: int = HOST_PORT, *, limit: float = LIMIT) -> str:
    with udp_in(namespace, any_like(address)) as client:
        client.settimeout(limit)
        client.connect((address, port))
        client.send(b"question")
        return client.recv(100).decode()


def serve(node: Node, podman: Podman, container: str, *, name: str, port: int) -> None:
    """Starts a container with a hostPort and waits for its server."""
    perl = ("perl", "-MIO::Socket::IP", "-e", SERVER, name, str(port))
    options = ("--network", "cbr0", "--publish", f"{port}:{port}/udp")
    podman.start(container, *perl, options=options)
    address = podman.address(container, 4)

    def answers() -> bool:
        # Until it listens its kernel refuses, but not always: icmp_ratelimit, six at once.
        with contextlib.suppress(ConnectionRefusedError, TimeoutError):
            return bool(ask(node.namespace, address, port, limit=0.5))
        return False

    wait_for(answers, told=lambda: podman.log(container))


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CniLab]:
    require_podman()
    with built(tmp_path_factory.mktemp("podman")) as made:
        yield made


@pytest.fixture(scope="module")
def members(lab: CniLab) -> Iterator[list[Member]]:
    made: list[Podman] = []
    with no_cgroups_left():
        try:
            found = []
            for number, node in enumerate(lab.nodes, start=1):
                podman = Podman(node.namespace, conf_dir=node.conf_dir)
                made.append(podman)
                serve(node, podman, "web", name=f"n{number}", port=HOST_PORT)
                addresses = {family: podman.address("web", family) for family in FACTS}
                found.append(Member(node, podman, f"n{number}", addresses))
            yield found
        finally:
            for podman in made:
                podman.close()


def rules(node: Node, family: int) -> list[str]:
    program = {4: "iptables-save", 6: "ip6tables-save"}[family]
    argv = netns.inside(node.namespace, program, "-t", "nat")
    done = subprocess.run(argv, capture_output=True, text=True, timeout=10, check=True)
    return [line for line in done.stdout.splitlines() if line.startswith("-A")]


@EACH_FAMILY
def test_each_container_has_an_address_of_its_nodes_subnet(
    members: list[Member], family: int
) -> None:
    for member in members:
        assert member.addresses[family] == str(member.node.subnet(family)[2])


@EACH_FAMILY
def test_every_container_reaches_every_other_over_fwd(members: list[Member], family: int) -> None:
    for one, other in itertools.permutations(members, 2):
        assert one.ask(other.addresses[family]) == f"{other.name} {one.addresses[family]}"


@EACH_FAMILY
def test_a_host_port_answers_from_another_node_and_from_outside(
    lab: CniLab, members: list[Member], family: int
) -> None:
    for one, other in itertools.permutations(members, 2):
        answer = ask(one.node.namespace, other.node.address(family))
        assert answer == f"{other.name} {one.node.address(family)}"
    for member in members:
        own = member.node.address(family)
        assert ask(lab.switch, own) == f"{member.name} {OUTSIDE[family]}"
        assert member.ask(own) == f"{member.name} {member.node.subnet(family)[1]}", "its own"


def test_a_container_that_is_removed_gives_all_back(lab: CniLab, members: list[Member]) -> None:
    member, port = members[0], HOST_PORT + 1
    before = [rules(member.node, family) for family in FACTS]
    serve(member.node, member.podman, "extra", name="extra", port=port)
    for family in FACTS:
        assert ask(lab.switch, member.node.address(family), port) == f"extra {OUTSIDE[family]}"
    member.podman.run("rm", "--force", "--time", "0", "extra")
    assert [rules(member.node, family) for family in FACTS] == before
    given = member.podman.exec("ls", "/var/lib/cni/networks/cbr0").split()
    kept = {name for name in given if not name.startswith(("last_reserved_ip", "lock"))}
    assert kept == set(member.addresses.values())
    for family in FACTS:
        unanswered(lab.switch, member.node.address(family), port)
