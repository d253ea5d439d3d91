# SPDX-License-Identifier: Apache-2.0
"""`fwd doctor`: what is wrong with this node, and what to do.

In reading order: `finding` is what a check says, `patient` what is known of the node, `checks` are
the subjects and `order` puts them in a row, `frame` runs them, `render` prints.  `silence` finds
out why a peer does not answer; `running` finds the agent that runs here.  `command` is the way in.
"""
