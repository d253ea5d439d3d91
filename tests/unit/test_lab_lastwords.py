# SPDX-License-Identifier: Apache-2.0
"""Which line of a log is shown for why a program is not ready."""

import pytest

from fwd.lab import lastwords

SETTINGS = "time=2026-11-29T17:23:37.217Z level=info event=settings node-name=n1 pod="
INFO = "time=2026-11-29T17:23:37.928Z level=info event=api-server-connected"
WARNING = 'time=2026-11-29T17:23:37.928Z level=warning event=not-connected error="no route"'
JSON = '{"time": "2026-11-29T17:23:37.217Z", "level": "info", "event": "settings", "pod": ""}'
JSON_WARNING = '{"time": "2026-11-29T17:23:38.086Z", "level": "error", "event": "x"}'


@pytest.mark.parametrize(
    ("lines", "wanted"),
    [
        ([SETTINGS, INFO], INFO),
        ([SETTINGS, WARNING, INFO], WARNING),
        ([JSON, JSON_WARNING, INFO], JSON_WARNING),
        ([INFO, SETTINGS], INFO),
        ([WARNING, "fwd run: no interface eth7"], "fwd run: no interface eth7"),
        (
            ['{"level":"warn","msg":"slow"}', '{"level":"info","msg":"ok"}'],
            '{"level":"warn","msg":"slow"}',
        ),
        ([SETTINGS], ""),
        ([JSON], ""),
        ([], ""),
    ],
)
def test_the_line_that_tells_most(lines: list[str], wanted: str) -> None:
    assert lastwords.telling(lines) == wanted
