# SPDX-License-Identifier: Apache-2.0
"""A rendered list run by a real container runtime: podman's CNI back end, on three fwd nodes."""

import itertools
import subprocess
from collections.abc import Iterator

import pytest
from msgspec import Struct

from fwd.lab import netns
from tests.netns.cni_lab import HOST_PORT, OUTSIDE, CniLab, Node, built, unanswered
from tests.netns.lab_support import wait_for
from tests.netns.podman_support import Podman, no_cgroups_left, require_podman
from tests.netns.sockets import udp_in

pytestmark = [pytest.mark.netns, pytest.mark.root]

# Answers with its name and who asked.
SERVER = """
$s = IO::Socket::INET->new(Proto => "udp", LocalPort => $ARGV[1]) or die;
while (defined($asker = $s->recv($_, 100))) {
    $s->send("$ARGV[0] " . $s->peerhost, 0, $asker);
}
"""
CLIENT = """
alarm 10;
$s = IO::Socket::INET->new(Proto => "udp", PeerAddr => "$ARGV[0]:$ARGV[1]") or die;
$s->send("question");
defined($s->recv($_, 100)) or die;
print;
"""


class Member(Struct, frozen=True):
    """A node and its container, which is called `web`."""

    node: Node
    podman: Podman
    name: str
    address: str

    def ask(self, address: str) -> str:
        """The answer that the container gets from HOST_PORT of `address`."""
        perl = ("perl", "-MIO::Socket::INET", "-e", CLIENT)
        return self.podman.run("exec", "web", *perl, address, str(HOST_PORT))


def ask(namespace: str, address: str, port: int = HOST_PORT) -> str:
    with udp_in(namespace, "0.0.0.0") as client:
        client.connect((address, port))
        client.send(b"question")
        return client.recv(100).decode()


def serve(node: Node, podman: Podman, container: str, *, name: str, port: int) -> str:
    """Starts a container with a hostPort and waits for its server; its address."""
    perl = ("perl", "-MIO::Socket::INET", "-e", SERVER, name, str(port))
    options = ("--network", "cbr0", "--publish", f"{port}:{port}/udp")
    podman.start(container, *perl, options=options)
    address = podman.address(container)

    def answers() -> bool:
        try:
            return bool(ask(node.namespace, address, port))
        except ConnectionRefusedError:
            return False

    wait_for(answers)
    return address


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CniLab]:
    require_podman()
    with built(tmp_path_factory.mktemp("podman"), families=(4,)) as made:
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
                address = serve(node, podman, "web", name=f"n{number}", port=HOST_PORT)
                found.append(Member(node, podman, f"n{number}", address))
            yield found
        finally:
            for podman in made:
                podman.close()


def rules(node: Node) -> list[str]:
    argv = netns.inside(node.namespace, "iptables-save", "-t", "nat")
    done = subprocess.run(argv, capture_output=True, text=True, timeout=10, check=True)
    return [line for line in done.stdout.splitlines() if line.startswith("-A")]


def test_each_container_has_an_address_of_its_nodes_subnet(members: list[Member]) -> None:
    for member in members:
        assert member.address == str(member.node.subnet(4)[2])


def test_every_container_reaches_every_other_over_fwd(members: list[Member]) -> None:
    for one, other in itertools.permutations(members, 2):
        assert one.ask(other.address) == f"{other.name} {one.address}"


def test_a_host_port_answers_from_another_node_and_from_outside(
    lab: CniLab, members: list[Member]
) -> None:
    for one, other in itertools.permutations(members, 2):
        answer = ask(one.node.namespace, other.node.address(4))
        assert answer == f"{other.name} {one.node.address(4)}"
    for member in members:
        assert ask(lab.switch, member.node.address(4)) == f"{member.name} {OUTSIDE[4]}"
        gateway = member.node.subnet(4)[1]
        assert member.ask(member.node.address(4)) == f"{member.name} {gateway}", "its own"


def test_a_container_that_is_removed_gives_all_back(lab: CniLab, members: list[Member]) -> None:
    member, port = members[0], HOST_PORT + 1
    before = rules(member.node)
    serve(member.node, member.podman, "extra", name="extra", port=port)
    assert ask(lab.switch, member.node.address(4), port) == f"extra {OUTSIDE[4]}"
    member.podman.run("rm", "--force", "--time", "0", "extra")
    assert rules(member.node) == before
    given = member.podman.exec("ls", "/var/lib/cni/networks/cbr0").split()
    assert [name for name in given if name[0].isdigit()] == [member.address]
    unanswered(lab.switch, member.node.address(4), port)
