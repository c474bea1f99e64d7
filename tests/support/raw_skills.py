"""Agent Skills for `raw_server.py`: what its behaviour `skills=JSON` says. Standard library only.

The JSON has, by the URI of a skill's directory, its files:

  skills      are listed by `skills/list`
  unlisted    are served, and in no list
  dynamic     as `unlisted`, and their manifest says no files
  resources   the URIs that `resources/list` has; without it none
  entries     are listed behind the skills as they stand
  page        how many entries a page has
  flat        whether it has no `resources/directory/read`
"""

from hashlib import sha256
from typing import Any

Json = dict[str, Any]

SKILLS = "io.modelcontextprotocol/skills"


def skill_md(name: str, body: str) -> str:
    return f"---\nname: {name}\ndescription: what {name} is for\n---\n\n{body}\n"


def capabilities(spec: Json) -> Json:
    return {"resources": {}, "extensions": {SKILLS: {} if spec.get("flat") else {"directoryRead": True}}}


def answer(spec: Json, method: str, params: Json) -> Json | None:
    """The result of what is about skills; None for what is not; raises what the error's object is in."""
    files = {
        f"{root}/{file}": text
        for kind in ("skills", "unlisted", "dynamic")
        for root, content in spec.get(kind, {}).items()
        for file, text in content.items()
    }
    uri = str(params.get("uri"))
    match method:
        case "skills/list":
            return _page(spec, params.get("cursor"))
        case "skills/get":
            root = uri.removesuffix("/SKILL.md")
            if uri not in files or not uri.endswith("/SKILL.md"):
                raise LookupError({"code": -32602, "message": f"No skill at {uri}"})
            return {"skill": entry(spec, root)}
        case "resources/directory/read" if not spec.get("flat"):
            return {"resources": _children(files, uri)}
        case "resources/list":
            return {"resources": [{"uri": each, "name": each} for each in spec.get("resources", [])]}
        case "resources/templates/list":
            return {"resourceTemplates": []}
        case "resources/read" if uri in files:
            return {"contents": [{"uri": uri, "mimeType": "text/markdown", "text": files[uri]}]}
        case "resources/read":
            raise LookupError({"code": -32602, "message": f"No resource at {uri}"})
    return None


def entry(spec: Json, root: str) -> Json:
    files = next(spec[kind][root] for kind in ("skills", "unlisted", "dynamic") if root in spec.get(kind, {}))
    front = dict(line.split(": ", 1) for line in files["SKILL.md"].split("---\n")[1].splitlines())
    manifest = [
        {"uri": f"{root}/{file}", "digest": digest(text), "size": len(text.encode())} for file, text in files.items()
    ]
    return {
        "uri": f"{root}/SKILL.md",
        "frontmatter": front,
        "resources": "dynamic" if root in spec.get("dynamic", {}) else manifest,
    }


def digest(text: str) -> str:
    return "sha256:" + sha256(text.encode()).hexdigest()


def _page(spec: Json, cursor: str | None) -> Json:
    entries = [entry(spec, root) for root in spec.get("skills", {})] + spec.get("entries", [])
    start, size = int(cursor or 0), spec.get("page", len(entries) + 1)
    page = {"skills": entries[start : start + size]}
    return page | ({"nextCursor": str(start + size)} if start + size < len(entries) else {})


def _children(files: Json, uri: str) -> list[Json]:
    below = [file[len(uri) + 1 :] for file in files if file.startswith(f"{uri}/")]
    if not below:
        raise LookupError({"code": -32602, "message": f"{uri} is not a directory"})
    names = dict.fromkeys(each.partition("/")[0] for each in below)
    kinds = {name: "text/markdown" if name in below else "inode/directory" for name in names}
    return [{"uri": f"{uri}/{name}", "name": name, "mimeType": kind} for name, kind in kinds.items()]
