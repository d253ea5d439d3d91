# SPDX-License-Identifier: Apache-2.0
"""A kubeconfig that is read again while something is wrong: a cleaned /tmp, a plugin that hangs
or fails."""

import asyncio
import base64
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import uvloop

from fwd.lab.apiserver.access import ANONYMOUS, FLANNEL, TOKEN
from fwd.lab.apiserver.credentials import certify
from fwd.sources import kubeclient, kubecredentials
from fwd.sources.kubeapi import KubeApi, Refused
from fwd.sources.kubeclient import ApiAccess
from fwd.sources.kubecredentials import NoCredentials
from tests.unit.kube_access import kubeconfig
from tests.unit.kube_member import source, until
from tests.unit.kube_server import Server, serving
from tests.unit.kube_support import node_object

READ_SECONDS = 2.0
"""What a machine that is busy needs for a plugin that is well."""
_VERSION = "client.authentication.k8s.io/v1"


class Plugin:
    """A shell script that gives a token, fails, or waits for a program that does not end."""

    def __init__(self, directory: Path) -> None:
        self._hangs = directory / "hangs"
        self._token = directory / "plugin-token"
        self._seen = directory / "seen"
        self._seen.touch()
        self._fails = directory / "fails"
        script = directory / "plugin"
        script.write_text(
            "#!/bin/sh\n"
            f"if [ -e {self._fails} ]; then exit 1; fi\n"
            f"if [ -e {self._hangs} ]; then sleep 1000 & echo $$ $! >> {self._seen}; wait; fi\n"
            f'token=$(cat {self._token}); echo "{{\\"apiVersion\\": \\"{_VERSION}\\",'
            ' \\"kind\\": \\"ExecCredential\\", \\"status\\": {\\"token\\": \\"$token\\"}}"\n'
        )
        script.chmod(0o755)
        self.user = {"exec": {"apiVersion": _VERSION, "command": str(script)}}
        self.give(TOKEN)

    def give(self, token: str) -> None:
        self._hangs.unlink(missing_ok=True)
        self._fails.unlink(missing_ok=True)
        self._token.write_text(token)

    def hang(self) -> None:
        self._hangs.touch()

    def fail(self) -> None:
        self._fails.touch()

    @property
    def hung(self) -> list[list[int]]:
        """The script and the program it waited for, of each time that it hung."""
        return [[int(pid) for pid in line.split()] for line in self._seen.read_text().splitlines()]

    @property
    def alive(self) -> list[int]:
        return [pid for pids in self.hung for pid in pids if _runs(pid)]

    def end(self) -> list[int]:
        """Kills what is alive, and tells of it."""
        left = self.alive
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        return left


