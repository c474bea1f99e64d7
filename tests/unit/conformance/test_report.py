"""Reports: the results format, merging, redaction, the page and JUnit XML."""

import json
import re
from collections import Counter
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from jsonschema import Draft202012Validator

from conformance.report import html, junit
from conformance.report.redact import DEEPEST, redact
from conformance.report.results import LONGEST, ResultsError, merge, parse, read, schema
from tests.support.report_sample import results, three

SCHEMA = Path(html.__file__).with_name("results.schema.json")
HOSTILE = "</pre></style><script>document.title='owned'</script><img src=x onerror=alert(1)>\"' onmouseover='alert(2)"

SECRET_NAMES = [
    *("authorization", "Authorization", "proxy-authorization", "x-api-key", "X-API-Key", "apiKey", "api_key"),
    *("OPENAI_API_KEY", "token", "accessToken", "refresh_token", "password", "client_secret", "secret"),
    *("cookie", "Set-Cookie", "mcp-session-id", "Mcp-Session-Id", "session_id"),
]
FEW = ["tools:list:whole", "tools:call:text", "tools:call:image", "progress:token:own"]


def outcome(data: dict[str, Any], requirement: str) -> dict[str, Any]:
    found: dict[str, Any] = next(entry for entry in data["requirements"] if entry["id"] == requirement)
    return found


# The format


def test_the_schema_is_that_of_the_models() -> None:
    """After a change of the models: json.dumps(schema(), indent=2, ensure_ascii=False) and a line break."""
    assert json.loads(SCHEMA.read_text(encoding="utf-8")) == schema()
    Draft202012Validator.check_schema(schema())


def test_the_schema_takes_what_the_harness_writes() -> None:
    validator = Draft202012Validator(json.loads(SCHEMA.read_text(encoding="utf-8")))
    for sample in three():
        validator.validate(sample)
        parse(sample, "sample")
    sample["requirements"][0]["verdict"] = "perhaps"
    assert not validator.is_valid(sample)


def test_every_field_is_described() -> None:
    for name, part in {**schema()["$defs"], "Results": schema()}.items():
        for field, described in part.get("properties", {}).items():
            assert described.get("description"), f"{name}.{field}"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "not a results file of this harness: it has no `format`"),
        ('{"name": "mcp", "version": 1}', "it has no `format`"),
        ('{"format": 2}', "its format is 2; this harness reads format 1"),
        ('{"format": 1}', "harness: Field required (and 8 more)"),
    ],
)
def test_a_file_that_is_something_else(tmp_path: Path, content: str, said: str) -> None:
    file = tmp_path / "x.json"
    file.write_text(content)
    with pytest.raises(ResultsError) as caught:
        read(file)
    assert str(caught.value).startswith(f"{file}: ")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (("requirements", 3, "runs", 1, "verdict"), "perhaps", "requirements[3].runs[1].verdict: Input should be"),
        (("requirements", 0, "source"), {"revision": "x"}, "requirements[0].source.url: Field required (and 1 more)"),
        (("requirements", 0, "id"), "<script>", "requirements[0].id: String should match"),
        (("summary", "not supported"), -1, "summary.not supported: Input should be greater"),
        (("started",), "yesterday", "started: Input should be a valid datetime"),
        (("started",), "2026-11-22T10:00:00", "started: Input should have timezone"),
    ],
)
def test_a_wrong_value_is_named_by_its_place(place: tuple[Any, ...], value: object, said: str) -> None:
    data = results("t", "T", {}, FEW)
    inner: Any = data
    for part in place[:-1]:
        inner = inner[part]
    inner[place[-1]] = value
    with pytest.raises(ResultsError, match=re.escape(f"a file: {said}")):
        parse(data, "a file")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match=r"gone\.json: No such file"):
        read(tmp_path / "gone.json")
    (tmp_path / "x.json").write_bytes(b"\xff\xfe")
    with pytest.raises(ResultsError, match=r"x\.json: not JSON"):
        read(tmp_path / "x.json")


