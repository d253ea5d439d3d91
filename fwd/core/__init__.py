# SPDX-License-Identifier: Apache-2.0
"""What can be decided without looking at the machine: no sockets, clock, asyncio or files."""
