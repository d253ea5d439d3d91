# SPDX-License-Identifier: Apache-2.0
"""Which source of leases the settings ask for."""

from fwd.config import RunConfig
from fwd.core.netconf import NetConf
from fwd.model import ConfigError
from fwd.sources.base import LeaseSource
from fwd.sources.static import StaticSource


def make_source(config: RunConfig, conf: NetConf) -> LeaseSource:
    """The source, not yet at work.  Raises ConfigError."""
    if config.static_leases is not None:
        return StaticSource(config.static_leases, node=config.node_name, vni=conf.backend.vni)
    if not config.kube_subnet_mgr:
        raise ConfigError(
            "leases from etcd: this version cannot, give --kube-subnet-mgr or --static-leases FILE"
        )
    # Late: aiohttp and what the official client needs are 9 MB that no other node has use for.
    from fwd.sources.kube import KubeSettings, KubeSource  # noqa: PLC0415
    from fwd.sources.kubeclient import ApiAccess  # noqa: PLC0415

    settings = KubeSettings(
        node_name=config.node_name,
        pod=config.pod,
        access=ApiAccess(url=config.kube_api_url, kubeconfig=config.kubeconfig_file),
        annotation_prefix=config.kube_annotation_prefix,
        set_node_network_unavailable=config.set_node_network_unavailable,
    )
    return KubeSource(settings, conf)
