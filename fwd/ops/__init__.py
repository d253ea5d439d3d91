# SPDX-License-Identifier: Apache-2.0
"""How people and machines look at a running agent: log, sockets, metrics, probes, captures."""
