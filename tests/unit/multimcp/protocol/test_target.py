"""Where a server's URL leads."""

from base64 import b64decode

import pytest

from multimcp.protocol.target import Stray, Target, follow, way_out


@pytest.mark.parametrize(
    ("url", "asked", "who"),
    [
        ("http://h/mcp", "http://h/mcp", None),
        ("http://h:8080/a/b%2Fc/mcp?x=1&y=%2f#z", "http://h:8080/a/b%2Fc/mcp?x=1&y=%2f", None),
        ("https://me:p%40ss%3A@h/mcp", "https://h/mcp", "me:p@ss:"),
        ("https://me@h/mcp", "https://h/mcp", "me:"),
        ("https://:key@h/mcp", "https://h/mcp", ":key"),
        ("https://m%C3%BC:%C3%A4@h/mcp", "https://h/mcp", "mü:ä"),
        ("http://a:b@[::1]:80/mcp", "http://[::1]:80/mcp", "a:b"),
    ],
)
def test_a_url_is_taken_apart(url: str, asked: str, who: str | None) -> None:
    target = Target.of(url)
    assert target.url == asked
    assert target.socket is None
    assert (target.authorization and b64decode(target.authorization.removeprefix("Basic ")).decode()) == who


@pytest.mark.parametrize(
    ("url", "socket", "asked"),
    [
        ("unix:///run/mcp.sock:/mcp", "/run/mcp.sock", "http://localhost/mcp"),
        ("unix:///run/mcp.sock:/a/sse?x=1", "/run/mcp.sock", "http://localhost/a/sse?x=1"),
        ("unix:///run/mcp.sock", "/run/mcp.sock", "http://localhost/mcp"),
        ("unix:///run/a:b.sock", "/run/a:b.sock", "http://localhost/mcp"),
    ],
)
def test_unix_sockets(url: str, socket: str, asked: str) -> None:
    assert Target.of(url) == Target(asked, None, socket)


FOLLOWED = [
    ("http://h/mcp", "/mcp/", "http://h/mcp/"),
    ("http://h/a/mcp", "mcp/", "http://h/a/mcp/"),
    ("http://h/a/mcp", "../b?x=1", "http://h/b?x=1"),
    ("http://h/mcp", "?x=1", "http://h/mcp?x=1"),
    ("http://h/mcp", "//h/mcp/", "http://h/mcp/"),
    ("http://h/mcp", "http://H:80/mcp/", "http://H:80/mcp/"),
    ("http://h:80/mcp", "http://h/mcp/", "http://h/mcp/"),
    ("https://h/mcp", "https://h:443/mcp/", "https://h:443/mcp/"),
    ("http://h/mcp", "https://h/mcp", "https://h/mcp"),
    ("http://h:8080/mcp", "https://h:8443/mcp", "https://h:8443/mcp"),
    ("http://[::1]:9/mcp", "http://[::1]:9/mcp/", "http://[::1]:9/mcp/"),
    ("http://h/mcp", "http://eve:x@h/mcp/#top", "http://h/mcp/"),
    ("http://h/mcp", " /mcp/ ", "http://h/mcp/"),
]


@pytest.mark.parametrize(("url", "location", "there"), FOLLOWED)
@pytest.mark.parametrize("status", [307, 308])
@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
def test_a_redirect_within_the_origin_is_followed(
    method: str, status: int, url: str, location: str, there: str
) -> None:
    assert follow(url, method, status, location) == there


@pytest.mark.parametrize("status", [301, 302, 303])
def test_a_post_never_becomes_a_get(status: int) -> None:
    assert follow("http://h/mcp", "GET", status, "/mcp/") == "http://h/mcp/"
    for method in ("POST", "DELETE"):
        with pytest.raises(Stray) as caught:
            follow("http://h/mcp", method, status, "/mcp/?key=secret")
        words = f' to http://h/mcp/, by which a {method} would become a GET; give that URL as "url"'
        assert (caught.value.status, caught.value.text) == (status, words)


