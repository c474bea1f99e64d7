"""Where a message of a client leads, and how URIs come back."""

import json
from dataclasses import replace
from typing import Any

import pytest
from msgspec import Raw

from multimcp.errors import Fault
from multimcp.protocol import routing
from multimcp.protocol.catalog import Names, build
from multimcp.protocol.message import opened, pack
from multimcp.protocol.offer import PROMPTS, RESOURCES, TEMPLATES, TOOLS, Entry, Listing, Offer
from multimcp.protocol.routing import Router, Target, View, not_found

KINDS = {"tools": TOOLS, "prompts": PROMPTS, "resources": RESOURCES, "templates": TEMPLATES}


def offer(**lists: list[str]) -> Offer:
    listings = {
        KINDS[key]: Listing(tuple(Entry(name, pack({KINDS[key].id: name})) for name in names))
        for key, names in lists.items()
    }
    return Offer("v", opened(pack({kind.capability: {} for kind in listings})), listings=listings)


def view(is_starting: bool = False, **offers: Offer) -> View:
    return View(build(offers, Names(), {}), offers, tuple(offers), is_starting)


BOTH = view(
    a=offer(tools=["t"], prompts=["p"], resources=["n://x"], templates=["n://{id}"]),
    b=offer(tools=["t", "b::u"], prompts=["p"], resources=["n://x", "m://y"], templates=["n://{id}"]),
)


def found(where: View, method: str, params: Any, router: Router | None = None) -> tuple[str, Any] | None:
    target = (router or Router()).find(where, method, opened(pack(params)))
    return (target.server, json.loads(bytes(pack(target.params)))) if target else None


@pytest.mark.parametrize(
    ("method", "params", "target"),
    [
        ("tools/call", {"name": "a::t", "x": 1.0}, ("a", {"name": "t", "x": 1.0})),
        ("tools/call", {"name": "b::b::u"}, ("b", {"name": "b::u"})),
        ("tools/call", {"name": "a::p"}, None),
        ("prompts/get", {"name": "b::p"}, ("b", {"name": "p"})),
        ("resources/read", {"uri": "n://x"}, ("a", {"uri": "n://x"})),
        ("resources/read", {"uri": "n://b/x"}, ("b", {"uri": "n://x"})),
        ("resources/read", {"uri": "n://7"}, ("a", {"uri": "n://7"})),
        ("resources/read", {"uri": "n://b/7"}, ("b", {"uri": "n://7"})),
        ("resources/read", {"uri": "o://b/7"}, ("b", {"uri": "o://b/7"})),
        ("resources/read", {"uri": "o://7"}, None),
        ("resources/read", {"uri": "o://c/7"}, None),
        ("resources/subscribe", {"uri": "m://y"}, ("b", {"uri": "m://y"})),
        ("completion/complete", {"ref": {"name": "b::p", "t": 1}}, ("b", {"ref": {"name": "p", "t": 1}})),
        ("completion/complete", {"ref": {"uri": "n://b/{id}"}}, ("b", {"ref": {"uri": "n://{id}"}})),
        ("completion/complete", {"ref": {"uri": "m://y"}}, ("b", {"ref": {"uri": "m://y"}})),
        ("completion/complete", {"ref": {"name": "p"}}, None),
        ("vendor/do", {"name": "b::t"}, ("b", {"name": "t"})),
        ("vendor/do", {"name": "b::p"}, ("b", {"name": "p"})),
        ("vendor/do", {"uri": "n://b/x"}, ("b", {"uri": "n://x"})),
        ("vendor/do", {"x": 1}, None),
    ],
)
def test_where_a_request_leads(method: str, params: Any, target: Any) -> None:
    assert found(BOTH, method, params) == target


@pytest.mark.parametrize(
    ("method", "params", "words"),
    [
        ("tools/call", {}, "name must be a string"),
        ("tools/call", {"name": 7}, "name must be a string"),
        ("resources/read", {}, "uri must be a string"),
        ("completion/complete", {}, "ref must be an object"),
        ("completion/complete", {"ref": []}, "ref must be an object"),
        ("completion/complete", {"ref": {}}, "name must be a string"),
        ("tools/call", {"name": "t"}, "'t' could mean the tool 'a::t' or 'b::t'"),
    ],
)
def test_params_that_do_not_say_where(method: str, params: Any, words: str) -> None:
    with pytest.raises(Fault, match=words) as fault:
        found(BOTH, method, params)
    assert fault.value.code == -32602


