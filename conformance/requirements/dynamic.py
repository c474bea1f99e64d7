"""Backends added and removed while the proxy runs."""

from .model import Requirement
from .quotes import SHUTDOWN, SHUTDOWN_LEGACY, TOOLS_CHANGED, TOOLS_CHANGED_LEGACY, TOOLS_LISTED, TOOLS_NOW, listed, now

ADMINISTRATION = "No revision knows of adding and removing backends. "

REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement(
        "dynamic:add:offered",
        "The tools of an added backend are listed and can be called by clients that were connected before.",
        "MUST",
        TOOLS_NOW,
        earlier=TOOLS_LISTED,
    ),
    Requirement(
        "dynamic:add:notified",
        "Connected clients are notified of an added backend's tools.",
        "SHOULD",
        TOOLS_CHANGED,
        earlier=(TOOLS_CHANGED_LEGACY,),
        offers="tools.listChanged",
    ),
    Requirement(
        "dynamic:add:refused",
        "A backend that cannot be added is refused with an error, and nothing else changes.",
        "convention",
        ADMINISTRATION + "Whoever adds one must learn that it failed, and the clients must not learn it by a broken "
        "list.",
    ),
    Requirement(
        "dynamic:add:again",
        "A backend that was removed can be added again under the same name.",
        "convention",
        ADMINISTRATION + "That is how one changes a server's configuration without restarting the proxy.",
    ),
    Requirement(
        "dynamic:remove:gone",
        "The tools of a removed backend are no longer listed.",
        "MUST",
        TOOLS_NOW,
        earlier=TOOLS_LISTED,
    ),
    Requirement(
        "dynamic:remove:notified",
        "Connected clients are notified that a removed backend's tools are gone.",
        "SHOULD",
        TOOLS_CHANGED,
        earlier=(TOOLS_CHANGED_LEGACY,),
        offers="tools.listChanged",
    ),
    Requirement(
        "dynamic:remove:others",
        "When a backend is removed, calls of the others go on.",
        "convention",
        ADMINISTRATION + "A call in flight elsewhere has nothing to do with it.",
    ),
    Requirement(
        "dynamic:list:whole",
        "A list that is asked for while backends come and go has everything of those that stay.",
        "MUST",
        TOOLS_NOW,
        earlier=TOOLS_LISTED,
    ),
    Requirement(
        "dynamic:add:twice",
        "When a backend is added under a name that is taken, it is refused or takes the other's place: never do both "
        "run.",
        "convention",
        ADMINISTRATION + "Whichever it is, nobody can reach the other under that name, nor end it.",
    ),
    Requirement(
        "dynamic:add:others",
        "When a backend is added, none of the others is started or greeted again.",
        "convention",
        ADMINISTRATION + "What the others know of their clients, such as what they subscribed to, ends with a new "
        "handshake.",
    ),
    *(
        Requirement(
            f"dynamic:remove:{kind}",
            f"When a backend is removed, the {kind} of the others are still listed, and can be used.",
            "MUST",
            now(kind),
            earlier=(listed(kind),),
            offers="" if kind == "tools" else kind,
        )
        for kind in ("tools", "prompts", "resources")
    ),
    Requirement(
        "dynamic:remove:ended",
        "When a backend over stdio is removed, its process ends.",
        "SHOULD",
        SHUTDOWN,
        earlier=(SHUTDOWN_LEGACY,),
    ),
)
