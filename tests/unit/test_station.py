# SPDX-License-Identifier: Apache-2.0
"""Which of an operator's words about addresses wins: in what is published, and in the choice.

The document has two (flannel spec 3.2, 3.3): public-ip-overwrite is published whatever else is
said; node-public-ip acts like --public-ip, and beats it.

Excluded: the choice of the interface itself (tests/netns/test_underlay.py).
"""

from ipaddress import ip_address, ip_network
from itertools import product
from pathlib import Path

import pytest

from fwd.config import run_config
from fwd.model import OwnLease
from fwd.node import netlink, station, underlay
from fwd.node.rundir import RunDir
from tests.unit.in_family import EACH_FAMILY, said
from tests.unit.kube_member import CONF

OVERWRITE, ANNOTATION, FLAG = "203.0.113.1", "192.168.7.1", "192.168.8.1"
FOUND = "192.168.0.1"
"""On the interface."""


@EACH_FAMILY
@pytest.mark.parametrize(
    "given", [*product([OVERWRITE, None], [ANNOTATION, None], [FLAG, None])], ids=str
)
async def test_overwrite_then_annotation_then_flag_then_the_interface(
    family: int,
    given: tuple[str | None, str | None, str | None],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    overwrite, annotation, flag = (said(family, one) for one in given)
    name = "--public-ip" if family == 4 else "--public-ipv6"
    words = [f"{name}={flag}"] if flag else []
    config = run_config([*words, "--static-leases=x", "--node-name=n1"], {})
    own = OwnLease(
        "n1",
        ip_network(said(family, "10.244.1.0/24")),
        public_ip=ip_address(overwrite) if overwrite else None,
        underlay_ip=ip_address(annotation) if annotation else None,
    )
    address = ip_address(said(family, FOUND))
    asked: list[underlay.Selection] = []
    here = underlay.Underlay(name="eth0", index=2, address=address, mtu=1500)

    def choose(selection: underlay.Selection) -> underlay.Underlay:
        asked.append(selection)
        return here

    monkeypatch.setattr(underlay, "choose", choose)
    monkeypatch.setattr(netlink, "find_device", lambda _: None)
    run_dir = RunDir.open(tmp_path)
    try:
        made = await station.find_station(own, config, CONF[(family,)], run_dir)
    finally:
        run_dir.close()
    selects = annotation or flag
    wanted = overwrite or selects or said(family, FOUND)
    assert made.lease.public_ip == ip_address(wanted)
    (selection,) = asked
    assert selection.public_ip == (ip_address(selects) if selects else None)
