# SPDX-License-Identifier: Apache-2.0
"""The stand-in against what a real API server sent: each recorded request again, answer for answer.

The stand-in is brought to the state in which the real server was, request by request, so that even
resourceVersions come out equal.  What is not compared is in ``IGNORED_METADATA`` and ``FRAMING``,
with the reason.  A second of the stand-in is short here, so that times are compared as fractions.
"""

import asyncio
import copy
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from fwd.lab.apiserver.access import TOKEN
from fwd.lab.apiserver.faults import Stop
from fwd.lab.apiserver.server import ApiServer
from fwd.lab.apiserver.watching import Timing

RECORDINGS = Path(__file__).parents[1] / "recordings"

# managedFields: who owns a field, which no client of ours reads and the stand-in does not track.
# uid and creationTimestamp of the one Node that is made during a recording: they are made up there.
IGNORED_METADATA = ("managedFields", "uid", "creationTimestamp")

# Go sends chunks when a body is above 2048 bytes; these are by their managedFields only.
FRAMING = {"patch-status-condition", "patch-status-spec-ignored"}

SECOND = 0.1  # of the stand-in's, in seconds
EARLY = 0.8  # of a recorded second: jitter of the recorded server's bookmarks
LATE = 50.0  # the same: a busy machine is late as long as it likes, but nothing waits for ever

Json = dict[str, Any]

BEFORE = [
    *("version", "anonymous", "unauthorized", "secrets-forbidden", "pods-get-404"),
    *("nodes-list", "nodes-list-page1", "nodes-list-page2", "nodes-list-rv0"),
    *("nodes-list-bad-continue", "node-get", "node-get-404"),
    *("patch-node-forbidden", "patch-status-404", "patch-status-bad-json", "patch-status-bad-type"),
]
PATCHES = [
    *("patch-status-annotations-strategic", "patch-status-annotations-noop"),
    *("patch-status-annotation-null", "patch-status-annotations-again", "patch-status-condition"),
    *("patch-status-spec-ignored", "patch-status-stale-rv"),
]
WATCHES = ["watch-events", "watch-initial-events", "watch-rv0", "watch-field-selector"]
AFTER = [*WATCHES, "watch-future-rv", "watch-server-shutdown"]
RESTARTED = ["watch-expired", "nodes-list-expired-continue"]
ALL = [*BEFORE, *PATCHES, *AFTER, *RESTARTED]


def load(name: str) -> Json:
    recording: Json = json.loads((RECORDINGS / f"{name}.json").read_text())
    return recording


@pytest.fixture
async def server() -> AsyncIterator[ApiServer]:
    """As the real one was: three Nodes, revision 223."""
    async with ApiServer(timing=Timing(second=SECOND)) as server:
        body = load("nodes-list")["response"]["body"]
        server.nodes.load(body["items"], revision=223)
        yield server


async def replay(server: ApiServer, name: str) -> tuple[Json, Json]:
    """Send a recorded request; returns what was recorded and what came, in the same form."""
    recording = load(name)
    request = recording["request"]
    headers = {"Authorization": f"Bearer {TOKEN}"}
    if name == "anonymous":
        headers = {}
    elif name == "unauthorized":
        headers = {"Authorization": "Bearer wrong"}
    if request.get("content_type"):
        headers["Content-Type"] = request["content_type"]
    body = request.get("body")
    data = body if isinstance(body, str) or body is None else json.dumps(body)
    now = asyncio.get_running_loop().time
    async with (
        aiohttp.ClientSession(skip_auto_headers=["Content-Type"]) as session,
        session.request(
            request["method"],
            server.url + request["path"].replace("%3D", "="),
            headers=headers,
            data=data,
            timeout=aiohttp.ClientTimeout(total=20),
        ) as response,
    ):
        begin = now()
        got: Json = {"status": response.status, "headers": dict(response.headers)}
        if "lines" in recording["response"]:
            got["lines"] = [
                {"t": (now() - begin) / SECOND, "line": json.loads(line)}
                async for line in response.content
            ]
            got["lines"].append({"t": (now() - begin) / SECOND, "closed": True})
        else:
            got["body"] = json.loads(await response.read())
    return recording["response"], got


