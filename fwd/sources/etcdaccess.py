# SPDX-License-Identifier: Apache-2.0
"""Where etcd is and who we are to it: what --etcd-* says, checked (flannel spec 1.1, 4.1).

A certificate, its key and an authority are read again for each connection, so that one that is
replaced in time is never refused.
"""

import ssl
from pathlib import Path
from urllib.parse import urlsplit

from msgspec import Struct

from fwd.model import ConfigError
from fwd.ops import log

_PORT = 2379
_FAILED = "Failed to create SubnetManager"


class Endpoint(Struct, frozen=True):
    """One member of the cluster, or what stands before all of them."""

    url: str
    host: str
    port: int
    is_tls: bool


class EtcdAccess(Struct, frozen=True):
    """Which etcd, and with what credentials."""

    endpoints: tuple[Endpoint, ...]
    key_file: str = ""
    cert_file: str = ""
    ca_file: str = ""
    username: str = ""
    password: str = ""

    def context(self) -> ssl.SSLContext:
        """TLS 1.2 or later, HTTP/2.  Raises ConfigError for files that cannot be used."""
        try:
            context = ssl.create_default_context(cafile=self.ca_file or None)
        except OSError as error:  # ssl.SSLError is one
            raise ConfigError(f"{_FAILED}: --etcd-cafile {self.ca_file}: {line(error)}") from error
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # Python 3.13's; Go asks for no such thing
        context.set_alpn_protocols(["h2"])
        if self.cert_file:
            for path in (self.cert_file, self.key_file):  # else the error does not say which one
                if not Path(path).is_file():
                    raise ConfigError(f"{_FAILED}: {path}: there is no such file")
            try:
                context.load_cert_chain(self.cert_file, self.key_file, password=_no_password)
            except (OSError, ValueError) as error:
                raise ConfigError(
                    f"{_FAILED}: --etcd-certfile {self.cert_file}, --etcd-keyfile "
                    f"{self.key_file}: {line(error)}"
                ) from error
        return context


def make_access(
    endpoints: tuple[str, ...],
    *,
    key_file: str = "",
    cert_file: str = "",
    ca_file: str = "",
    user: tuple[str, str] = ("", ""),
) -> EtcdAccess:
    """Raises ConfigError for what cannot be."""
    if bool(key_file) != bool(cert_file):
        missing = "--etcd-certfile" if key_file else "--etcd-keyfile"
        raise ConfigError(f"{_FAILED}: a client certificate and its key go together: {missing}")
    if "@" in "".join(endpoints):  # not quoted: a password may stand before it, cut at a comma
        raise ConfigError(
            f"{_FAILED}: --etcd-endpoints: a URL must have no user: give --etcd-username and "
            "--etcd-password"
        )
    parsed = tuple(_endpoint(text.strip()) for text in endpoints if text.strip())
    if not parsed:
        raise ConfigError(f"{_FAILED}: --etcd-endpoints names none")
    access = EtcdAccess(
        endpoints=parsed,
        key_file=key_file,
        cert_file=cert_file,
        ca_file=ca_file,
        username=user[0],
        password=user[1],
    )
    if any(endpoint.is_tls for endpoint in parsed):
        access.context()
    return access


def tell_insecure(access: EtcdAccess) -> None:
    """Says what an operator may not have meant."""
    plain = [endpoint.url for endpoint in access.endpoints if not endpoint.is_tls]
    if plain and (access.cert_file or access.ca_file):
        text = "the certificates have no effect on endpoints that begin with http:"
        log.warning("etcd-insecure", text=text, endpoints=",".join(plain))
    elif plain:
        text = "connecting to etcd with http. This is insecure"
        log.warning("etcd-insecure", text=text, endpoints=",".join(plain))


def _endpoint(text: str) -> Endpoint:
    """A URL, or host:port, which is http."""
    url = text if "://" in text else f"http://{text}"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or _PORT
        more = parts.path.strip("/") or parts.query or parts.fragment
        if parts.scheme not in ("http", "https") or not host or more:
            raise ValueError(url)
    except ValueError:
        raise ConfigError(
            f"{_FAILED}: --etcd-endpoints: {text!r} is no URL such as https://10.0.0.1:2379"
        ) from None
    return Endpoint(url=url.rstrip("/"), host=host, port=port, is_tls=parts.scheme == "https")


def _no_password() -> str:
    """Without it OpenSSL would ask the terminal for an encrypted key's."""
    raise ValueError("the key is encrypted; give one that is not")


def line(error: BaseException) -> str:
    """An error as one line."""
    text = getattr(error, "strerror", None) if isinstance(error, OSError) else None
    return " ".join(str(text or error).split()) or type(error).__name__
