# SPDX-License-Identifier: Apache-2.0
"""What a watch asks of etcd, and how far it has told everything, by a real one that is behind."""

from contextlib import aclosing
from pathlib import Path
from typing import Any

from grpclib.const import Cardinality, Handler
from grpclib.encoding.base import CodecBase
from grpclib.events import RecvRequest, listen
from grpclib.server import Server, Stream

from fwd.core import etcdrpc as rpc
from fwd.core.protobuf import encode
from fwd.sources.etcdaccess import make_access
from fwd.sources.etcdapi import EtcdApi
from fwd.sources.etcdwatch import reached
from tests.etcd_server import SUBNETS, EtcdServer
from tests.ports import free_port
from tests.unit.etcd_member import access, close

MANY = 1100
"""Revisions: etcd sends a thousand at once to a watch that begins in the past."""


async def test_a_watch_is_complete_up_to_where_it_says_and_no_header_counts(tmp_path: Path) -> None:
    etcd = EtcdServer(tmp_path / "etcd")
    etcd.start()
    api = EtcdApi(access(etcd))
    try:
        _, begin = await api.list(SUBNETS)
        put = rpc.Operation(put=rpc.PutRequest(f"{SUBNETS}10.5.1.0-24".encode()))
        for _ in range(MANY):
            await api.transact(rpc.TxnRequest(success=(put,)), doing="write")
        count, headers = 0, 0
        async for answer in api.watch(SUBNETS, after=begin):
            assert answer is not None
            count += len(answer.events)
            assert reached(answer) == (begin + count if answer.events else 0)
            headers += answer.header.revision > begin + count
            if count == MANY:
                break
        assert headers, "no header was ahead: this test proves nothing"
    finally:
        await close(api)
        etcd.stop()


class Bytes(CodecBase):
    """Messages as they are on the wire."""

    __content_subtype__ = "proto"

    def encode(self, message: Any, message_type: Any) -> bytes:  # noqa: ANN401, ARG002
        return bytes(message)

    def decode(self, data: bytes, message_type: Any) -> Any:  # noqa: ANN401, ARG002
        return data


class LeaderlessMember:
    """As much of an etcd as a watch needs."""

    async def _watch(self, stream: Stream[bytes, bytes]) -> None:
        await stream.recv_message()
        await stream.send_message(encode(rpc.WatchResponse(header=rpc.Header(revision=7))))

    def __mapping__(self) -> dict[str, Handler]:
        handler = Handler(self._watch, Cardinality.STREAM_STREAM, bytes, bytes)
        return {"/etcdserverpb.Watch/Watch": handler}


async def test_a_member_that_has_lost_the_others_is_to_end_the_watch() -> None:
    """etcd's name for that is metadata of the request: a watch would just fall silent else."""
    seen: list[dict[str, Any]] = []

    async def note(request: RecvRequest) -> None:
        seen.append(dict(request.metadata))

    server, port = Server([LeaderlessMember()], codec=Bytes()), free_port()
    listen(server, RecvRequest, note)
    await server.start("127.0.0.1", port)
    api = EtcdApi(make_access((f"http://127.0.0.1:{port}",)))
    try:
        async with aclosing(api.watch(SUBNETS, after=6)) as answers:
            first = await anext(answers)
    finally:
        await close(api)
        server.close()
        await server.wait_closed()
    assert first is not None
    assert reached(first) == 7
    assert [one.get("hasleader") for one in seen] == ["true"]


def test_time_that_passes_is_told_by_the_header() -> None:
    assert reached(rpc.WatchResponse(header=rpc.Header(revision=7))) == 7
