# SPDX-License-Identifier: Apache-2.0
"""What an agent needs to get in: a kubeconfig, a ServiceAccount's files; and a TLS certificate.

Certificates are made by the openssl program, as Python's own library cannot make any.
"""

import shutil
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from fwd.lab import child
from fwd.lab.errors import LabError

_DAYS: Final = "3650"


class Certificate(Struct, frozen=True):
    """A self-signed certificate, which is its own CA, and its key."""

    certificate: Path
    key: Path

    def context(self) -> ssl.SSLContext:
        """For the server."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        return context


def certify(directory: Path, hosts: Sequence[str]) -> Certificate:
    """Make a certificate for these addresses.

    Raises:
        LabError: there is no openssl, or it does not want to.
    """
    made = Certificate(directory / "ca.crt", directory / "tls.key")
    names = ",".join(f"IP:{host}" for host in hosts)
    done = child.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *(
                "-nodes",
                "-days",
                _DAYS,
                "-subj",
                "/CN=fwd lab",
                "-addext",
                f"subjectAltName={names}",
            ),
            *("-out", str(made.certificate), "-keyout", str(made.key)),
        ]
    )
    if done.code:
        raise LabError(f"openssl: {done.last_line}")
    return made


def write_kubeconfig(path: Path, *, url: str, token_file: Path, ca: Path | None = None) -> None:
    """Write a kubeconfig, as JSON, which is YAML."""
    authority = {} if ca is None else {"certificate-authority": str(ca)}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "lab", "cluster": {"server": url, **authority}}],
        "users": [{"name": "flannel", "user": {"tokenFile": str(token_file)}}],
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "flannel"}}],
        "current-context": "lab",
    }
    path.write_bytes(msgspec.json.format(msgspec.json.encode(config), indent=2) + b"\n")


def write_service_account(directory: Path, *, token: str, ca: Path | None = None) -> None:
    """Write what a Pod finds in /var/run/secrets/kubernetes.io/serviceaccount.

    The token is replaced by a rename, as kubelet does it, so that this also rotates one.
    """
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "namespace").write_text("kube-flannel")
    if ca is not None and ca != directory / "ca.crt":
        shutil.copyfile(ca, directory / "ca.crt")
    new = directory / "token.new"
    new.write_text(token)
    new.rename(directory / "token")
