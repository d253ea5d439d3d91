# SPDX-License-Identifier: Apache-2.0
"""Which of an agent's rights go, by --confine; what becomes of a kernel that knows no filters.

That they are gone: test_rights.py, test_calls.py, and of an agent tests/netns/test_agent_rights.py.
"""

import errno
import logging

import pytest

from fwd.config import RunConfig, run_config
from fwd.core import rights
from fwd.node import confining

ADMIN, RAW = (rights.bits([one]) for one in (rights.NET_ADMIN, rights.NET_RAW))
BIND = rights.bits([rights.NET_BIND_SERVICE])


def settings(*words: str) -> RunConfig:
    return run_config(["--static-leases=leases", "--node-name=n1", *words], {})


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What would have been given up; this process goes on with all that it has."""
    found: list[object] = []
    monkeypatch.setattr(
        confining,
        "keep_rights",
        lambda *, effective, permitted: found.append((effective, permitted)),
    )
    monkeypatch.setattr(confining, "limit_calls", lambda *, refuse: found.append(refuse))
    return found


@pytest.mark.parametrize(
    ("words", "given_up"),
    [
        ((), [(ADMIN, ADMIN | RAW), True]),
        (("--confine=log",), [(ADMIN, ADMIN | RAW), False]),
        (("--confine=capabilities",), [(ADMIN, ADMIN | RAW)]),
        (("--confine=off",), []),
        (("--healthz-port=80",), [(ADMIN | BIND, ADMIN | RAW | BIND), True]),
    ],
)
def test_what_is_given_up(
    done: list[object], words: tuple[str, ...], given_up: list[object]
) -> None:
    config = settings(*words)
    confining.give_up_capabilities(config)
    confining.limit_system_calls(config)
    assert done == given_up


def test_a_kernel_without_filters_is_said_once_and_the_agent_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def lacking(*, refuse: bool) -> None:
        assert refuse
        raise OSError(errno.EINVAL, "cannot limit system calls: Invalid argument")

    monkeypatch.setattr(confining, "limit_calls", lacking)
    with caplog.at_level(logging.WARNING):
        confining.limit_system_calls(settings())
    (line,) = caplog.messages
    assert line.startswith("event=calls-not-limited error=")
