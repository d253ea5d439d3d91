# SPDX-License-Identifier: Apache-2.0
"""What can befall a node or its API server while TCP runs from Pod to Pod.

Each is a function of two nodes (`battered`), and ends when both agents know the truth again.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import Final

from msgspec import Struct

from fwd.lab.apiserver.store import Saved
from tests.netns.agent_support import FACTS, Agent, wait_for
from tests.netns.battered import Battered
from tests.netns.kube_cluster import RETURN_SECONDS

DAY: Final = 86_400
DOWN_SECONDS: Final = 5.0
SILENCE: Final = 90.0
"""Seconds after which an agent lists again (sources.kubeapi)."""
_CALM_SECONDS: Final = 0.5
_QUIET_SECONDS: Final = 2.0
"""What is said again and again would be said again."""


class Adversity(Struct, frozen=True):
    """One; `said` are events of the log that must come of it."""

    name: str
    befall: Callable[[Battered], None]
    said: tuple[str, ...] = ()
    stops_packets: bool = False
    """Whether the way of the packets itself is broken, or nobody a member for a moment."""


class Outcome(Struct, frozen=True):
    """How TCP has lived through it."""

    longest: dict[int, float]
    """Seconds that an answer took, by family."""
    answers: int
    said: Counter[str]
    """Lines of both agents' logs by event."""


def events(agents: Iterable[Agent]) -> Counter[str]:
    """Lines of their logs by event."""
    return Counter(
        word.removeprefix("event=")
        for agent in agents
        for line in agent.log.splitlines()
        for word in line.split()
        if word.startswith("event=")
    )


def outlive(kube: Battered, adversity: Adversity) -> Outcome:
    """Fails unless both connections live, and both agents know the truth afterwards."""
    kube.put_third(1)
    for agent in kube.agents.values():
        wait_for("peace", lambda a=agent: kube.knows_all(a, 1))  # type: ignore[misc]
    before = events(kube.agents.values())
    with ExitStack() as stack:
        flows = {f: stack.enter_context(kube.pod_flow(f)) for f in kube.families}
        adversity.befall(kube)
        time.sleep(_CALM_SECONDS)
        courses = {family: flow.end() for family, flow in flows.items()}
    said = events(kube.agents.values()) - before
    missing = set(adversity.said) - set(said)
    assert not missing, f"nobody said {missing}, but {dict(said)}"
    return Outcome(
        longest={family: course.longest for family, course in courses.items()},
        answers=sum(course.answers for course in courses.values()),
        said=said,
    )


def learn(kube: Battered, turn: int, seconds: float = RETURN_SECONDS) -> None:
    """n3 moves, and both agents hear of it."""
    kube.put_third(turn)
    know(kube, turn, seconds)


def know(kube: Battered, turn: int, seconds: float = RETURN_SECONDS) -> None:
    """Both agents have n3 where it was in that turn."""
    for agent in kube.agents.values():
        wait_for("the truth", lambda a=agent: kube.knows_all(a, turn), seconds)  # type: ignore[misc]


def api_gone(seconds: float) -> Adversity:
    """The API server is away so long, and n3 moves meanwhile."""

    def befall(kube: Battered) -> None:
        kube.api.wait(kube.server.stop())
        time.sleep(seconds)
        kube.put_third(9)
        kube.api.wait(kube.server.start())
        know(kube, 9)

    return Adversity(f"API server gone for {seconds:g} s", befall, ("api-server",))


def _restore(kube: Battered, saved: Saved, seconds: float) -> None:
    """Connections break, and what the agents go on from is in the server's future: it is silent.

    Nobody can tell that from a cluster in which nothing happens, until the silence is too long
    (SILENCE); or the watches are ended, earlier, by the server.
    """
    kube.api.do(lambda server: server.restore(saved))
    time.sleep(min(seconds, 2))
    for agent in kube.agents.values():
        nodes = {lease["node"] for lease in agent.status()["leases"]}
        assert len(nodes) == 2, "what was known is still in force"
    if seconds < SILENCE:
        kube.api.do(lambda server: server.break_watches())


def older_state(seconds: float = 2) -> Adversity:
    """What has changed since is undone, and resourceVersions begin again further back."""

    def befall(kube: Battered) -> None:
        saved = kube.api.do(lambda server: server.nodes.save())
        for turn in (2, 3, 4):
            learn(kube, turn)
        _restore(kube, saved, seconds)
        know(kube, 1, seconds + RETURN_SECONDS)
        learn(kube, 5)

    return Adversity("API server comes back with an older state", befall)


