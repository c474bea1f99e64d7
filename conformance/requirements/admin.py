"""The HTTP API over which backends are added and removed: who may use it, and what it makes of nonsense."""

from .model import Requirement

ADMINISTRATION = "No revision knows of adding and removing backends. "

REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement(
        "admin:origin:forged",
        "A web page of another origin can neither add nor remove a backend.",
        "convention",
        ADMINISTRATION + "Adding one runs a command: whoever looks at a page must not run what the page likes.",
    ),
    Requirement(
        "admin:host:foreign",
        "A request whose `Host` names somebody else changes nothing where only programs of this machine are to "
        "connect.",
        "convention",
        ADMINISTRATION + "A page whose name was rebound to the proxy's address has its origin, and so may do what no "
        "other page may. `Host` alone still tells.",
    ),
    Requirement(
        "admin:body:malformed",
        "A body that is no JSON, or has another shape than it has to, is refused with a status from 400 to 499, and "
        "changes nothing.",
        "convention",
        ADMINISTRATION + "To HTTP a status from 500 on says that the proxy is at fault: whoever mistyped looks for it "
        "in the wrong place.",
    ),
    Requirement(
        "admin:body:huge",
        "A body that is far too large is refused with a status from 400 to 499, or not read to its end; the proxy "
        "serves on.",
        "convention",
        ADMINISTRATION + "One request must not end a proxy that others use.",
    ),
    Requirement(
        "admin:name:unknown",
        "Removing a backend that is not there is refused with a status from 400 to 499, and changes nothing.",
        "convention",
        ADMINISTRATION + "Whoever mistypes a name has to learn that nothing was removed, and that the mistake is "
        "their own.",
    ),
)
