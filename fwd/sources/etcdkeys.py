# SPDX-License-Identifier: Apache-2.0
"""Keys of leases made, changed and deleted: each a transaction, each noted in the table at once.

A transaction holds only if the key is what the table says that it is, so nobody's key is
overwritten, and a lost race is seen as one; then it tells what there is instead.  The watch says it
all again later, which changes nothing.
"""

from collections.abc import Callable

from fwd.core import etcdrpc as rpc
from fwd.core.etcdtable import Entry, LeaseTable
from fwd.sources.etcdapi import EtcdApi


class LeaseKeys:
    """`learned` is called when the table changed by it.  Everything raises ServerError."""

    def __init__(self, api: EtcdApi, table: LeaseTable, *, learned: Callable[[], None]) -> None:
        self._api = api
        self._table = table
        self._learned = learned

    async def create(self, name: str, value: bytes, *, ttl: int) -> Entry | None:
        """A key with a new lease of so many seconds; None: somebody has it by now.

        The table has all keys then that were made before this one.
        """
        grant = await self._api.grant(ttl)
        key, prefix = self._table.key(name), self._table.prefix
        others = rpc.RangeRequest(
            prefix, rpc.prefix_end(prefix), min_created=self._table.complete_to + 1
        )
        answer = await self._api.transact(
            rpc.TxnRequest(
                compare=(rpc.Compare(target=rpc.VERSION, key=key, version=0),),
                success=(
                    rpc.Operation(put=rpc.PutRequest(key, value, grant.id)),
                    rpc.Operation(range_=others),
                ),
                failure=(rpc.Operation(range_=rpc.RangeRequest(key)),),
            ),
            doing=f"take the subnet {name}",
        )
        if not answer.succeeded:
            await self._api.revoke(grant.id)
            self._learn(answer, key)
            return None
        for kv in _found(answer):  # this one among them
            self._table.put(kv)
        self._learned()
        return self._table.entry(name)

    async def write(self, entry: Entry, value: bytes, *, lease_id: int) -> bool:
        """Another value, or lease.  Whether the key was still what it was."""
        key = self._table.key(entry.name)
        put = rpc.Operation(put=rpc.PutRequest(key, value, lease_id))
        answer = await self._change(entry, put, doing=f"write the lease {entry.name}")
        if answer.succeeded:
            at = answer.header.revision
            self._table.put(rpc.KeyValue(key, entry.created, at, value=value, lease=lease_id))
            self._learned()
        return answer.succeeded

    async def delete(self, entry: Entry) -> bool:
        """Whether the key was still what it was."""
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

        False: the key is not what it was.
        """
        if await self._api.keep_alive(entry.lease_id) == ttl:
            return True
        grant = await self._api.grant(ttl)
        if await self.write(entry, entry.value, lease_id=grant.id):
            return True
        await self._api.revoke(grant.id)
        return False

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