@pytest.mark.parametrize(
    ("method", "params", "era", "code", "message", "data"),
    [
        ("tools/call", {"name": "x"}, "legacy", -32602, "Unknown tool: x", None),
        ("prompts/get", {"name": "x"}, "modern", -32602, "Unknown prompt: x", None),
        ("completion/complete", {"ref": {"name": "x"}}, "modern", -32602, "Unknown prompt: x", None),
        ("resources/read", {"uri": "x"}, "legacy", -32002, "Resource not found: x", {"uri": "x"}),
        ("resources/read", {"uri": "x"}, "modern", -32602, "Resource not found: x", {"uri": "x"}),
        ("completion/complete", {"ref": {"uri": "x"}}, "modern", -32602, "Resource not found: x", {"uri": "x"}),
        ("vendor/do", {"name": "x"}, "modern", -32601, "Method not found", "vendor/do"),
    ],
)
def test_the_error_for_what_leads_nowhere(
    method: str, params: Any, era: Any, code: int, message: str, data: Any
) -> None:
    fault = not_found(method, opened(pack(params)), era)
    assert (fault.code, fault.message) == (code, message)
    if data is not None:
        assert fault.data == data


def test_the_only_server_gets_what_nobody_else_can_be_meant_by() -> None:
    only = view(a=offer(resources=["n://x"]))
    assert found(only, "vendor/do", {"x": 1}) == ("a", {"x": 1})
    assert found(only, "resources/read", {"uri": "o://7"}) == ("a", {"uri": "o://7"})
    starting = view(True, a=offer(resources=["n://x"]))
    assert found(starting, "resources/read", {"uri": "o://7"}) is None
    beside = view(a=offer(resources=["n://x"]), b=offer(tools=["t"]))
    assert found(beside, "resources/read", {"uri": "o://7"}) == ("a", {"uri": "o://7"})


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("mine", ("a", {"name": "mine"})),
        ("_odd", ("a", {"name": "_odd"})),
        ("c::t", None),  # the name of what c offered, or will
        ("gone__t", None),
        ("p", None),
        ("hidden", None),
    ],
)
def test_a_tools_own_name_is_taken_where_one_server_offers_it(name: str, target: Any) -> None:
    a, b = offer(tools=["mine", "_odd", "c::t", "gone__t", "hidden", "both"], prompts=["p"]), offer(tools=["both"])
    catalog = build({"a": a, "b": b}, Names(), {"a": lambda name: name != "hidden"})
    where = View(catalog, {}, ("a", "b", "c"), is_starting=False)
    assert found(where, "tools/call", {"name": name}) == target
    assert found(where.spelled("llm"), "tools/call", {"name": name}) == target
    assert found(replace(where, is_starting=True), "tools/call", {"name": name}) is None
    with pytest.raises(Fault, match="'both' could mean the tool 'a::both' or 'b::both'"):
        found(where, "tools/call", {"name": "both"})
    assert found(where, "prompts/get", {"name": "p"}) is None
    assert found(where, "vendor/do", {"name": name}) is None


# Results

A, B = Target("a", {}), Target("b", {})


def result(router: Router, target: Target, raw: Any, method: str = "tools/call", where: View = BOTH) -> Any:
    data = raw if isinstance(raw, Raw) else pack(raw)
    return json.loads(bytes(router.result(lambda: where, method, target, data)))


LINK = {"type": "resource_link", "uri": "n://x", "v": 1.0}
EMBEDDED = {"type": "resource", "resource": {"uri": "n://x", "text": "t"}}


def test_uris_that_another_server_has_are_renamed_wherever_they_stand() -> None:
    router = Router()
    content = {"content": [LINK, EMBEDDED, {"type": "text", "text": "n://x"}, 7], "v": 1.5}
    assert result(router, A, content) == content
    assert result(router, B, content) == {
        "content": [
            {**LINK, "uri": "n://b/x"},
            {"type": "resource", "resource": {"uri": "n://b/x", "text": "t"}},
            {"type": "text", "text": "n://x"},
            7,
        ],
        "v": 1.5,
    }
    messages = {"messages": [{"role": "user", "content": EMBEDDED}, {"content": [LINK]}, {"role": "x"}, 7]}
    assert result(router, B, messages, "prompts/get")["messages"] == [
        {"role": "user", "content": {"type": "resource", "resource": {"uri": "n://b/x", "text": "t"}}},
        {"content": [{**LINK, "uri": "n://b/x"}]},
        {"role": "x"},
        7,
    ]
    contents = {"contents": [{"uri": "n://x", "text": "t"}, {"uri": "m://y"}]}
    assert result(router, B, contents, "resources/read")["contents"] == [
        {"uri": "n://b/x", "text": "t"},
        {"uri": "m://y"},
    ]


