# SPDX-License-Identifier: Apache-2.0
"""Which checks there are, in which order, and how long each may take."""

from collections.abc import AsyncIterator, Iterator

from fwd.ops.doctor.checks import (
    agent,
    cni,
    files,
    firewall,
    forwarding,
    netconf,
    ownlease,
    path,
    peers,
    port,
    rules,
    settings,
    tun,
    underlay,
)
from fwd.ops.doctor.finding import Finding, wrong
from fwd.ops.doctor.frame import Check
from fwd.ops.doctor.patient import Patient
from fwd.sources.choice import lacks_etcd


def checks(patient: Patient) -> Iterator[Check]:
    """From what is told to what is found by asking others."""
    yield Check("agent", agent.look)
    yield Check("net-conf.json", netconf.look)
    yield from _sources(patient)
    yield Check("settings", settings.look)
    yield Check("TUN device", tun.look)
    yield Check("underlay", underlay.look)
    yield Check("UDP port", port.look)
    yield Check("forwarding", forwarding.look)
    yield Check("rules", rules.look, seconds=30)
    yield Check("firewall", firewall.look, seconds=30)
    yield Check("files", files.look)
    yield Check("CNI", cni.look)
    yield Check("MTU of the path", path.look, seconds=20)
    if patient.options.peers:
        yield Check("peers", peers.look, seconds=180)


def _sources(patient: Patient) -> Iterator[Check]:
    """Late imports: what talks to a server is for those who need it."""
    if patient.config.static_leases is not None:
        yield Check("leases", ownlease.look_static)
    elif patient.config.kube_subnet_mgr:
        from fwd.ops.doctor.checks import kube  # noqa: PLC0415

        yield Check("API server", kube.look, seconds=30)
    else:
        yield Check("etcd", _etcd, seconds=30)


async def _etcd(patient: Patient) -> AsyncIterator[Finding]:
    try:
        from fwd.ops.doctor.checks import etcd  # noqa: PLC0415
    except ImportError as error:
        remedy = "pip install '.[etcd]' in fwd's source directory"
        yield wrong("etcd", str(lacks_etcd(error)), remedy, cause="source")
        return
    async for finding in etcd.look(patient):
        yield finding
