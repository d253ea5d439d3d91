# SPDX-License-Identifier: Apache-2.0
"""net-conf.json from etcd: waited for, and remembered for a start while etcd is away."""

import asyncio
from contextlib import suppress
from pathlib import Path

from msgspec import Struct, field

from fwd.core.etcdlease import config_key
from fwd.core.netconf import NetConf, parse_netconf
from fwd.core.subnetpool import make_pools
from fwd.model import ConfigError
from fwd.node.subnetfile import write_whole
from fwd.ops import log
from fwd.sources.contact import Contact, NoAnswer, ServerError
from fwd.sources.etcdapi import EtcdApi

POLL_SECONDS = 1.0
"""As flannel does."""
SAVED_AFTER_SECONDS = 2.0
"""A node that can forward by what it remembers does not wait for etcd for longer than this, and not
at all for one that cannot be reached."""
_NO_ANSWER = "etcd does not answer"


async def read_netconf(
    api: EtcdApi, contact: Contact, prefix: str, *, saved: Path
) -> tuple[NetConf, bytes]:
    """The network's configuration and its text, from `<prefix>/config`.

    Waits for as long as there is none.  `saved` is where it was put by an earlier start: good
    enough if etcd gives none that can be used.  Raises ConfigError for one that cannot be used.
    """
    lack = _Lack()
    reading = asyncio.ensure_future(_read(api, contact, config_key(prefix), lack))
    failing = asyncio.ensure_future(lack.out_of_reach.wait())
    try:
        if await asyncio.to_thread(saved.is_file):
            first = asyncio.FIRST_COMPLETED
            await asyncio.wait({reading, failing}, timeout=SAVED_AFTER_SECONDS, return_when=first)
            is_unread = not reading.done() or reading.exception() is not None
            if is_unread and (remembered := _load(saved)) is not None:
                lack.tell()
                return remembered
        conf, text = await reading
    finally:
        reading.cancel()
        failing.cancel()
    _save(saved, text)
    return conf, text


class _Lack(Struct):
    """Why there is no configuration from etcd yet."""

    out_of_reach: asyncio.Event = field(default_factory=asyncio.Event)
    reason: str = _NO_ANSWER
    error: ConfigError | None = None
    """Of what is in etcd, which nobody else tells."""

    def tell(self) -> None:
        if self.error is not None:
            log.warning("net-conf-unusable", error=self.error)
        log.warning("net-conf-saved", text=f"{self.reason}; going by what it said last")


async def _read(api: EtcdApi, contact: Contact, key: str, lack: _Lack) -> tuple[NetConf, bytes]:
    found: list[bytes] = []
    faults: list[ConfigError] = []

    async def once() -> None:
        try:
            kv = None if faults else await api.get(key)
        except NoAnswer:
            lack.reason = _NO_ANSWER
            lack.out_of_reach.set()
            raise
        except ServerError:
            lack.reason = "etcd does not tell the network's configuration"
            raise
        found[:] = [] if kv is None else [kv.value]

    def on_fault(error: ConfigError) -> bool:
        lack.reason = "etcd cannot be asked"
        faults.append(error)
        return True

    contact.on_fault = on_fault
    is_told = False
    while True:
        await contact.retrying(once)
        if faults:
            raise faults[0]
        contact.well()
        if found:
            try:
                return parse_text(found[0], where=key), found[0]
            except ConfigError as error:
                lack.reason, lack.error = "what etcd holds cannot be used", error
                raise
        lack.reason = f"there is no {key} in etcd"
        if not is_told:
            log.warning(
                "waiting",
                text="flannel config not found in etcd store. Did you create your config using "
                f"etcdv3 API? Put net-conf.json into the key {key}",
            )
        is_told = True
        await asyncio.sleep(POLL_SECONDS)


def parse_text(text: bytes, *, where: object) -> NetConf:
    """The configuration, if it is one that gives subnets.  Raises ConfigError."""
    try:
        conf = parse_netconf(text)
        make_pools(conf)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error
    return conf


def _load(saved: Path) -> tuple[NetConf, bytes] | None:
    """What was saved; None for what is of no use, which is never a reason not to start."""
    try:
        text = saved.read_bytes()
        conf = parse_text(text, where=saved)
    except (ConfigError, OSError) as error:
        said = error if isinstance(error, ConfigError) else f"{saved}: {error.strerror}"
        log.warning("net-conf-saved-unused", error=said)
        return None
    return conf, text


def _save(saved: Path, text: bytes) -> None:
    with suppress(OSError):
        if saved.read_bytes() == text:
            return
    try:
        write_whole(saved, text, mode=0o600)
    except OSError as error:
        log.warning("net-conf", error=f"cannot save {saved}: {error.strerror}")
