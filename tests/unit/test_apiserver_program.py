# SPDX-License-Identifier: Apache-2.0
"""The stand-in as the lab has it: a process, commands over its socket, TLS, made-up Nodes."""

import asyncio
import contextlib
import itertools
import json
import re
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fwd.lab import clusternodes
from fwd.lab.apiserver import commands as cmd
from fwd.lab.apiserver import credentials
from fwd.lab.apiserver.access import TOKEN
from fwd.lab.apiserver.client import ask
from fwd.lab.apiserver.control import Control, churn
from fwd.lab.apiserver.faults import Answer, Cut, Fault, How
from fwd.lab.apiserver.server import ApiServer
from fwd.lab.errors import LabError
from tests.unable import leave_out

LIMIT = 20.0

Program = Iterator[tuple[str, Path]]


def start(*arguments: str) -> tuple[subprocess.Popen[str], str]:
    """Returns the process and the line with which it says that it serves."""
    process = subprocess.Popen(
        [sys.executable, "-m", "fwd.lab.apiserver", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    late = threading.Timer(LIMIT, process.kill)  # then there comes no line any more
    late.start()
    try:
        return process, process.stdout.readline()
    finally:
        late.cancel()


def end(process: subprocess.Popen[str]) -> str:
    process.terminate()
    _, errors = process.communicate(timeout=LIMIT)
    assert process.returncode == 0
    return errors


@pytest.fixture
def program(tmp_path: Path) -> Program:
    process, line = start("--nodes", "5", "--control", str(tmp_path / "control"))
    try:
        found = re.fullmatch(r"serving 5 nodes at (\S+)\n", line)
        assert found is not None
        yield found[1], tmp_path / "control"
    finally:
        assert end(process) == ""


def get(url: str, *, context: ssl.SSLContext | None = None) -> Any:  # noqa: ANN401
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {TOKEN}"})
    with urllib.request.urlopen(request, timeout=LIMIT, context=context) as response:
        return json.load(response)


def test_commands(program: tuple[str, Path]) -> None:
    url, path = program
    assert path.stat().st_mode & 0o777 == 0o600
    ask(path, cmd.PutNodes([clusternodes.node(7)]))
    ask(path, cmd.PatchNode("node-00007", {"metadata": {"labels": {"x": "y"}}}))
    ask(path, cmd.DeleteNode("node-00000"))
    assert len(get(f"{url}/api/v1/nodes")["items"]) == 5
    assert ask(path, cmd.GetNode("node-00007"))["metadata"]["labels"]["x"] == "y"
    ask(path, cmd.PutPod("ns", "p", "node-00001"))
    assert get(f"{url}/api/v1/namespaces/ns/pods/p")["spec"]["nodeName"] == "node-00001"
    ask(path, cmd.AddFault(Fault(Answer(503))))
    with pytest.raises(urllib.error.HTTPError, match="503"):
        get(f"{url}/version")
    ask(path, cmd.Save())
    ask(path, cmd.DeleteNode("node-00001"))
    ask(path, cmd.Restore())
    ask(path, cmd.StopServing())
    assert ask(path, cmd.Status())["serving"] is False
    ask(path, cmd.StartServing())
    status = ask(path, cmd.Status())
    assert (status["serving"], status["nodes"], status["url"]) == (True, 5, url)
    assert status["verbs"] == ["get pods", "list nodes"]
    assert [seen["status"] for seen in ask(path, cmd.Requests(since=1))] == [200, 503]


def test_every_command_is_understood() -> None:
    assert set(Control(ApiServer())._actions) == set(cmd.Command.__args__)


def test_commands_that_cannot_be(program: tuple[str, Path], tmp_path: Path) -> None:
    _, path = program
    with pytest.raises(LabError, match='nodes "z" not found'):
        ask(path, cmd.GetNode("z"))
    with pytest.raises(LabError, match="no 'z'"):
        ask(path, cmd.Restore("z"))
    with pytest.raises(LabError, match="it serves already"):
        ask(path, cmd.StartServing())
    assert ask(path, cmd.Status())["serving"] is True
    with pytest.raises(LabError, match="does not answer"):
        ask(tmp_path / "nobody", cmd.Status())


def test_churn_changes_as_often_as_asked(program: tuple[str, Path]) -> None:
    _, path = program
    before = ask(path, cmd.Status())["revision"]
    ask(path, cmd.Churn(200))
    deadline = itertools.count()
    while ask(path, cmd.Status())["revision"] < before + 50:
        assert next(deadline) < 10_000
    ask(path, cmd.Churn(0))
    after = ask(path, cmd.Status())["revision"]
    assert ask(path, cmd.Status())["revision"] == after


async def test_churn_keeps_its_rate() -> None:
    server = ApiServer(clusternodes.nodes(5))
    begin, clock = server.nodes.revision, asyncio.get_running_loop().time
    start = clock()
    task = asyncio.create_task(churn(server, 200))
    await asyncio.sleep(0.5)
    done, due = server.nodes.revision - begin, 200 * (clock() - start)
    task.cancel()
    assert due / 2 <= done <= due + 2


def test_state_files_and_tls(tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        leave_out("needs openssl")
    made = credentials.certify(tmp_path, ["127.0.0.1"])
    pods = {"kind": "Pod", "metadata": {"name": "p", "namespace": "x"}, "spec": {"nodeName": "n"}}
    nodes = {"kind": "NodeList", "items": [{"metadata": {"name": "n", "resourceVersion": "77"}}]}
    for name, value in [("pods", pods), ("nodes", nodes)]:
        (tmp_path / name).write_text(json.dumps(value))
    state = ["--state", str(tmp_path / "pods"), str(tmp_path / "nodes")]
    process, line = start(*state, "--tls", str(made.certificate), str(made.key))
    try:
        url = line.split()[-1]
        context = ssl.create_default_context(cafile=str(made.certificate))
        assert url.startswith("https://")
        assert get(f"{url}/api/v1/nodes", context=context)["metadata"]["resourceVersion"] == "77"
        pod = get(f"{url}/api/v1/namespaces/x/pods/p", context=context)
        assert pod["spec"]["nodeName"] == "n"
    finally:
        assert end(process) == ""


@pytest.mark.parametrize("how", [How.RESET, How.FIN])
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_a_cut_over_tls(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, host: str, how: How
) -> None:
    if shutil.which("openssl") is None:
        leave_out("needs openssl")
    made = credentials.certify(tmp_path, [host])
    server = ApiServer(clusternodes.nodes(3))
    server.faults.add(Fault(Cut(20_000, how)))
    await server.start((host, 0), tls=made.context())
    try:
        context = ssl.create_default_context(cafile=str(made.certificate))
        reader, writer = await asyncio.open_connection(*server.address, ssl=context)
        head = f"GET /api/v1/nodes HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
        writer.write(head.encode())
        got = b""
        with contextlib.suppress(ConnectionResetError):
            while data := await asyncio.wait_for(reader.read(1 << 16), LIMIT):
                got += data
        writer.transport.abort()
    finally:
        await server.__aexit__()
    assert len(got) == 20_000
    assert not caplog.records


def test_an_address_that_is_taken_is_one_line(program: tuple[str, Path]) -> None:
    process, line = start("--listen", program[0].removeprefix("http://"))
    _, errors = process.communicate(timeout=LIMIT)
    assert (line, process.returncode) == ("", 1)
    assert len(errors.splitlines()) == 1
    assert "in use" in errors


def test_credentials(tmp_path: Path) -> None:
    (tmp_path / "ca").write_text("pem")
    for token in ("first", "second"):
        credentials.write_service_account(tmp_path / "sa", token=token, ca=tmp_path / "ca")
        assert (tmp_path / "sa/token").read_text() == token
    assert (tmp_path / "sa/ca.crt").read_text() == "pem"
    credentials.write_kubeconfig(
        tmp_path / "kubeconfig", url="http://x:1", token_file=tmp_path / "sa/token"
    )
    config = json.loads((tmp_path / "kubeconfig").read_text())
    assert config["users"][0]["user"] == {"tokenFile": str(tmp_path / "sa/token")}


def test_nodes_are_of_a_kubelets_size_and_all_different() -> None:
    nodes = list(clusternodes.nodes(300, clusternodes.Options(dual=True)))
    sizes = [len(msgspec.json.encode(node)) for node in nodes]
    assert 9_000 < min(sizes) < max(sizes) < 12_000
    for path in ("podCIDR", "providerID"):
        assert len({node["spec"][path] for node in nodes}) == 300
    assert len({str(node["metadata"]["annotations"]) for node in nodes}) == 300
    assert nodes[7] == clusternodes.node(7, clusternodes.Options(dual=True))


def test_the_last_node_has_a_subnet_and_an_address() -> None:
    last = clusternodes.LIMIT - 1
    assert str(clusternodes.pod_cidr(last)) == "10.255.255.0/24"
    assert str(clusternodes.public_ip(last)) == "198.19.0.0"
    assert clusternodes.vtep_mac(last) == "0e:00:00:00:ff:ff"


def test_nodes_that_nobody_has_come_to_yet() -> None:
    node = clusternodes.node(1, clusternodes.Options(registered=False, assigned=False))
    assert "podCIDR" not in node["spec"]
    assert not any("flannel" in key for key in node["metadata"]["annotations"])


def test_updates_mean_nothing_to_the_network() -> None:
    names = [clusternodes.name(index) for index in range(10)]
    made = list(itertools.islice(clusternodes.updates(names), 100))
    assert {name for name, _ in made} == set(names)
    assert all(patch.keys() == {"status"} for _, patch in made)
    assert sum("images" in patch["status"] for _, patch in made) == 5
    assert len({str(patch["status"]["conditions"]) for _, patch in made}) == 100


async def test_a_server_that_is_away_keeps_its_port() -> None:
    async with ApiServer() as server:
        host, port = server.address
        await server.stop()
        with socket.socket() as other:
            with pytest.raises(OSError, match="in use"):
                other.bind((host, port))
            with pytest.raises(ConnectionRefusedError):
                other.connect((host, port))
        await server.start()
        assert server.address == (host, port)
    with socket.socket() as other:
        other.bind((host, port))