@pytest.mark.parametrize(
    ("url", "location", "shown"),
    [
        ("http://h/mcp", "http://other/mcp", "http://other/mcp"),
        ("http://h/mcp", "//other/mcp", "http://other/mcp"),
        ("http://h/mcp", "http://h:81/mcp", "http://h:81/mcp"),
        ("https://h/mcp", "http://h/mcp", "http://h/mcp"),
        ("https://h/mcp", "https://h:8443/mcp", "https://h:8443/mcp"),
        ("http://h/mcp", "https://sub.h/mcp", "https://sub.h/mcp"),
        ("http://h/mcp", "http://h@other/mcp", "http://other/mcp"),
        ("http://h/mcp", "https://u:geheim@other/login?token=geheim#geheim", "https://other/login"),
        ("http://h/mcp", "file:///etc/passwd", "file:///etc/passwd"),
    ],
)
@pytest.mark.parametrize("method", ["POST", "GET"])
def test_a_redirect_to_another_origin_is_not(method: str, url: str, location: str, shown: str) -> None:
    with pytest.raises(Stray) as caught:
        follow(url, method, 307, location)
    assert caught.value.text.startswith(f" to {shown}, which is another origin")
    assert caught.value.text.endswith('give it as "url"')
    assert "geheim" not in caught.value.text


@pytest.mark.parametrize("location", [None, "", "http://[::1/mcp", "http://h:port/"])
def test_a_redirect_to_nowhere(location: str | None) -> None:
    with pytest.raises(Stray):
        follow("http://h/mcp", "POST", 307, location)


PROXY = {"HTTP_PROXY": "http://p:3128", "https_proxy": "http://s:3128"}


@pytest.mark.parametrize(
    ("url", "environ", "way"),
    [
        ("http://far.test/mcp", {}, None),
        ("http://far.test/mcp", PROXY, "http://p:3128"),
        ("https://far.test/mcp", PROXY, "http://s:3128"),
        ("http://far.test/mcp", {"HTTP_PROXY": "http://p", "http_proxy": "http://q"}, "http://q"),
        ("http://far.test/mcp", {"HTTP_PROXY": "http://p", "http_proxy": ""}, None),
        ("http://far.test/mcp", {"HTTP_PROXY": "p:3128"}, "http://p:3128"),
        ("http://far.test/mcp", {"ALL_PROXY": "http://a"}, "http://a"),
        ("https://far.test/mcp", {"all_proxy": "http://a"}, "http://a"),
        ("https://far.test/mcp", {"HTTP_PROXY": "http://p"}, None),
        ("https://far.test/mcp", {"ALL_PROXY": "socks5://a", "HTTPS_PROXY": "http://p"}, "http://p"),
        ("http://localhost:8000/mcp", PROXY, None),
        ("http://app.localhost/mcp", PROXY, None),
        ("http://127.0.0.1:8000/mcp", PROXY, None),
        ("http://127.8.0.1/mcp", PROXY, None),
        ("http://[::1]:8000/mcp", PROXY, None),
        ("http://0.0.0.0:8000/mcp", PROXY, None),
        ("http://[2001:db8::1]/mcp", PROXY, "http://p:3128"),
        ("http://[fe80::1%25eth0]/mcp", PROXY, "http://p:3128"),
    ],
)
def test_the_way_out(url: str, environ: dict[str, str], way: str | None) -> None:
    assert way_out(url, environ) == way


@pytest.mark.parametrize(
    ("url", "listed", "is_direct"),
    [
        ("http://far.test/mcp", "*", True),
        ("http://far.test/mcp", "far.test", True),
        ("http://far.test/mcp", "FAR.test", True),
        ("http://far.test/mcp", "a.test, far.test", True),
        ("http://far.test/mcp", "a.test far.test", True),
        ("http://a.far.test/mcp", "far.test", True),
        ("http://a.far.test/mcp", ".far.test", True),
        ("http://far.test/mcp", ".far.test", True),
        ("http://a.far.test/mcp", "*.far.test", True),
        ("http://nofar.test/mcp", "far.test", False),
        ("http://far.test/mcp", "a.far.test", False),
        ("http://far.test/mcp", "far.test:80", True),
        ("http://far.test:81/mcp", "far.test:80", False),
        ("http://10.1.2.3/mcp", "10.1.2.3", True),
        ("http://10.1.2.3/mcp", "10.0.0.0/8", True),
        ("http://11.1.2.3/mcp", "10.0.0.0/8", False),
        ("http://[2001:db8::1]/mcp", "2001:db8::1", True),
        ("http://[2001:db8::1]:9/mcp", "[2001:db8::1]:9", True),
        ("http://[2001:db8::1]/mcp", "[2001:db8::1]:9", False),
        ("http://[2001:db8::1]/mcp", "2001:db8::/32", True),
        ("http://far.test/mcp", "", False),
        ("http://far.test/mcp", ",, ,", False),
    ],
)
@pytest.mark.parametrize("name", ["NO_PROXY", "no_proxy"])
def test_what_is_reached_directly(name: str, url: str, listed: str, is_direct: bool) -> None:
    assert (way_out(url, {**PROXY, name: listed}) is None) == is_direct
