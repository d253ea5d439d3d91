# SPDX-License-Identifier: Apache-2.0
"""How many queues of the TUN there are, and the names that follow from a device's."""

import pytest

from fwd.core.handovertalk import MOST_DESCRIPTORS
from fwd.core.netconf import VxlanConf
from fwd.core.rules import FAMILIES, TAPS
from fwd.plane.settings import queues_of_each, tap_of
from fwd.runflags import MAX_WORKERS


@pytest.mark.parametrize(("workers", "queues"), [(1, 8), (8, 8), (9, 7), (16, 4), (33, 1), (64, 1)])
def test_queues_of_each_worker(workers: int, queues: int) -> None:
    assert queues_of_each(workers) == queues


def test_all_descriptors_fit_a_message_whatever_the_number_of_workers() -> None:
    for workers in range(1, MAX_WORKERS + 1):
        tun, listen, source, tap = workers * queues_of_each(workers), workers, 16, 1
        assert tun + listen + source + tap <= MOST_DESCRIPTORS


@pytest.mark.parametrize("family", FAMILIES)
def test_the_forward_rule_is_about_the_tap(family: int) -> None:
    assert tap_of(VxlanConf(vni=4711).device(family)) == f"{TAPS[family]}4711"
