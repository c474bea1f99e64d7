"""Which values of a server's settings are secrets, and how they are blanked in what people read.

Rules:
- Secret are the values of variables that were filled in, wherever; what stands under a secret's name (`--api-key KEY`,
  `?token=KEY`); passwords of URLs, and the user where there is none; of a server's own URL user and query; and the
  values of `env` and `headers`.
- A value is found however it is quoted: as JSON or Python writes it, on one line, line by line, percent-encoded, in
  whole or in part, as base64, also in the middle of more.
- What is too short to tell (below `SHORTEST` characters), numbers of up to five digits and words that are in every
  configuration are no secrets: to blank them would garble every message. A short value of `env` or `headers` whose name
  says nothing is blanked as a word of its own only.
- What crosses between a client and a server is never touched.
"""

import json
import re
from base64 import b64encode
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import pairwise
from urllib.parse import parse_qsl, quote, quote_plus, unquote, unquote_to_bytes, urlsplit

_NAME = "key|token|secret|passw|pwd|auth|credential|cookie"
SECRET_NAME = re.compile(_NAME, re.IGNORECASE)
"""Names of what is secret, whatever it is: of variables, headers, options, parameters."""

SHORTEST = 4
_SHORT = 8
"""Characters below which a line of a secret, or a value that may be none, is in many a text by chance."""

_COMMON = re.compile(
    r"\d{1,5}|true|false|yes|no|on|off|none|null|nil|undefined|default|auto|all|stdio|https?|sse|localhost|127\.0\.0\.1"
    r"|0\.0\.0\.0|debug|info|warn(ing)?|error|trace|prod(uction)?|dev(elopment)?|test(ing)?|staging|local|utf-?8|bearer"
    r"|basic|gzip|identity|(application|text)/[a-z-]+|\*/\*|keep-alive|no-cache",
    re.IGNORECASE,
)

_NAMED = re.compile(
    rf"(?:{_NAME})[\w.-]{{0,40}}(?:=|:[ \t]*)(?:(?:Bearer|Basic|Token)[ \t]+)?([^&\s#;\"']+)", re.IGNORECASE
)
_IN_URL = re.compile(r"://([^\s/]*)@")

_ENCODED = re.compile(r"(?:%(?:25)*[0-9A-Fa-f]{2})+|(?:\\+u[0-9A-Fa-f]{4})+|(?:\\+x[0-9A-Fa-f]{2})+|\\+[abfnrtv\"'/\\]")
_LETTERS = dict(zip("abfnrtv", "\a\b\f\n\r\t\v", strict=True))

Blank = Callable[[str], str]
"""Blanks secrets in a text."""


def blanker(secrets: Iterable[str], settings: Iterable[str] = (), url: str | None = None) -> Blank:
    """What puts "***" in the place of secrets.

    Args:
        secrets: are blanked wherever they stand.
        settings: may be secrets; the short ones are blanked as words only.
        url: of the server, which is shown without user and query.
    """
    shown: dict[str, str] = {}
    found = [*secrets]
    if url:
        found += _of_url(url, shown)
    found, settings = _telling(found), _telling(settings)
    needles = sorted({*_spellings(found), *_spellings(each for each in settings if len(each) >= _SHORT)}, key=len)
    inner = sorted({*needles, *(_decoded(each)[0] for each in needles)}, key=len, reverse=True)
    words = "|".join(re.escape(each) for each in {*settings} if len(each) < _SHORT)
    short = re.compile(rf"(?<![^\W_])(?:{words})(?![^\W_])") if words else None

    def blank(text: str) -> str:
        for whole, bare in shown.items():
            text = text.replace(whole, bare)
        for needle in reversed(needles):
            text = text.replace(needle, "***")
        if short is not None:
            text = short.sub("***", text)
        return _blank_encoded(text, inner) if "%" in text or "\\" in text else text

    return blank


def named(words: Iterable[str]) -> Iterator[str]:
    """The secrets in texts, such as arguments: what stands under a secret's name, and in URLs."""
    listed = [*words]
    for word in listed:
        yield from _NAMED.findall(word)
        yield from url_passwords(word)
    for option, following in pairwise(listed):
        if option.startswith("-") and "=" not in option and SECRET_NAME.search(option):
            yield following


def url_passwords(text: str) -> list[str]:
    """The passwords of URLs in a text, or the users where there is none, as they are written and as they are meant."""
    users = [found.partition(":") for found in _IN_URL.findall(text)]
    found = [password if colon else user for user, colon, password in users]
    return [spelling for each in found for spelling in (each, unquote(each))]


