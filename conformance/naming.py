"""Names: between (server, name) and what a target calls it, by the scheme that it declares. Pure."""

import re
import string
from dataclasses import dataclass
from typing import Literal

from .target import Names

Kind = Literal["tool", "prompt"]


@dataclass(frozen=True)
class Scheme:
    """How a target names what its backends offer.

    Args:
        names: as declared.
    """

    names: Names

    def public(self, kind: Kind, server: str, name: str) -> str:
        """What the target calls a tool or prompt."""
        return string.Template(getattr(self.names, kind)).substitute(server=server, name=name)

    def own(self, kind: Kind, server: str, public: str) -> str | None:
        """What the server itself calls it; None when it is not this server's."""
        pattern = _pattern(getattr(self.names, kind), server=re.escape(server), name="(?P<name>.*)")
        match = re.fullmatch(pattern, public, re.DOTALL)
        return match["name"] if match else None

    def public_uris(self, server: str, uri: str) -> list[str]:
        """What the target may call a resource or template, the more telling spelling first."""
        scheme, rest = _split(uri)
        templates = [self.names.collision, self.names.resource]
        return [
            string.Template(template).substitute(server=server, uri=uri, scheme=scheme, rest=rest)
            for template in templates
            if template is not None
        ]

    def own_uri(self, server: str, public: str) -> str:
        """What the server itself calls it; unchanged where the scheme has nothing to undo."""
        for template in (self.names.collision, self.names.resource):
            if template is None:
                continue
            parts = {"scheme": r"(?P<scheme>[a-zA-Z][\w+.-]*)", "rest": "(?P<rest>.*)", "uri": "(?P<uri>.*)"}
            match = re.fullmatch(_pattern(template, server=re.escape(server), **parts), public, re.DOTALL)
            if match:
                found = match.groupdict()
                return found.get("uri") or f"{found['scheme']}://{found['rest']}"
        return public


def _split(uri: str) -> tuple[str, str]:
    scheme, _, rest = uri.partition("://")
    return scheme, rest


def _pattern(template: str, **parts: str) -> str:
    """A regular expression of a template: its text as it stands, its placeholders as given."""
    text = re.split(r"\$\$|\$\{(\w+)\}|\$(\w+)", template)
    pattern = ""
    for position in range(0, len(text), 3):
        pattern += re.escape(text[position])
        if position + 1 < len(text):
            name = text[position + 1] or text[position + 2]
            pattern += parts[name] if name else re.escape("$")
    return pattern