def test_read_and_merged(tmp_path: Path) -> None:
    times = {"a": "2026-11-22T10:00:00Z", "b": "2026-11-22T09:00:00Z", "c": "2026-11-22T11:30:00+02:00"}
    for name, started in times.items():
        (tmp_path / name).write_text(json.dumps(results("one", name, {}, FEW, started=started)))
    (tmp_path / "d").write_text(json.dumps(results("two", "d", {}, FEW)))
    found = {name: read(tmp_path / name) for name in "abcd"}
    for order in ("abcd", "cbad", "bacd"):
        merged = merge(found[name] for name in order)
        assert [one.target.title for one in merged] == ["a", "d"]
    assert [one.target.title for one in merge([found["d"], found["a"]])] == ["d", "a"]
    assert merge([]) == []
    later = found["d"].model_copy(update={"skipped": "Docker", "started": found["d"].started + timedelta(days=1)})
    for both in ([found["d"], later], [later, found["d"]]):
        assert [one.skipped for one in merge(both)] == [""]
    assert merge([later]) == [later]


def test_a_target_that_was_skipped_is_seen_and_passes_nothing() -> None:
    skipped = results("t", "T", {}, [])
    for entry in skipped["requirements"]:
        entry |= {"verdict": "not checked", "why": "the target was not run: skipped: it lacks <Docker>", "runs": []}
    skipped |= {"skipped": "<Docker>", "exit": 0}
    skipped["summary"] = dict.fromkeys(skipped["summary"], 0) | {"not checked": len(skipped["requirements"])}
    read_back = parse(skipped, "t")
    page = html.render([read_back])
    assert "Skipped: it lacks &lt;Docker&gt;" in page
    assert "Conforms" not in page
    suite = ElementTree.fromstring(junit.render([read_back]).encode())
    assert suite.get("skipped") == suite.get("tests") == str(len(skipped["requirements"]))


def test_written_again(tmp_path: Path) -> None:
    """What `--json` writes of merged files can be read again, whatever a proxy sent."""
    data = results("t", "T", {"tools:call:text": "fail"}, FEW)
    run = outcome(data, "tools:call:text")["runs"][0]
    run |= {"actual": "half \ud800", "wire": [{**run["wire"][0], "message": {"\ud800": ["\udfff", float("nan")]}}]}
    file = tmp_path / "x.json"
    file.write_text(json.dumps(data))
    first = read(file)
    file.write_text(first.model_dump_json(), encoding="utf-8")
    again = read(file)
    Draft202012Validator(schema()).validate(json.loads(file.read_text(encoding="utf-8")))
    assert again.summary == first.summary
    assert outcome(again.model_dump(), "tools:call:text")["runs"][0]["actual"] == "half \\ud800"


# Redaction


@pytest.mark.parametrize("key", SECRET_NAMES)
def test_redacted_by_name(key: str) -> None:
    for value in ("s3cr3t", ["s3cr3t", "x"], {"inner": "s3cr3t"}, 41441):
        assert redact({"a": [{key: value}]}) == {"a": [{key: "[redacted]"}]}
    shapes = (
        f'{{"{key}": "%s", "n": 1}}',
        f'{{\\"{key}\\": \\"%s\\"}}',
        f"{{'{key}': '%s'}}",
        f"--{key}=%s",
        f"{key}: %s",
    )
    for shape in shapes:
        assert redact(shape % "s3cr3t") == shape % "[redacted]"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Authorization: Basic YWRt aW4=\nAccept: */*", "Authorization: [redacted]\nAccept: */*"),
        ("Cookie: a=b; c=d", "Cookie: [redacted]"),
        ("sent Bearer abc.DEF-1=, then", "sent Bearer [redacted], then"),
        ("bearer abc", "bearer [redacted]"),
        ("https://me:pa@ss@host:1/x", "https://[redacted]@host:1/x"),
        ("/messages/?session_id=abc&x=1", "/messages/?session_id=[redacted]&x=1"),
        ("https://h/?x=1&api_key=abc#top", "https://h/?x=1&api_key=[redacted]"),
        ('"token": "cut o', '"token": "[redacted]'),
        ('"token": "a \\" quote", "x": "y"', '"token": "[redacted]", "x": "y"'),
        ("A_TOKEN=abc B=1", "A_TOKEN=[redacted] B=1"),
    ],
)
def test_redacted_in_texts(text: str, shown: str) -> None:
    assert redact(text) == shown
    assert redact(shown) == shown
    assert redact({"message": [text]}) == {"message": [shown]}


