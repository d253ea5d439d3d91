# SPDX-License-Identifier: Apache-2.0
"""Why a node is left out, in the words of strangers: a megabyte of them is cut to some lines.

Every refusal is a line of the log, and is in the status document for as long as it holds.
"""

from fwd.model import Refusal

_START, _END = 300, 100
"""Characters.  The end, too: most reasons quote first, and then say what is wrong with it."""


def refusal(node: str, reason: str) -> Refusal:
    """The refusal, of bounded length.  No name that Kubernetes allows is cut."""
    return Refusal(_short(node), _short(reason))


def _short(text: str) -> str:
    return text if len(text) <= _START + _END else f"{text[:_START]}...{text[-_END:]}"
