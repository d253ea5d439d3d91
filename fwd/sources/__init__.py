# SPDX-License-Identifier: Apache-2.0
"""Where leases come from.  One module a kind of source, `base` for what they have in common."""
