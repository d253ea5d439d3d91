# SPDX-License-Identifier: Apache-2.0
"""The settings in the log: all of them, without a password."""

import pytest

from fwd import config
from fwd.config import run_config

NEEDED = ["--static-leases", "leases.json", "--node-name", "n1"]


def test_the_settings_in_the_log_begin_as_flannels() -> None:
    assert next(iter(config.shown(run_config(NEEDED, {})).items())) == ("text", "CLI flags config:")


@pytest.mark.parametrize("flag", ["kube-api-url", "etcd-endpoints"])
@pytest.mark.parametrize(
    "user", ["root:pw@", "http://root:pw@", "http://root:p/w@", ":pw@", "http://root:p,w @w@"]
)
def test_the_settings_in_the_log_have_no_password(flag: str, user: str) -> None:
    given = run_config([*NEEDED, f"--{flag}={user}a:1"], {})
    shown = config.shown(given)[flag.replace("-", "_")]
    assert shown == f"{'http://' * user.startswith('http')}***@a:1"


def test_what_is_no_url_is_in_the_log_as_it_is() -> None:
    given = {"kubeconfig_file": "/home/adm@corp/config", "iface_regex": "^a@b$"}
    words = [f"--{key.replace('_', '-')}={value}" for key, value in given.items()]
    shown = config.shown(run_config([*NEEDED, *words], {}))
    assert {key: shown[key] for key in given} == given
