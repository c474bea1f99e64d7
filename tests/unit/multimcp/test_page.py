"""The page at `/`: what it shows, and that nothing on it runs or is loaded."""

from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser
from typing import Any

import pytest

from multimcp.serving import page

READY = {"state": "ready", "transport": "stdio", "tools": 4, "prompts": 0, "resources": 2, "error": None}


class Reader(HTMLParser):
    """The texts of a page, its elements, and its cells row by row."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.rows: list[list[str]] = []
        self._is_in_row = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
            self._is_in_row = True
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self._is_in_row = self._is_in_row and tag != "tr"

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
        if self._is_in_row:
            self.rows[-1][-1] += data


def test_it_shows_version_endpoints_and_servers() -> None:
    failed = {
        **READY,
        "state": "failed",
        "transport": "http",
        "tools": 0,
        "resources": 0,
        "error": "it & its <friends>",
    }
    read = Reader(page.render("1.2.3", {"a": READY, "b": failed}))
    assert "1.2.3" in read.texts
    assert ["a", "ready", "stdio", "4", "0", "2", ""] in read.rows
    assert ["b", "failed", "http", "0", "0", "0", "it & its <friends>"] in read.rows
    assert {row[0] for row in read.rows} >= page.ENDPOINTS.keys()
    links = [attributes["href"] for tag, attributes in read.elements if tag == "a"]
    assert "/mcp_servers" in links
    assert "https://modelcontextprotocol.io/" in links


def test_without_servers_it_says_what_to_do() -> None:
    assert "None yet: write some into the configuration file, or POST them to /mcp_servers." in page.render("1", {})


@pytest.mark.parametrize("text", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "</style>", "&lt;"])
@pytest.mark.parametrize("where", ["version", "name", "state", "transport", "error"])
def test_what_servers_say_is_text(where: str, text: str) -> None:
    servers: Any = {text if where == "name" else "a": {**READY, where: text}}
    read = Reader(page.render(text if where == "version" else "1", servers))
    plain = Reader(page.render("1", {"a": READY}))
    assert text in "".join(read.texts)
    assert [tag for tag, _ in read.elements] == [tag for tag, _ in plain.elements]
    assert not any(attribute.startswith("on") for _, attributes in read.elements for attribute in attributes)


def test_the_browser_runs_and_loads_nothing() -> None:
    text = page.render("1", {})
    style = text.partition("<style>")[2].partition("</style>")[0]
    digest = b64encode(sha256(style.encode()).digest()).decode()
    policy = dict(part.strip().split(" ", 1) for part in page.HEADERS["Content-Security-Policy"].split(";"))
    assert policy == {
        "default-src": "'none'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        "style-src": f"'sha256-{digest}'",
    }
    assert {tag for tag, _ in Reader(text).elements}.isdisjoint({"script", "link", "img", "iframe", "form"})
    assert "style=" not in text
