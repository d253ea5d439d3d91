# SPDX-License-Identifier: Apache-2.0
"""The words of a hand-over: read back as they were said, and nothing else is taken for one."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwd.core import handovertalk as talk

KIT = talk.Kit(
    device="flannel.1",
    family=4,
    mac=bytes(range(6)),
    local="192.168.50.1",
    vni=1,
    port=8472,
    mtu=1450,
    workers=2,
    offloads=63,
    granted=63,
    queues=2,
    sources=16,
    source_check=2,
    icmp_rate=100,
)
MESSAGES: tuple[talk.Message, ...] = (
    talk.Hello(node="n1", release="0.1.0", oldest=1, newest=1),
    talk.Welcome(node="n1", release="0.1.0", version=1),
    talk.Refused(reason="no"),
    talk.Show(),
    KIT,
    talk.Shown(kits=1),
    talk.Stop(device="flannel.1"),
    talk.Stopped(device="flannel.1", counters={"out_sent": 1}, learned=bytes(range(256))),
    talk.Release(device="flannel.1"),
    talk.Released(device="flannel.1"),
    talk.Done(),
    talk.Bye(),
)


@pytest.mark.parametrize("message", MESSAGES, ids=lambda one: type(one).__name__)
def test_a_message_is_read_as_it_was_said(message: talk.Message) -> None:
    assert talk.decode(talk.encode(message)) == message


@pytest.mark.parametrize("message", MESSAGES, ids=lambda one: type(one).__name__)
def test_what_a_later_version_adds_is_ignored(message: talk.Message) -> None:
    fields = json.loads(talk.encode(message)) | {"later": [{"deep": None}], "x": "y"}
    assert talk.decode(json.dumps(fields).encode()) == message


def test_the_largest_message_fits() -> None:
    learned = bytes(70_000)  # somewhat more than C has
    counters = {f"a_counter_of_some_length_{i}": 2**64 - 1 for i in range(200)}
    message = talk.Stopped(device="flannel-v6.1", counters=counters, learned=learned)
    assert len(talk.encode(message)) < talk.MOST_BYTES


@given(st.binary(max_size=400) | st.text(max_size=200).map(lambda text: text.encode("utf-8")))
def test_anything_else_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="no message of ours"):
        talk.decode(data)


@given(st.sampled_from(MESSAGES), st.data())
def test_a_damaged_message_is_refused_or_is_one(message: talk.Message, data: st.DataObject) -> None:
    bytes_ = bytearray(talk.encode(message))
    at = data.draw(st.integers(0, len(bytes_) - 1))
    bytes_[at] = data.draw(st.integers(0, 255))
    try:
        assert isinstance(talk.decode(bytes(bytes_)), talk.Message)
    except ValueError as error:
        assert "no message of ours" in str(error)  # noqa: PT017 - either is right


def test_nesting_without_end_is_refused() -> None:
    with pytest.raises(ValueError, match="no message of ours"):
        talk.decode(b'{"kind":"show","x":' + b"[" * 90_000)


@pytest.mark.parametrize(
    ("oldest", "newest", "spoken"),
    [(1, 1, 1), (1, 2, 1), (0, 1, 1), (2, 3, None), (0, 0, None), (3, 1, None)],
)
def test_the_highest_version_of_both_is_spoken(
    oldest: int, newest: int, spoken: int | None
) -> None:
    hello = talk.Hello(node="n1", release="9", oldest=oldest, newest=newest)
    assert talk.agree(hello) == spoken
