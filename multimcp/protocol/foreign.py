"""What other clients write into a server's entry -> our words, in one pass in front of the models.

Rules:
- A table of words says what each means. Two that say different things are a mistake.
- Off is off, in whichever word: such an entry is neither filled nor checked.
- What only restricts or protects, and cannot be done here, is a mistake with a remedy: it is never dropped. Approvals
  and labels are no business of a proxy, and silent. All else that is unknown is a warning.
- Messages name what the file says: `where` leads from a setting of ours back to the words in the entry.
"""

import json
import re
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import Any

from multimcp.errors import ConfigError, printable

from .document import Document, Place, spell

MANY_MS = 10_000
"""A `timeout` of as many seconds or more is taken for milliseconds: nobody waits three hours."""

_MOST_WARNINGS = 20
"""Unknown keys of one entry that are told one by one."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
"""The name of an environment variable."""


def kind(value: Any) -> Any:
    """A `type` in our words: "stdio", "sse", "http", or "remote" for either; what is none of them stays as it is."""
    if not isinstance(value, str):
        return value
    return _KINDS.get(re.sub("[-_ ]", "", value.lower()), value)


_KINDS = {
    **{word: word for word in ("stdio", "sse", "http", "remote")},
    "local": "stdio",
    "streamablehttp": "http",
    "httpstream": "http",
}
_URLS = ("url", "serverUrl", "httpUrl", "baseUrl")
_INCLUDE, _EXCLUDE = ("tools", "include"), ("tools", "exclude")

_WORDS: dict[Place, Place] = {
    (*theirs.split("."),): ours
    for ours, words in {
        ("url",): "serverUrl httpUrl baseUrl",
        ("env",): "environment envs env_vars",
        ("headers",): "http_headers",
        ("type",): "transport transportType",
        _INCLUDE: "includeTools include_tools enabledTools enabled_tools allowedTools allowed_tools available_tools",
        _EXCLUDE: "excludeTools exclude_tools disabledTools disabled_tools disallowedTools",
        ("timeout",): "tool_timeout_sec requestTimeout options.timeout",
        ("startupTimeout",): "startup_timeout_sec startup_timeout_ms initTimeout connectionTimeout",
    }.items()
    for theirs in words.split()
}
"""Where in the entries of others stands what stands elsewhere in ours; taken in this order."""

_MILLISECONDS = {"requestTimeout", "timeout", "startup_timeout_ms", "initTimeout", "connectionTimeout"}
"""The last words of places in that table where numbers are milliseconds."""

_OFF: dict[Place, bool] = {
    ("disabled",): True,
    ("enabled",): False,
    ("isActive",): False,
    ("options", "disabled"): True,
    ("anythingllm", "autoStart"): False,
}
"""Switches, and the value that means off."""

_NO_SANDBOX = 'Multi-MCP has no sandbox; start the server in one by its "command" (a container, say), and take this out'
_TOOLS_ONLY = 'Multi-MCP can leave out tools only ("tools": {"exclude": [...]}); take this out'
_TAGS = 'Multi-MCP does not know the tags of tools; write their names under "tools", in "include" or "exclude"'
_KEYS = "who may use Multi-MCP may use all its servers: set MULTI_MCP_API_KEY, and take this out"
_CANNOT: dict[Place, str] = {
    ("headersHelper",): 'is not run; write the headers under "headers", as in {"Authorization": "Bearer ${TOKEN}"}',
    **{(key,): _NO_SANDBOX for key in ("sandbox", "sandboxEnabled")},
    **{(key,): _TAGS for key in ("include_tags", "exclude_tags")},
    **{(f"disabled_{kinds}",): _TOOLS_ONLY for kinds in ("prompts", "resources", "resourceTemplates")},
    **{(f"disabled{kinds}",): _TOOLS_ONLY for kinds in ("Prompts", "Resources", "ResourceTemplates")},
    **{("options", key): _KEYS for key in ("authTokens", "userFilter")},
}
"""What restricts or protects and cannot be done here, with the remedy."""

_SILENT = {
    # approvals
    *("autoApprove", "alwaysAllow", "auto_approve", "trust", "isTrusted", "requireApproval", "require_approval"),
    *("approval_mode", "default_tools_approval_mode"),
    # labels
    *("name", "title", "displayName", "description", "comment", "note", "notes", "id", "source", "tags", "category"),
    *("gallery", "version", "icon", "icons", "logo", "logoUrl", "provider", "providerUrl", "author", "homepage"),
    *("repository", "owner", "metadata", "settings"),
}
_LABEL = re.compile(r"[_$#/]")
"""How keys begin that are comments, or about the file."""

_BY_NAME = ("tools", "prompts", "resources")
"""What some clients switch on and off by name."""

_KNOWN = frozenset(place[0] for table in (_WORDS, _OFF, _CANNOT) for place in table) | {
    *("bearer_token_env_var", "env_http_headers", "toolFilter", *_BY_NAME)
}
_OPTIONS = {"timeout", "disabled", "authTokens", "userFilter", "toolFilter", "panicIfInvalid", "logEnabled"}
"""What is known, or no loss, under `options`."""

_ALLOWED: tuple[Place, ...] = (("mcp", "allowed"), ("allowMCPServers",))
_EXCLUDED: tuple[Place, ...] = (("mcp", "excluded"), ("excludeMCPServers",))
"""Where, beside the servers, a client lists the names of those it may use, and of those it may not."""


def is_silent(key: str) -> bool:
    """Whether a key, beside the servers or in an entry, is a label or an approval."""
    return key in _SILENT or _LABEL.match(key) is not None


def switched_off(document: Document) -> Collection[str]:
    """The names of servers that are switched off by a list beside them.

    Raises:
        ConfigError: the operator's: such a list is none.
    """
    off: set[str] = set()
    for place in (*_ALLOWED, *_EXCLUDED):
        listed = None if place[0] in document.root else _get(document.data, place)
        if listed is None:
            continue
        if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
            raise ConfigError(f"{spell(place)}: expected a list of names of servers{document.spot(place)}")
        named = set(listed)
        off |= named if place in _EXCLUDED else document.entries.keys() - named
    return off


class Entry:
    """An entry of the file, read in all clients' words.

    Args:
        raw: the entry as it is written.
        root: where all entries are; under `servers` it is VS Code that says what null means.
        own: our own words for settings.
        environ: the environment variables that are there.

    Attributes:
        settings: what it says, in our words; of types that may be wrong.
        is_off: whether it is switched off.
        problems: the mistakes that only this pass can see, by their places in the entry as it is written.
        warnings: what is worth a warning: the place to name, the place to point at, and the text.
        meant: our words for unknown keys that may mean them.
    """

    def __init__(self, raw: Mapping[str, Any], root: Place, own: Collection[str], environ: Mapping[str, str]) -> None:
        self._root = root
        places = ("command", *_URLS)
        is_given = any(raw.get(key) for key in places)
        # Many write "" for the one of the two that they do not use.
        self._raw = {
            key: value
            for key, value in raw.items()
            if value is not None and not (is_given and key in places and value in ("", []))
        }
        self._environ = environ
        self._written: dict[Place, Place] = {}
        self.settings: dict[str, Any] = {}
        self.problems: dict[Place, str] = {}
        self.warnings: list[tuple[Place, Place, str]] = []
        self.meant: dict[str, str] = {}
        self.is_off = any(_get(raw, place) is off for place, off in _OFF.items())
        for key, value in self._raw.items():
            if key in own and key not in ("disabled", "args"):
                self._take((key,), value, (key,))
        self._take_args()
        for theirs, ours in _WORDS.items():
            if (value := _get(self._raw, theirs)) is not None:
                is_number = isinstance(value, int | float) and not isinstance(value, bool)
                self._take(ours, value / 1000 if is_number and theirs[-1] in _MILLISECONDS else value, theirs)
        self._take_credentials()
        self._take_filters()
        if "httpUrl" in self._raw and "url" in self.settings and "type" not in self.settings:
            self._put(("type",), "http", ("httpUrl",))
        self._spell_out()
        self._refuse()
        self._warn(own)

    def where(self, ours: Place) -> Place:
        """Where in the entry, as it is written, a setting of ours stands."""
        for end in range(len(ours), 0, -1):
            if (theirs := self._written.get(ours[:end])) is not None:
                return theirs + ours[end:]
        return ours

    def _take(self, ours: Place, value: Any, theirs: Place) -> None:
        """Take over a value that others may write in ways of their own."""
        match ours, value:
            case ("command",), list() | dict():
                self._take_command(value, theirs)
            case ("env",), list():
                for i, item in enumerate(value):
                    self._take_variable(item, (*theirs, i))
            case ("tools",), list():
                self._put(_INCLUDE, value, theirs)
            case ("tools",), dict():
                self._put(ours, {key: listed for key, listed in value.items() if listed is not None}, theirs)
            case ("type",), str():
                word = kind(value)
                if word != "remote" or not any(key in self._raw for key in _URLS):
                    self._put(ours, word, theirs)
            case ("timeout",) | ("startupTimeout",), int() | float() if value >= MANY_MS and theirs == ours:
                self._put(ours, value / 1000, theirs)
                seconds = f"{value / 1000:g}"
                text = f'is taken for milliseconds, {seconds} s; write "{theirs[0]}": {seconds}'
                self.warnings.append((theirs, theirs, text))
            case _:
                self._put(ours, dict(value) if isinstance(value, dict) else value, theirs)

    def _take_command(self, value: Any, theirs: Place) -> None:
        """Take over a command with its arguments in a list, or in an object as Zed had them."""
        if isinstance(value, list):
            self._put(("command",), value[0] if value else "", (*theirs, 0) if value else theirs)
            return
        self._put(("command",), value.get("path", ""), (*theirs, "path") if "path" in value else theirs)
        for key in ("args", "env"):
            if value.get(key) is not None:
                self._take((key,), value[key], (*theirs, key))

    def _put(self, ours: Place, value: Any, theirs: Place) -> None:
        *parents, last = ours
        target: Any = self.settings
        for key in parents:
            target = target.setdefault(key, {})
            if not isinstance(target, dict):  # a mistake in itself
                return
        if last not in target:
            target[last] = value
            self._written[ours] = theirs
        elif target[last] != value:
            self.problems[theirs] = f'says something else than "{spell(self.where(ours))}"; take one of them out'

    def _take_args(self) -> None:
        """The arguments, after those that stand in a command that is a list."""
        command, args = self._raw.get("command"), self._raw.get("args")
        before = command[1:] if isinstance(command, list) else []
        if before and isinstance(args, list | None):
            self.settings["args"] = [*before, *(args or [])]
            for i in range(len(self.settings["args"])):
                self._written["args", i] = ("command", i + 1) if i < len(before) else ("args", i - len(before))
        elif args is not None:
            self._take(("args",), args, ("args",))

    def _take_variable(self, item: Any, theirs: Place) -> None:
        """Take over `NAME=value`, or `NAME` of a variable that is to be passed on if it is there."""
        name, is_set, value = item.partition("=") if isinstance(item, str) else ("", "", "")
        if is_set and name:
            self._put(("env", name), value, theirs)
        elif not _NAME.fullmatch(name):
            self.problems[theirs] = _NO_VARIABLE
        elif name in self._environ and _get(self.settings, ("env", name)) is None:
            self._put(("env", name), f"${{{name}}}", theirs)

    def _take_credentials(self) -> None:
        """Take over headers for which only the name of a variable is written."""
        named = self._raw.get("env_http_headers")
        listed: dict[Place, tuple[str, str, Any]] = {}
        if isinstance(named, dict):
            listed = {("env_http_headers", header): (header, "", name) for header, name in named.items()}
        elif named is not None:
            self.problems["env_http_headers",] = 'expected an object of strings, as in {"X-Key": "API_KEY"}'
        if (name := self._raw.get("bearer_token_env_var")) is not None:
            listed["bearer_token_env_var",] = ("Authorization", "Bearer ", name)
        for theirs, (header, scheme, name) in listed.items():
            if isinstance(name, str) and _NAME.fullmatch(name):
                self._put(("headers", header), f"{scheme}${{{name}}}", theirs)
            else:
                self.problems[theirs] = _NO_VARIABLE

    def _take_filters(self) -> None:
        """Take over lists of tools whose kind is written beside them."""
        modes = {"allow": _INCLUDE, "block": _EXCLUDE}
        for place in (("toolFilter",), ("options", "toolFilter")):
            if not (value := _get(self._raw, place)):
                continue
            if isinstance(value, dict) and isinstance(listed := value.get("list"), list) and value.get("mode") in modes:
                if listed:
                    self._put(modes[value["mode"]], listed, (*place, "list"))
            else:
                self.problems[place] = 'expected {"mode": "allow", "list": [...]} or {"mode": "block", "list": [...]}'

    def _spell_out(self) -> None:
        """Numbers and switches in `args`, `env` and `headers` are the text that says the same."""
        for key in ("args", "env", "headers"):
            value = self.settings.get(key)
            if isinstance(value, list):
                self.settings[key] = [_as_text(item) for item in value]
            elif isinstance(value, dict):
                self.settings[key] = {name: _as_text(item) for name, item in value.items()}
        env = _get(self.settings, ("env",))
        for name in [name for name, value in env.items() if value is None] if isinstance(env, dict) else ():
            del env[name]
            place = self.where(("env", name))
            if self._root == ("servers",):
                self.warnings.append((place, place, _NULL_UNSET % name))
            else:
                self.problems[place] = _NULL % name

    def _refuse(self) -> None:
        """The mistakes that are no matter of types."""
        for place in _OFF:
            if not isinstance(_get(self._raw, place), bool | None):
                self.problems[place] = "expected true or false, without quotes"
        for place, remedy in _CANNOT.items():
            if _get(self._raw, place):
                self.problems[place] = remedy
        for key in _BY_NAME:
            value = self._raw.get(key)
            for name, item in value.items() if isinstance(value, dict) else ():
                if not ((key == "tools" and name in ("include", "exclude")) or _LABEL.match(name) or _is_label(item)):
                    self.problems[key, name] = _BY_LIST if key == "tools" else _TOOLS_ONLY

    def _warn(self, own: Collection[str]) -> None:
        options = self._raw.get("options")
        unknown: list[Place] = [
            (key,) for key in self._raw if key not in own and key not in _KNOWN and not is_silent(key)
        ]
        unknown += [("options", key) for key in options if key not in _OPTIONS] if isinstance(options, dict) else []
        for place in unknown[:_MOST_WARNINGS]:
            *parents, key = place
            if meant := None if parents else _meant(str(key), self._raw[str(key)], own):
                self.meant[str(key)] = meant
            hint = f'; did you mean "{meant}"?' if meant else ""
            self.warnings.append((tuple(parents), place, f"unknown key '{printable(key, 100)}' is ignored{hint}"))
        if more := unknown[_MOST_WARNINGS:]:
            self.warnings.append(((), more[0], f"{len(more)} more unknown keys are ignored"))


_NO_VARIABLE = 'expected the name of an environment variable, as in "API_TOKEN"'
_NULL_UNSET = 'is null, and is not set, as in VS Code; to take it from the environment, write "${%s}"'
_NULL = 'is null, not a string, which clients take for two things; write "${%s}" if it is set, or take it out'
_BY_LIST = (
    'is not a setting of "tools"; write the names of tools to leave out in "tools": {"exclude": [...]}, or of those to '
    'offer in "include"'
)


def _get(data: Any, place: Place) -> Any:
    """What stands at a place, if it is there."""
    for key in place:
        data = data.get(key) if isinstance(data, dict) else None
    return data


def _as_text(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, bool | int | float) else value


def _is_label(item: Any) -> bool:
    """Whether an entry of a list by name only labels or approves."""
    return isinstance(item, dict) and all(key in _SILENT or (key == "enabled" and item[key] is True) for key in item)


def _meant(key: str, value: Any, own: Collection[str]) -> str | None:
    """The key of ours that an unknown one may well be meant to be."""
    if close := get_close_matches(key[:100].lower(), own, n=1, cutoff=0.8):
        return close[0]
    if isinstance(value, str) and value.startswith(("http://", "https://")):
        return "url"
    return "command" if key.lower() == "cmd" else None
