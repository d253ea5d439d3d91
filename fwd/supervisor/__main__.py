# SPDX-License-Identifier: Apache-2.0
"""python -P -S fwd/supervisor/__main__.py KEEP FORM ARGS: the supervisor as a program.

KEEP is `spare` or `no-spare`, FORM the log's (`text` or `json`), ARGS are those of `fwd run`.
Without `site` (-S) nothing that is installed is loaded or looked for; the place of this package
goes last on the path.
"""

import os.path
import sys

if __name__ == "__main__":
    sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))  # noqa: PTH100, PTH120 - pathlib costs a tenth of this program's memory
    from fwd.supervisor import saying
    from fwd.supervisor.supervisor import Supervisor

    keep, form, *arguments = sys.argv[1:]
    saying.set_up(form)
    sys.exit(Supervisor(arguments, keeps_spare=keep == "spare").run())
