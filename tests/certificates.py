# SPDX-License-Identifier: Apache-2.0
"""An authority, and certificates that it signs, for 127.0.0.1; by the openssl command."""

import subprocess
from pathlib import Path


class Authority:
    """Its certificate is `ca`; what it signs lies beside that."""

    def __init__(self, root: Path, name: str) -> None:
        self._root = root
        self.ca, self._key = root / f"{name}.crt", root / f"{name}.key"
        _openssl(
            *(
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
                "-nodes",
            ),
            *("-keyout", str(self._key), "-out", str(self.ca), "-subj", f"/CN={name}"),
            *("-days", "1"),
        )

    def sign(self, name: str, *, ip: str = "127.0.0.1") -> tuple[Path, Path, Path]:
        """Certificate and key of this name and address, and the authority's certificate."""
        certificate, key = self._root / f"{name}.crt", self._root / f"{name}.key"
        request = self._root / f"{name}.csr"
        _openssl(
            *("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-keyout", str(key), "-out", str(request), "-subj", f"/CN={name}"),
            *("-addext", f"subjectAltName=IP:{ip}"),
        )
        _openssl(
            *("x509", "-req", "-in", str(request), "-CA", str(self.ca), "-CAkey", str(self._key)),
            *(
                "-CAcreateserial",
                "-out",
                str(certificate),
                "-days",
                "1",
                "-copy_extensions",
                "copy",
            ),
        )
        return certificate, key, self.ca


def _openssl(*words: str) -> None:
    done = subprocess.run(["openssl", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
