# SPDX-License-Identifier: Apache-2.0
"""Keys of leases made, changed and deleted: each a transaction, each noted in the table at once.

A transaction makes a key only if there is none, and changes or deletes it only if it is the one
that the table has, by its create_revision; so a key of somebody who has made it since is not
overwritten, and a lost race is seen as one; then it tells what there is instead.  Whatever else was
written into our own key is overwritten, as flannel does.  The watch says it all again later, which
changes nothing.
"""

from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from fwd.core import etcdrpc as rpc
from fwd.core.etcdtable import Entry, LeaseTable
from fwd.sources.contact import NoAnswer, ServerError
from fwd.sources.etcdapi import EtcdApi
from fwd.sources.etcdlink import Refused

_UNSURE = 16
"""Leases: of more than that the oldest ones end by themselves, after a day."""


class LeaseKeys:
    """`learned` is called when the table changed by it.  Everything raises ServerError."""

    def __init__(self, api: EtcdApi, table: LeaseTable, *, learned: Callable[[], None]) -> None:
        self._api = api
        self._table = table
        self._learned = learned
        self._unsure: deque[int] = deque(maxlen=_UNSURE)
        """Leases on which a key may hang: nobody said what became of it."""

    async def create(self, name: str, value: bytes, *, ttl: int) -> Entry | None:
        """A key with a new lease of so many seconds; None: somebody has it by now.

        The table has all keys then that were made before this one.
        """
        key, prefix = self._table.key(name), self._table.prefix
        others = rpc.RangeRequest(
            prefix, rpc.prefix_end(prefix), min_created=self._table.complete_to + 1
        )
        async with self._lease(ttl) as lease_id:
            answer = await self._api.transact(
                rpc.TxnRequest(
                    compare=(rpc.Compare(target=rpc.VERSION, key=key, version=0),),
                    success=(
                        rpc.Operation(put=rpc.PutRequest(key, value, lease_id)),
                        rpc.Operation(range_=others),
                    ),
                    failure=(rpc.Operation(range_=rpc.RangeRequest(key)),),
                ),
                doing="take a subnet",  # without its name: the next try may be for another one
            )
        if not answer.succeeded:
            await self._api.revoke(lease_id)
            self._learn(answer, key)
            return None
        for kv in _found(answer):  # this one among them
            self._table.put(kv)
        self._learned()
        await self._revoke_unsure()
        return self._table.entry(name)

    async def write(self, entry: Entry, value: bytes, *, lease_id: int) -> bool:
        """Another value, or lease.  False: the key is gone, or was made anew since."""
        key = self._table.key(entry.name)
        put = rpc.Operation(put=rpc.PutRequest(key, value, lease_id))
        answer = await self._change(entry, put, doing=f"write the lease {entry.name}")
        if answer.succeeded:
            at = answer.header.revision
            self._table.put(rpc.KeyValue(key, entry.created, at, value=value, lease=lease_id))
            self._learned()
        return answer.succeeded

    async def delete(self, entry: Entry) -> bool:
        """False: the key was gone already, or was made anew since."""
        key = self._table.key(entry.name)
        delete = rpc.Operation(delete=rpc.DeleteRequest(key))
        answer = await self._change(entry, delete, doing=f"delete the lease {entry.name}")
        gone = rpc.KeyValue(key, mod_revision=answer.header.revision)
        if answer.succeeded and self._table.delete(gone):
            self._learned()
        return answer.succeeded

    async def withdraw(self, entry: Entry) -> None:
        """Ends a key that was made just now, and its lease, which nobody else has."""
        gone = await self._api.revoke(entry.lease_id)
        if self._table.delete(rpc.KeyValue(self._table.key(entry.name), mod_revision=gone)):
            self._learned()

    async def keep_alive(self, entry: Entry, *, ttl: int) -> bool:
        """Renews the key's lease; replaces one that is not of so many seconds.

        False: the key is gone, or was made anew since.
        """
        if await self._api.keep_alive(entry.lease_id) == ttl:
            return True
        async with self._lease(ttl) as lease_id:
            is_written = await self.write(entry, entry.value, lease_id=lease_id)
        if not is_written:
            await self._api.revoke(lease_id)
        return is_written

    @asynccontextmanager
    async def _lease(self, ttl: int) -> AsyncIterator[int]:
        """A new lease, which ends again if etcd refuses the key that was to hang on it.

        After no answer the key may be there; then it is found by its address, and goes on with this
        lease.
        """
        lease_id = (await self._api.grant(ttl)).id
        try:
            yield lease_id
        except ServerError as error:
            if isinstance(error, Refused) and not error.may_be_done:
                with suppress(ServerError):
                    await self._api.revoke(lease_id)
            else:
                self._unsure.append(lease_id)
            raise

    async def _revoke_unsure(self) -> None:
        """Once this node's key hangs on a new lease: nothing that is in use hangs on these then.

        What is left over goes, and a put that is still on its way fails.
        """
        with suppress(NoAnswer):
            while self._unsure:
                with suppress(Refused):  # it is gone already
                    await self._api.revoke(self._unsure[0])
                self._unsure.popleft()

    async def _change(
        self, entry: Entry, operation: rpc.Operation, *, doing: str
    ) -> rpc.TxnResponse:
        key = self._table.key(entry.name)
        is_same = rpc.Compare(target=rpc.CREATE, key=key, create_revision=entry.created)
        answer = await self._api.transact(
            rpc.TxnRequest(
                compare=(is_same,),
                success=(operation,),
                failure=(rpc.Operation(range_=rpc.RangeRequest(key)),),
            ),
            doing=doing,
        )
        if not answer.succeeded:
            self._learn(answer, key)
        return answer

    def _learn(self, answer: rpc.TxnResponse, key: bytes) -> None:
        """What a transaction found in place of what it wanted."""
        found = _found(answer)
        gone = rpc.KeyValue(key, mod_revision=answer.header.revision)
        if self._table.put(found[0]) if found else self._table.delete(gone):
            self._learned()


def _found(answer: rpc.TxnResponse) -> list[rpc.KeyValue]:
    return [kv for one in answer.responses if one.range_ for kv in one.range_.kvs]
