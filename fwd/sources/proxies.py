# SPDX-License-Identifier: Apache-2.0
"""Which proxy the environment names for a URL: Go's rule (golang.org/x/net/http/httpproxy).

Operators write HTTPS_PROXY and NO_PROXY for kubelet and flannel, which read them so; Python's rule
knows no networks in NO_PROXY, and asks a proxy for this machine, too.  Names in letters beyond
ASCII are compared as they are written.
"""

import re
from collections.abc import Mapping
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import urlsplit

from fwd.model import ConfigError

_PORTS = {"http": 80, "https": 443}
_LABEL = r"[a-z0-9_-]{1,63}"
_HOST = re.compile(rf"{_LABEL}(\.{_LABEL})*\.?")
_NO_USER = re.compile(r"[\s\\\[\]]")
_WITH_PORT = re.compile(r"(?:\[([^\[\]]*)\]|([^:\[\]]*)):([^:]*)")
_Address = IPv4Address | IPv6Address


def proxy_for(url: str, environ: Mapping[str, str]) -> str:
    """The URL of the proxy for requests to `url`; empty: none.

    Raises ConfigError for one that cannot be read, ValueError for such a `url`.
    """
    parts = urlsplit(url)
    name, text = _first(environ, f"{parts.scheme.upper()}_PROXY")
    if parts.scheme not in _PORTS or not text:
        return ""
    port = parts.port or _PORTS[parts.scheme]
    if _is_exempt(parts.hostname or "", port, _first(environ, "NO_PROXY")[1]):
        return ""
    return readable(text, of=name)


def readable(text: str, *, of: str) -> str:
    """A proxy's URL, http: if it has no scheme.

    Raises ConfigError, which names `of`, but has nothing of the text: a password may be in it.
    """
    with suppress(ValueError):  # of the port, say
        parts = urlsplit(text if "://" in text else f"http://{text}")
        host, port = parts.hostname or "", "" if parts.port is None else f":{parts.port}"
        who, at, _ = parts.netloc.rpartition("@")
        # aiohttp would not take another user or host either, and then say all of it.
        if parts.scheme in _PORTS and not _NO_USER.search(who):
            if _HOST.fullmatch(host):
                return f"{parts.scheme}://{who}{at}{host}{port}"
            if _address(host):
                return f"{parts.scheme}://{who}{at}[{host}]{port}"
    raise ConfigError(f"{of} is no URL of an HTTP proxy such as http://10.0.0.1:3128")


def _first(environ: Mapping[str, str], name: str) -> tuple[str, str]:
    """The variable of this name that is set, and its text: in capitals before small letters."""
    for one in (name, name.lower()):
        if environ.get(one):
            return one, environ[one]
    return name, ""


def _is_exempt(host: str, port: int, exempt: str) -> bool:
    address = _address(host)
    if host == "localhost" or (address is not None and address.is_loopback):
        return True
    entries = (entry.strip().lower() for entry in exempt.split(","))
    return any(_covers(entry, host, address, port) for entry in entries)


def _covers(entry: str, host: str, address: _Address | None, port: int) -> bool:
    """Whether one of NO_PROXY is meant for this host; what cannot be read is meant for none."""
    if entry == "*":
        return True
    if "/" in entry:
        return address is not None and _is_within(address, entry)
    name, its_port = entry, ""
    if found := _WITH_PORT.fullmatch(entry):
        name, its_port = found[1] or found[2] or "", found[3]
    if not name or its_port not in ("", str(port)):
        return False
    if address is not None:
        return address == _address(name)
    name = name.removeprefix("*") if name.startswith("*.") else name
    if name.startswith("."):
        return host.endswith(name)
    return host == name or host.endswith(f".{name}")


def _is_within(address: _Address, entry: str) -> bool:
    if not entry.rpartition("/")[2].isdecimal():  # Python would take a mask, too
        return False
    try:
        return address in ip_network(entry, strict=False)
    except ValueError:
        return False


def _address(text: str) -> _Address | None:
    """As Go has it: an IPv4 address within IPv6 is that."""
    try:
        found = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found
