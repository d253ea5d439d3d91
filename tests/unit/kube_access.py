# SPDX-License-Identifier: Apache-2.0
"""What leads a client to an API server: a ServiceAccount's files, a kubeconfig."""

import json
from pathlib import Path
from typing import Any

import pytest

from fwd.lab.apiserver.access import TOKEN
from fwd.sources.kubeclient import ApiAccess


def in_cluster(
    monkeypatch: pytest.MonkeyPatch, directory: Path, port: int, *, ca: Path
) -> ApiAccess:
    """As a Pod is given it."""
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(port))
    token = directory / "token"
    token.write_text(TOKEN + "\n")
    return ApiAccess(token_file=token, ca_file=ca)


def kubeconfig(directory: Path, server: str, **user: Any) -> Path:  # noqa: ANN401
    path = directory / "kubeconfig"
    cluster = {"server": server} | user.pop("cluster", {})
    path.write_text(
        json.dumps(  # which is YAML too
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "c",
                "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
                "clusters": [{"name": "k", "cluster": cluster}],
                "users": [{"name": "u", "user": user}],
            }
        )
    )
    return path
