# SPDX-License-Identifier: Apache-2.0
"""The kernel module without which iptables does not see what a bridge carries (spec 7.6)."""

from pathlib import Path

from fwd.core.rules import Wanted
from fwd.model import IPV4, IPV6, ConfigError

DIRECTORY = Path("/proc/sys/net/bridge")
FILES = {IPV4: "bridge-nf-call-iptables", IPV6: "bridge-nf-call-ip6tables"}


def check_bridge_filter(wanted: Wanted, *, directory: Path = DIRECTORY) -> None:
    """Raises ConfigError where iptables rules are wanted and br_netfilter is not loaded.

    Not for nftables mode.  flannel asks for it without any rules, too; neither reads the value.
    """
    for family in wanted.families:
        path = directory / FILES[family]
        if not path.exists():
            raise ConfigError(
                f"Failed to check br_netfilter: stat {path}: no such file or directory (run "
                "modprobe br_netfilter on the node, or set EnableNFTables in net-conf.json)"
            )
