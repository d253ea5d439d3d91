# SPDX-License-Identifier: Apache-2.0
"""Which source of leases the settings ask for, and the network's configuration, which goes with it.

With leases from etcd the configuration is in etcd too (flannel spec 4.1); else it is a file.
"""

import socket

from fwd.config import RunConfig, load_netconf
from fwd.core.etcdclaim import Who
from fwd.core.netconf import NetConf
from fwd.model import ConfigError
from fwd.node import subnetfile
from fwd.node.rundir import RunDir, remembered_mac
from fwd.node.savedstate import NET_CONF_NAME
from fwd.node.station import public_ips
from fwd.sources.base import LeaseSource
from fwd.sources.contact import Contact
from fwd.sources.etcdaccess import EtcdAccess, make_access, tell_insecure
from fwd.sources.static import StaticSource


def file_netconf(config: RunConfig) -> NetConf | None:
    """The configuration, if it is a file; None: it is in etcd.  Raises ConfigError."""
    if config.static_leases is None and not config.kube_subnet_mgr:
        return None
    return load_netconf(config.net_config_path)


async def make_source(
    config: RunConfig, conf: NetConf | None, run_dir: RunDir
) -> tuple[LeaseSource, NetConf]:
    """The source, not yet at work, and the configuration, once etcd has it.

    Raises ConfigError.
    """
    if conf is None:
        return await _etcd(config, run_dir)
    if config.static_leases is not None:
        vni = conf.backend.vni
        return StaticSource(config.static_leases, node=config.node_name, vni=vni), conf
    return _kube(config, conf), conf


# Late imports: what a source needs to talk to someone are megabytes that no other node has use for.


def _kube(config: RunConfig, conf: NetConf) -> LeaseSource:
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


async def _etcd(config: RunConfig, run_dir: RunDir) -> tuple[LeaseSource, NetConf]:
    try:
        from fwd.sources.etcd import EtcdSettings, EtcdSource  # noqa: PLC0415
        from fwd.sources.etcdapi import EtcdApi  # noqa: PLC0415
        from fwd.sources.etcdconf import read_netconf  # noqa: PLC0415
    except ImportError as error:
        raise lacks_etcd(error) from error
    access = etcd_access(config)
    tell_insecure(access)
    api = EtcdApi(access)
    contact = Contact("etcd", server=lambda: api.server)
    saved = run_dir.path / NET_CONF_NAME
    try:
        conf, text = await read_netconf(api, contact, config.etcd_prefix, saved=saved)
    except BaseException:
        await api.close()
        raise
    settings = EtcdSettings(
        node_name=config.node_name or socket.gethostname(),
        prefix=config.etcd_prefix,
        renew_margin=config.subnet_lease_renew_margin * 60.0,
    )

    async def who() -> Who:
        return await known_as(config, conf)

    source = EtcdSource(settings, conf, conf_text=text, api=api, contact=contact, who=who)
    return source, conf


def lacks_etcd(error: ImportError) -> ConfigError:
    """What is wrong where the extra is not installed."""
    return ConfigError(
        f"leases from etcd need {error.name}: pip install '.[etcd]' in fwd's source directory (or "
        "give --kube-subnet-mgr, or --static-leases FILE)"
    )


def etcd_access(config: RunConfig) -> EtcdAccess:
    """Where etcd is, and who this node is to it.  Raises ConfigError."""
    return make_access(
        config.etcd_endpoints,
        key_file=config.etcd_keyfile,
        cert_file=config.etcd_certfile,
        ca_file=config.etcd_cafile,
        user=(config.etcd_username, config.etcd_password),
    )


async def known_as(config: RunConfig, conf: NetConf) -> Who:
    """By what this node's keys are known: addresses, and what is left of an earlier start."""
    before = subnetfile.read(config.subnet_file)
    macs = {
        family: remembered_mac(config.run_dir, conf.backend.device(family))
        for family in conf.networks
    }
    return Who(
        public_ips=await public_ips(config, conf),
        macs={family: mac for family, mac in macs.items() if mac is not None},
        previous={} if before is None else before.subnets,
    )