@pytest.mark.parametrize(
    "value",
    [
        {"_meta": {"progressToken": "token-1"}, "nextCursor": "abc", "cursor": "b", "nextPageToken": "c"},
        {"maxTokens": 100, "usage": {"inputTokens": 3, "output_tokens": 4}, "token_type": "x"},
        {"properties": {"password": {"type": "string", "title": "Password"}}, "required": ["password", "token"]},
        {"$defs": {"Secret": {"type": "string"}}},
        {"password": None, "token": True, "secret": False},
        {"stopReason": "maxTokens", "requestState": "opaque", "authorization_endpoint": "https://h/authorize"},
        'progressToken: 7, "progressToken": "a", nextPageToken=x, page_token=y, no progress token: 8',
        'WWW-Authenticate: Bearer realm="mcp", error="invalid_token"',
        "http:authorization:forwarded and progress:token:own",
        "tools/call password::check with http://127.0.0.1:8000/mcp, mail a@b.example",
        '"password": null, "token": true',
    ],
)
def test_not_redacted(value: object) -> None:
    assert redact(value) == value


def test_redaction_of_what_is_deep() -> None:
    deep: Any = "leaf"
    for _ in range(DEEPEST - 1):
        deep = [deep]
    assert redact(deep) == deep
    for _ in range(10_000):
        deep = {"a": deep}
    assert "deeper than" in json.dumps(redact(deep))


@pytest.mark.parametrize(
    "text", ["a.@" * 90_000, 'token="' * 50_000, "nexttoken" * 50_000, "x:" * 90_000 + "@", "\\" * 300_000 + "key"]
)
def test_redaction_takes_linear_time(text: str) -> None:
    """A quadratic expression would take hours here."""
    assert len(redact(text)) > 0


# The page


