# SPDX-License-Identifier: Apache-2.0
"""The official client's configuration and transport, without the rest of it.

`import kubernetes.aio.client` brings 700 modules and 14 MiB, nearly all of them classes of objects
that are never made here.  So the packages on the way to the few modules that are of use are entered
into sys.modules empty, with their search paths only, and their `__init__` never runs.  Should that
not work with some version, the whole is imported: nothing but memory depends on it.
docs/decisions/kubernetes-client.md has the figures.

The only importer of `kubernetes`; requests are `sources.kubeapi`'s.
"""

import asyncio
import os
import socket
import sys
from contextlib import suppress
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from aiohttp import TCPConnector, connector
from aiohttp.abc import AbstractResolver, ResolveResult
from msgspec import Struct

from fwd.model import ConfigError
from fwd.sources import proxies
from fwd.sources.kubeplugin import end_plugin
from fwd.sources.names import NAMES

_SECRETS = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_SCHEMES = ("http", "https")
_TOKEN = "BearerToken"  # noqa: S105 - by this name the client has the Authorization header's value
_READ_BYTES = 1 << 16
"""aiohttp holds up to twice this; the client's own 2 MiB would be a third of our memory."""
_NAME_SHARE = 0.9
"""Of the time for a connection: aiohttp's own words for its end have nothing of names."""
_LONGEST_LOOKUP = 60.0
"""Where whoever asks has a limit of his own."""

# A server that is gone without a word is noticed within half a minute; client-go has pings.
_KEEPALIVE = {
    socket.TCP_KEEPIDLE: 10,
    socket.TCP_KEEPINTVL: 5,
    socket.TCP_KEEPCNT: 3,
    socket.TCP_USER_TIMEOUT: 25_000,
}


class ApiAccess(Struct, frozen=True):
    """Which API server, and with what credentials; all empty: as a Pod finds its own."""

    url: str = ""
    kubeconfig: Path | None = None
    token_file: Path = _SECRETS / "token"
    ca_file: Path = _SECRETS / "ca.crt"


async def load(access: ApiAccess) -> Any:  # noqa: ANN401 - a kubernetes.aio.client.Configuration
    """The client's Configuration (flannel spec 1.1), read anew.

    Given a URL or a kubeconfig, these; else in-cluster; else client-go's default loading rules.
    Raises ConfigError.
    """
    _enter()
    from kubernetes.aio.client.configuration import Configuration  # noqa: PLC0415 - after _enter

    configuration = Configuration()
    try:
        if access.url or access.kubeconfig is not None:
            if access.kubeconfig is not None:
                await _load_kubeconfig(configuration, str(access.kubeconfig))
        elif os.environ.get("KUBERNETES_SERVICE_HOST"):
            _load_in_cluster(configuration, access)
        else:
            await _load_kubeconfig(configuration, os.environ.get("KUBECONFIG") or "~/.kube/config")
        _set_server(configuration, access.url)
        if configuration.proxy:  # of the kubeconfig
            configuration.proxy = proxies.readable(configuration.proxy, of="proxy-url")
        else:
            configuration.proxy = proxies.proxy_for(configuration.host, os.environ)
    except Exception as error:  # the library's and YAML's errors have no base in common
        raise ConfigError(
            f"Failed to create SubnetManager: fail to create kubernetes config: {_line(error)}"
        ) from error
    # Proxies by aiohttp's rules, and ~/.netrc, would come with the environment.
    configuration.client_session_kwargs = {"read_bufsize": _READ_BYTES, "trust_env": False}
    # From Python 3.13 on authorities of old clusters are refused else, for want of extensions that
    # Go never asks for.  Chain, time and name are checked all the same.
    configuration.disable_strict_ssl_verification = True
    return configuration


def _load_in_cluster(configuration: Any, access: ApiAccess) -> None:  # noqa: ANN401
    """The ServiceAccount's."""
    from kubernetes.aio.config.incluster_config import InClusterConfigLoader  # noqa: PLC0415

    InClusterConfigLoader(
        token_filename=str(access.token_file),
        cert_filename=str(access.ca_file),
        try_refresh_token=False,  # kubeapi reads all of it anew, whatever it is from
    ).load_and_set(configuration)


def _set_server(configuration: Any, url: str) -> None:  # noqa: ANN401
    """The URL of the API server: --kube-api-url if given, which may be host and port alone.

    Then it is https: if there is anything for TLS, as client-go has it.  A kubeconfig must say, as
    the client reads what it has for TLS only behind https:.  A user and a password in it come
    before any token, as in client-go, but not into what is said of the server.  Raises ConfigError,
    which has nothing of the text.
    """
    with suppress(ValueError):  # of the port, say
        parts, path = urlsplit(url or configuration.host), ""
        if url and not (parts.scheme and parts.netloc):
            is_tls = configuration.ssl_ca_cert or configuration.cert_file
            is_tls = is_tls or not configuration.verify_ssl
            parts = urlsplit(f"{'https' if is_tls else 'http'}://{url}")
            path = parts.path
        if parts.scheme in _SCHEMES and parts.hostname and parts.port != 0 and path in {"", "/"}:
            place = parts.netloc.rpartition("@")[2]
            configuration.host = parts._replace(netloc=place).geturl().rstrip("/")
            if parts.username is not None:
                configuration.username = unquote(parts.username)
                configuration.password = unquote(parts.password or "")
                configuration.api_key[_TOKEN] = configuration.get_basic_auth_token()
            return
    what = "--kube-api-url" if url else "the kubeconfig's server (in a Pod KUBERNETES_SERVICE_*)"
    raise ConfigError(f"{what} is no URL of an API server such as https://10.0.0.1:6443")


