"""Which values of a server's settings are secrets, and how they are blanked in what people read.

Rules:
- Secret are the values of `env` and `headers`, the URL's user and query, passwords of URLs wherever they stand, and the
  values of variables that were filled in anywhere, if the variable's name (`API_KEY`) says that it holds a secret.
- A value is found however it is quoted: as JSON, on one line, percent-encoded, as base64, line by line.
"""

import json
import re
from base64 import b64encode
from collections.abc import Iterable
from urllib.parse import parse_qsl, quote, unquote, urlsplit

SECRET_NAME = re.compile(r"key|token|secret|passw|pwd|auth|credential|cookie", re.IGNORECASE)
"""Variables whose values are secrets wherever they are filled in, in `args` for example."""

_SHORTEST_SECRET = 4
"""Values below this length ("1", "on") are settings, not secrets, and blanking them would garble every message."""

_SHORTEST_LINE = 8
"""The same for one line of a secret that has several: shorter ones ("-----", "}") are in every text."""

_URL_PASSWORD = re.compile(r"://[^\s/:@]*:([^\s/]*)@")

_SPELLINGS = (
    lambda value: value,
    lambda value: value.partition(" ")[2],  # "Bearer x" is quoted as x, too
    lambda value: " ".join(value.split()),
    lambda value: json.dumps(value)[1:-1],
    lambda value: quote(value, safe=""),
)


def redact(text: str, values: Iterable[str], url: str | None = None) -> str:
    """`text` with "***" for each of these values and for the secrets in `url`, which itself is shown without them."""
    secrets = [spell(value) for value in values for spell in _SPELLINGS]
    # Each line of a secret is one: a server's stderr is read line by line.
    secrets += [line for value in secrets for line in value.splitlines() if len(line.strip()) >= _SHORTEST_LINE]
    if url:
        parts = urlsplit(url)
        bare = parts._replace(netloc=parts.netloc.rpartition("@")[2])  # user and password are sent in a header
        shown = bare._replace(query="", fragment="").geturl() if bare.netloc else url.partition("?")[0]  # a Unix socket
        text = text.replace(url, shown).replace(bare.geturl(), shown)
        user, password = parts.username or "", parts.password or ""
        plain = unquote(user), unquote(password)
        secrets += [parts.query, user, password, *plain]
        secrets += [value for name, value in parse_qsl(parts.query) if SECRET_NAME.search(name)]
        if any(plain):  # as they are sent
            secrets.append(b64encode(":".join(plain).encode()).decode())
    for secret in sorted({value.strip() for value in secrets}, key=len, reverse=True):
        if len(secret) >= _SHORTEST_SECRET:
            text = text.replace(secret, "***")
    return text


def url_passwords(text: str) -> list[str]:
    """The passwords of URLs in a text, as they are written there and as they are meant."""
    return [spelling for found in _URL_PASSWORD.findall(text) for spelling in (found, unquote(found))]
