"""The scoreboard: who is judged, what a cell says and leads to, and that the page in the repository is what it says."""

import gzip
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from conformance import cli
from conformance.report import scoreboard
from conformance.report.results import Results, ResultsError, parse, read
from conformance.requirements import REQUIREMENTS
from tests.support.report_sample import results

IDS = list(REQUIREMENTS)[:30]
PAGE = Path(__file__).parents[3] / "docs" / "scoreboard"
HOSTILE = "</td></style><script>alert(1)</script>\"' onmouseover='alert(2)"


def sample(name: str, verdicts: dict[str, str] | None = None, **changes: Any) -> Results:
    return parse(results(name, changes.pop("title", name.title()), verdicts or {}, IDS, **changes), "sample")


@pytest.mark.parametrize(
    ("said", "left"),
    [
        ("/home/who/proxies/bin/python main.py", "…/python main.py"),
        (
            'File "/root/.venv/lib/a.py", line 1\n/tmp/conformance-x/world1/mcp.json',
            'File "…/a.py", line 1\n…/mcp.json',
        ),
        ("at readStream (/srv/p/node_modules/raw-body/index.js:163)", "at readStream (…/index.js:163)"),
        ("at file:///srv/p/node_modules/raw-body/index.js:163", "at file://…/index.js:163"),
        ("resources/templates/list at http://127.0.0.1:1/mcp/a/b of mirror://a/b/c, /mcp_servers/a, ./a/b/c", ""),
    ],
)
def test_no_folder_of_a_machine_is_named(said: str, left: str) -> None:
    data = results("a", "A", {IDS[0]: "fail"}, IDS)
    data["requirements"][0]["runs"][0]["message"] = said
    found = scoreboard.anywhere(parse(data, "sample"))
    assert found.requirements[0].runs[0].message == (left or said)
    assert scoreboard.anywhere(found) == found


class Links(HTMLParser):
    """The ids and links of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            elif name == "href":
                self.links.append(value or "")


def dead(folder: Path) -> list[str]:
    """Links of the page that lead nowhere."""
    page = Links((folder / "index.html").read_text())
    ids = {"": set(page.ids)}
    for log in folder.glob("logs/*.html"):
        ids[f"logs/{log.name}"] = set(Links(log.read_text()).ids)
    lost = []
    for link in page.links:
        file, _, anchor = link.partition("#")
        if not (link == "data:," or (anchor in ids.get(file, ()) if anchor else (folder / file).is_file())):
            lost.append(link)
    return lost


def test_every_cell_leads_to_its_wire_log(tmp_path: Path) -> None:
    scoreboard.write([sample("b proxy", {IDS[0]: "fail", IDS[1]: "not offered"}), sample("a")], tmp_path)
    page = (tmp_path / "index.html").read_text()
    assert dead(tmp_path) == []
    for requirement in IDS:
        for slug in ("a", "b-proxy"):
            assert f'href="logs/{slug}.html#{requirement}/{slug}"' in page
    assert page.index(">A</th>") < page.index(">B Proxy</th>")  # by name, whoever comes first
    log = (tmp_path / "logs" / "b-proxy.html").read_text()
    assert "tools/call" in log
    assert json.loads(gzip.decompress((tmp_path / "results" / "a.json.gz").read_bytes()))["format"] == 1


@pytest.mark.parametrize(
    ("state", "word", "css"),
    [
        ("pass", "✓ kept", "pass"),
        ("fail", "✗ not kept", "fail"),
        ("known", "✗ not kept", "known"),
        ("unsteady", "~ unsteady", "unsteady"),
        ("not offered", "- not offered", "not-offered"),
    ],
)
def test_what_a_cell_says(state: str, word: str, css: str) -> None:
    """A baseline is the proxy's own; here it excuses nothing."""
    must = next(each for each in IDS if REQUIREMENTS[each].level == "MUST")
    page = scoreboard.render([sample("a", {must: state})])
    assert re.search(rf'<td class="{css}"><a href="[^"]*#{must}/a">{word}</a></td>', page), page


def test_what_does_not_count_looks_lighter() -> None:
    convention = next(each for each in IDS if REQUIREMENTS[each].level == "convention")
    page = scoreboard.render([sample("a", {convention: "fail"})])
    assert re.search(rf'<td class="fail light"><a href="[^"]*#{convention}/a">', page)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"skipped": "Docker"}, "it was not run: it lacks Docker"),
        ({"ended": "it does not start"}, "its run ended early: it does not start"),
        ({"exit": 2}, "its run broke off"),
    ],
)
def test_who_is_not_judged(tmp_path: Path, changes: dict[str, Any], why: str) -> None:
    """What did not run keeps nothing, and breaks nothing either."""
    broken = sample("broken", dict.fromkeys(IDS, "fail"), **changes)
    scoreboard.write([broken, sample("whole")], tmp_path)
    page = (tmp_path / "index.html").read_text()
    assert why in page
    assert "logs/broken.html" not in page
    assert [file.name for file in tmp_path.glob("logs/*")] == ["whole.html"]
    older = sample("broken", started="2025-01-01T00:00:00Z")
    assert scoreboard.latest([broken, older]) == [older]
    assert scoreboard.latest([broken]) == [broken]


