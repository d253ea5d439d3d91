# SPDX-License-Identifier: Apache-2.0
"""flannel's cni-conf.json with its `flannel` entry resolved to its delegate (flannel spec 9.1).

What flannel's CNI plugin makes of the entry and subnet.env at each Pod's start is made here once,
so a node needs no such plugin and a new node starts no Pod before its network is known (what there
is after a reboot says docs/flannel-compat.md).  The other plugins pass through untouched: what they
may say is theirs to judge.  Reading and writing the files is `node.cni`'s.
"""

import json
import math
import re
from collections.abc import Mapping
from typing import Any, TypeVar

from msgspec import Struct

from fwd.core.text import parse_cidr
from fwd.model import ConfigError, Network

DEFAULT_VERSION = "0.3.1"
"""cniVersion where none is written, as in flannel's file before v0.12.0: what flannel then wrote.

Kubernetes since 1.16 refuses a list without one, and there is no plugin in use that does not speak
this one.
"""

_T = TypeVar("_T")
_Object = dict[str, Any]

# libcni's rule for the name of a network.
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*", re.ASCII)
_VERSION = re.compile(r"[0-9]{1,4}\.[0-9]{1,4}\.[0-9]{1,4}", re.ASCII)

_CHECK_SINCE = (0, 4, 0)
"""From this version on a runtime may call CHECK, which flannel's plugin answers with success.

The bridge plugin really looks, and before plugins 1.3.0 (their pull request 887; Debian 12 has
1.1.1) finds no route that was asked for without a gateway.  So the routes name it then: it is the
one that they get anyway, the range's first address.
"""

# The bridge plugin refuses a wrong type here too, but only when the first Pod starts.
_BRIDGE_TYPES: Mapping[str, type] = {
    "bridge": str,
    "forceAddress": bool,
    "hairpinMode": bool,
    "ipMasq": bool,
    "isDefaultGateway": bool,
    "isGateway": bool,
    "mtu": int,
    "promiscMode": bool,
    "vlan": int,
}

# Of a flannel entry.  What else it holds (subnetFile, dataDir, dns) nobody reads once it is
# resolved, and name and cniVersion a runtime takes from the list.
_TAKEN = ("type", "name", "cniVersion", "delegate", "ipam", "capabilities", "runtimeConfig")


class Template(Struct, frozen=True):
    """A cni-conf.json that can be rendered for any node; nothing in it is to be changed."""

    head: _Object
    """The list's keys but `plugins`; name and cniVersion are there."""
    before: tuple[_Object, ...]
    delegate: _Object
    """With its type."""
    ipam: _Object
    """With its type."""
    passed: _Object
    """capabilities and runtimeConfig of the flannel entry, where there are any."""
    after: tuple[_Object, ...]
    ignored: tuple[str, ...] = ()
    """Keys of the flannel entry that are without effect."""


def check(text: str | bytes) -> list[str]:
    """The types of a list's plugins.

    Raises ConfigError, naming the key, unless runtimes take the text as a list as it is.
    """
    return [_type(plugin) for plugin in _checked(_decode(text))]


def parse(text: str | bytes) -> Template:
    """Reads cni-conf.json.  Raises ConfigError with flannel's text, or naming the key at fault.

    A single configuration, as in flannel's early manifests, counts as a list of it alone, which is
    what a runtime makes of one.
    """
    document = _decode(text)
    if "plugins" not in document and _get(document, "type", "") is not None:
        document = _as_list(document)
    plugins = _checked(document)
    where = [number for number, plugin in enumerate(plugins) if _type(plugin) == "flannel"]
    if not where:
        raise ConfigError("plugins: no entry of type flannel, so there is nothing to render")
    if len(where) > 1:
        raise ConfigError(f"plugins[{where[1]}].type: a second entry of type flannel")
    head = {key: value for key, value in document.items() if key != "plugins"}
    return _template(head, plugins, where[0])


def render(
    template: Template,
    *,
    networks: Mapping[int, Network],
    subnets: Mapping[int, Network],
    mtu: int,
    ip_masq: bool,
) -> str:
    """The list for one node: the same bytes for the same arguments.

    Networks and this node's subnets by family, the Pods' MTU and whether the agent masquerades: the
    values of subnet.env.
    """
    delegate = dict(template.delegate)
    delegate.setdefault("ipMasq", not ip_masq)  # somebody must, and only one
    delegate.setdefault("mtu", mtu)
    if delegate["type"] == "bridge":
        delegate.setdefault("isGateway", True)
    delegate["ipam"] = template.ipam | {
        "ranges": [[{"subnet": str(subnets[family])}] for family in sorted(subnets)],
        "routes": [
            *(template.ipam.get("routes") or ()),
            *(_route(template, networks[family], subnets[family]) for family in sorted(networks)),
        ],
    }
    plugins = [*template.before, delegate | template.passed, *template.after]
    document = template.head | {"plugins": plugins}
    return json.dumps(document, indent=2, allow_nan=False) + "\n"


def _route(template: Template, network: Network, subnet: Network) -> _Object:
    version = tuple(map(int, template.head["cniVersion"].split(".")))
    if version < _CHECK_SINCE or template.ipam["type"] != "host-local":
        return {"dst": str(network)}
    return {"dst": str(network), "gw": str(subnet.network_address + 1)}


def _decode(text: str | bytes) -> _Object:
    try:
        found = json.loads(
            text.decode() if isinstance(text, bytes) else text,
            object_pairs_hook=_unrepeated,
            parse_float=_finite,
            parse_constant=_finite,
        )
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"invalid JSON: {error}") from error
    return _typed(found, dict, "the document")


