# SPDX-License-Identifier: Apache-2.0
"""Masquerade and forward rules in the kernel: through iptables or nft, kept as they must be.

What they must be is `core.rules`'s.  `keeper` is the way in.
"""