@pytest.mark.parametrize("method", ["tools/call", "prompts/get", "resources/read", "vendor/do"])
def test_pages_that_results_name_are_renamed_like_links(method: str) -> None:
    def naming(uri: str) -> Any:
        meta = {"ui": {"resourceUri": uri, "x": 1.0}, "ui/resourceUri": uri, "openai/outputTemplate": uri, "v": uri}
        return {"content": [{"type": "text", "text": "t"}], "_meta": meta}

    router = Router()
    assert result(router, A, naming("n://x"), method) == naming("n://x")
    renamed = naming("n://b/x")
    renamed["_meta"]["v"] = "n://x"
    assert result(router, B, naming("n://x"), method) == renamed
    assert result(router, B, naming("ui://unlisted"), method) == naming("ui://unlisted")
    assert found(BOTH, "resources/read", {"uri": "ui://unlisted"}, router) == ("b", {"uri": "ui://unlisted"})


@pytest.mark.parametrize(
    "raw",
    [
        b'{ "content": [ {"type":"text", "n": 1e400} ] }',
        b'{"content":{"type":"resource_link","uri":"n://x"}}',
        b'{"content":null}',
        b'{"messages":7}',
        b'{"structuredContent":{"uri":"n://x"}}',
        b"{}",
    ],
)
def test_a_result_without_such_a_uri_stays_the_bytes_that_came(raw: bytes) -> None:
    data = Raw(raw)
    assert Router().result(lambda: BOTH, "tools/call", B, data) is data


def test_a_uri_that_the_client_spelled_itself_is_spelled_so_in_the_result() -> None:
    router = Router()
    target = router.find(BOTH, "resources/read", opened(pack({"uri": "o://b/7"})))
    assert target is not None
    for way, uri in zip(target.ways, ("o://b/7", "o://7"), strict=True):
        assert result(router, way, {"contents": [{"uri": uri}]}, "resources/read") == {"contents": [{"uri": "o://b/7"}]}


FOUR = view(
    a=offer(resources=["n://x"], templates=["{+any}", "n://{id}"]),
    b=offer(resources=["n://x", "m://y"], templates=["{+any}", "n://{id}"]),
    c=offer(tools=["t"]),
    d=offer(resources=["m://d/z"]),
)


@pytest.mark.parametrize(
    ("uri", "ways"),
    [
        ("m://y", ["b m://y"]),
        ("m://b/y", ["b m://y"]),  # as it would have been handed out beside another
        ("m://d/z", ["d m://d/z"]),
        ("n://b/x", ["b n://x"]),
        ("n://b/7", ["b n://7"]),
        ("n://7", ["a n://7"]),
        ("m://7", ["a m://7"]),
        ("m://b/7", ["b m://b/7", "b m://7", "a m://b/7"]),
        ("m://c/7", ["a m://c/7"]),  # which has no resources
        ("m://d/7", ["d m://d/7", "d m://7", "a m://d/7"]),
        ("ui://d/view", ["d ui://d/view", "d ui://view", "a ui://d/view"]),
    ],
)
def test_the_ways_of_a_uri_in_order(uri: str, ways: list[str]) -> None:
    """What was handed out; a template; as it is spelled; as we would spell it; a template that says nothing."""
    assert [f"{way.server} {way.name}" for way in Router().routes_of(FOUR, uri)] == ways
    target = Router().find(FOUR, "resources/read", opened(pack({"uri": uri})))
    assert target is not None
    assert [f"{way.server} {json.loads(bytes(way.params['uri']))}" for way in target.ways] == ways
    assert [list(way.asked.values()) for way in target.ways] == [[uri]] * len(ways)


def test_a_wild_template_does_not_take_over_what_others_announce() -> None:
    router = Router()
    loose = {"content": [{"type": "resource_link", "uri": "o://1"}]}
    assert result(router, Target("d", {}), loose, where=FOUR) == loose
    assert found(FOUR, "resources/read", {"uri": "o://1"}, router) == ("d", {"uri": "o://1"})


def test_what_was_handed_out_leads_back_although_a_template_that_came_later_fits() -> None:
    router = Router()
    loose = {"content": [{"type": "resource_link", "uri": "n://7"}]}
    before = view(a=offer(tools=["t"]), b=offer(resources=["m://y"]))
    assert result(router, B, loose, where=before) == loose
    assert found(BOTH, "resources/read", {"uri": "n://7"}, router) == ("b", {"uri": "n://7"})
    # Its template's owner has to spell its own differently, then.
    assert result(router, A, loose)["content"][0]["uri"] == "n://a/7"
    assert found(BOTH, "resources/read", {"uri": "n://a/7"}, router) == ("a", {"uri": "n://7"})


