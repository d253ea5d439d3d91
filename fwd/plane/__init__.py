# SPDX-License-Identifier: Apache-2.0
"""The C data plane as one Python object: the only package that knows cffi.

A Plane is opened (TUN queues and sockets), gets a table by commit(), and forwards once start() has
made its worker threads.  Packets never pass through Python.  What the table should hold is
`core.plan`'s business, the TUN's address and route are `node.netlink`'s.  Not thread-safe: one
control thread calls, as cext/api.h asks.

Every failure of C is a -errno and becomes one OSError whose text says what to do.
"""

# cffi's objects are of no type that mypy knows; everything that leaves this package has one.
from fwd.plane.confining import Trial, calls_limited, keep_rights, limit_calls, trials
from fwd.plane.counters import CounterInfo, CounterKind, counter_info
from fwd.plane.opening import Descriptors, device_of, probe, tap_mac, try_out
from fwd.plane.peers import NOTHING, PeerGroup, PeerTraffic
from fwd.plane.plane import EXIT_STUCK, Plane
from fwd.plane.settings import (
    ALL_OFFLOADS,
    MIN_MTU,
    Offload,
    PlaneSettings,
    SourceCheck,
    tap_of,
)
from fwd.plane.table import pack_table

__all__ = [
    "ALL_OFFLOADS",
    "EXIT_STUCK",
    "MIN_MTU",
    "NOTHING",
    "CounterInfo",
    "CounterKind",
    "Descriptors",
    "Offload",
    "PeerGroup",
    "PeerTraffic",
    "Plane",
    "PlaneSettings",
    "SourceCheck",
    "Trial",
    "calls_limited",
    "counter_info",
    "device_of",
    "keep_rights",
    "limit_calls",
    "pack_table",
    "probe",
    "tap_mac",
    "tap_of",
    "trials",
    "try_out",
]
