# SPDX-License-Identifier: Apache-2.0
"""A result as one HTML file: the plots, and below them the same tables as on a terminal.

Nothing in it is fetched from elsewhere.
"""

import html
import io
from collections.abc import Iterator
from typing import Final

from rich.console import Console

from fwd.bench import plots, report
from fwd.bench.report import Result

_COLUMNS: Final = 150  # of the tables, in letters
_STYLE: Final = """
body { font: 15px/1.4 sans-serif; margin: 2em auto; max-width: 80em; padding: 0 1em; }
svg { height: auto; max-width: 100%; }
pre { font-size: 12px; line-height: 1.25; overflow-x: auto; }
"""


def render(result: Result) -> str:
    """The whole document."""
    return "".join(f"{line}\n" for line in _lines(result))


def _lines(result: Result) -> Iterator[str]:
    title = f"fwd bench, {result.machine.time}"
    yield "<!doctype html>"
    yield '<html lang="en"><head><meta charset="utf-8">'
    yield f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head><body>"
    yield f"<h1>{html.escape(title)}</h1>"
    summaries = report.summaries(result)
    metrics = [metric for _, metric in result.metrics]
    for underlay in dict.fromkeys(one.underlay for one in summaries):
        yield f"<h2>{html.escape(report.title(result, underlay))}</h2>"
        own = [one for one in summaries if one.underlay == underlay]
        yield plots.svg(own, metrics, baseline=result.baseline)
    yield f"<h2>All figures</h2><pre>{_tables(result)}</pre>"
    yield "</body></html>"


def _tables(result: Result) -> str:
    """What the terminal shows, as HTML."""
    console = Console(record=True, width=_COLUMNS, file=io.StringIO())
    console.print(report.tables(result), highlight=False)
    return console.export_html(inline_styles=True, code_format="{code}")
