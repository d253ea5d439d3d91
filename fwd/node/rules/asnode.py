# SPDX-License-Identifier: Apache-2.0
"""`iptables` by the back end that the node uses: for a person in the container, not for the agent.

python -m fwd.node.rules.asnode NAME [ARGUMENTS]: NAME is iptables, ip6tables, or one of these with
-save or -restore, as which the program that is run sees itself.  Without it, `iptables -S` in the
container shows an empty table while the agent and kube-proxy have filled another.
"""

import asyncio
import os
import sys
from collections.abc import Sequence

from fwd.model import FwdError
from fwd.node.rules import backend
from fwd.node.rules.programs import find


def program(name: str, back_end: str) -> str:
    """iptables-save and nft are iptables-nft-save."""
    command, _, action = name.partition("-")
    return "-".join(word for word in (command, back_end, action) if word)


async def back_end() -> str:
    """Raises FwdError where it cannot be known: a person shall not take one table for the other."""
    engines = await backend.installed()
    return (await backend.in_use(engines)).back_end if engines else "nft"


def main(argv: Sequence[str]) -> int:
    """Becomes the program; returns only if it cannot."""
    name = os.path.basename(argv[0])  # noqa: PTH119 - a name, not a file
    try:
        chosen = program(name, asyncio.run(back_end()))
    except FwdError as error:
        sys.stderr.write(f"{name}: {error}\n")
        return 1
    if (path := find(chosen)) is not None:
        os.execv(path, [chosen, *argv[1:]])  # noqa: S606 - no shell on purpose
    sys.stderr.write(f"{name}: {chosen} is not installed\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
