# SPDX-License-Identifier: Apache-2.0
"""Commands that speak with the running agent, or with other nodes; a file a command."""
