"""Names that cannot be undone, names that are looked up, names that do not tell the server."""

import pytest

from conformance.naming import Offered, Scheme
from conformance.tables import Names
from conformance.verdict import NotApplicable

OFFERED: Offered = {"tool": {"Get_It": "Gets it.", "with::colons": "Colons.", "put": ""}, "prompt": {"get": ""}}
OTHER: Offered = {"tool": {"other": "Another."}, "prompt": {"vendor": ""}}

SLUG = Names(tool="$server-$name", lower=True, replace={"[^a-z0-9]+": "-"})


@pytest.mark.parametrize(
    ("names", "own", "public"),
    [
        (SLUG, "Get_It", "my-srv-get-it"),
        (SLUG, "with::colons", "my-srv-with-colons"),
        (Names(tool="${server}_$name", replace={"_": "-"}), "Get_It", "My Srv_Get-It"),
        (Names(tool="$name", replace={"e": "\\\\1"}), "Get_It", "G\\\\1t_It"),
        (Names(tool="$server.$name", cut=9), "Get_It", "My Srv.Ge"),
    ],
)
def test_what_is_transformed_is_known_again(names: Names, own: str, public: str) -> None:
    scheme = Scheme(names, known={"My Srv": OFFERED, "other": OTHER})
    assert scheme.public("tool", "My Srv", own) == public
    assert scheme.own("tool", "My Srv", public) == own
    assert scheme.own("tool", "other", public) is None or names.tool == "$name"


def test_what_came_later_is_the_servers_whose_name_it_has() -> None:
    scheme = Scheme(SLUG, known={"a": OFFERED, "other": OTHER})
    assert scheme.own("tool", "a", "a-more-1") == "more-1"
    assert scheme.own("tool", "other", "a-more-1") is None


def test_names_without_the_server_are_those_of_who_is_known_to_offer_them() -> None:
    scheme = Scheme(Names(prompt="$name"), known={"a": OFFERED, "other": OTHER})
    assert scheme.own("prompt", "a", "get") == "get"
    assert scheme.own("prompt", "a", "vendor") is None
    assert scheme.own("prompt", "other", "vendor") == "vendor"
    assert scheme.own("prompt", "a", "came-later") == "came-later"


LOOKED_UP = Names(by_description=True)


@pytest.mark.parametrize("shared", [True, False])
def test_names_are_looked_up_by_description(shared: bool) -> None:
    scheme = Scheme(LOOKED_UP, shared, known={"a": OFFERED, "other": OTHER})
    assert not scheme.knows("tool", "a", "Get_It")
    listed = [
        {"name": "t1", "description": "[a] Gets it."},
        {"name": "t2", "description": "Colons."},
        {"name": "A_PUT", "description": "of a"},
        {"name": "t3", "description": "Another."},
        {"name": "a/more-1"},
        {"name": "t4", "description": "Answers with 'came-later'."},
        {},
    ]
    scheme.learn("tool", "a", listed)
    assert scheme.knows("tool", "a", "Get_It")
    names = {"Get_It": "t1", "with::colons": "t2", "put": "A_PUT", "more-1": "a/more-1", "came-later": "t4"}
    for own, public in names.items():
        assert scheme.public("tool", "a", own) == public
        assert scheme.own("tool", "a", public) == own
    assert scheme.own("tool", "a", "t3") == (None if shared else "t3")


def test_of_several_with_one_description_the_names_tell() -> None:
    scheme = Scheme(LOOKED_UP, known={"left": OFFERED, "right": OFFERED})
    both = [{"name": name, "description": "Gets it."} for name in ("GET_ITLEFT_x1", "GE_RIGHT_x2")]
    scheme.learn("tool", "", both)
    assert [scheme.public("tool", side, "Get_It") for side in ("left", "right")] == ["GET_ITLEFT_x1", "GE_RIGHT_x2"]
    assert scheme.own("tool", "left", "GE_RIGHT_x2") is None
    scheme.learn("tool", "", [{**entry, "name": f"tool{number}"} for number, entry in enumerate(both)])
    with pytest.raises(NotApplicable, match="nothing tells which of tool0, tool1 is 'Get_It' of 'left'"):
        scheme.public("tool", "left", "Get_It")
    assert scheme.own("tool", "left", "tool0") != "Get_It"


@pytest.mark.parametrize(
    ("names", "shared", "needs"),
    [
        (Names(tool="$server.$name", prompt="$server.$name"), True, False),
        (Names(tool="$server.$name"), True, True),
        (Names(), False, False),
        (LOOKED_UP, False, True),
        (Names(cut=3), False, True),
    ],
)
def test_what_servers_offer_is_asked_where_it_is_needed(names: Names, shared: bool, needs: bool) -> None:
    assert names.needs_known(shared) == needs
