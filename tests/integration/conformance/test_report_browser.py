"""The page of the report in a real browser: it fits a phone, its links lead somewhere, and nothing hostile runs."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from conformance.report import html
from conformance.report.results import parse
from conformance.requirements import REQUIREMENTS
from tests.support.report_sample import results, three

CHROMIUM = shutil.which("chromium")
FLAGS = [
    "--headless",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
TIMEOUT = 60

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no `chromium` on PATH; apt-get install chromium")

# The page is shown in a frame as wide as a phone; a browser's own window can't be made that narrow.
AROUND = """<!doctype html><title>waiting</title><iframe width="%d" height="800"></iframe><pre></pre><script>
const frame = document.querySelector("iframe")
frame.onload = () => {
  const page = frame.contentDocument, view = frame.contentWindow
  const measure = (%s)
  document.querySelector("pre").textContent = JSON.stringify(measure(page, view))
}
frame.srcdoc = %s
</script>"""


def look(folder: Path, page: str, measure: str, width: int = 360) -> Any:
    """What `measure(page, view)`, a JavaScript function, finds in the page."""
    around = folder / "around.html"
    around.write_text(AROUND % (width, measure, json.dumps(page).replace("<", "\\u003c")), encoding="utf-8")
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    command = [CHROMIUM or "", *FLAGS, *sandbox, f"--user-data-dir={folder / 'profile'}", "--dump-dom", around.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=True)
    found = re.search(r"<pre>(.*?)</pre>", done.stdout, re.DOTALL)
    assert found is not None, done.stdout[:1000]
    return json.loads(found[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))


def sample() -> str:
    return html.render([parse(one, "sample") for one in three()])


@pytest.mark.parametrize("width", [360, 700, 1280])
def test_the_page_fits(tmp_path: Path, width: int) -> None:
    found = look(
        tmp_path,
        sample().replace("<details", '<details open=""'),
        """(page, view) => ({
          inner: view.innerWidth, scroll: page.documentElement.scrollWidth,
          cells: [...page.querySelectorAll(".row > td > *")].filter((e) => e.scrollWidth > e.clientWidth + 1).length,
          unseen: [...page.querySelectorAll(".row > td")].filter((e) => e.offsetHeight === 0).length,
        })""",
        width,
    )
    assert found["inner"] == width
    assert found["scroll"] <= width
    assert found["cells"] == found["unseen"] == 0


def test_many_targets_scroll_in_their_own_frame(tmp_path: Path) -> None:
    few = list(REQUIREMENTS)[:20]
    many = [results(f"a-rather-long-name-of-a-target-{number}", "T", {}, few) for number in range(9)]
    page = html.render([parse(one, "sample") for one in many])
    measure = """(page, view) => { const frame = page.querySelector(".frame")
      return [page.documentElement.scrollWidth <= view.innerWidth, frame.scrollWidth > frame.clientWidth] }"""
    assert look(tmp_path, page, measure, 1280) == [True, True]
    assert look(tmp_path, page, measure, 360) == [True, False]


def test_every_link_leads_somewhere_and_nothing_is_fetched(tmp_path: Path) -> None:
    found = look(
        tmp_path,
        sample(),
        """(page, view) => ({
          inside: page.querySelectorAll("a[href^='#']").length,
          cells: page.querySelectorAll(".row > td > a").length,
          dead: [...page.querySelectorAll("[href^='#']")].map((e) => e.getAttribute("href"))
            .filter((to) => !page.getElementById(to.slice(1))),
          fetched: view.performance.getEntriesByType("resource").map((e) => e.name),
          foreign: page.querySelectorAll("script, img, iframe, object, embed, [src], link:not([href='data:,'])").length,
          signs: [...page.querySelectorAll(".row .sign")].filter((e) => e.getBBox().width === 0).length,
        })""",
    )
    assert found["cells"] == 3 * len(three()[0]["requirements"])
    assert found["inside"] > found["cells"]
    assert found["dead"] == found["fetched"] == []
    assert found["foreign"] == found["signs"] == 0


def test_the_filters_work_without_a_script(tmp_path: Path) -> None:
    found = look(
        tmp_path,
        sample(),
        """(page, view) => {
          const shown = () => [...page.querySelectorAll(".row")].filter((e) => e.offsetHeight > 0)
          const count = (choose) => { page.getElementById(choose).click(); return shown().length }
          const states = ".fail, .known, .stale, .harness-error"
          const all = shown().length
          return { all, findings: count("show-findings"), right: shown().every((e) => e.querySelector(states)),
            differences: count("show-differences"), again: count("show-all"), specified: count("conventions") }
        }""",
    )
    entries = three()[0]["requirements"]
    assert found["all"] == found["again"] == len(entries)
    assert found["right"]
    assert 0 < found["differences"] <= found["findings"] < found["all"]
    assert found["specified"] == sum(entry["level"] != "convention" for entry in entries)


@pytest.mark.parametrize("policy", [True, False], ids=["with the policy", "by escaping alone"])
def test_nothing_hostile_runs(tmp_path: Path, policy: bool) -> None:
    evil = "<script>top.document.title='owned'</script><img src=x onerror=\"top.document.title='owned'\">"
    data = results(f'"><svg onload="top.document.title=`owned`">{evil}', evil, {"tools:call:text": "fail"})
    for run in next(entry for entry in data["requirements"] if entry["id"] == "tools:call:text")["runs"]:
        run |= {"message": evil, "diff": f"+{evil}", "expected": f"</pre>{evil}", "actual": f"--></style>{evil}"}
        run["wire"] = [{"at": 1, "channel": evil, "way": "received", "message": {evil: [evil]}}]
    page = html.render([parse(data, "sample")])
    if not policy:
        page, removed = re.subn(r"<meta http-equiv=[^>]*>", "", page)
        assert removed == 1
    found = look(
        tmp_path,
        page.replace("<details", '<details open=""'),
        """(page, view) => [document.title, page.title.includes("<script>"),
            page.querySelectorAll("script, img").length, page.body.innerText.includes("<script>")]""",
    )
    assert found == ["waiting", True, 0, True]