def test_no_server_can_list_what_another_ones_link_is_to_be_called() -> None:
    router, where = Router(), view(a=offer(resources=["n://x", "n://b/x", "n://b/b/x"]), b=offer(resources=["m://y"]))
    link = {"content": [{"type": "resource_link", "uri": "n://x"}]}
    assert result(router, B, link, where=where)["content"][0]["uri"] == "n://b/b/b/x"
    assert found(where, "resources/read", {"uri": "n://b/b/b/x"}, router) == ("b", {"uri": "n://x"})
    own = {"content": [{"type": "resource_link", "uri": "n://b/b/b/x"}]}  # which it calls so itself
    assert result(router, B, own, where=where)["content"][0]["uri"] == "n://b/b/b/b/x"


def with_extensions(**servers: dict[str, Any]) -> View:
    offers = {name: Offer("v", extensions=opened(pack(each))) for name, each in servers.items()}
    return View(build(offers, Names(), {}), offers, tuple(offers), is_starting=False)


@pytest.mark.parametrize(
    ("method", "servers"),
    [("vendor/do", "ac"), ("notes/list", "a"), ("com.example/notes/list", "a"), ("x/list", "ac"), ("note/list", "ac")],
)
def test_what_nobody_knows_goes_to_those_with_an_extension_of_their_own(method: str, servers: str) -> None:
    known, both = "io.modelcontextprotocol/ui", "org.other/both"
    where = with_extensions(a={"com.example/notes": {}, both: {}}, b={known: {}, both: {}}, c={"org.other/y": {}}, d={})
    target = Router().find(where, method, opened(pack({"uri": "o://7", "name": "x"})))
    assert target is not None
    assert [way.server for way in target.ways] == [*servers]
    assert found(with_extensions(a={known: {}}, b={both: {}}, d={both: {}}), method, {}) is None


def test_links_that_nobody_lists_lead_back_to_who_announced_them() -> None:
    router = Router()
    loose = {"content": [{"type": "resource_link", "uri": "o://1"}]}
    assert result(router, A, loose) == loose
    assert result(router, B, loose)["content"][0]["uri"] == "o://b/1"
    assert result(router, A, loose) == loose
    assert found(BOTH, "resources/read", {"uri": "o://1"}, router) == ("a", {"uri": "o://1"})
    assert found(BOTH, "resources/read", {"uri": "o://b/1"}, router) == ("b", {"uri": "o://1"})
    without_a = view(b=BOTH.offers["b"])
    assert found(without_a, "resources/read", {"uri": "o://1"}, router) == ("b", {"uri": "o://1"})
    assert result(router, B, loose, where=without_a) == loose


def test_a_link_leads_back_even_where_a_template_of_another_server_fits_its_new_spelling() -> None:
    router, broad = Router(), view(a=offer(templates=["o://{+path}"]), b=offer(resources=["m://y"]))
    loose = {"content": [{"type": "resource_link", "uri": "o://1"}]}
    assert result(router, B, loose, where=broad)["content"][0]["uri"] == "o://b/1"
    assert found(broad, "resources/read", {"uri": "o://b/1"}, router) == ("b", {"uri": "o://1"})
    assert found(broad, "resources/read", {"uri": "o://1"}, router) == ("a", {"uri": "o://1"})


RELATED: dict[str, Any] = {"_meta": {"v/x": 1, "io.modelcontextprotocol/related-task": {"taskId": "1", "v/y": 2}}}
RELATED_TO_B: dict[str, Any] = {
    "_meta": {"v/x": 1, "io.modelcontextprotocol/related-task": {"taskId": "b::1", "v/y": 2}}
}


@pytest.mark.parametrize("method", ["tasks/get", "tasks/update", "tasks/cancel", "tasks/result", "vendor/pause"])
def test_a_task_is_asked_for_where_it_was_begun(method: str) -> None:
    assert found(BOTH, method, {"taskId": "b::1", "n": 1}) == ("b", {"taskId": "1", "n": 1})
    assert found(BOTH, method, {"taskId": "a::b::1"}) == ("a", {"taskId": "b::1"})
    for unknown in ("1", "c::1", "b:1", "b", "", 7, None):
        assert found(BOTH, method, {"taskId": unknown}) is None
    assert found(view(b=BOTH.offers["b"]), method, {"taskId": "a::1"}) in (None, ("b", {"taskId": "a::1"}))


