# SPDX-License-Identifier: Apache-2.0
"""The words of a query that lists and watches have in common.  Pure; what is wrong is a 400."""

from collections.abc import Mapping

from fwd.lab.apiserver.answers import bad_request


def selected_name(query: Mapping[str, str]) -> str:
    """The name of a fieldSelector; empty for all."""
    selector = query.get("fieldSelector", "")
    field, _, name = selector.replace("==", "=").partition("=")
    if selector and (field != "metadata.name" or not name):
        raise bad_request(f'field label not supported: "{field}"')
    return name


def number(query: Mapping[str, str], name: str) -> int:
    """A number that is not negative; 0 when it is left out."""
    text = query.get(name) or "0"
    if not (text.isascii() and text.isdigit()):
        raise bad_request(f'{name}: Invalid value: "{text}": strconv.ParseUint: invalid syntax')
    return int(text)


def is_true(query: Mapping[str, str], name: str) -> bool:
    """A flag, as Go's ParseBool has it."""
    return query.get(name, "").lower() in ("true", "1", "t")
