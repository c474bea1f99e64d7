"""The results as tables and as a chart, for docs/performance.md."""

import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape
from importlib.metadata import version
from pathlib import Path
from typing import Any

from multimcp import __version__

from .measure import NOT_OFFERED
from .peers import DIRECT, OURS, Peer

COMBINATIONS = ("legacy stdio", "modern stdio", "legacy http", "modern http")
TITLES = {
    "legacy stdio": "2025-11-25, stdio",
    "modern stdio": "2026-07-28, stdio",
    "legacy http": "2025-11-25, HTTP",
    "modern http": "2026-07-28, HTTP",
}

ABOUT = """# Performance

What a `tools/call` costs through Multi-MCP and through other proxies, compared with the same call sent directly to the
same server. Measured in one run, in which all take turns; each figure is a median over the rounds. To repeat it:

```sh
uv run tox -e bench
```

It takes about seventeen minutes, installs the other proxies in `build/bench`, each on its own, and needs a machine that
does nothing else. All clients speak streamable HTTP, in the revision and to a server over the transport that the
columns name. Every call has an argument of its own, which must come back. The server is written with the official
Python SDK; "direct" is that server, called over HTTP. In brackets stand ratios to direct in the same revision.
"""

NOT_COMPARED = """
## What is not compared

Other machines, other operating systems, TLS, servers that do real work, clients over stdio or SSE, and what the proxies
can do: most of them are in front of one server, and some have a process for each session. CPU time is that of the
proxy's own process; the JSON file has that of its children, too. "Not offered" is what a proxy does not do, or what did
not work here.
"""


def machine() -> dict[str, Any]:
    """What this was measured on, and when."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "system": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "packages": {name: version(name) for name in ("mcp", "uvicorn", "uvloop", "aiohttp", "msgspec")},
    }


def page(results: dict[str, Any], peers: Sequence[Peer]) -> str:
    """The whole page, in Markdown."""
    about = results["machine"]
    versions = [f"{peer.name} {peer.version or __version__}" for peer in peers if peer is not DIRECT]
    versions += [f"{name} {number}" for name, number in about["packages"].items()]
    where = f"\n{about['date']}; {about['system']}; Python {about['python']}; {', '.join(versions)}.\n"
    names = [peer.name for peer in peers]
    parts = [ABOUT, where, "\n![CPU time per call, by proxy](performance.svg)\n"]
    calls = results["calls"]
    parts += _calls("CPU time of a call, ms, 8 sessions, 20 bytes", calls, names, "8 x 20", "cpu_ms")
    for size, shown in ((20, "20 bytes"), (100_000, "100 kB"), (1_000_000, "1 MB")):
        parts += _calls(f"Time of a call, ms, one session, {shown}", calls, names, f"1 x {size}", "p50_ms", "p95_ms")
    for sessions in (1, 8, 32, 256):
        shown = f"Calls per second, {sessions} session{'s' * (sessions > 1)}, 20 bytes"
        parts += _calls(shown, calls, names, f"{sessions} x 20", "calls_per_s")
    parts += _table("`tools/list`, CPU ms, by number of tools", results["lists"], names, "list_cpu_ms")
    parts += _table("CPU time of a call, ms, by number of tools", results["lists"], names, "cpu_ms")
    parts += _table("CPU time of a call, ms, by number of (minimal) servers", results["many"], names, "cpu_ms")
    parts += _table("Seconds until it listens, by number of (minimal) servers", results["starts"], names, "listens_s")
    parts += _table("Memory then, MB", results["starts"], names, "memory_mb")
    return "".join([*parts, NOT_COMPARED])


def _calls(title: str, calls: dict[str, Any], names: Sequence[str], cell: str, *figures: str) -> list[str]:
    """A table with a column for each combination."""
    columns = [name for name in COMBINATIONS if name in calls]
    if not any(_cell(column, name, cell) for column in calls.values() for name in names):
        return []
    rows = []
    for name in names:
        shown = [_figure(calls[column], name, cell, figures) for column in columns]
        rows.append(f"| {name} | {' | '.join(shown)} |\n")
    note = " (p95 behind the comma)" if len(figures) > 1 else ""
    return [f"\n## {title}{note}\n\n", *_head([TITLES[column] for column in columns]), *rows]


def _figure(column: dict[str, Any], name: str, cell: str, figures: Sequence[str]) -> str:
    own, direct = _cell(column, name, cell), _cell(column, DIRECT.name, cell)
    if own is None:
        return NOT_OFFERED
    shown = ", ".join(_short(own[figure]) for figure in figures)
    return f"{shown} ({own[figures[0]] / direct[figures[0]]:.2f})" if direct and name != DIRECT.name else shown


def _cell(column: dict[str, Any], name: str, cell: str) -> dict[str, Any] | None:
    own = column.get(name)
    found = own.get(cell) if isinstance(own, dict) else None
    return found if isinstance(found, dict) else None


def _table(title: str, columns: dict[str, Any], names: Sequence[str], figure: str) -> list[str]:
    """A table with a column for each number."""
    rows = []
    for name in names:
        cells = [column.get(name) for column in columns.values()]
        if any(isinstance(cell, dict) for cell in cells):
            shown = [_short(cell[figure]) if isinstance(cell, dict) else NOT_OFFERED for cell in cells]
            rows.append(f"| {name} | {' | '.join(shown)} |\n")
    return [f"\n## {title}\n\n", *_head([f"{int(column):,}" for column in columns]), *rows]


def _head(columns: Sequence[str]) -> list[str]:
    return [f"| | {' | '.join(columns)} |\n", "|---" * (len(columns) + 1) + "|\n"]


def _short(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.1f}" if number >= 10 else f"{number:.2f}"


def chart(results: dict[str, Any], peers: Sequence[Peer]) -> str:
    """CPU time of a call as bars, one group for each combination; SVG."""
    bars: list[tuple[str, str, float | None]] = []
    for column, cells in results["calls"].items():
        for peer in peers:
            cell = _cell(cells, peer.name, "8 x 20")
            bars.append((TITLES[column], peer.name, cell["cpu_ms"] if cell else None))
    most = max((number for _, _, number in bars if number is not None), default=1.0)
    rows, y, group = [], 0, ""
    for title, name, number in bars:
        if title != group:
            group, y = title, y + 34
            rows.append(f'<text x="8" y="{y}" font-weight="bold">{escape(title)}</text>')
            y += 8
        width = 0 if number is None else max(1, round(460 * number / most))
        colour = "#2563eb" if name == OURS.name else "#64748b" if name == DIRECT.name else "#cbd5e1"
        shown = NOT_OFFERED if number is None else f"{_short(number)} ms"
        rows.append(f'<text x="140" y="{y + 13}" text-anchor="end">{escape(name)}</text>')
        rows.append(f'<rect x="148" y="{y + 2}" width="{width}" height="14" fill="{colour}"/>')
        rows.append(f'<text x="{154 + width}" y="{y + 13}">{shown}</text>')
        y += 19
    size = f'width="720" height="{y + 12}" font-family="sans-serif" font-size="12"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size}>'
    title = "<title>CPU time of a call, by proxy</title>"
    ground = '<rect width="100%" height="100%" fill="white"/>'
    return "\n".join([head, title, ground, *rows, "</svg>\n"])


def write(folder: Path, results: dict[str, Any], peers: Sequence[Peer]) -> None:
    """Write performance.md and performance.svg."""
    (folder / "performance.md").write_text(page(results, peers))
    (folder / "performance.svg").write_text(chart(results, peers))
