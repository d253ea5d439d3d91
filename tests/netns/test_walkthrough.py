# SPDX-License-Identifier: Apache-2.0
"""The commands of docs/walkthrough.md print what it says, but for what is of the moment."""

import re

import pytest

from tests.netns import walkthrough
from tests.netns.names import own
from tests.unable import require_filters

pytestmark = [pytest.mark.netns]


def of_any_moment(text: str) -> str:
    """Without times, pids and the kernel's name, and however the lines are broken."""
    for pattern, instead in (
        (r"[\d./]+ ?(ms|s)\b", "N \\1"),
        (r"pid \d+", "pid N"),
        (r"\(Linux [^)]*\)", "(Linux)"),
        (r"\d+ processes", "N processes"),
    ):
        text = re.sub(pattern, instead, text)
    return " ".join(text.split())


def test_the_walkthrough_is_true() -> None:
    require_filters()  # the doctor remarks on a module without
    page = walkthrough.PAGE.read_text()
    played = walkthrough.played(page, lab=own("wt"))
    before, after = walkthrough.blocks(page), walkthrough.blocks(played)
    assert len(before) == 6
    for said, found in zip(before, after, strict=True):
        assert of_any_moment(found) == of_any_moment(said)
