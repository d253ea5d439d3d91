# SPDX-License-Identifier: Apache-2.0
"""What a test says in IPv4, said in another family, so that one body and one table are for both.

Node X has 10.244.X.0/24 and 192.168.0.X, or fd00:244:0:X::/64 and fd02::X.  Lengths of prefixes
keep their meaning: a half of a subnet stays a half, two of them stay two.
"""

import re
from collections.abc import Callable
from functools import partial
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Any, Final, TypeVar, cast

import msgspec
import pytest

T = TypeVar("T")

FAMILIES: Final = (4, 6)
IDS: Final = [f"IPv{one}" for one in FAMILIES]
EACH_FAMILY = pytest.mark.parametrize("family", FAMILIES, ids=IDS)

_SPECIAL: Final = {
    "0.0.0.0": "::",
    "127.0.0.1": "::1",
    "127.0.0.0/8": "::1/128",
    "224.0.0.1": "ff02::1",
    "255.255.255.255": "ff0e::1",
}
_BACK: Final = {"::1": "127.0.0.1", "fc00::/64": "172.31.0.0/24", "fd00::/64": "172.31.0.0/24"}
"""What a table names as of the other family."""
_WORDS: Final = {
    "IPv4/IPv6": "IPv4/IPv6",
    "IPv4": "IPv6",
    "IPv6": "IPv4",
    "/public-ip": "/public-ipv6",
    "/backend-data": "/backend-v6-data",
    "/public-ip-overwrite": "/public-ipv6-overwrite",
    "/node-public-ip": "/node-public-ipv6",
}
_ADDRESS: Final = r"(?<![\w.:])(?:\d{1,3}\.){3}\d{1,3}(?:/\d{1,2})?(?![\w.])"
_OTHER: Final = "|".join(re.escape(one) for one in sorted(_BACK, key=len, reverse=True))
_KEYS: Final = "|".join(sorted(map(re.escape, _WORDS), key=len, reverse=True))
_ALL: Final = re.compile(
    rf"(?P<address>{_ADDRESS})|(?<![\w.:])(?P<other>{_OTHER})(?!\w|:[\w:])|(?P<word>(?:{_KEYS})\b(?!-))"
)


def said(family: int, thing: T) -> T:
    """The same of another family: texts, addresses, networks, and all that is made of them."""
    return thing if family == 4 else cast("T", _said(thing))


def saying(family: int) -> Callable[[T], T]:
    """said() of one family."""
    return cast("Callable[[T], T]", partial(said, family))


def _said(thing: Any) -> Any:  # noqa: ANN401 - a case a type
    match thing:
        case str():
            return _ALL.sub(_replaced, thing)
        case bytes():
            return thing
        case IPv4Address() | IPv4Network():
            text = _ALL.sub(_replaced, str(thing))
            return _parsed(text)
        case IPv6Address() | IPv6Network():
            return _parsed(_BACK.get(str(thing), str(thing)))
        case dict():
            return {_said(key): _said(value) for key, value in thing.items()}
        case list() | tuple():
            return type(thing)(_said(one) for one in thing)
        case msgspec.Struct():
            names = thing.__struct_fields__
            return type(thing)(**{name: _said(getattr(thing, name)) for name in names})
        case _:
            return thing


def _parsed(text: str) -> Any:  # noqa: ANN401
    return ip_network(text) if "/" in text else ip_address(text)


def _replaced(found: re.Match[str]) -> str:
    text = found.group()
    if found["word"]:
        return _WORDS[text]
    if found["other"]:
        return _BACK[text]
    return _SPECIAL.get(text) or _in_ipv6(text)


def _in_ipv6(text: str) -> str:
    address, _, length = text.partition("/")
    a, b, c, d = map(int, address.split("."))
    if a == 10:
        made = f"fd00:{b}:0:{c:x}:{d << 8:x}::"
    elif a == 192:
        made = f"fd02::{c << 8 | d:x}"
    else:
        made = f"2001:db8:{a:x}:{b:x}::{c << 8 | d:x}"
    if not length:
        return str(ip_address(made))
    had_host_bits = ip_network(text, strict=False).network_address != IPv4Address(address)
    return f"{ip_address(made)}/{_length(int(length))}" if had_host_bits else _network(made, length)


def _network(address: str, length: str) -> str:
    return str(ip_network(f"{address}/{_length(int(length))}", strict=False))


def _length(of: int) -> int:
    """A node's subnet is a /24 or a /64, the cluster's network a /16 or a /48."""
    if of <= 8:
        return 2 * of
    if of <= 16:
        return 32 + of
    return 40 + of if of < 31 else 96 + of