def _runs(pid: int) -> bool:
    """An orphan that nobody has reaped yet has ended, too."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plugin]:
    """One that is asked at each request, and has little time."""
    monkeypatch.setattr(kubecredentials, "REREAD_SECONDS", 0.0)
    monkeypatch.setattr(kubecredentials, "READ_SECONDS", READ_SECONDS)
    monkeypatch.setattr(kubecredentials, "GRACE_SECONDS", 0.1)
    made = Plugin(tmp_path)
    yield made
    made.end()


def by_plugin(server: Server, directory: Path, plugin: Plugin) -> ApiAccess:
    return ApiAccess(kubeconfig=kubeconfig(directory, server.url, **plugin.user))


async def test_inline_data_is_read_again_when_tmp_has_been_cleaned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(kubecredentials, "REREAD_SECONDS", 0.0)
    tmp = tmp_path / "tmp"
    tmp.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp))
    made = certify(tmp_path, ["127.0.0.1"])
    data = base64.b64encode(made.certificate.read_bytes()).decode()
    async with serving(node_object(1), tls=made.context()) as server:

        def give(token: str) -> Path:
            cluster = {"certificate-authority-data": data}
            return kubeconfig(tmp_path, server.url, token=token, cluster=cluster)

        api = KubeApi(ApiAccess(kubeconfig=give(TOKEN)))
        await api.node("n1")
        for token in ("second", "third"):
            for lost in tmp.iterdir():
                lost.unlink()
            give(token)
            server.access.rotate(token, user=FLANNEL)
            api.reconnect()
            await api.node("n1")
        await api.close()
        assert [seen.status for seen in server.requests] == [200, 200, 200]
    assert not caplog.messages


@pytest.mark.parametrize("module", [SimpleNamespace(), SimpleNamespace(_temp_files=None)], ids=str)
def test_a_client_that_keeps_no_such_files_is_left_alone(module: SimpleNamespace) -> None:
    kubeclient._forget_lost_files(module)


async def test_a_plugin_that_hangs_at_the_start_is_waited_for_and_named(
    tmp_path: Path, plugin: Plugin, caplog: pytest.LogCaptureFixture
) -> None:
    plugin.hang()
    async with (
        serving(node_object(1)) as server,
        source(server, access=by_plugin(server, tmp_path, plugin)) as made,
    ):
        first = asyncio.create_task(made.first())
        await until(lambda: "the kubeconfig's plugin does not answer" in caplog.text)
        assert "the kubeconfig's plugin does not answer" in made.state().detail
        assert made.state().standing == "away"
        await until(lambda: len(plugin.alive) <= 2)  # one at a time
        plugin.give(TOKEN)
        await asyncio.wait_for(first, 5)
    assert not plugin.alive


async def test_with_credentials_one_goes_on_while_the_plugin_hangs(
    tmp_path: Path, plugin: Plugin, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(node_object(1)) as server:
        api = KubeApi(by_plugin(server, tmp_path, plugin))
        await api.node("n1")
        plugin.hang()
        begin = time.monotonic()
        while len(plugin.hung) < 2:
            asked = time.monotonic()
            await asyncio.gather(api.node("n1"), api.node("n1"))
            assert time.monotonic() - asked < READ_SECONDS * 3 / 4, (
                "the grace, not the plugin's time"
            )
            await asyncio.sleep(0.02)
        await until(lambda: len(plugin.alive) <= 2)  # one at a time
        assert time.monotonic() - begin > READ_SECONDS - 0.1, "the first had its time"
        assert caplog.text.count("the kubeconfig's plugin does not answer") == 1
        assert "those that were read before are used" in caplog.text
        await until(lambda: not plugin.alive and api._credentials._reading is None)
        plugin.give("second")
        server.access.rotate("second", user=FLANNEL)
        await api.node("n1")
        await api.close()
        assert server.requests[-1].status == 200


async def test_a_token_that_is_refused_while_the_plugin_hangs_is_an_error(
    tmp_path: Path, plugin: Plugin
) -> None:
    async with serving(node_object(1)) as server:
        api = KubeApi(by_plugin(server, tmp_path, plugin))
        await api.node("n1")
        plugin.hang()
        server.access.rotate("second", user=FLANNEL)
        with pytest.raises(NoCredentials, match="plugin does not answer"):
            await asyncio.wait_for(api.node("n1"), 5)
        await api.close()


async def test_with_credentials_one_goes_on_while_the_plugin_fails(
    tmp_path: Path, plugin: Plugin, caplog: pytest.LogCaptureFixture
) -> None:
    """The client takes that for a user without a token, who may do nothing."""
    async with serving(node_object(1)) as server:
        api = KubeApi(by_plugin(server, tmp_path, plugin))
        await api.node("n1")
        plugin.fail()
        for _ in range(2):
            await api.node("n1")
            await until(lambda: api._credentials._reading is None)
        await api.node("n1")
        assert {seen.user for seen in server.requests} == {FLANNEL}
        assert caplog.text.count("gives no credentials any more; those that were read before") == 1
        server.access.rotate("second", user=FLANNEL)
        with pytest.raises(NoCredentials, match="gives no credentials any more"):
            await api.node("n1")
        plugin.give("second")
        await until(lambda: api._credentials._reading is None)
        await api.node("n1")
        await api.close()


async def test_a_plugin_that_fails_at_the_start_is_seen_in_what_the_server_says(
    tmp_path: Path, plugin: Plugin
) -> None:
    plugin.fail()
    async with serving(node_object(1)) as server:
        server.access.revoke("get", "nodes", user=ANONYMOUS)
        api = KubeApi(by_plugin(server, tmp_path, plugin))
        with pytest.raises(Refused, match=r"no token was sent, and the ClusterRole lacks"):
            await api.node("n1")
        plugin.give(TOKEN)
        await api.node("n1")
        server.access.revoke("get", "nodes")
        with pytest.raises(Refused, match=r"\(403\): the ClusterRole lacks"):
            await api.node("n1")
        await api.close()


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_plugin_that_hangs_ends_with_who_asked(
    tmp_path: Path,
    plugin: Plugin,
    monkeypatch: pytest.MonkeyPatch,
    loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    monkeypatch.setattr(kubecredentials, "READ_SECONDS", 60.0)
    plugin.hang()

    async def main() -> None:
        api = KubeApi(ApiAccess(kubeconfig=kubeconfig(tmp_path, "http://[::1]:1", **plugin.user)))
        asking = asyncio.create_task(api.node("n1"))
        await until(lambda: plugin.hung)
        assert len(plugin.alive) == 2
        asking.cancel()
        await asyncio.wait({asking})
        await asyncio.wait_for(api.close(), 5)
        await until(lambda: not plugin.alive)  # uvloop does not close while it lives

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())
