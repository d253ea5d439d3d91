# SPDX-License-Identifier: Apache-2.0
"""python -P -S fwd/supervisor/__main__.py KEEP ARGS: the supervisor as a program.

KEEP is `spare` or `no-spare`, ARGS are those of `fwd run`.  Without `site` (-S) nothing that is
installed is loaded or looked for; the place of this package goes last on the path.
"""

import os.path
import sys

if __name__ == "__main__":
    sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))  # noqa: PTH100, PTH120 - pathlib costs a tenth of this program's memory
    from fwd.supervisor.supervisor import Supervisor

    sys.exit(Supervisor(sys.argv[2:], keeps_spare=sys.argv[1] == "spare").run())
