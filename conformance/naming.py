"""Names: between (server, name) and what a target calls it, by the scheme that it declares. No I/O.

Rules:
- A name is made by a template, of parts that may be transformed; what comes of that is cut. What was transformed cannot
  be undone: so what a server offers has to be known, and each of it is looked for.
- Names that no template tells are looked up in the target's own lists: the entry with the description that the server
  gives; of several the one in whose name are those of the server and of the tool.
- Behind one endpoint, with names that do not tell the server, an entry is the server's that is known to offer it.
"""

import re
import string
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from .filling import used
from .tables import Names
from .verdict import NotApplicable

Kind = Literal["tool", "prompt"]
Offered = Mapping[Kind, Mapping[str, str]]
"""What a server offers: descriptions by name."""


@dataclass
class Scheme:
    """How a target names what its backends offer.

    Args:
        names: as declared.
        shared: whether all servers are behind one endpoint.
        known: what servers offer, by their names.
    """

    names: Names
    shared: bool = True
    known: dict[str, Offered] = field(default_factory=dict)
    _listed: dict[tuple[Kind, str], dict[str, str]] = field(default_factory=dict)
    """What the target lists where a server is reached: descriptions by public name."""

    def public(self, kind: Kind, server: str, name: str) -> str:
        """What the target calls a tool or prompt.

        Raises:
            NotApplicable: several entries of its list could be meant.
        """
        if self.names.by_description:
            found = self._look_up(kind, server, name)
            if found is not None:
                return found
        template = string.Template(getattr(self.names, kind))
        public = template.substitute(server=self._respelled(server), name=self._respelled(name))
        return public[: self.names.cut]

    def own(self, kind: Kind, server: str, public: str) -> str | None:
        """What the server itself calls it; None when it is not this server's."""
        template, mine = getattr(self.names, kind), self.known.get(server, {}).get(kind, {})
        if not self.names.undoes and (name := self._known_as(kind, server, public)) is not None:
            return name
        # What is not known came later.
        if self.names.by_description:
            others = self.shared and any(self._known_as(kind, other, public) for other in self.known if other != server)
            description = self._listed.get((kind, "" if self.shared else server), {}).get(public, "")
            named = re.search(r"'(?P<name>[^']+)'", description)
            named = named or re.search(rf"{re.escape(server)}[\W_]*(?P<name>.+)", public, re.IGNORECASE | re.DOTALL)
            return None if others else named["name"] if named else public
        pattern = _pattern(template, server=re.escape(self._respelled(server)), name="(?P<name>.*)")
        match = re.fullmatch(pattern, public, re.DOTALL)
        if match is None:
            return None
        name = match["name"]
        told = "server" in used([template]) or name in mine
        return name if told or not any(name in offered.get(kind, ()) for offered in self.known.values()) else None

    def _known_as(self, kind: Kind, server: str, public: str) -> str | None:
        """Which of the tools or prompts that a server is known to offer is called so."""
        offered = self.known.get(server, {}).get(kind, {})
        return next((name for name in offered if self._is(kind, server, name, public)), None)

    def _is(self, kind: Kind, server: str, name: str, public: str) -> bool:
        try:
            return self.public(kind, server, name) == public
        except NotApplicable:
            return False

    def _respelled(self, part: str) -> str:
        part = part.lower() if self.names.lower else part
        for pattern, instead in self.names.replace.items():
            part = re.sub(pattern, instead.replace("\\", r"\\"), part)
        return part

    # Looking up

    def learn(self, kind: Kind, server: str, entries: Iterable[Mapping[str, Any]]) -> None:
        """Take in the list that the target gives where a server is reached."""
        self._listed[kind, "" if self.shared else server] = {
            str(entry.get("name")): str(entry.get("description") or "") for entry in entries
        }

    def knows(self, kind: Kind, server: str, name: str) -> bool:
        """Whether it needs no list, or no further one, to name something."""
        return not self.names.by_description or self._look_up(kind, server, name) is not None

    def _look_up(self, kind: Kind, server: str, name: str) -> str | None:
        listed = self._listed.get((kind, "" if self.shared else server), {})
        description = self.known.get(server, {}).get(kind, {}).get(name, "")
        left = [public for public, told in listed.items() if description and description in told]
        if not left:  # it came later, and what came later says its name in its description
            left = [public for public, told in listed.items() if f"'{name}'" in told]
        if not left:  # it has no description, or the target another
            left = [public for public in listed if _plain(public).endswith(_plain(name))]
        for wanted in (server, name):
            left = [public for public in left if _plain(wanted) in _plain(public)] or left
        if len(left) > 1:
            raise NotApplicable(f"nothing tells which of {', '.join(left)} is '{name}' of '{server}'")
        return left[0] if left else None

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


def _plain(name: str) -> str:
    """Letters and digits alone, to compare names that are spelled differently."""
    return re.sub(r"[\W_]+", "", name).lower()


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
