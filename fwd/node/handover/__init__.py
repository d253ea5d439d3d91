# SPDX-License-Identifier: Apache-2.0
"""Packets go on while the process that forwards them is replaced.

Reading order: `core.handovertalk` is what is said, `channel` how, `kits` what is handed over,
`giver` the side that runs, `finding` whether there is one, and `taker` the side that starts.
`store` is what a supervisor keeps for the start after a crash, `keeping` what goes there and comes
back, `spare` who waits for it, and `legacy` what a start has of either.
"""
