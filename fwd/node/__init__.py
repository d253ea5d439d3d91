# SPDX-License-Identifier: Apache-2.0
"""What the agent does to its node.  One foreign thing a module: netlink, subnet.env, run-dir."""
