# SPDX-License-Identifier: Apache-2.0
"""Which proxy the environment names for a URL: Go's rule."""

import pytest

from fwd.model import ConfigError
from fwd.sources.proxies import proxy_for, readable

EXEMPT = (
    "cluster.example, .sub.only,*.star.only , 192.0.2.7,192.0.2.8:6443, 192.0.2.9:443,"
    "10.96.0.0/12,2001:db8:1::/48,2001:db8:2::7,[2001:db8:2::8]:6443,"
    "Upper.Example,port.example:6443,open.example:,:443,,10.0.0.0/255.0.0.0,172.16.0.0/33,[fd00::1]"
)


@pytest.mark.parametrize(
    ("host", "is_exempt"),
    [
        # whatever NO_PROXY says
        ("localhost", True),
        ("LOCALHOST", True),
        ("127.0.0.1", True),
        ("127.8.9.10", True),
        ("[::1]", True),
        ("[::ffff:127.0.0.1]", True),
        ("localhost.example", False),
        ("not.localhost", False),
        ("[::2]", False),
        # a name: itself and what is below it
        ("cluster.example", True),
        ("api.cluster.example", True),
        ("API.Cluster.Example", True),
        ("mycluster.example", False),
        ("cluster.example.org", False),
        ("upper.example", True),
        # with a dot or a star before it: what is below it
        ("sub.only", False),
        ("a.sub.only", True),
        ("star.only", False),
        ("a.star.only", True),
        ("astar.only", False),
        # with a port
        ("port.example", True),
        ("port.example:443", False),
        ("open.example", True),
        # an address
        ("192.0.2.7", True),
        ("192.0.2.7:1", True),
        ("192.0.2.8", True),
        ("192.0.2.9", False),
        ("192.0.2.70", False),
        ("[2001:db8:2::7]", True),
        ("[2001:DB8:2:0::7]", True),
        ("[2001:db8:2::8]", True),
        ("[2001:db8:2::9]", False),
        # a network
        ("10.96.0.1", True),
        ("10.111.255.255", True),
        ("10.112.0.0", False),
        ("[2001:db8:1:2::3]", True),
        ("[2001:db8:3::1]", False),
        ("[::ffff:10.96.0.1]", True),
        # what is none: an odd mask, a prefix of 33 bits, brackets without a port
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("[fd00::1]", False),
    ],
)
def test_no_proxy(host: str, is_exempt: bool) -> None:  # noqa: FBT001
    where = (
        host if host.rpartition(":")[2].isdecimal() and not host.endswith("]") else f"{host}:6443"
    )
    found = proxy_for(f"https://{where}", {"HTTPS_PROXY": "proxy", "NO_PROXY": EXEMPT})
    assert found == ("" if is_exempt else "http://proxy")


@pytest.mark.parametrize("host", ["example.org", "10.0.0.1", "[2001:db8::1]"])
def test_a_star_is_all(host: str) -> None:
    for exempt in ("*", "example.com, *"):
        assert not proxy_for(f"http://{host}", {"HTTP_PROXY": "proxy", "NO_PROXY": exempt})


@pytest.mark.parametrize(
    ("url", "environ", "proxy"),
    [
        ("https://k.example", {}, ""),
        ("https://k.example", {"HTTPS_PROXY": ""}, ""),
        ("https://k.example", {"HTTPS_PROXY": "s:1", "HTTP_PROXY": "h:1"}, "http://s:1"),
        ("http://k.example", {"HTTPS_PROXY": "s:1", "HTTP_PROXY": "h:1"}, "http://h:1"),
        ("https://k.example", {"HTTP_PROXY": "h:1"}, ""),
        ("http://k.example", {"HTTPS_PROXY": "s:1"}, ""),
        ("http://k.example", {"http_proxy": "h:1"}, "http://h:1"),
        ("https://k.example", {"https_proxy": "s:1"}, "http://s:1"),
        ("https://k.example", {"https_proxy": "s:1", "HTTPS_PROXY": "S:2"}, "http://s:2"),
        ("https://k.example", {"https_proxy": "s:1", "HTTPS_PROXY": ""}, "http://s:1"),
        ("https://k.example", {"HTTPS_PROXY": "s", "no_proxy": "k.example"}, ""),
        ("https://k.example", {"ALL_PROXY": "s:1", "all_proxy": "s:1"}, ""),
        ("https://k.example:443", {"HTTPS_PROXY": "s", "NO_PROXY": "k.example:443"}, ""),
        ("https://k.example", {"HTTPS_PROXY": "s", "NO_PROXY": "k.example:443"}, ""),
        ("http://k.example", {"HTTP_PROXY": "s", "NO_PROXY": "k.example:80"}, ""),
        ("k.example:6443", {"HTTP_PROXY": "s:1", "HTTPS_PROXY": "s:1"}, ""),
        ("https://k.example", {"HTTP_PROXY": "http://h:bad"}, ""),  # which is nobody's matter
        ("https://127.0.0.1", {"HTTPS_PROXY": "http://h:bad"}, ""),
    ],
)
def test_which_variable(url: str, environ: dict[str, str], proxy: str) -> None:
    assert proxy_for(url, environ) == proxy


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("proxy", "http://proxy"),
        ("proxy.example:3128", "http://proxy.example:3128"),
        ("10.0.0.1:3128", "http://10.0.0.1:3128"),
        ("[2001:db8::1]:3128", "http://[2001:db8::1]:3128"),
        ("me:p%40ss@proxy:3128", "http://me:p%40ss@proxy:3128"),
        ("http://proxy:3128/", "http://proxy:3128"),
        ("HTTP://Proxy:3128", "http://proxy:3128"),
        ("https://me:secret@proxy", "https://me:secret@proxy"),
        ("proxy_1.example.:3128", "http://proxy_1.example.:3128"),
    ],
)
def test_a_proxy(text: str, url: str) -> None:
    assert readable(text, of="proxy-url") == url


@pytest.mark.parametrize(
    "text",
    [
        "http://me:secret@proxy:bad",
        "http://me:secret@proxy:70000",
        "http://me:secret",
        "http://me:sec/ret@proxy",
        "me:secret@",
        "http://",
        "http:///secret",
        "socks5://me:secret@proxy:1080",
        "me://secret@proxy",
        "http://me:secret@[zz]:1",
        "http://me:secret@a b:1",
        "http://me:sec\\ret@proxy",
        "http://me:sec]ret@proxy",
        "http://me:sec ret@proxy",
        "http://me:secret@a..b:1",
        "http://me:secret@.corp:1",
        f"http://me:secret@{'a' * 64}:1",
        "http://me:secret@pröxy:1",
    ],
)
def test_what_is_none_is_said_without_its_password(text: str) -> None:
    for scheme in ("HTTP", "HTTPS"):
        with pytest.raises(ConfigError) as caught:
            proxy_for(f"{scheme.lower()}://k.example", {f"{scheme}_PROXY": text})
        assert str(caught.value).startswith(f"{scheme}_PROXY is no URL of an HTTP proxy")
        assert "secret" not in str(caught.value)
        assert caught.value.__context__ is None, "which would tell it in a traceback"


def test_the_variable_that_was_set_is_named() -> None:
    with pytest.raises(ConfigError, match=r"^https_proxy is"):
        proxy_for("https://k.example", {"https_proxy": "http://h:bad"})
