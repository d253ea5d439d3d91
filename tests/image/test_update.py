# SPDX-License-Identifier: Apache-2.0
"""A rolling update with maxSurge: the new Pod begins beside the old one, and TCP flows on."""

from collections.abc import Iterator

import pytest

from fwd.lab.flow import Flow
from fwd.lab.probes import Route
from tests.deploy.rendering import BASE, only, rendered
from tests.image.cluster import ImageLab, built, wait_reached
from tests.image.kubelet import start


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ImageLab]:
    with built(tmp_path_factory.mktemp("update")) as made:
        yield made


def test_no_answer_of_a_tcp_flow_waits_for_a_second_while_a_pod_is_replaced(lab: ImageLab) -> None:
    strategy = only(rendered(BASE), "DaemonSet")["spec"]["updateStrategy"]["rollingUpdate"]
    assert strategy == {"maxSurge": 1, "maxUnavailable": 0}
    old, other = (start(machine, rendered(BASE)) for machine in lab.machines)
    one, two, _ = lab.plan.nodes
    address = str(lab.plan.plans[0].pod(two.index, 1).ip)
    source, target = one.pods[0].namespace, two.pods[0].namespace
    route = Route(source, target, address, family=4, mtu=lab.plan.pod_mtu)
    wait_reached(route, (old, other))
    with Flow(source, target, address) as flow:
        for before in (old, other):
            machine = before.machine
            new = start(machine, rendered(BASE), generation="b")
            new.wait_ready()
            assert "taken-over" in new.log(), "and else its probes are the old one's"
            before.stop()
        course = flow.end()
    print(course)
    assert course.longest < 1
