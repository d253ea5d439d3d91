# SPDX-License-Identifier: Apache-2.0
"""How people and machines look at a running agent: its log and its status socket."""
