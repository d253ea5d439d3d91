# SPDX-License-Identifier: Apache-2.0
"""The way into a real etcd: certificates and users, and what is said of a no."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from fwd.sources.contact import ServerError
from fwd.sources.etcdaccess import EtcdAccess, make_access
from fwd.sources.etcdapi import EtcdApi
from fwd.sources.etcdlink import BadUser, Refused, Unreachable
from tests.certificates import Authority
from tests.etcd_server import PREFIX, SUBNETS, EtcdServer
from tests.unit.etcd_member import PATIENCE, SMALL, close, guard, member, until, value

KEY = f"{PREFIX}/config"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"), "authority")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("other"), "stranger")


@pytest.fixture(scope="module")
def secure(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    with EtcdServer(tmp_path_factory.mktemp("tls"), tls=authority.sign("root")) as server:
        server.start()
        server.configure(SMALL)
        yield server


def tls(
    server: EtcdServer, files: tuple[Path, Path, Path], *, ca: Path | None = None
) -> EtcdAccess:
    certificate, key, own_ca = files
    return make_access(
        (server.url,), cert_file=str(certificate), key_file=str(key), ca_file=str(ca or own_ca)
    )


def become(own: tuple[Path, Path], files: tuple[Path, Path, Path]) -> None:
    """Another certificate and key in the same files."""
    for path, other in zip(own, files, strict=False):
        path.write_bytes(other.read_bytes())


async def failure(to: EtcdAccess) -> ServerError:
    api = EtcdApi(to, patience=PATIENCE)
    with pytest.raises(ServerError) as caught:
        await api.get(KEY)
    await close(api)
    return caught.value


async def test_a_node_with_a_certificate_gets_in(secure: EtcdServer, authority: Authority) -> None:
    async with member(tls(secure, authority.sign("n1")), 1) as one:
        await until("published", lambda: one.snapshot and secure.leases().get(one.key) == value(1))


def sockets() -> set[str]:
    """Of this process."""
    found = set()
    for fd in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # by which this is read
            found.add(str(fd.readlink()))
    return {one for one in found if one.startswith("socket:")}


async def test_what_is_closed_is_gone(secure: EtcdServer, authority: Authority) -> None:
    """Also by TLS, where the other side has to say so: nothing is left of it for the loop's end."""
    access, before = tls(secure, authority.sign("n1")), sockets()
    for _ in range(10):
        api = EtcdApi(access, patience=PATIENCE)
        await api.get("/nothing")
        await api.close()
        assert sockets() <= before


async def test_no_certificate_and_a_strangers_are_said(
    secure: EtcdServer, authority: Authority, stranger: Authority
) -> None:
    without = make_access((secure.url,), ca_file=str(authority.ca))
    wrong = tls(secure, stranger.sign("n1"), ca=authority.ca)
    for to in (without, wrong):
        error = await failure(to)
        assert isinstance(error, Unreachable)
        assert str(error) == (
            f"cannot read {KEY}: {secure.url}: the connection broke off: does this etcd take the "
            "client's certificate?"
        )


async def test_a_server_of_another_authority_is_not_talked_to(
    secure: EtcdServer, authority: Authority, stranger: Authority
) -> None:
    error = await failure(tls(secure, authority.sign("n1"), ca=stranger.ca))
    assert "TLS: [SSL: CERTIFICATE_VERIFY_FAILED]" in str(error)


async def test_https_asked_of_http_and_the_other_way_round(
    secure: EtcdServer, guarded: EtcdServer
) -> None:
    plain = make_access((secure.url.replace("https", "http"),))
    assert "does this etcd want https?" in str(await failure(plain))
    other = make_access((guarded.url.replace("http", "https"),))
    assert "does this etcd want http?" in str(await failure(other))


async def test_a_certificate_that_is_replaced_is_read_again(
    secure: EtcdServer, authority: Authority, stranger: Authority, tmp_path: Path
) -> None:
    certificate, key = own = tmp_path / "own.crt", tmp_path / "own.key"
    become(own, stranger.sign("n2"))
    api = EtcdApi(tls(secure, (certificate, key, authority.ca)), patience=PATIENCE)
    with pytest.raises(Unreachable):
        await api.get(KEY)
    become(own, authority.sign("n2"))
    assert await api.get(KEY)
    await close(api)


async def test_a_wrong_certificate_is_one_line_and_the_right_one_mends_it(
    secure: EtcdServer,
    authority: Authority,
    stranger: Authority,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "fwd")
    certificate, key = own = tmp_path / "own.crt", tmp_path / "own.key"
    become(own, stranger.sign("n6"))
    async with member(tls(secure, (certificate, key, authority.ca)), 6) as one:
        await until("it says so", lambda: "event=etcd error=" in caplog.text)
        await asyncio.sleep(1.0)  # three more times
        become(own, authority.sign("n6"))
        await until("published", lambda: one.snapshot and secure.leases().get(one.key) == value(6))
    assert caplog.text.count("event=etcd error=") == 1
    assert caplog.text.count("event=etcd-connected") == 1