def comparable(value: object) -> object:
    """Without what is not compared."""
    if isinstance(value, list):
        return [comparable(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: {field: held for field, held in item.items() if field not in IGNORED_METADATA}
        if key == "metadata" and "name" in item
        else comparable(item)
        for key, item in value.items()
    }


def check(recorded: Json, got: Json, *, framing: bool = True) -> None:
    assert got["status"] == recorded["status"]
    for header in ("Content-Type", "Retry-After"):
        assert got["headers"].get(header) == recorded["headers"].get(header)
    if framing:
        for header in ("Transfer-Encoding", "Content-Length"):
            assert (header in got["headers"]) == (header in recorded["headers"]), header
    if "body" in recorded and "managedFields" not in str(recorded["body"]):
        assert got["headers"]["Content-Length"] == recorded["headers"]["Content-Length"]
    if "body" in recorded:
        assert comparable(got["body"]) == comparable(recorded["body"])
        return
    assert [comparable(line.get("line")) for line in got["lines"]] == [
        comparable(line.get("line")) for line in recorded["lines"]
    ]
    for ours, theirs in zip(got["lines"], recorded["lines"], strict=True):
        assert theirs["t"] - EARLY <= ours["t"] <= theirs["t"] + LATE


async def prepare(server: ApiServer, upto: list[str]) -> None:
    """Bring the stand-in to where it was, by the recorded requests themselves."""
    for name in upto:
        await replay(server, name)


@pytest.mark.parametrize("name", BEFORE)
async def test_answers_as_recorded(server: ApiServer, name: str) -> None:
    check(*await replay(server, name))
    assert server.nodes.revision == 223


@pytest.mark.parametrize("name", PATCHES)
async def test_patches_as_recorded(server: ApiServer, name: str) -> None:
    await prepare(server, PATCHES[: PATCHES.index(name)])
    recorded, got = await replay(server, name)
    check(recorded, got, framing=name not in FRAMING)


async def make_events(server: ApiServer) -> None:
    """What was done on the real server during `watch-events`."""
    lines = [line.get("line") for line in load("watch-events")["response"]["lines"]]
    times = [line["t"] * SECOND for line in load("watch-events")["response"]["lines"]]
    begin = asyncio.get_running_loop().time()
    for event, when in zip(lines, times, strict=True):
        if event is None or event["type"] == "BOOKMARK":
            continue
        await asyncio.sleep(max(0.0, begin + when - asyncio.get_running_loop().time()))
        if event["type"] == "DELETED":
            server.delete_node(event["object"]["metadata"]["name"])
        else:
            server.put_node(event["object"])


async def watched(server: ApiServer, name: str) -> None:
    """Bring the stand-in to where it was when this was recorded, after all patches."""
    await prepare(server, PATCHES)
    if name != "watch-events":
        await make_events(server)
        server.nodes.advance(2)  # the bookmark there says 233: other objects changed meanwhile


async def test_watch_events_as_recorded(server: ApiServer) -> None:
    await watched(server, "watch-events")
    async with asyncio.TaskGroup() as group:
        replayed = group.create_task(replay(server, "watch-events"))
        while not server.watches:  # noqa: ASYNC110 - bounded by the replay
            await asyncio.sleep(0.001)
        group.create_task(make_events(server))
    check(*replayed.result())


@pytest.mark.parametrize("name", [*WATCHES[1:], "watch-future-rv"])
async def test_watches_as_recorded(server: ApiServer, name: str) -> None:
    await watched(server, name)
    check(*await replay(server, name))


async def test_sigterm_during_a_watch_as_recorded(server: ApiServer) -> None:
    await watched(server, "watch-server-shutdown")
    async with asyncio.TaskGroup() as group:
        replayed = group.create_task(replay(server, "watch-server-shutdown"))
        while not server.watches:  # noqa: ASYNC110 - bounded by the replay
            await asyncio.sleep(0.001)
        await asyncio.sleep(SECOND)
        group.create_task(server.stop(Stop.TERM))
    check(*replayed.result())


@pytest.mark.parametrize("name", RESTARTED)
async def test_a_restarted_server_as_recorded(server: ApiServer, name: str) -> None:
    server.nodes.advance(18)
    await server.stop()
    await server.start()
    recorded, got = await replay(server, name)
    check(recorded, got)


def test_every_recording_is_replayed() -> None:
    assert sorted(ALL) == sorted(path.stem for path in RECORDINGS.glob("*.json"))


@pytest.mark.parametrize(
    ("name", "path", "new"),
    [
        ("node-get", "status", 201),
        ("node-get", "headers/Content-Type", "text/plain"),
        ("node-get", "body/metadata/resourceVersion", "212"),
        ("node-get", "body/metadata/labels/kubernetes.io~1os", "x"),
        ("node-get", "body/spec/podCIDR", "10.244.2.0/24"),
        ("node-get", "body/kind", "Pod"),
        ("node-get-404", "body/message", "no"),
        ("node-get-404", "headers/Content-Length", "183"),
        ("nodes-list-page1", "body/metadata/continue", "x"),
        ("nodes-list-page1", "body/items/1/status/addresses/0/address", "198.18.0.9"),
        ("watch-rv0", "lines/1/line/type", "MODIFIED"),
        ("watch-rv0", "lines/3/t", 290.0),
    ],
)
async def test_the_comparison_can_fail(
    server: ApiServer, name: str, path: str, new: object
) -> None:
    if name.startswith("watch"):
        await watched(server, name)
    recorded, got = await replay(server, name)
    check(recorded, got)
    parts = [part.replace("~1", "/") for part in path.split("/")]
    changed: Any = copy.deepcopy(recorded)
    place = changed
    for part in parts[:-1]:
        place = place[int(part) if isinstance(place, list) else part]
    assert place[parts[-1]] != new
    place[parts[-1]] = new
    with pytest.raises(AssertionError):
        check(changed, got)
