# SPDX-License-Identifier: Apache-2.0
"""Credentials for an API server: read again in time, and never waited for without an end.

A kubeconfig may name a plugin, a program that is asked for a token; it may hang.  So reading is a
task of its own, one at a time, which ends after a while, and with it the plugin.  Who has
credentials already waits for new ones only shortly, and goes on with those it has.
"""

import asyncio
import math
import time
from typing import Any

from fwd.ops import log
from fwd.sources import kubeclient
from fwd.sources.contact import NoAnswer
from fwd.sources.kubeclient import ApiAccess

REREAD_SECONDS = 60.0
"""As client-go has it.  kubelet replaces a token when a fifth of its time is left."""
READ_SECONDS = 15.0
"""As long as for an answer of the API server: a plugin asks some server, too."""
GRACE_SECONDS = 2.0
"""That a request waits for newer credentials than it has.  Files take no time, and plugins that are
well a second or so; the leases must not be late by one that is not."""


class NoCredentials(NoAnswer):
    """There are none, or not in time: an API server that cannot be asked."""

    cause = "no credentials"


class Credentials:
    """Those that an ApiAccess leads to, in the client's Configuration, which has the URL as well.

    `current` and `read` raise ConfigError and NoCredentials.
    """

    def __init__(self, access: ApiAccess) -> None:
        self._access = access
        self._configuration: Any = None
        self._read_at = -math.inf
        self._reading: asyncio.Task[Any] | None = None
        self._begun_at = -math.inf
        self._trouble = self._told = ""
        """Why they could not be read the last time, and what of that has been said."""

    @property
    def are_none(self) -> bool:
        """Whether who asks with the last ones is nobody, or none were read yet."""
        known = self._configuration
        return known is None or not kubeclient.has_credentials(known)

    async def current(self) -> Any:  # noqa: ANN401 - the client's Configuration
        """Read again if that is a minute ago.

        If that is in vain it is said, and the last ones are used: if they are bad by now, the API
        server's answer will say so.
        """
        known = self._configuration
        if known is None:
            return await self.read()
        if time.monotonic() - self._read_at >= REREAD_SECONDS:
            reading = self._begin()
            grace = self._begun_at + GRACE_SECONDS - time.monotonic()
            await asyncio.wait({reading}, timeout=max(grace, 0.0))
            self._tell()
        return self._configuration or known

    async def read(self) -> Any:  # noqa: ANN401
        """Read now."""
        return await asyncio.shield(self._begin())  # others may wait for the same

    def outdate(self) -> None:
        """They may be others by now: whoever wants them next has them read again."""
        self._read_at = -math.inf

    async def close(self) -> None:
        """Ends what is being read."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait({self._reading})

    def _begin(self) -> asyncio.Task[Any]:
        """The reading that goes on, or a new one: plugins that hang must not pile up."""
        if self._reading is None:
            self._begun_at = time.monotonic()
            self._reading = asyncio.create_task(self._read())
            self._reading.add_done_callback(self._on_read)
        return self._reading

    async def _read(self) -> Any:  # noqa: ANN401
        try:
            async with asyncio.timeout(READ_SECONDS):
                configuration = await kubeclient.load(self._access)
        except TimeoutError as error:
            raise NoCredentials(
                "cannot read the credentials: the kubeconfig's plugin does not answer"
                f" (for {READ_SECONDS:g} s)"
            ) from error
        self._read_at = time.monotonic()
        if not (self.are_none or kubeclient.has_credentials(configuration)):
            # Who has none is system:anonymous, whose 403 is no reason to read again.
            raise NoCredentials("the kubeconfig, or its plugin, gives no credentials any more")
        self._configuration = configuration
        return configuration

    def _on_read(self, reading: asyncio.Task[Any]) -> None:
        self._reading = None
        if not reading.cancelled():
            self._trouble = str(reading.exception() or "")

    def _tell(self) -> None:
        """Once."""
        if self._trouble not in ("", self._told):
            said = f"{self._trouble}; those that were read before are used"
            log.warning("api-server", error=said)
        self._told = self._trouble
