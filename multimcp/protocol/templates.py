"""URI templates: whether a URI is one that a template generates (RFC 6570, read backwards).

Rules:
- A variable ends at the first character that its operator would have percent-encoded, or where the next literal begins.
- Two variables with nothing between them cannot be told apart: such a template matches by what comes before its first
  variable.
- Matching takes time in proportion to the URI, whatever the template.

Spec: https://www.rfc-editor.org/rfc/rfc6570
"""

import re

MAX_URI = 65_536

_EXPRESSION = re.compile(r"\{([+#./;?&]?)([A-Za-z0-9_.%]+(?::\d+|\*)?(?:,[A-Za-z0-9_.%]+(?::\d+|\*)?)*)\}")
_STOPS = {"": "/?#&,", "+": "?#", "#": "", ".": "./?#", "/": "/?#", ";": ";/?#", "&": "&#"}
_BROAD = re.compile(r"\{[+#]|\*\}")


class Template:
    """A URI template, ready to match.

    Attributes:
        literals: how many of its characters stand fast; of two that match, the one with more is meant.
        is_broad: whether one of its variables goes on behind a slash.
        is_wild: whether no scheme stands fast: what it generates may be anyone's.
    """

    def __init__(self, template: str) -> None:
        self.literals = len(re.sub(r"\{[^}]*\}", "", template))
        self.is_broad = _BROAD.search(template) is not None
        self._prefix = template[: max(template.find("{"), 0)]
        self.is_wild = ":" not in self._prefix
        self._pattern = _compile(template)

    def matches(self, uri: str) -> bool:
        """Whether the template may have generated `uri`."""
        if len(uri) > MAX_URI:
            return False
        if self._pattern is not None:
            return self._pattern.fullmatch(uri) is not None
        return bool(self._prefix) and uri.startswith(self._prefix)


def _compile(template: str) -> re.Pattern[str] | None:
    """The pattern of all URIs that `template` generates; None where it is malformed or cannot be read backwards."""
    literals, expressions, end = [], [], 0
    for found in _EXPRESSION.finditer(template):
        literals.append(template[end : found.start()])
        expressions.append((found[1], found[2]))
        end = found.end()
    literals.append(template[end:])
    if any("{" in literal or "}" in literal for literal in literals):
        return None
    pattern = re.escape(literals[0])
    for index, (operator, names) in enumerate(expressions):
        literal, is_last = literals[index + 1], index + 1 == len(expressions)
        if operator == "?":
            if literal or not is_last:
                return None
            pattern += r"(?:\?[^#]*)?(?:#.*)?"
        elif not literal and not is_last and expressions[index + 1][0] not in ("?", "#", "/", ".", ";", "&"):
            return None
        else:
            pattern += _expression(operator, names, re.escape(literal), is_last)
    return re.compile(pattern, re.DOTALL)


def _expression(operator: str, names: str, literal: str, is_last: bool) -> str:
    """The pattern of one expression and the literal behind it."""
    stops = _STOPS[operator]
    count = names.count(",") + 1
    inner = f"[^{re.escape(stops)}]" if stops else "."
    if operator in ("#", ".", "/", ";", "&"):
        repeated = "*" if names.endswith("*") else f"{{0,{count}}}"
        return f"(?:{re.escape(operator)}{inner}*){repeated}{literal}"
    if count > 1 or names.endswith("*"):
        inner = f"(?:{inner}|,)" if stops else inner
    # Without the way back (atomic group) a later mismatch costs no second try; the last one may need it.
    return f"{inner}*{literal}" if is_last or operator == "+" or not literal else f"(?>{inner}*?{literal})"
