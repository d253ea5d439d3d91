# SPDX-License-Identifier: Apache-2.0
"""What is wrong in a cni-conf.json is refused in one line, by its key."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwd.core import cniconf
from fwd.model import ConfigError

PORTMAP = {"type": "portmap"}


def conflist(*plugins: Any, **head: Any) -> str:  # noqa: ANN401 - JSON
    return json.dumps({"name": "cbr0", "cniVersion": "0.3.1"} | head | {"plugins": plugins})


def flannel(**keys: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"type": "flannel"} | keys


DELEGATE = "'delegate' dictionary"
WHY = "it'll be set by flannel"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "invalid JSON: Expecting value"),
        (b'{"name": "\xff"}', "invalid JSON: 'utf-8' codec can't decode byte 0xff"),
        ("[" * 100_000, "invalid JSON: maximum recursion depth"),
        ('{"a": NaN}', "invalid JSON: NaN is no number in JSON"),
        ('{"a": 1e999}', "invalid JSON: 1e999 is no number in JSON"),
        (conflist(flannel()) + "x", "invalid JSON: Extra data"),
        ('{"name": "a", "name": "a"}', "invalid JSON: key 'name' is there twice"),
        ("[]", "the document: must be an object, not an array"),
        ("{}", "name: is missing"),
        ('{"name": "cbr0"}', "plugins: is missing"),
        ('{"type": "flannel"}', "name: is missing"),
        ('{"type": "flannel", "name": null}', "name: is missing"),
        (conflist(flannel(), name=7), "name: must be a string, not an integer"),
        (conflist(flannel(), name="-x"), "name: '-x' is not letters, digits"),
        (conflist(flannel(), name="x\n"), "name: 'x\\n' is not letters, digits"),
        (conflist(flannel(), cniVersion=1.0), "cniVersion: must be a string, not a number"),
        (conflist(flannel(), cniVersion=None), "cniVersion: must be a string, not null"),
        (conflist(flannel(), cniVersion="1.0"), "cniVersion: '1.0' is no version such as 0.3.1"),
        ('{"name": "x", "plugins": {}}', "plugins: must be an array, not an object"),
        (conflist(), "plugins: is empty"),
        (conflist(flannel(), 1), "plugins[1]: must be an object, not an integer"),
        (conflist(flannel(), {}), "plugins[1].type: is missing"),
        (conflist(flannel(), {"type": ""}), "plugins[1].type: is missing"),
        (conflist({"type": True}), "plugins[0].type: must be a string, not a boolean"),
        (conflist(PORTMAP), "plugins: no entry of type flannel, so there is nothing to render"),
        (conflist(flannel(), flannel()), "plugins[1].type: a second entry of type flannel"),
        (conflist(flannel(TYPE="flannel")), "plugins[0].TYPE: is there twice, as type too"),
        (conflist(flannel(delegate={}, Delegate={})), "plugins[0].Delegate: is there twice"),
        (conflist(flannel(delegate=[])), "plugins[0].delegate: must be an object, not an array"),
        (
            conflist(PORTMAP, flannel(delegate={"type": 7})),
            f"plugins[1].delegate.type: {DELEGATE}, if present, must have (string) 'type' field",
        ),
        (
            conflist(flannel(delegate={"type": None})),
            f"plugins[0].delegate.type: {DELEGATE}, if present, must have (string) 'type' field",
        ),
        (conflist(flannel(delegate=flannel())), "plugins[0].delegate.type: 'flannel' is no plugin"),
        (conflist(flannel(delegate={"type": ""})), "plugins[0].delegate.type: '' is no plugin"),
        (
            conflist(flannel(delegate={"name": "x"})),
            f"plugins[0].delegate.name: {DELEGATE} must not have 'name' field, {WHY}",
        ),
        (
            conflist(flannel(delegate={"ipam": None})),
            f"plugins[0].delegate.ipam: {DELEGATE} must not have 'ipam' field, {WHY}",
        ),
        (
            conflist(flannel(delegate={"mtu": "1450"})),
            "plugins[0].delegate.mtu: must be an integer, not a string",
        ),
        (
            conflist(flannel(delegate={"mtu": True})),
            "plugins[0].delegate.mtu: must be an integer, not a boolean",
        ),
        (
            conflist(flannel(delegate={"hairpinMode": 1})),
            "plugins[0].delegate.hairpinMode: must be a boolean, not an integer",
        ),
        (conflist(flannel(ipam="x")), "plugins[0].ipam: must be an object, not a string"),
        (
            conflist(flannel(ipam={"type": None})),
            "plugins[0].ipam.type: must be a string, not null",
        ),
        (conflist(flannel(ipam={"type": ""})), "plugins[0].ipam.type: is missing"),
        (conflist(flannel(ipam={"routes": {"a": 1}})), "plugins[0].ipam.routes: must be an array"),
        (conflist(flannel(ipam={"routes": [1]})), "plugins[0].ipam.routes[0]: must be an object"),
        (conflist(flannel(ipam={"routes": [{}]})), "plugins[0].ipam.routes[0].dst: is missing"),
        (
            conflist(flannel(ipam={"routes": [{"dst": "10.0.0.0/8"}, {"dst": "any"}]})),
            "plugins[0].ipam.routes[1].dst: 'any' is not a CIDR",
        ),
        (conflist(flannel(capabilities=[])), "plugins[0].capabilities: must be an object"),
        (conflist(flannel(runtimeConfig=1)), "plugins[0].runtimeConfig: must be an object"),
    ],
)
def test_what_is_wrong_is_refused_by_its_key(text: str | bytes, says: str) -> None:
    with pytest.raises(ConfigError) as raised:
        cniconf.parse(text)
    assert str(raised.value).startswith(says)
    assert "\n" not in str(raised.value)


def test_a_list_to_copy_needs_no_flannel_entry_but_must_be_one() -> None:
    cniconf.check(conflist(flannel()))
    cniconf.check(conflist(PORTMAP))
    cniconf.check(conflist(flannel(delegate="the plugin's business")))
    with pytest.raises(ConfigError, match=r"^plugins: is missing"):
        cniconf.check('{"name": "cbr0", "type": "flannel"}')
    with pytest.raises(ConfigError, match=r"^plugins\[0\]\.type: is missing"):
        cniconf.check(conflist({}))


@given(st.text() | st.binary() | st.recursive(st.none(), st.lists).map(json.dumps))
def test_any_input_is_a_template_or_a_config_error(text: str | bytes) -> None:
    with suppress(ConfigError):
        cniconf.parse(text)
