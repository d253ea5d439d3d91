# SPDX-License-Identifier: Apache-2.0
"""An operator's words that mean no interface; with real ones it is tests/netns/test_underlay.py."""

import pytest

from fwd.model import IPV4, IPV6
from fwd.node import interfaces
from fwd.node.interfaces import Miss, Selection

BROKEN = {
    "no syntax": "(",
    "of Go": "[[:digit:]]",
    "flags in the middle": "e(?i)th",
    "a set to come": "[[a]",
    "a repetition too large": "a{99999999999}",
    "a number too long to read": "a{" + "9" * 5000 + "}",
    "nested too deeply": "(" * 3000 + ")" * 3000,
}


@pytest.mark.parametrize("family", [IPV4, IPV6])
@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
def test_a_pattern_that_cannot_be_compiled_is_a_miss(text: str, family: int) -> None:
    with pytest.raises(Miss) as raised:
        interfaces.matching(text, Selection(family=family))
    said = f"could not compile the IP address regex '{text}': "
    assert str(raised.value).startswith(said)
    assert len(str(raised.value)) > len(said)
