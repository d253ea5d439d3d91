# SPDX-License-Identifier: Apache-2.0
"""What the firewalls of a node would do to one packet.  Pure; for `fwd doctor`.

`walk` has packets, rules and their way through chains; `iptables` and `nft` make rules of what the
programs print.  A rule that they cannot judge is neither a match nor none: only what is certain to
be dropped is called dropped.
"""
