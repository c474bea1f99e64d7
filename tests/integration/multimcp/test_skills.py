"""Skills of several servers: one list, and each URI leads to the server that it was handed out for.

Spec: https://github.com/modelcontextprotocol/ext-skills, specification/stable/skills
"""

import asyncio
import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.support.ends import peer, stage
from tests.support.processes import TIMEOUT, Proxy, RawClient, proxy, raw, raw_http, until, within
from tests.support.raw_skills import SKILLS, digest, skill_md

ERAS = pytest.mark.parametrize("era", ["legacy", "modern"])

Json = dict[str, Any]


def skill(name: str, whose: str, **files: str) -> Json:
    return {
        "SKILL.md": skill_md(name, f"of {whose}"),
        **{f"references/{file}.md": text for file, text in files.items()},
    }


A: Json = {
    "skills": {
        "skill://refunds": skill("refunds", "a", x="x of a"),
        "skill://only-a": skill("only-a", "a"),
        "skill://b/daily": skill("daily", "a"),  # `b` is the name of a server
        "github://o/r/skills/sc%68eme?v=1/q": skill("q", "a", x="odd"),
    },
    "unlisted": {"skill://hidden": skill("hidden", "a"), "skill://deep/er": skill("er", "a")},
    "dynamic": {"skill://live": skill("live", "a", x="live of a")},
    "resources": ["skill://refunds/SKILL.md", "skill://b/daily/SKILL.md"],
    "page": 2,
}
B: Json = {
    "skills": {"skill://refunds": skill("refunds", "b", x="x of b"), "skill://daily": skill("daily", "b")},
    "unlisted": {"skill://hidden": skill("hidden", "b"), "skill://last": skill("last", "b", x="x of last")},
    "resources": ["skill://refunds/SKILL.md", "skill://refunds/references/x.md", "skill://a/only-a/SKILL.md"],
    "entries": [
        {"uri": "skill://broken/SKILL.md", "frontmatter": {"name": "broken", "description": "d"}},
        {"uri": 7},
        "what?",
    ],
}
C: Json = {"skills": {"skill://refunds": skill("refunds", "c")}, "flat": True}


def served(name: str, spec: Json, *more: str) -> list[str]:
    return ["modern", f"name={name}", f"skills={json.dumps(spec)}", *more]


@pytest.fixture(scope="module")
def skilled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """Servers with skills over each transport, one of them legacy; one whose list fails, and one without skills."""
    with ExitStack() as stack:
        b = stack.enter_context(raw_http(*served("b", B)))
        c = stack.enter_context(raw_http(*served("c", C)[1:]))
        servers = {
            "plain": raw("name=plain"),
            "a": raw(*served("a", A)),
            "b": {"url": f"{b}/mcp"},
            "C c": {"url": f"{c}/sse"},
            "broken": raw(*served("broken", C, "error:skills/list")),
        }
        yield stack.enter_context(proxy(tmp_path_factory.mktemp("skills"), servers)).wait_ready()


def read(client: RawClient, uri: str) -> str:
    [content] = client.call("resources/read", {"uri": uri})["contents"]
    assert content["uri"] == uri
    return str(content["text"])


@ERAS
def test_one_list_of_all_and_what_it_says_is_read(skilled: Proxy, era: str) -> None:
    with RawClient(skilled.url, era) as client:
        assert client.hello["capabilities"]["extensions"][SKILLS] == {"directoryRead": True}
        page = client.call("skills/list")
        assert [entry["uri"] for entry in page["skills"]] == [
            "skill://a/refunds/SKILL.md",
            "skill://a/only-a/SKILL.md",
            "skill://a/b/daily/SKILL.md",
            "github://a/o/r/skills/sc%68eme?v=1/q/SKILL.md",
            "skill://b/refunds/SKILL.md",
            "skill://b/daily/SKILL.md",
            "skill://C%20c/refunds/SKILL.md",
        ]
        assert ("ttlMs" in page, "cacheScope" in page) == (era == "modern",) * 2
        for entry in page["skills"]:
            got = client.call("skills/get", {"uri": entry["uri"]})
            assert got["skill"] == entry
            assert ("ttlMs" in got) == (era == "modern")
            for file in entry["resources"]:
                text = read(client, file["uri"])
                assert (digest(text), len(text.encode())) == (file["digest"], file["size"])
        assert client.error("skills/list", {"cursor": "1"})["code"] == -32602


def test_what_is_broken_costs_only_its_part(skilled: Proxy) -> None:
    status = skilled.status()
    assert "skill://broken/SKILL.md" in status["b"]["error"]
    assert "skills/list" in status["broken"]["error"]
    assert status["a"]["error"] is None


