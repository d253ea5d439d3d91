# SPDX-License-Identifier: Apache-2.0
"""What a source of leases is told of the settings.

Excluded: the settings themselves (test_config.py), the sources at work.
"""

from pathlib import Path
from typing import Any

import pytest

from fwd.config import run_config
from fwd.node.rundir import RunDir
from fwd.sources import etcdconf
from fwd.sources.choice import make_source
from fwd.sources.etcd import EtcdSource
from tests.unit.kube_member import CONF


@pytest.mark.parametrize(
    ("words", "seconds"),
    [([], 3600), (["--subnet-lease-renew-margin=7"], 420), (["-subnet-lease-renew-margin=1"], 60)],
)
async def test_the_margin_is_given_in_minutes_and_told_in_seconds(
    words: list[str], seconds: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def read_netconf(*_: Any, **__: Any) -> Any:  # noqa: ANN401
        return CONF[(4,)], b"{}"

    monkeypatch.setattr(etcdconf, "read_netconf", read_netconf)
    run_dir = RunDir.open(tmp_path)
    try:
        config = run_config([*words, "--etcd-endpoints=http://127.0.0.1:1"], {})
        source, _ = await make_source(config, None, run_dir)
    finally:
        run_dir.close()
    assert isinstance(source, EtcdSource)
    assert source._settings.renew_margin == seconds
    assert source._key._terms.margin == seconds
    await source._close()