def test_a_part_is_no_run() -> None:
    part = sample("a")
    part = part.model_copy(
        update={"requirements": [part.requirements[0].model_copy(update={"selected": False}), *part.requirements[1:]]}
    )
    assert scoreboard.unjudged(part) == "only a part of the requirements was played"


def test_a_log_keeps_what_fits() -> None:
    data = results("a", "A", {IDS[0]: "fail"}, IDS[:2])
    long = {"at": 1, "channel": "client 1", "way": "sent", "message": {"text": "x" * 5000}}
    for outcome in data["requirements"]:
        for run in outcome["runs"]:
            if run["wire"]:
                run |= {"wire": [long] * 500, "stderr": "y" * 9000, "diff": "- a"}
    small = scoreboard.smaller(parse(data, "sample"))
    logged = [run for outcome in small.requirements for run in outcome.runs if run.wire]
    assert len(logged) == 2
    for run, wrong in zip(logged, (True, False), strict=True):
        assert len(run.wire) == scoreboard.ENTRIES[wrong] + 1
        assert "lines are left out here" in "".join(str(entry.message) for entry in run.wire)
        assert len(run.stderr) == scoreboard.STDERR
        assert run.expected == ""
    assert len(small.model_dump_json()) < 60_000
    assert scoreboard.smaller(small) == small  # so the page can be made of what was kept


@pytest.mark.parametrize("before", range(588, 602))
def test_the_same_results_make_the_same_files(tmp_path: Path, before: int) -> None:
    """Also where what is cut off is a part of `[redacted]`."""
    first, again = tmp_path / "1", tmp_path / "2"
    data = results("a", "A", {IDS[0]: "fail"}, IDS)
    for run in data["requirements"][0]["runs"]:
        header = "x" * (before - len("Mcp-Session-Id: ")) + "\nMcp-Session-Id: [redacted]" + "y" * 99
        run["wire"] = [{"at": 1, "channel": "client 1", "way": "sent", "message": header}]
    scoreboard.write([parse(data, "sample")], first)
    scoreboard.write([read(first / "results" / "a.json.gz")], again)
    for file in ("index.html", "logs/a.html", "results/a.json.gz"):
        assert (first / file).read_bytes() == (again / file).read_bytes()
    scoreboard.write([sample("b")], again)
    assert sorted(path.name for path in again.glob("*/*")) == ["b.html", "b.json.gz"]


def test_nothing_hostile_gets_into_the_page() -> None:
    data = results("a", HOSTILE, {IDS[0]: "fail"}, IDS)
    data["target"]["version"] = HOSTILE
    parsed = Links(scoreboard.render([parse(data, "sample")]))
    assert not parsed.tags & {"script", "img"}


def test_the_page_says_how_it_is_judged_and_how_to_object() -> None:
    page = re.sub(r"<[^>]+>", "", scoreboard.render([sample("a", target={"name": "a", "title": "A", "launch": "url"})]))
    for part in ("How it is judged", "How to object", "open an issue", "Multi-MCP", "2026-11-22", "requirement set"):
        assert part in page
    for text in (scoreboard.JUDGED, scoreboard.OBJECT):
        assert len(text.split()) < 230  # read by people


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.json").write_text(sample("a").model_dump_json())
    assert cli.main(["scoreboard", str(tmp_path), "--out", str(tmp_path / "out")]) == 0
    assert "a: judged" in capsys.readouterr().out
    assert dead(tmp_path / "out") == []
    assert cli.main(["scoreboard", str(tmp_path / "out" / "logs"), "--out", str(tmp_path / "none")]) == 2
    (tmp_path / "bad.json.gz").write_bytes(b"no")
    with pytest.raises(ResultsError, match=r"bad\.json\.gz: not gzip"):
        read(tmp_path / "bad.json.gz")


def test_the_page_in_the_repository_is_that_of_its_results() -> None:
    """After a change of the page or of results: python -m conformance scoreboard docs/scoreboard/results --out
    docs/scoreboard"""
    files = sorted((PAGE / "results").glob("*.json.gz"))
    assert files
    unjudged = [each for each in files if scoreboard.unjudged(read(each))]
    assert unjudged == []
    logs = {path.stem for path in (PAGE / "logs").glob("*.html")}
    assert logs == {path.name.removesuffix(".json.gz") for path in files}
    assert (PAGE / "index.html").stat().st_size < 500_000
    assert all(path.stat().st_size < 300_000 for path in files)
    assert dead(PAGE) == []
