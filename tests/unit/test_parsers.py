# SPDX-License-Identifier: Apache-2.0
"""Every parser of bytes from outside, given what is nearly right: a value, or the error it names.

Each example is one that somebody could have written; it is cut, doubled, and changed byte by byte.
What the fuzzer found once is given to each again (tests/fuzz/corpus/parsers).
"""

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.parsers import CORPUS, PARSERS

EACH = pytest.mark.parametrize("what", PARSERS)


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """Some bytes changed, a piece cut out or doubled, something put in."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        to = draw(st.integers(at, min(len(data), at + 16)))
        data[at:to] = draw(
            st.one_of(
                st.just(b""),
                st.just(bytes(data[at:to]) * 2),
                st.binary(max_size=8),
                st.sampled_from([b"null", b"-1", b"1e400", b"[[[[", b'"', b"\xff", b"9" * 400]),
            )
        )
    return bytes(data)


@EACH
@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.data())
def test_nearly_right_is_a_value_or_an_error(what: str, data: st.DataObject) -> None:
    parser = PARSERS[what]
    parser(data.draw(damaged(data.draw(st.sampled_from(parser.seeds)))))


@EACH
@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=200))
@example(b"")
@example(b"[" * 100_000)
@example(b"9" * 5000)
def test_anything_is_a_value_or_an_error(what: str, data: bytes) -> None:
    PARSERS[what](data)


@EACH
def test_what_is_right_raises_nothing(what: str) -> None:
    """Else the fuzzer would begin at a door that is shut."""
    for seed in PARSERS[what].seeds[:1]:
        PARSERS[what].parse(seed)


@EACH
def test_what_was_found_once(what: str) -> None:
    for path in (CORPUS / what).glob("*"):
        PARSERS[what](path.read_bytes())


def test_the_corpus_is_there() -> None:
    assert len(list(CORPUS.glob("*/*"))) > 100