def under_names(values: Mapping[str, str]) -> Iterator[str]:
    """The values whose names say that they are secrets."""
    return (value for name, value in values.items() if SECRET_NAME.search(name))


def _of_url(url: str, shown: dict[str, str]) -> Iterator[str]:
    """The secrets of a server's URL; `shown` is given how it is shown."""
    parts = urlsplit(url)
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2])  # user and password are sent in a header
    plain = bare._replace(query="", fragment="").geturl() if bare.netloc else url.partition("?")[0]  # a Unix socket
    shown |= {url: plain, bare.geturl(): plain}
    user, password = parts.username or "", parts.password or ""
    meant = unquote(user), unquote(password)
    yield from (parts.query, user, password, *meant)
    yield from (value for name, value in parse_qsl(parts.query) if SECRET_NAME.search(name))
    if any(meant):  # as they are sent
        yield b64encode(":".join(meant).encode()).decode()


def _telling(values: Iterable[str]) -> list[str]:
    """Of these values, without blanks around them, those that are worth blanking."""
    stripped = (value.strip() for value in values)
    return [value for value in stripped if len(value) >= SHORTEST and not _COMMON.fullmatch(value)]


def _spellings(values: Iterable[str]) -> Iterator[str]:
    """All ways in which values may stand in a text that is not decoded."""
    for value in values:
        lines = [line.strip() for line in value.splitlines()]
        # "Bearer x" is quoted as x, too; and a server's stderr is read line by line.
        parts = [value.partition(" ")[2].strip(), *(line for line in lines if len(line) >= _SHORT)]
        for each in {value, " ".join(value.split()), *_telling(parts)}:
            yield from (
                each,
                json.dumps(each)[1:-1],
                repr(each)[1:-1],
                quote(each, safe="", errors="replace"),
                quote_plus(each, errors="replace"),
            )
            yield from _in_base64(each.encode(errors="replace"))


def _in_base64(data: bytes) -> Iterator[str]:
    """What of `data` stands in base64, wherever it begins in what was encoded, in either alphabet."""
    if len(data) < 6:
        return
    for before in range(3):
        text = b64encode(bytes(before) + data).decode()
        inside = text[(before * 8 + 5) // 6 : (before + len(data)) * 8 // 6]
        for each in (inside, text) if not before else (inside,):
            yield each
            yield each.replace("+", "-").replace("/", "_")


def _decoded(text: str) -> tuple[str, list[int], list[int]]:
    """A text with percent-encoding and escapes undone, and which offset in it is which in `text`, piece by piece."""
    pieces: list[str] = []
    here, there = [0], [0]
    for found in _ENCODED.finditer(text):
        plain = text[there[-1] : found.start()]
        for piece, end in ((plain, found.start()), (_meant(found[0]), found.end())):
            pieces.append(piece)
            here.append(here[-1] + len(piece))
            there.append(end)
    pieces.append(text[there[-1] :])
    return "".join(pieces), here, there


def _meant(encoded: str) -> str:
    """What a run of percent-encoded bytes, or an escape, stands for."""
    if encoded[0] == "%":
        return unquote_to_bytes(re.sub("%(25)*", "%", encoded)).decode(errors="replace")
    letter = encoded.lstrip("\\")[:1]
    digits = re.sub(rf"\\+{letter}", "", encoded) if letter else ""
    if letter == "u":
        return bytes.fromhex(digits).decode("utf-16-be", errors="replace")
    if letter == "x":
        data = bytes.fromhex(digits)
        try:
            return data.decode()
        except UnicodeDecodeError:
            return data.decode("latin-1")
    return _LETTERS.get(letter, letter or "\\")


def _offset(at: int, here: list[int], there: list[int], *, is_end: bool = False) -> int:
    """Where in the text the character begins, or ends, that is at this offset of the decoded one."""
    piece = bisect_right(here, at) - 1
    if piece % 2 == 0:  # as it is written
        return there[piece] + at - here[piece] + is_end
    return there[piece + is_end]


def _blank_encoded(text: str, needles: Iterable[str]) -> str:
    """The text with "***" for what stands for one of these when it is decoded."""
    decoded, here, there = _decoded(text)
    spots: list[tuple[int, int]] = []
    for needle in needles:
        at = decoded.find(needle)
        while at >= 0:
            last = at + len(needle) - 1
            spots.append((_offset(at, here, there), _offset(last, here, there, is_end=True)))
            at = decoded.find(needle, last + 1)
    done, parts = 0, []
    for begin, end in sorted(spots):
        if end > done:
            parts += [text[done:begin], "***"] if begin >= done else []
            done = end
    return "".join([*parts, text[done:]])