async def _load_kubeconfig(configuration: Any, paths: str) -> None:  # noqa: ANN401
    if not _any_file(paths):
        hint = "give --kubeconfig-file or --kube-api-url, or run as a Pod with a ServiceAccount"
        raise ConfigError(f"{paths}: no such file ({hint})")
    from kubernetes.aio.config import kube_config  # noqa: PLC0415 - brings YAML

    _forget_lost_files(kube_config)
    # Who gives OIDC tokens is asked by the client itself, with a connector of its own.
    vars(connector)["DefaultResolver"] = lambda **_: _Resolver(_LONGEST_LOOKUP)
    try:
        await kube_config.load_kube_config(
            config_file=paths, client_configuration=configuration, persist_config=False
        )
    except asyncio.CancelledError as error:
        await end_plugin(error)
        raise


def _forget_lost_files(kube_config: Any) -> None:  # noqa: ANN401 - the client's module
    """Lets the client write anew what it has written to a file that is gone.

    What a kubeconfig has inline it writes to /tmp, and remembers the file by its content for good.
    Where /tmp is cleaned (by systemd after ten days), reading would fail from then on.
    """
    known = getattr(kube_config, "_temp_files", None)  # another version may not have it
    if isinstance(known, dict):
        for content in [key for key, name in known.items() if not Path(str(name)).is_file()]:
            del known[content]


def _any_file(paths: str) -> bool:
    return any(Path(place).expanduser().is_file() for place in paths.split(os.pathsep) if place)


async def authorization(configuration: Any) -> str | None:  # noqa: ANN401
    """The Authorization header that belongs to a request now.  Raises OSError."""
    try:
        settings = await configuration.auth_settings()
    except OSError:
        raise
    except Exception as error:  # of the library: an empty token file, a failed exec plugin
        raise OSError(f"cannot read the token: {_line(error)}") from error
    value = (settings.get(_TOKEN, {}).get("value") or "").strip()
    if not value.isprintable():  # a token file of several lines
        raise OSError("the token has characters that no header may have")
    return value or None


def has_credentials(configuration: Any) -> bool:  # noqa: ANN401
    """Whether who asks with it is anybody: the client takes a plugin that fails for none."""
    return bool(configuration.api_key.get(_TOKEN) or configuration.cert_file)


def transport(configuration: Any, *, seconds: float = 5.0) -> Any:  # noqa: ANN401
    """The client's way to send requests: TLS, proxies, connections.  Raises OSError, ssl.SSLError.

    `seconds` are those of a request for its connection; what becomes of a name is known before.
    Its `_create_connector` is made to be overridden, for settings of sockets among others.
    """
    _enter()
    from kubernetes.aio.client.rest import RESTClientObject  # noqa: PLC0415 - after _enter

    class Transport(RESTClientObject):  # type: ignore[misc] # mypy does not follow it
        def _create_connector(self) -> TCPConnector:
            return TCPConnector(
                limit=self.maxsize,
                ssl=self.ssl_context,
                socket_factory=_make_socket,
                resolver=_Resolver(_NAME_SHARE * seconds),
            )

    return Transport(configuration)


class _Resolver(AbstractResolver):
    """aiohttp's own asks the loop, which would not end before its last lookup did."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    async def resolve(
        self, host: str, port: int = 0, family: int = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """As aiohttp's: families that this node has no address of are not asked for."""
        found = await NAMES.look_up(host, seconds=self._seconds, flags=socket.AI_ADDRCONFIG)
        return [
            ResolveResult(
                hostname=host,
                host=one.host,
                port=port,
                family=one.family,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for one in found
            if family in (socket.AF_UNSPEC, one.family)
        ]

    async def close(self) -> None:
        """Nothing is held."""


def _make_socket(info: Any) -> socket.socket:  # noqa: ANN401 - a tuple of getaddrinfo's
    made = socket.socket(info[0], info[1], info[2])
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEPALIVE.items():
        made.setsockopt(socket.IPPROTO_TCP, option, value)
    return made


def _enter() -> None:
    """Makes the modules of the client that are of use importable without the others."""
    if "kubernetes" in sys.modules:
        return
    try:
        _enter_empty()
    except (ImportError, AttributeError):
        for name in [name for name in sys.modules if name.partition(".")[0] == "kubernetes"]:
            del sys.modules[name]


_PASSED_THROUGH = (
    "kubernetes",
    "kubernetes.aio",
    "kubernetes.aio.client",
    "kubernetes.aio.config",
    "kubernetes.aio.utils",
)


def _enter_empty() -> None:
    """The packages as they are found, but not run; what others want of them is put in."""
    path = None
    for name in _PASSED_THROUGH:
        if "." in name:
            path = sys.modules[name.rpartition(".")[0]].__path__
        spec = PathFinder.find_spec(name, path)
        if spec is None or spec.submodule_search_locations is None:
            raise ImportError(name)
        sys.modules[name] = module_from_spec(spec)
    from kubernetes.aio.client import configuration, rest  # noqa: PLC0415

    package: Any = sys.modules["kubernetes.aio.client"]
    package.Configuration, package.rest = configuration.Configuration, rest
    package.ApiClient = None  # kube_config imports it, and calls it for others only


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