class Page(HTMLParser):
    """What is in a page: elements, ids and links; and that every element is closed where it has to be."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: Counter[str] = Counter()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.attributes: set[str] = set()
        self.open: list[str] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements[tag] += 1
        self.attributes |= {name for name, _ in attrs}
        values = dict(attrs)
        self.ids += [values["id"] or ""] if "id" in values else []
        self.links += [values[name] or "" for name in ("href", "src") if name in values]
        if tag not in ("meta", "link", "input"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def page(*data: dict[str, Any]) -> tuple[str, Page]:
    text = html.render([parse(one, "sample") for one in data])
    return text, Page(text)


def test_the_page_is_whole() -> None:
    text, parsed = page(*three())
    assert parsed.open == []
    assert len(parsed.ids) == len(set(parsed.ids))
    inner = {link.removeprefix("#") for link in parsed.links if link.startswith("#")}
    assert inner <= set(parsed.ids)
    for requirement in three()[0]["requirements"]:
        for target in ("multimcp-http", "multimcp-stdio", "fastmcp"):
            assert f"{requirement['id']}/{target}" in inner
    assert parsed.elements["script"] == 0
    assert parsed.elements["h1"] == parsed.elements["main"] == 1
    assert '<html lang="en">' in text
    assert len(text) < 3_000_000


def test_what_a_cell_says() -> None:
    one = "tools:call:text"
    for state, word in {"known": "known", "stale": "stale", "fail": "fail", "harness error": "harness error"}.items():
        text, _ = page(results("t", "T", {one: state}, FEW))
        cell = re.search(rf'<td class="([a-z-]+)"[^>]*><a href="#{one}/t">(.*?)</a></td>', text)
        assert cell is not None
        assert cell[1] == word.replace(" ", "-")
        assert word in re.sub("<[^>]*>", "", cell[2])


def test_a_requirement_that_one_file_lacks() -> None:
    old = results("old", "Old", {}, FEW, started="2025-01-01T00:00:00Z")
    old["requirements"] = old["requirements"][:-1]
    old["requirements"][0]["text"] = "As it was said once."
    text, parsed = page(old, results("new", "New", {}, FEW))
    assert ">no result</span>" in text
    assert "As it was said once." not in parsed.text


def hostile() -> dict[str, Any]:
    """Everything that may come from a stranger says something evil."""
    data = results(HOSTILE, HOSTILE, {"tools:call:text": "fail", "tools:call:image": "not supported"}, FEW)
    data["target"]["launch"] = data["harness"] = HOSTILE
    outcome(data, "tools:call:image")["why"] = HOSTILE
    evil = outcome(data, "tools:call:text")
    evil |= {"text": HOSTILE, "since": HOSTILE, "baseline": {"reason": HOSTILE, "link": "javascript:alert(3)"}}
    evil["source"] = {"revision": HOSTILE, "url": "JavaScript:alert(4)", "quote": HOSTILE}
    for run in evil["runs"]:
        run |= dict.fromkeys(("scenario", "name", "message", "expected", "actual", "diff"), HOSTILE)
        run["wire"] = [
            {"at": 1, "channel": HOSTILE, "way": "received", "message": each} for each in (HOSTILE, {HOSTILE: 1})
        ]
    return data


def test_nothing_hostile_gets_into_the_page() -> None:
    _, parsed = page(hostile())
    assert parsed.elements["script"] == parsed.elements["img"] == 0
    assert not {name for name in parsed.attributes if name.startswith("on")}
    assert not {link for link in parsed.links if not re.match(r"#|https://modelcontextprotocol\.io/|data:,$", link)}
    assert HOSTILE in parsed.text


def test_a_failure_shows_both_sides_replays_and_what_the_target_wrote() -> None:
    data = results("t", "T", {"tools:call:text": "fail", "tools:call:image": "fail"}, FEW, requirement_set="7")
    data["target"]["version"] = "1.2.3"
    data["findings"] = [{"id": "wedge", "text": "it answers no more", "requirements": FEW[1:3]}]
    run = outcome(data, "tools:call:text")["runs"][0]
    spoken = "https://modelcontextprotocol.io/specification/2025-03-26/x"
    source = {"revision": "2025-03-26", "url": spoken, "quote": "Q."}
    run |= {
        "stderr": "boom\npassword=hunter2",
        "again": {"played": 3, "failed": 2, "before": 4},
        "cause": "wedge",
        "source": source,
        "wire": [
            {"at": 1, "channel": "client 1", "way": "sent", "stream": "POST", "message": {"id": 1}},
            {"at": 2, "channel": "server everything (pid 7)", "way": "received", "message": {"id": 8}},
            {"at": 20001, "channel": "client 1", "way": "note", "message": "gave up after 20 s: no response"},
        ],
    }
    text, parsed = page(data)
    for part in (
        "boom\npassword=[redacted]",
        "Played again in 3 fresh worlds: failed in 2; there were 4 runs before it in its world.",
        "Part of the finding wedge.",
        "t 1.2.3",
        "requirement set 7",
        "1 cause in several requirements",
        "2 it answers no more tools:call:text tools:call:image",
        "MCP 2025-03-26, x",
        "gave up after 20 s",
    ):
        assert part in parsed.text, part
    assert "hunter2" not in text
    run["source"] = outcome(data, "tools:call:text")["source"]
    again, _ = page(data)
    assert again.count("<blockquote>") == text.count("<blockquote>") - 1  # the requirement's own is there already
    assert '<li class="received behind">' in text
    assert '<em title="what carried it">POST</em>' in text


def test_what_is_not_offered_has_a_figure_of_its_own() -> None:
    text, _ = page(results("t", "T", {"tools:call:text": "not offered", "tools:call:image": "not supported"}, FEW))
    [head] = re.findall(r'<table class="levels"><thead>(.*?)</thead>', text)
    heads = re.findall(r"<th[^>]*>(.*?)</th>", head)
    rows = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in re.findall(r'<tr class="\w+">(.*?)</tr>', text)]
    found = {row[0]: dict(zip(heads, row, strict=True)) for row in rows if len(row) == len(heads)}
    assert sum(int(row["not offered"]) for row in found.values()) == 1
    assert sum(int(row["other"]) for row in found.values()) == 1


def test_invisible_characters_are_spelled_out() -> None:
    data = results("t", "T", {"tools:call:text": "fail"}, FEW)
    run = outcome(data, "tools:call:text")["runs"][0]
    run |= {
        "message": "left \u202e right \x00 half \ud800",
        "wire": [{**run["wire"][0], "message": {"a": "\ud800\u2028"}}],
    }
    text, parsed = page(data)
    text.encode()
    assert "left \\u202e right \\u0000 half \\ud800" in parsed.text
    assert '{"a": "\\\\ud800\\u2028"}' in parsed.text


def test_long_texts_and_logs_are_cut() -> None:
    data = results("t", "T", {"tools:call:text": "fail"}, FEW)
    for run in outcome(data, "tools:call:text")["runs"]:
        run |= {"expected": "x" * 300_000, "actual": "y" * 300_000, "wire": run["wire"] * 1000}
    text, parsed = page(data)
    assert f"{300_000 - LONGEST:,} more characters in the results file" in parsed.text
    assert "2800 more lines in the results file" in parsed.text
    assert len(text) < 3_000_000


def test_secrets_are_not_in_the_reports() -> None:
    data = results("t", "T", {"tools:call:text": "fail"}, FEW)
    run = outcome(data, "tools:call:text")["runs"][0]
    run |= {"message": "Bearer s3cr3t", "actual": '{"api_key": "s3cr3t"}'}
    run["wire"][0]["message"] = {"headers": {"mcp-session-id": "s3cr3t"}}
    data["target"]["launch"] = "TOKEN=s3cr3t serve"
    parsed = parse(data, "sample")
    for report in (html.render([parsed]), junit.render([parsed]), parsed.model_dump_json()):
        assert "s3cr3t" not in report


def test_a_page_of_nothing() -> None:
    assert "There are no results." in html.render([])


# JUnit


def test_junit_counts() -> None:
    data = results(
        "t",
        "T",
        {
            "tools:call:text": "fail",
            "tools:call:image": "known",
            "tools:call:audio": "stale",
            "tools:call:embedded": "harness error",
            "tools:call:links": "not supported",
            "tools:call:unlisted-first": "fail",
        },
    )
    root = ElementTree.fromstring(junit.render([parse(data, "sample"), parse(results("u", "U", {}), "sample")]))
    suites = root.findall("testsuite")
    assert [suite.get("name") for suite in suites] == ["t", "u"]
    requirements = len(data["requirements"])
    expected = {"tests": requirements * 4 - 3 + 1, "failures": 3 + 1, "errors": 3, "skipped": 3 + 1 + 3}
    assert {name: int(suites[0].get(name, "")) for name in expected} == expected
    assert int(root.get("tests", "")) == expected["tests"] + requirements * 4
    assert root.get("failures") == "4"

    def found(name: str, tag: str) -> ElementTree.Element:
        element = suites[0].find(f"testcase[@name='{name}']/{tag}")
        assert element is not None, name
        return element

    failure = found("tools:call:text [stdio-legacy>stdio]", "failure")
    assert failure.get("message") == "the result of tools/call is not what the backend sent"
    source = outcome(data, "tools:call:text")["source"]
    for part in ("expected:\n{", "actual:\n{", "difference:\n---", source["quote"], source["url"], "SHOULD: "):
        assert part in (failure.text or "")
    known = found("tools:call:image [http-modern>stdio]", "skipped")
    assert known.get("message") == "known: The SDK drops it. (https://example.com/issues/12)"
    assert found("tools:call:audio [baseline]", "failure").get("message") == "stale baseline entry: it is kept"
    assert found("tools:call:embedded [sse-legacy>sse]", "error").get("message")
    assert str(found("tools:call:links", "skipped").get("message")).startswith("not supported: ")
    apart = found("tools:call:unlisted-first [stdio-legacy>stdio]", "skipped")
    assert str(apart.get("message")).startswith("convention, which does not count: ")


@pytest.mark.parametrize("strict", [False, True])
def test_what_is_unsteady_is_skipped(strict: bool) -> None:
    data = results("t", "T", {"tools:call:text": "unsteady"}, FEW, strict=strict)
    for run in outcome(data, "tools:call:text")["runs"]:
        run |= {"again": {"played": 3, "failed": 0, "before": 4}, "stderr": "boom"}
    suite = ElementTree.fromstring(junit.render([parse(data, "sample")]))[0]
    cases = [case.find("skipped") for case in suite if case.get("name", "").startswith("tools:call:text ")]
    told = [case for case in cases if case is not None]
    assert len(told) == 3
    assert str(told[0].get("message")).startswith("unsteady: ")


def test_junit_of_anything_is_xml() -> None:
    data = hostile()
    data["target"]["name"] = "a\x00b\ufffe\ud800"
    outcome(data, "tools:call:text")["runs"][0]["message"] = "\x1b[31m ]]> \U0001f600"
    suite = ElementTree.fromstring(junit.render([parse(data, "sample")]))[0]
    assert suite.get("name") == "a\ufffdb\ufffd\\ud800"
