# SPDX-License-Identifier: Apache-2.0
"""Asking other nodes whether packets arrive, and which: for `fwd ping` and `fwd doctor --peers`.

`echo` sends one ICMP echo request and says what became of it, `echosocket` has the socket for that,
`endpoint` an address for sockets,
`series` makes of many what a person wants to know: round trips, loss, the largest that passes.
"""