@ERAS
def test_the_spelling_that_was_asked(skilled: Proxy, era: str) -> None:
    with RawClient(skilled.url, era) as client:
        for directory, whose in (
            ("skill://refunds", "a"),
            ("skill://a/refunds", "a"),
            ("skill://b/refunds", "b"),
            ("skill://C%20c/refunds", "c"),
        ):
            got = client.call("skills/get", {"uri": f"{directory}/SKILL.md"})["skill"]
            assert got["uri"] == f"{directory}/SKILL.md"
            assert all(file["uri"].startswith(f"{directory}/") for file in got["resources"])
            for file in got["resources"]:
                assert digest(read(client, file["uri"])) == file["digest"]
            assert f"of {whose}" in read(client, f"{directory}/SKILL.md")
            if whose != "c":
                for below in (directory, f"{directory}/references"):
                    children = client.call("resources/directory/read", {"uri": below})["resources"]
                    assert {child["uri"].rpartition("/")[0] for child in children} == {below}
                assert read(client, f"{directory}/references/x.md") == f"x of {whose}"


@ERAS
def test_nobody_steps_into_the_name_of_another(skilled: Proxy, era: str) -> None:
    """A path of one server's begins like another's name: in `resources/list` it gives way to what is that other's."""
    with RawClient(skilled.url, era) as client:
        listed = [
            each["uri"] for each in client.call("resources/list")["resources"] if each["uri"].startswith("skill:")
        ]
        assert listed == [
            "skill://refunds/SKILL.md",
            "skill://a/b/daily/SKILL.md",
            "skill://b/refunds/SKILL.md",
            "skill://b/refunds/references/x.md",
            "skill://b/a/only-a/SKILL.md",
        ]
        assert "of b" in read(client, "skill://b/daily/SKILL.md")
        assert "of a" in read(client, "skill://a/only-a/SKILL.md")


@ERAS
def test_skills_in_no_list(skilled: Proxy, era: str) -> None:
    """The servers are asked in order; what one has is read there from then on."""
    with RawClient(skilled.url, era) as client:
        for uri, whose in (
            ("skill://last", "b"),
            ("skill://hidden", "a"),
            ("skill://b/hidden", "b"),
            ("skill://deep/er", "a"),
            ("skill://a/deep/er", "a"),
        ):
            assert f"of {whose}" in read(client, f"{uri}/SKILL.md")
            got = client.call("skills/get", {"uri": f"{uri}/SKILL.md"})["skill"]
            assert got["uri"] == f"{uri}/SKILL.md"
            for file in got["resources"]:
                assert digest(read(client, file["uri"])) == file["digest"]
        assert client.call("skills/get", {"uri": "skill://live/SKILL.md"})["skill"]["resources"] == "dynamic"
        [child] = client.call("resources/directory/read", {"uri": "skill://live/references"})["resources"]
        assert read(client, child["uri"]) == "live of a"
        assert client.call("resources/directory/read", {"uri": "skill://a/deep"})["resources"][0]["uri"] == (
            "skill://a/deep/er"
        )


@ERAS
def test_what_nobody_has(skilled: Proxy, era: str) -> None:
    with RawClient(skilled.url, era) as client:
        for uri in ("skill://nobody/SKILL.md", "skill://b/nobody/SKILL.md", "skill://refunds", "raw://one", "x", ""):
            assert client.error("skills/get", {"uri": uri})["code"] == -32602
        for uri in ("skill://nobody", "skill://C%20c/refunds", "skill://refunds/SKILL.md", "raw://one"):
            assert client.error("resources/directory/read", {"uri": uri})["code"] == -32602
        assert client.error("skills/get", {})["code"] == -32602
        assert client.error("resources/read", {"uri": "skill://nobody/SKILL.md"})["code"] == -32602


async def add(running: Proxy, **servers: Json) -> None:
    assert (await asyncio.to_thread(running.add, **servers)).is_success


def uris(client: RawClient) -> list[str]:
    return [entry["uri"] for entry in client.call("skills/list")["skills"]]


@ERAS
def test_a_name_is_its_servers_whoever_comes_and_goes(shared: Proxy, era: str) -> None:
    """What a user has approved under a name never becomes another server's; of a new server of that name it is its."""
    refunds = {name: raw(*served(name, {"skills": {"skill://refunds": skill("refunds", name)}})) for name in "abA"}
    assert shared.add(**refunds).is_success
    with RawClient(shared.url, era) as client:
        assert uris(client) == [f"skill://{name}/refunds/SKILL.md" for name in "abA"]
        shared.remove("a")
        assert uris(client) == [f"skill://{name}/refunds/SKILL.md" for name in "bA"]
        for method in ("skills/get", "resources/read"):
            client.error(method, {"uri": "skill://a/refunds/SKILL.md"})
        shared.add(a=raw(*served("a", {"skills": {"skill://refunds": skill("refunds", "another")}})))
        [entry] = [entry for entry in client.call("skills/list")["skills"] if entry["uri"].startswith("skill://a/")]
        assert "of another" in (text := read(client, entry["uri"]))
        assert entry["resources"][0]["digest"] == digest(text)


