# SPDX-License-Identifier: Apache-2.0
"""Being told of changes, whatever there were of them before."""

import subprocess
import sys

import pytest

pytestmark = [pytest.mark.netns, pytest.mark.root]

# The loop stands while more routes come than the socket has room for.
_SCRIPT = """
import asyncio, subprocess, uvloop
from fwd.node.linkwatch import LinkWatch

MANY = "".join(f"route add 10.{n >> 8}.{n & 255}.0/24 dev lo\\n" for n in range(6000))

def ip(words, lines=None):
    subprocess.run(["ip", *words.split()], input=lines, text=True, check=True, timeout=60)

async def main():
    ip("link set lo up")
    watch = LinkWatch()
    async with asyncio.timeout(20):
        await watch.changed()
        ip("-batch -", MANY)
        await watch.changed()
        await asyncio.sleep(0.5)
        ip("link set lo down")
        await watch.changed()
        await asyncio.sleep(0.5)
        assert not watch._hint.is_set()
        ip("link set lo up")
        await watch.changed()
    watch.close()

uvloop.run(main())
"""


def test_an_overrun_is_not_the_end_of_it() -> None:
    argv = ["unshare", "--net", sys.executable, "-W", "error", "-c", _SCRIPT]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
