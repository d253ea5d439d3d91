# SPDX-License-Identifier: Apache-2.0
r"""What agent and supervisor say to each other.

On the SOCK_SEQPACKET socket whose number is in FWD_STORE, one datagram each.  The agent:

    put NAME\n DATA       keep this, with the descriptors beside it, instead of what NAME had
    drop NAME            close it
    begun                it forwards: an agent that ends is followed by another from here on
    load                 everything, as `entry NAME\n DATA` each, then `end`
    forget               close all tunnels; it goes on, and this is its last word

put, drop and begun are answered with `ok`.  The supervisor says one thing by itself, to a process
that has FWD_SPARE in its environment: `go`, and it is the agent.
"""

STORE = "FWD_STORE"
"""Environment: number of the descriptor."""
SPARE = "FWD_SPARE"
"""Environment: load all that is needed to forward, and wait."""
GO = b"go"
BEGUN = b"begun"
FORGET = b"forget"
EXIT_GIVEN = 90
"""An agent's exit code after it has handed over."""
LOCK = "lock"
"""The entry whose data is the path of the run directory's lock."""
TABLE = "/table"
"""After a device's name: the entry of its table.  The name alone is that of its descriptors."""
MOST_BYTES, MOST_DESCRIPTORS, MOST_ENTRIES = 1 << 16, 250, 16
