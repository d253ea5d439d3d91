# SPDX-License-Identifier: Apache-2.0
"""The requests that a member of a flannel network makes of etcd, and nothing else of it.

What the answers mean is `core`'s, when to ask again `sources.contact`'s.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from fwd.core import etcdrpc as rpc
from fwd.sources.contact import ServerError
from fwd.sources.etcdaccess import EtcdAccess
from fwd.sources.etcdlink import EtcdLink, EtcdPatience, Refused, Unreachable

_PAGE = 500
"""Keys: some 110 kB."""
_TURNS = 3
"""Of the event loop, until what was closed is."""
_GOODBYE_SECONDS = 0.25
"""As aiohttp has it: TLS is closed when the other side has said so, and nobody tells us that."""


class Compacted(ServerError):  # noqa: N818 - read as "raise Compacted"
    """What happened since that revision is not known any more."""


class EtcdApi:
    """Every request raises ServerError; ConfigError for certificates that cannot be used any more.

    `doing` is what a failure says that could not be done.
    """

    def __init__(self, access: EtcdAccess, *, patience: EtcdPatience | None = None) -> None:
        self._link = EtcdLink(access, patience=patience)

    @property
    def server(self) -> str:
        """The endpoint in use."""
        return self._link.server

    def reconnect(self) -> None:
        """Closes the connection; the next request makes a new one."""
        self._link.close()

    async def close(self) -> None:
        """Closes the connection, and lets its transport see that."""
        self._link.close()
        for _ in range(_TURNS):
            await asyncio.sleep(0)
        if self.server.startswith("https:"):
            await asyncio.sleep(_GOODBYE_SECONDS)

    async def get(self, key: str) -> rpc.KeyValue | None:
        """One key."""
        found = await self._range(rpc.RangeRequest(key.encode(), limit=1), doing=f"read {key}")
        return found.kvs[0] if found.kvs else None

    async def list(self, prefix: str) -> tuple[list[rpc.KeyValue], int]:
        """All keys that begin with prefix, as they were at one revision, and that revision."""
        start, end = prefix.encode(), rpc.prefix_end(prefix.encode())
        found: list[rpc.KeyValue] = []
        revision = 0
        while True:
            request = rpc.RangeRequest(start, end, _PAGE, revision)
            page = await self._range(request, doing=f"list {prefix}")
            found += page.kvs
            revision = revision or page.header.revision
            if not page.more or not page.kvs:
                return found, revision
            start = page.kvs[-1].key + b"\0"

    async def transact(self, request: rpc.TxnRequest, *, doing: str) -> rpc.TxnResponse:
        """All or nothing."""
        return await self._link.ask("KV/Txn", request, rpc.TxnResponse, doing=doing)

    async def grant(self, seconds: int) -> rpc.GrantResponse:
        """A new lease."""
        request = rpc.GrantRequest(ttl=seconds)
        doing = "get a lease"
        return await self._link.ask("Lease/LeaseGrant", request, rpc.GrantResponse, doing=doing)

    async def revoke(self, lease_id: int) -> int:
        """Ends a lease, and the keys that hang on it; returns the revision since which."""
        request = rpc.LeaseRequest(lease_id)
        doing = "revoke a lease"
        answer = await self._link.ask("Lease/LeaseRevoke", request, rpc.AnyResponse, doing=doing)
        return answer.header.revision

    async def keep_alive(self, lease_id: int) -> int:
        """The seconds that the lease has from now on; 0: there is no such lease."""
        answers = self._link.stream(
            "Lease/LeaseKeepAlive",
            rpc.LeaseRequest(lease_id),
            rpc.KeepAliveResponse,
            doing="keep the lease alive",
        )
        async with aclosing(answers):
            async for answer in answers:
                if answer is not None:
                    return answer.ttl
        return 0

    async def watch(
        self, prefix: str, *, after: int
    ) -> AsyncGenerator[rpc.WatchResponse | None, None]:
        """What happens after a revision to keys that begin with prefix; None: nothing for a while.

        Ends by an error only; Compacted where what happened is not known any more.
        """
        end = rpc.prefix_end(prefix.encode())
        create = rpc.WatchCreateRequest(prefix.encode(), end, after + 1, progress_notify=True)
        doing = f"watch {prefix}"
        answers = self._link.stream(
            "Watch/Watch", rpc.WatchRequest(create), rpc.WatchResponse, doing=doing
        )
        async with aclosing(answers):
            async for answer in answers:
                if answer is not None and answer.compact_revision:
                    raise Compacted(f"cannot {doing}: the store was compacted meanwhile")
                if answer is not None and answer.canceled:
                    self._link.forget_token()  # it may be that, and a new one costs little
                    raise Refused(f"cannot {doing}: {answer.cancel_reason or 'etcd ended it'}")
                yield answer
        raise Unreachable(f"cannot {doing}: {self.server} ended it")

    async def _range(self, request: rpc.RangeRequest, *, doing: str) -> rpc.RangeResponse:
        return await self._link.ask("KV/Range", request, rpc.RangeResponse, doing=doing)
