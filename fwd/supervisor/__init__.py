# SPDX-License-Identifier: Apache-2.0
"""`fwd run --supervise`: starts the agent, holds what it works with, and starts it again.

A program of its own that imports nothing else of fwd, for it must never be what breaks: it knows no
configuration and no packets.  The agent gives it copies of its descriptors (TUN queues, sockets,
its table).  When the agent is gone the kernel goes on filling them, and the next agent finds them
here, so that what a crash costs is the time to start and not the packets meanwhile.  And that time
is short, for the next agent is there already: a process that has loaded what it needs to forward,
and waits.

Reading order: `words` is what agent and supervisor say to each other, `descriptors` how it comes,
`kept` what is held, `child` an agent's process, `pauses` how soon the next one, `queues` the room
for packets meanwhile, and `supervisor` the program.  `saying` is its log.
"""
