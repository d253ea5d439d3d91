# SPDX-License-Identifier: Apache-2.0
"""The messages of etcd's API v3 that a member of a flannel network sends and receives.

Names and numbers are those of etcd's rpc.proto, kv.proto and auth.proto, which no later version
changes; fields that are of no use here are left out.
"""

from typing import Annotated

from fwd.core.protobuf import Message

# Compare: which of a key's properties, and how.
EQUAL = 0
VERSION, CREATE = 0, 1
# Event.
PUT, DELETE = 0, 1


class Header(Message, frozen=True):
    """Of every answer; revision is that of the whole store."""

    revision: Annotated[int, 3] = 0


class KeyValue(Message, frozen=True):
    """A key; `lease` 0: it stays until somebody deletes it."""

    key: Annotated[bytes, 1] = b""
    create_revision: Annotated[int, 2] = 0
    mod_revision: Annotated[int, 3] = 0
    version: Annotated[int, 4] = 0
    value: Annotated[bytes, 5] = b""
    lease: Annotated[int, 6] = 0


class RangeRequest(Message, frozen=True):
    """Keys from `key` up to `range_end`, without it the one key; revision 0: the last.

    `min_created` leaves out those that were made before that revision.
    """

    key: Annotated[bytes, 1] = b""
    range_end: Annotated[bytes, 2] = b""
    limit: Annotated[int, 3] = 0
    revision: Annotated[int, 4] = 0
    min_created: Annotated[int, 12] = 0


class RangeResponse(Message, frozen=True):
    """`more`: the limit left some off."""

    header: Annotated[Header, 1] = Header()
    kvs: Annotated[tuple[KeyValue, ...], 2] = ()
    more: Annotated[bool, 3] = False
    count: Annotated[int, 4] = 0


class PutRequest(Message, frozen=True):
    """Writes one key."""

    key: Annotated[bytes, 1] = b""
    value: Annotated[bytes, 2] = b""
    lease: Annotated[int, 3] = 0


class DeleteRequest(Message, frozen=True):
    """Deletes one key."""

    key: Annotated[bytes, 1] = b""


class Operation(Message, frozen=True):
    """One of these."""

    range_: Annotated[RangeRequest | None, 1] = None
    put: Annotated[PutRequest | None, 2] = None
    delete: Annotated[DeleteRequest | None, 3] = None


class Compare(Message, frozen=True):
    """Whether a key's property is what is given; a key that is not there has zeros."""

    result: Annotated[int, 1] = EQUAL
    target: Annotated[int, 2] = VERSION
    key: Annotated[bytes, 3] = b""
    version: Annotated[int, 4] = 0
    create_revision: Annotated[int, 5] = 0


class TxnRequest(Message, frozen=True):
    """`success` if all comparisons hold, else `failure`."""

    compare: Annotated[tuple[Compare, ...], 1] = ()
    success: Annotated[tuple[Operation, ...], 2] = ()
    failure: Annotated[tuple[Operation, ...], 3] = ()


class OperationResponse(Message, frozen=True):
    """Only what a range found is of interest."""

    range_: Annotated[RangeResponse | None, 1] = None


class TxnResponse(Message, frozen=True):
    """Which of both was done."""

    header: Annotated[Header, 1] = Header()
    succeeded: Annotated[bool, 2] = False
    responses: Annotated[tuple[OperationResponse, ...], 3] = ()


class GrantRequest(Message, frozen=True):
    """A new lease, of so many seconds; id 0: etcd chooses one."""

    ttl: Annotated[int, 1] = 0
    id: Annotated[int, 2] = 0


class GrantResponse(Message, frozen=True):
    """The lease."""

    header: Annotated[Header, 1] = Header()
    id: Annotated[int, 2] = 0
    ttl: Annotated[int, 3] = 0


class LeaseRequest(Message, frozen=True):
    """A lease to be revoked, or to be kept alive."""

    id: Annotated[int, 1] = 0


class KeepAliveResponse(Message, frozen=True):
    """ttl is seconds from now; 0: there is no such lease."""

    header: Annotated[Header, 1] = Header()
    id: Annotated[int, 2] = 0
    ttl: Annotated[int, 3] = 0


class AnyResponse(Message, frozen=True):
    """An answer of which nothing is of interest but when it was given."""

    header: Annotated[Header, 1] = Header()


class AuthenticateRequest(Message, frozen=True):
    """A user."""

    name: Annotated[str, 1] = ""
    password: Annotated[str, 2] = ""


class AuthenticateResponse(Message, frozen=True):
    """What stands for the user from now on."""

    header: Annotated[Header, 1] = Header()
    token: Annotated[str, 2] = ""


class WatchCreateRequest(Message, frozen=True):
    """What happens to these keys from a revision on."""

    key: Annotated[bytes, 1] = b""
    range_end: Annotated[bytes, 2] = b""
    start_revision: Annotated[int, 3] = 0
    progress_notify: Annotated[bool, 4] = False


class WatchRequest(Message, frozen=True):
    """Begins a watch."""

    create: Annotated[WatchCreateRequest | None, 1] = None


class Event(Message, frozen=True):
    """Of a deleted key `kv` has only the key, and the revision of its end as mod_revision."""

    type: Annotated[int, 1] = PUT
    kv: Annotated[KeyValue, 2] = KeyValue()


class WatchResponse(Message, frozen=True):
    """Events, or that the watch has begun or ended, or without any of it: time has passed."""

    header: Annotated[Header, 1] = Header()
    watch_id: Annotated[int, 2] = 0
    created: Annotated[bool, 3] = False
    canceled: Annotated[bool, 4] = False
    compact_revision: Annotated[int, 5] = 0
    cancel_reason: Annotated[str, 6] = ""
    events: Annotated[tuple[Event, ...], 11] = ()


def prefix_end(prefix: bytes) -> bytes:
    """The first key behind all that begin with prefix, as range_end wants it."""
    trimmed = prefix.rstrip(b"\xff")
    return trimmed[:-1] + bytes([trimmed[-1] + 1]) if trimmed else b"\0"
