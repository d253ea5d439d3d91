# SPDX-License-Identifier: Apache-2.0
"""Run by test_agent.py in a namespace: one Plane without an agent, its results as JSON."""

import errno
import json
import sys
import time
from ipaddress import IPv4Address, IPv4Network, ip_address

from fwd.core.plan import make_plan
from fwd.model import Lease, Peer, Plan, Route
from fwd.plane import Plane, PlaneSettings
from tests.netns.agent_support import FACTS
from tests.unit.in_family import said

family = int(sys.argv[1])
facts = FACTS[family]


def lease(number: int) -> Lease:
    made = Lease(
        node=f"n{number}",
        subnet=IPv4Network((0x0A000000 + (number << 8), 24)),
        public_ip=IPv4Address(0xAC100000 + number),
        vtep_mac=b"\2\0" + number.to_bytes(4),
        vni=1,
    )
    return said(family, made)


def failure(plane: Plane, plan: Plan) -> str | None:
    try:
        plane.commit(plan)
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return None


def main() -> None:
    plane = Plane.open(
        PlaneSettings(
            device=facts.device,
            family=family,
            mac=b"\2\0\0\0\0\1",
            local=ip_address(facts.underlay("n1")),
            vni=1,
            port=8472,
            mtu=facts.mtu,
            workers=2,
        )
    )
    plane.start()
    plan = make_plan([lease(number) for number in range(5000)], family=family)
    seconds = []
    for _ in range(20):
        begin = time.perf_counter()
        plane.commit(plan)
        seconds.append(time.perf_counter() - begin)
    peer, prefix = (
        Peer(outer=ip_address(facts.underlay("n2")), mac=b"\2\0\0\0\0\2"),
        lease(1).subnet,
    )
    result = {
        "commit_seconds": min(seconds),
        "no_such_peer": failure(plane, Plan(peers=(peer,), routes=(Route(prefix, 1),))),
        "twice": failure(plane, Plan(peers=(peer,), routes=(Route(prefix, 0), Route(prefix, 0)))),
        "empty": failure(plane, Plan()),
        "workers": [len(one) for one in plane.worker_counters()],
        "counters": len(plane.counters()),
    }
    plane.close()
    plane.close()
    sys.stdout.write(json.dumps(result))


if __name__ == "__main__":
    main()
