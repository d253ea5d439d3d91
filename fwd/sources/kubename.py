# SPDX-License-Identifier: Apache-2.0
"""This node's name, from the Pod that the agent runs in (flannel spec 1.2)."""

from fwd.core import nodewire
from fwd.model import ConfigError
from fwd.sources.kubeapi import KubeApi, Refused

_DEFINITE = frozenset({403, 404})


async def node_of_pod(api: KubeApi, namespace: str, name: str) -> str:
    """spec.nodeName of the Pod.

    Raises ServerError for what may be better next time, ConfigError in flannel's words for others.
    """
    where = f"{namespace}/{name}"
    try:
        node = nodewire.node_of_pod(await api.pod(namespace, name))
    except ValueError as error:
        raise ConfigError(failed(f"error retrieving pod spec for '{where}': {error}")) from error
    except Refused as error:
        if error.code not in _DEFINITE:
            raise
        raise ConfigError(failed(f"error retrieving pod spec for '{where}': {error}")) from error
    if not node:
        raise ConfigError(failed(f"node name not present in pod spec '{where}'"))
    return node


def failed(text: str) -> str:
    """As flannel prints what keeps it from starting."""
    return f"Failed to create SubnetManager: {text}"
