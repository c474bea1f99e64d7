"""Reading a list to its last page, with what backends may do wrong."""

from multimcp.protocol.message import opened, pack
from multimcp.protocol.offer import LIST_CHANGED, TOOLS, Offer


def test_what_is_declared() -> None:
    offer = Offer("v", opened(pack({"tools": {"listChanged": True}, "resources": {"subscribe": 1}, "odd": []})))
    asked = [("tools", "listChanged"), ("tools", "x"), ("resources", "subscribe"), ("odd", "x"), ("none", "x")]
    assert [offer.declares(*each) for each in asked] == [True, False, False, False, False]
    assert offer.entries(TOOLS) == ()


def test_the_notifications_of_changes() -> None:
    assert LIST_CHANGED["notifications/resources/list_changed"] == "resources"
    assert sorted(LIST_CHANGED.values()) == ["prompts", "resources", "tools"]
