# SPDX-License-Identifier: Apache-2.0
"""A kernel node's key in a real etcd, which has to outlast its lease."""

import itertools
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import pytest

from fwd.lab import kerneletcd
from fwd.lab.etcdclient import SUBNETS, Change, Etcd
from tests.etcd_server import EtcdServer

LIMIT = 20.0
KEY = "10.244.2.0-24"
VALUE = '{"PublicIP":"192.168.50.2"}'
THERE = Change(SUBNETS + KEY, VALUE)
SHORT = "it._DAY, it._MARGIN = 4, 3"


@contextmanager
def running(etcd: EtcdServer, *, first: str = "") -> Iterator[None]:
    """An agent that has published; as there is no other node, it needs no namespace."""
    words = ["--url", etcd.url, "--node", "n2", "--namespace", "none"]
    words += ["--key", KEY, "--value", VALUE]
    script = f"from fwd.lab import kerneletcd as it\n{first}\nit.main({words})"
    argv = [sys.executable, "-c", script]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "programs node=n2\n"
            yield
        finally:
            process.kill()


def delete(etcd: EtcdServer) -> None:
    Etcd(etcd.url).delete(SUBNETS + KEY)


def lose_all(etcd: EtcdServer) -> None:
    etcd.stop()
    shutil.rmtree(etcd.data)
    etcd.start()


def lease_of_key(etcd: EtcdServer) -> int:
    """Waits until the key is there, with a lease."""
    deadline = time.monotonic() + LIMIT
    while KEY not in etcd.leases():
        assert time.monotonic() < deadline, "no key"
        time.sleep(0.02)
    found = etcd.lease_id(KEY)
    assert found
    return found


def test_flannels_day_and_margin() -> None:
    assert (kerneletcd._DAY, kerneletcd._MARGIN) == (86400, 3600)


def test_a_lease_is_renewed_before_it_ends(etcd: EtcdServer) -> None:
    client = Etcd(etcd.url)
    with running(etcd, first=SHORT):
        leases = {lease_of_key(etcd)}
        with closing(client.watch(SUBNETS, after=client.list(SUBNETS)[1])) as watch:
            for change in itertools.islice(watch, 5):  # for longer than the first lease lasts
                assert change == THERE
                leases.add(lease_of_key(etcd))
    assert len(leases) > 2


@pytest.mark.parametrize("lose", [delete, lose_all])
def test_a_key_that_is_gone_is_put_back(
    etcd: EtcdServer, lose: Callable[[EtcdServer], None]
) -> None:
    with running(etcd):
        before = lease_of_key(etcd)
        lose(etcd)
        assert lease_of_key(etcd) != before
    assert etcd.leases() == {KEY: VALUE}