async def test_a_user_that_is_not_known_any_more_is_one_line(
    guarded: EtcdServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "fwd")
    to = make_access((guarded.url,), user=("fwd", "secret"))
    async with member(to, 1) as one:
        await until("published", lambda: one.snapshot and guarded.leases().get(one.key) == value(1))
        guarded.ctl("user", "delete", "fwd")
        # Who is in stays in, until the token ends.
        await until("it says so", lambda: "authentication failed" in caplog.text)
        await asyncio.sleep(1.0)
        assert one.source.state().standing == "away"
        guarded.ctl("user", "add", "fwd:secret")
        guarded.ctl("user", "grant-role", "fwd", "flannel")
        await until("it is back", lambda: one.source.state().standing == "watching")
        assert len(one.owned) == 1
    assert caplog.text.count("authentication failed") == 1
    assert caplog.text.count("event=etcd error=") == 1


async def test_a_user_gets_in_and_in_again_after_a_restart_that_ends_all_tokens(
    guarded: EtcdServer,
) -> None:
    to = make_access((guarded.url,), user=("fwd", "secret"))
    async with member(to, 1) as one:
        await until("published", lambda: one.snapshot and guarded.leases().get(one.key) == value(1))
        guarded.stop()
        guarded.start()
        guarded.ctl("put", SUBNETS + "10.5.0.240-28", value(9))
        await until("the news", lambda: one.peers == {"10.5.0.240/28 192.168.0.9"})


async def test_the_name_in_a_certificate_is_a_user(authority: Authority, tmp_path: Path) -> None:
    """Which etcd's JSON gateway cannot do."""
    with EtcdServer(tmp_path / "names", tls=authority.sign("root")) as server:
        guard(server)
        async with member(tls(server, authority.sign("fwd")), 1) as one:
            await until("published", lambda: one.snapshot and server.leases().get(one.key))
        error = await failure(tls(server, authority.sign("nobody")))
        assert "permission denied" in str(error) or "user" in str(error)


async def test_a_token_that_has_ended_is_asked_for_again(guarded: EtcdServer) -> None:
    api = EtcdApi(make_access((guarded.url,), user=("fwd", "secret")), patience=PATIENCE)
    assert await api.get(KEY)
    api._link._token = "gone.7"
    assert await api.get(KEY)
    await close(api)


async def test_users_that_are_wanted_later_are_let_in_by_the_same_connection(
    guarded: EtcdServer,
) -> None:
    """Agents are told of a user first, and etcd is then: who asked nobody before asks now."""
    guarded.ctl("auth", "disable")
    api = EtcdApi(make_access((guarded.url,), user=("fwd", "secret")), patience=PATIENCE)
    assert await api.get(KEY)
    connection = api._link._connection
    guarded.ctl("auth", "enable", user=())
    assert await api.get(KEY)
    assert api._link._connection is connection
    await close(api)


async def test_a_connection_that_was_good_is_not_said_to_want_something(
    secure: EtcdServer, authority: Authority
) -> None:
    """Whoever else closed it meanwhile, as for a new address of this node."""
    api = EtcdApi(tls(secure, authority.sign("n7")), patience=PATIENCE)
    watch = api.watch(PREFIX, after=1)
    assert await anext(watch)
    api.reconnect()
    with pytest.raises(Unreachable) as caught:
        async for _ in watch:
            pass
    assert str(caught.value).endswith("the connection broke off")
    await close(api)


async def test_wrong_passwords_and_missing_users_are_named(guarded: EtcdServer) -> None:
    wrong = await failure(make_access((guarded.url,), user=("fwd", "wrong")))
    assert isinstance(wrong, BadUser)
    assert str(wrong) == (
        f"cannot read {KEY}: authentication failed, invalid user ID or password "
        "(--etcd-username and --etcd-password)"
    )
    missing = await failure(make_access((guarded.url,)))
    assert isinstance(missing, BadUser)
    assert "user name is empty" in str(missing)
    assert "this etcd wants a user" in str(missing)


async def test_what_a_role_does_not_allow_is_named(guarded: EtcdServer) -> None:
    api = EtcdApi(make_access((guarded.url,), user=("fwd", "secret")), patience=PATIENCE)
    with pytest.raises(Refused, match="permission denied: the role of user fwd does not allow it"):
        await api.get("/elsewhere")
    with pytest.raises(Refused, match="permission denied"):
        async for _ in api.watch("/elsewhere", after=1):
            pass
    await close(api)


async def test_a_user_that_nobody_asks_for_is_no_error(
    secure: EtcdServer, authority: Authority
) -> None:
    certificate, key, ca = authority.sign("n3")
    to = make_access(
        (secure.url,),
        cert_file=str(certificate),
        key_file=str(key),
        ca_file=str(ca),
        user=("fwd", "secret"),
    )
    api = EtcdApi(to, patience=PATIENCE)
    assert await api.get(KEY)
    await close(api)
