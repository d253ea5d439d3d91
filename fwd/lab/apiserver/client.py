# SPDX-License-Identifier: Apache-2.0
"""The lab's end of the control socket: a unix socket reaches out of any network namespace."""

import socket
from pathlib import Path
from typing import Any, Final

import msgspec

from fwd.lab.apiserver.commands import Command, Outcome
from fwd.lab.errors import LabError

_PATIENCE: Final = 60.0  # seconds; a stop in order takes twenty


def ask(path: Path, command: Command) -> Any:  # noqa: ANN401 - JSON
    """Send a command and return its answer.

    Raises:
        LabError: nobody is there, or the command was refused.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(_PATIENCE)
            connection.connect(str(path))
            connection.sendall(msgspec.json.encode(command) + b"\n")
            with connection.makefile("rb") as reader:
                outcome = msgspec.json.decode(reader.readline(), type=Outcome)
    except (OSError, msgspec.DecodeError) as error:
        raise LabError(f"the API server's stand-in does not answer on {path}: {error}") from error
    if outcome.error:
        raise LabError(f"the API server's stand-in: {outcome.error}")
    return outcome.answer
