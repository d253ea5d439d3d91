# SPDX-License-Identifier: Apache-2.0
"""What msgspec raises for bytes that it cannot read.

Its own errors, and two of Python's: for text that is not UTF-8, and for what is nested more deeply
than Python calls, even where it only has to be passed over.
"""

from typing import Final

import msgspec

UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