@ERAS
def test_of_no_server_with_skills_there_is_no_list(shared: Proxy, era: str) -> None:
    shared.add(a=raw("modern"), b=raw())
    with RawClient(shared.url, era) as client:
        for method in ("skills/list", "skills/get", "resources/directory/read"):
            assert client.error(method, {"uri": "skill://a/x/SKILL.md"})["code"] == -32601


@ERAS
async def test_a_server_that_is_to_come_may_have_skills(shared: Proxy, era: str) -> None:
    async with within(TIMEOUT), peer(shared.url, era) as client:
        await add(shared, one=raw("modern"))
        await client.call("one::echo").result()  # from now on lists do not wait for servers
        coming = asyncio.create_task(asyncio.to_thread(shared.add, slow=raw("hang:initialize")))
        await asyncio.to_thread(until, lambda: "slow" in shared.status())
        assert (await client.send("skills/list", {}).result())["skills"] == []
        await asyncio.to_thread(shared.remove, "slow")
        await coming
        assert (await client.send("skills/list", {}).error())["code"] == -32601


@ERAS
def test_a_server_that_fails_keeps_no_skill_of_another_from_being_found(shared: Proxy, era: str) -> None:
    fails = ("error:skills/get", "error:resources/read=-32603")
    shared.add(a=raw(*served("a", {"skills": {}, "flat": True}, *fails)))
    shared.add(b=raw(*served("b", {"unlisted": {"skill://last": skill("last", "b")}})))
    with RawClient(shared.url, era) as client:
        assert "of b" in read(client, "skill://last/SKILL.md")
        assert client.call("skills/get", {"uri": "skill://last/SKILL.md"})["skill"]["uri"] == "skill://last/SKILL.md"
        # What has its name is its own, unless it says that it has no such thing.
        assert client.error("skills/get", {"uri": "skill://a/last/SKILL.md"})["code"] == -31999


@ERAS
async def test_new_skills_are_told_of_as_new_resources(shared: Proxy, era: str) -> None:
    """The specification has no notification of its own for that: skills are resources."""
    a, b = (raw(*served(name, {"skills": {f"skill://{name}": skill(name, name)}})) for name in "ab")
    async with within(TIMEOUT), peer(shared.url, era) as client:
        await add(shared, a=a)
        assert len((await client.send("skills/list", {}).result())["skills"]) == 1
        if era == "legacy":
            stream = await client.listen()
        else:
            stream = client.send("subscriptions/listen", {"notifications": {"resourcesListChanged": True}})
            await stream.told("notifications/subscriptions/acknowledged")
        await add(shared, b=b)
        await stream.told("notifications/resources/list_changed")
        assert len((await client.send("skills/list", {}).result())["skills"]) == 2


async def test_an_update_of_a_skills_file_is_told_in_the_spelling_that_was_subscribed_to(shared: Proxy) -> None:
    file, qualified = "skill://refunds/references/x.md", "skill://a/refunds/references/x.md"
    able = json.dumps({"tools": {}, "resources": {"subscribe": True}})
    spec = json.dumps({"skills": {"skill://refunds": skill("refunds", "a", x="x")}})
    async with within(TIMEOUT), stage() as here, peer(shared.url, "legacy") as one, peer(shared.url, "modern") as other:
        await add(shared, a=here.puppet(f"skills={spec}", f"able={able}", "play:resources/subscribe"))
        stream = await one.listen()
        pending = one.send("resources/subscribe", {"uri": qualified})
        heard = await here.told("resources/subscribe")
        assert heard.message["params"]["uri"] == file
        heard.say(id=heard.message["id"], result={})
        await pending.result()
        listening = other.send("subscriptions/listen", {"notifications": {"resourceSubscriptions": [file]}})
        acknowledged = await listening.told("notifications/subscriptions/acknowledged")
        assert acknowledged["params"]["notifications"] == {"resourceSubscriptions": [file]}
        heard.say(method="notifications/resources/updated", params={"uri": file})
        for client, uri in ((stream, qualified), (listening, file)):
            assert (await client.told("notifications/resources/updated"))["params"]["uri"] == uri