@pytest.mark.parametrize(
    ("method", "came", "went"),
    [
        ("tools/call", {"resultType": "task", "taskId": "1"}, {"resultType": "task", "taskId": "b::1"}),
        ("tools/call", {"task": {"taskId": "1", "ttl": 5}}, {"task": {"taskId": "b::1", "ttl": 5}}),
        ("tools/call", {"content": [], **RELATED}, {"content": [], **RELATED_TO_B}),
        ("prompts/get", {"messages": [], **RELATED}, {"messages": [], **RELATED_TO_B}),
        ("tools/call", {"content": [], "taskId": "1"}, {"content": [], "taskId": "1"}),  # of no task of the protocol
        ("tools/call", {"taskId": 7, "task": None}, {"taskId": 7, "task": None}),
        ("tasks/get", {"resultType": "complete", "taskId": "1"}, {"resultType": "complete", "taskId": "b::1"}),
        ("tasks/cancel", {"taskId": "b::1"}, {"taskId": "b::b::1"}),
        ("tasks/result", {"content": [], **RELATED}, {"content": [], **RELATED_TO_B}),
        ("tasks/list", {"tasks": [{"taskId": "1"}, 7, {}]}, {"tasks": [{"taskId": "b::1"}, 7, {}]}),
    ],
)
def test_where_a_task_is_named_in_a_result(method: str, came: Any, went: Any) -> None:
    assert json.loads(bytes(Router().result(lambda: BOTH, method, B, pack(came)))) == went


def test_links_in_the_result_of_a_task_lead_back_to_its_server() -> None:
    router = Router()
    loose = {"content": [{"type": "resource_link", "uri": "o://1"}], **RELATED}
    assert result(router, A, loose)["content"][0]["uri"] == "o://1"
    renamed = {"content": [{"type": "resource_link", "uri": "o://b/1"}], **RELATED_TO_B}
    for method, came, went in (
        ("tasks/get", {"taskId": "1", "result": loose}, {"taskId": "b::1", "result": renamed}),
        ("tasks/result", loose, renamed),
    ):
        assert json.loads(bytes(router.result(lambda: BOTH, method, B, pack(came)))) == went


def test_a_task_is_known_under_the_key_of_its_client_only() -> None:
    router = Router()
    began = router.result(lambda: BOTH, "tools/call", B, pack({"task": {"taskId": "1"}}), b"key")
    task = json.loads(bytes(began))["task"]["taskId"]
    assert "key" not in task
    params = opened(pack({"taskId": task}))
    assert router.find(BOTH, "tasks/get", params, b"key") == Target("b", opened(pack({"taskId": "1"})))
    assert router.find(BOTH, "tasks/get", params, b"other") is None
    assert router.find(BOTH, "tasks/get", params) is None


def link(router: Router, target: Target, uri: str, where: View = BOTH) -> Any:
    return result(router, target, {"content": [{"type": "resource_link", "uri": uri}]}, where=where)


def test_a_server_that_mentions_much_is_forgotten_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routing, "LINKS", 2)
    monkeypatch.setattr(routing, "LINKS_SIZE", 100)
    router = Router()
    for target, uri in ((A, "o://a"), (B, "o://1"), (B, "o://2"), (B, "o://3")):
        link(router, target, uri)

    def known(*uris: str, where: View = BOTH) -> list[bool]:
        return [found(where, "resources/read", {"uri": uri}, router) is not None for uri in uris]

    assert known("o://a", "o://1", "o://2", "o://3") == [True, False, True, True]
    link(router, B, "o://" + "x" * 45)
    assert known("o://a", "o://2", "o://3", "o://" + "x" * 45) == [True, False, False, True]
    link(router, B, "o://" + "x" * 50)  # too long for anybody to be remembered
    assert known("o://a", "o://" + "x" * 45, "o://" + "x" * 50) == [True, False, False]
    link(router, A, "o://2", where=view(a=BOTH.offers["a"], c=BOTH.offers["b"]))  # without b, whose links are forgotten
    assert len(router._links._routes) == 2
    assert router._links._of.keys() == router._links._size.keys() == {"a"}


def test_so_many_uris_of_one_result_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each costs time, in which nobody else is served; what is behind them crosses as it came."""
    taken = next(iter(BOTH.catalog.public[RESOURCES].values()))
    public = link(Router(), B, taken)["content"][0]["uri"]
    assert public != taken
    monkeypatch.setattr(routing, "LINKS", 3)
    links = [{"type": "resource_link", "uri": taken}] * 5
    flat = result(Router(), B, {"content": links})["content"]
    assert [block["uri"] for block in flat] == [public] * 3 + [taken] * 2
    nested = {"messages": [{"role": "user", "content": links[:2]}] * 5}
    messages = result(Router(), B, nested)["messages"]
    assert [block["uri"] for each in messages for block in each["content"]] == [public] * 3 + [taken] * 7
