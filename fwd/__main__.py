# SPDX-License-Identifier: Apache-2.0
"""`python -m fwd`, the same program as the `fwd` script."""

import sys

from fwd.cli import main

if __name__ == "__main__":
    sys.exit(main())
