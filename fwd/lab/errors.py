# SPDX-License-Identifier: Apache-2.0
"""The one error a person sees, and the interruption that must not skip the cleaning up."""


class LabError(Exception):
    """One line: what is wrong and what to do about it.

    Attributes:
        detail: lines of somebody else (an agent's log) that show why; printed above the one line.
    """

    def __init__(self, message: str, *, detail: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.detail = detail


class NoVxlanError(LabError):
    """A kernel node was asked for on a machine for whose kernel fwd is there."""

    def __init__(self) -> None:
        super().__init__("this kernel has no vxlan device")


class Interrupted(KeyboardInterrupt):
    """A signal asked the command to end.

    A ``KeyboardInterrupt``, because whatever cleans up after Ctrl-C is right for SIGTERM and SIGHUP
    too, and nothing that catches ``Exception`` may swallow it.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum
