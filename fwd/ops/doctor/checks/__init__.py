# SPDX-License-Identifier: Apache-2.0
"""One subject a file; each has `look`, which yields findings.  Their order is `ops.doctor.order`'s.

A check changes nothing on the node that it does not undo at once.
"""