def state_before_all(seconds: float = 2) -> Adversity:
    """No Node has flannel's annotations there, as before the first agent ever ran."""

    def befall(kube: Battered) -> None:
        _restore(kube, kube.before_all, seconds)
        for name in kube.agents:
            count = 3 * len(kube.families)
            wait_for(
                "annotations",
                lambda n=name, c=count: len(kube.published(n)) >= c,  # type: ignore[misc]
                seconds + RETURN_SECONDS,
            )
        learn(kube, 9)

    return Adversity("API server comes back with the state before all", befall, stops_packets=True)


def _ip(kube: Battered, verb: str) -> None:
    for family in kube.families:
        facts = FACTS[family]
        words = {
            "delete device": ["link", "del", facts.device],
            "delete route": [f"-{family}", "route", "del", facts.network],
        }[verb]
        kube.n2.ip(*words)


def tun_deleted(kube: Battered) -> None:
    """Both families'."""
    _ip(kube, "delete device")
    kube.agents["n2"].says("tunnel-restored")
    _at_peace(kube)


def link_down(kube: Battered) -> None:
    """The underlay's; the addresses stay, as an operator's configuration would see to."""
    kube.n2.ip("link", "set", "u2", "down")
    time.sleep(DOWN_SECONDS)
    kube.n2.ip("link", "set", "u2", "up")
    _at_peace(kube)
    learn(kube, 9, 30)


def route_deleted(kube: Battered) -> None:
    """That of the cluster's network, through the TUN."""
    _ip(kube, "delete route")
    _at_peace(kube)


def rules_flushed(kube: Battered) -> None:
    """Of every table, chains as well; the policy is to drop."""
    repaired = len(kube.agents["n2"].lines("host-repaired"))
    for program in ("iptables", "ip6tables"):
        for table in ("filter", "nat"):
            for flag in ("-F", "-X"):
                done = kube.n2.run(program, "-t", table, flag)
                assert done.returncode == 0, done.stderr
    kube.agents["n2"].says("host-repaired", times=repaired + 1)
    _at_peace(kube)


def clock_stepped(kube: Battered) -> None:
    """By a day: on, back by two, and to where it was."""
    for turn, seconds in enumerate((DAY, -DAY, 0), 2):
        kube.step_clock(seconds)
        learn(kube, turn)
        time.sleep(1.1)  # what is done every second is done
    days = {line[5:15] for line in kube.agents["n2"].log.splitlines()}
    assert len(days) >= 3, f"its log says {days}"


def disk_full(kube: Battered) -> None:
    """subnet.env is lost besides: two files want to be written.  Then there is room again."""
    agent, directory = kube.agents["n2"], kube.directory / "n2"
    wait_for("what came before is saved", lambda: _is_saved(kube, 1))
    before = {event: len(agent.lines(event)) for event in ("saved-state", "host-trouble")}
    kube.fill_disk()
    (directory / "subnet.env").unlink()
    filler = kube.fill_disk()
    learn(kube, 9)
    for event, count in before.items():
        assert "No space left" in agent.says(event, times=count + 1)
    assert "No space left" in agent.status()["trouble"]
    time.sleep(_QUIET_SECONDS)
    for event, count in before.items():
        assert len(agent.lines(event)) == count + 1, "said once"
    filler.unlink()
    agent.says("saved-state-good-again")
    agent.says("host-trouble-over")
    wait_for("saved", lambda: _is_saved(kube, 9))
    assert (directory / "subnet.env").exists()
    assert agent.status()["trouble"] is None


def _is_saved(kube: Battered, turn: int) -> bool:
    path = kube.directory / "n2" / "leases.saved"
    return path.exists() and bytes([192, 168, 9, turn]) in path.read_bytes()


def _at_peace(kube: Battered) -> None:
    wait_for("both reach each other", lambda: kube.reaches(kube.n1, "n2"))


QUICK: Final = (
    older_state(),
    state_before_all(),
    Adversity("TUN deleted", tun_deleted, ("tunnel-restored",), stops_packets=True),
    Adversity("underlay link down for 5 s", link_down, stops_packets=True),
    Adversity("route deleted", route_deleted, ("device-repaired",), stops_packets=True),
    Adversity("iptables flushed", rules_flushed, ("host-repaired",), stops_packets=True),
    Adversity("clock stepped by a day, both ways", clock_stepped),
    Adversity("disk full", disk_full, ("saved-state", "saved-state-good-again", "host-trouble")),
)
"""All that does not take as long as somebody wants."""
