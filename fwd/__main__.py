# SPDX-License-Identifier: Apache-2.0
"""`python -m fwd`, the same program as the `fwd` script.

The supervisor starts agents by this file's path: then it is the package that the file is in,
whatever else is installed.
"""

import importlib
import os.path
import sys

if __name__ == "__main__":
    if not __package__:
        sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # noqa: PTH100, PTH120 - as in the supervisor
        importlib.import_module("fwd")
        del sys.path[0]  # for the package alone: what is beside it may have names of Python's own
    from fwd.cli import main

    sys.exit(main())