def _checked(document: _Object) -> list[_Object]:
    """The plugins of a list that a runtime would take."""
    name = _typed(_required(document, "name"), str, "name")
    if not _NAME.fullmatch(name):
        raise ConfigError(f"name: {name!r} is not letters, digits, '_', '.' and '-'")
    version = _typed(document.get("cniVersion", ""), str, "cniVersion")
    if version and not _VERSION.fullmatch(version):
        raise ConfigError(f"cniVersion: {version!r} is no version such as {DEFAULT_VERSION}")
    plugins = _typed(_required(document, "plugins"), list, "plugins")
    if not plugins:
        raise ConfigError("plugins: is empty")
    for number, plugin in enumerate(plugins):
        where = f"plugins[{number}]"
        kind = _get(_typed(plugin, dict, where), "type", f"{where}.")
        if kind is None or not _typed(kind, str, f"{where}.type"):
            raise ConfigError(f"{where}.type: is missing")
    return plugins


def _as_list(single: _Object) -> _Object:
    head = {key: _get(single, key, "") for key in ("name", "cniVersion")}
    return {key: value for key, value in head.items() if value is not None} | {"plugins": [single]}


def _template(head: _Object, plugins: list[_Object], number: int) -> Template:
    entry, where = plugins[number], f"plugins[{number}]."
    delegate = _delegate(_get(entry, "delegate", where), f"{where}delegate")
    ipam = _ipam(_get(entry, "ipam", where), f"{where}ipam")
    passed = {}
    for key in ("capabilities", "runtimeConfig"):
        value = _get(entry, key, where)
        if value is not None:
            passed[key] = _typed(value, dict, f"{where}{key}")
    taken = {key.casefold() for key in _TAKEN}
    ignored = [key for key in entry if key.casefold() not in taken]
    ignored += ["ipam.ranges"] * ("ranges" in ipam)
    return Template(
        head={"name": head["name"], "cniVersion": head.get("cniVersion") or DEFAULT_VERSION}
        | {key: value for key, value in head.items() if key not in ("name", "cniVersion")},
        before=tuple(plugins[:number]),
        delegate=delegate,
        ipam=ipam,
        passed=passed,
        after=tuple(plugins[number + 1 :]),
        ignored=tuple(ignored),
    )


def _delegate(value: Any, where: str) -> _Object:  # noqa: ANN401 - JSON
    given = {} if value is None else _typed(value, dict, where)
    kind = given.get("type", "bridge")
    if not isinstance(kind, str):
        raise ConfigError(
            f"{where}.type: 'delegate' dictionary, if present, must have (string) 'type' field"
        )
    if kind in ("", "flannel"):
        raise ConfigError(f"{where}.type: {kind!r} is no plugin to delegate to")
    for key in ("name", "ipam"):
        if key in given:
            raise ConfigError(
                f"{where}.{key}: 'delegate' dictionary must not have '{key}' field, "
                "it'll be set by flannel"
            )
    for key, wanted in _BRIDGE_TYPES.items() if kind == "bridge" else ():
        if given.get(key) is not None:
            _typed(given[key], wanted, f"{where}.{key}")
    # The delegate's own capabilities have no effect in flannel; where they would stand now, a
    # runtime would act on them.
    lifted = ("type", "capabilities")
    return {"type": kind} | {key: item for key, item in given.items() if key not in lifted}


def _ipam(value: Any, where: str) -> _Object:  # noqa: ANN401
    given = {} if value is None else _typed(value, dict, where)
    ipam = {"type": "host-local"} | given
    if not _typed(ipam["type"], str, f"{where}.type"):
        raise ConfigError(f"{where}.type: is missing")
    routes = given.get("routes")
    for number, route in enumerate(_typed(routes, list, f"{where}.routes") if routes else ()):
        place = f"{where}.routes[{number}]"
        dst = _required(_typed(route, dict, place), "dst", f"{place}.")
        _typed(dst, str, f"{place}.dst")
        try:
            parse_cidr(dst)
        except ValueError as error:
            raise ConfigError(f"{place}.dst: {error}") from error
    return ipam


def _type(plugin: _Object) -> Any:  # noqa: ANN401
    return _get(plugin, "type", "")


def _get(entry: _Object, key: str, where: str) -> Any:  # noqa: ANN401
    """The value of a plugin's key, which matches whatever its case; None where it is absent."""
    found = [name for name in entry if name.casefold() == key.casefold()]
    if len(found) > 1:
        raise ConfigError(f"{where}{found[1]}: is there twice, as {found[0]} too")
    return entry[found[0]] if found else None


def _required(document: _Object, key: str, where: str = "") -> Any:  # noqa: ANN401
    if key not in document:
        raise ConfigError(f"{where}{key}: is missing")
    return document[key]


def _typed(value: Any, wanted: type[_T], where: str) -> _T:  # noqa: ANN401
    if type(value) is not wanted:  # isinstance would take true for an integer
        raise ConfigError(f"{where}: must be {_KINDS[wanted]}, not {_KINDS[type(value)]}")
    return value


_KINDS: Mapping[type, str] = {
    dict: "an object",
    list: "an array",
    str: "a string",
    bool: "a boolean",
    int: "an integer",
    float: "a number",
    type(None): "null",
}


def _unrepeated(pairs: list[tuple[str, Any]]) -> _Object:
    found: _Object = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"key {key!r} is there twice in one object")
        found[key] = value
    return found


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is no number in JSON")
    return number
