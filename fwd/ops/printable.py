# SPDX-License-Identifier: Apache-2.0
"""What others wrote, made fit to be read: in a terminal or in a line of the log.

A Node's annotations are what its kubelet wrote, an answer of the API may be anybody's, and who
reads them is root.
"""


def printable(text: str) -> str:
    r"""The same, with what acts instead of being seen written out, as `\x1b` or `\u202e`.

    That is what moves a terminal's cursor, ends a line, or turns the direction of writing round.
    Letters of every language stay.  A backslash stays, too: who has to tell it from one of ours
    doubles it before.
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else _written(one) for one in text)


def _written(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
