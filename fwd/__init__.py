# SPDX-License-Identifier: Apache-2.0
"""fwd carries Pod traffic between Kubernetes nodes in VXLAN, in userspace, as a peer of flannel.

`fwd.cli` is the way in; `fwd.agent` puts a running node together out of the other modules.
"""
