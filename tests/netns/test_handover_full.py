# SPDX-License-Identifier: Apache-2.0
"""A run directory that takes no new file."""

import subprocess
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.netns.agent_support import Cluster
from tests.netns.handover_support import nothing_is_lost
from tests.netns.names import own

pytestmark = [pytest.mark.netns, pytest.mark.root]


def test_who_finds_no_room_has_taken_nothing(tmp_path: Path) -> None:
    """For its sockets in the run directory: it is known before the first agent goes."""
    place = tmp_path / "n1"
    place.mkdir()
    with ExitStack() as stack:
        mount = ["mount", "-t", "tmpfs", "-o", "nr_inodes=60", own("full"), str(place)]
        subprocess.run(mount, check=True, timeout=10)
        stack.callback(subprocess.run, ["umount", "-l", str(place)], check=True, timeout=10)
        cluster = Cluster(tmp_path, families=(4, 6))
        stack.callback(cluster.remove)
        cluster.build()
        first, _ = cluster.started("n1"), cluster.started("n2")
        with suppress(OSError):
            for number in range(60):
                (place / f"filler{number}").touch()
        with nothing_is_lost(cluster, seconds=4):
            assert cluster.start("n1").ended() == 1
        assert first.lines("handed-over") == []
        assert cluster.reaches(cluster.n1, "n2")
