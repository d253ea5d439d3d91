# SPDX-License-Identifier: Apache-2.0
"""How far a watch has told everything, by a real etcd that is behind with it."""

from pathlib import Path

from fwd.core import etcdrpc as rpc
from fwd.sources.etcdapi import EtcdApi
from fwd.sources.etcdwatch import reached
from tests.etcd_server import SUBNETS, EtcdServer
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


def test_time_that_passes_is_told_by_the_header() -> None:
    assert reached(rpc.WatchResponse(header=rpc.Header(revision=7))) == 7
