# SPDX-License-Identifier: Apache-2.0
"""`fwd install-conf` copies a file whole, as init containers want it."""

import subprocess
import sys
from pathlib import Path


def test_install_conf_is_a_command(tmp_path: Path) -> None:
    source, target = tmp_path / "a", tmp_path / "b"
    source.write_text("x")
    command = [sys.executable, "-m", "fwd", "install-conf", str(source), str(target)]
    assert subprocess.run(command, timeout=10, check=False).returncode == 0
    assert target.read_text() == "x"
