"""JSON to the letter: what a proxy loses that reads a message into the data of its language, and writes it anew.

RFC 8259 lets a reader limit the size, the depth and the numbers that it takes (section 9), and calls the order of keys
and what comes of a key that is there twice unreliable (section 4). So nearly all of this is a convention: the two sides
have agreed on a reader each, and the proxy between them was not asked.
"""

from .model import MODERN, Requirement, Spec
from .quotes import JSON_RPC

LIMITS = "RFC 8259 lets every reader limit what it takes (section 9), and no revision forbids it. "
READERS = "No revision says it, and RFC 8259 warns that readers differ (section 4). "
FOLLOW = Spec(
    MODERN,
    "basic/index#messages",
    "All messages between MCP clients and servers MUST follow the JSON-RPC 2.0 specification.",
    since="2024-11-05",
)

REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement(
        "payload:numbers:integers",
        "Integers that no double can hold (2**53 + 1, 64 bits, 30 digits) arrive to the last digit in params, results, "
        "errors and notifications.",
        "convention",
        LIMITS
        + "But a rounded number is no limit that anybody notices: it is another record, or another sum of money.",
    ),
    Requirement(
        "payload:numbers:kind",
        "A number with a fraction or an exponent stays one: `1.0` does not become `1` in params, results, errors and "
        "notifications.",
        "convention",
        "To JSON `1.0` and `1` are the same number. Most languages have two types for them, and a server that wants a "
        "float refuses an integer, or the other way round.",
    ),
    Requirement(
        "payload:numbers:beyond-double",
        "Numbers beyond the range and the precision of a double (`1e400`, 36 digits) arrive in params, results, errors "
        "and notifications.",
        "convention",
        LIMITS + "A reader with decimals takes them, and behind a proxy without they become infinite, null or zero.",
    ),
    Requirement(
        "payload:keys:order",
        "The keys of an object stay in their order in params, results, errors and notifications.",
        "convention",
        READERS
        + "Yet models are given what comes as text: in another order it is another prompt, which misses caches, "
        "and forms show their fields in the order of their schema.",
    ),
    Requirement(
        "payload:keys:duplicate",
        "A key that an object has twice is there twice when it arrives, in params, results, errors and notifications.",
        "convention",
        READERS + "A proxy that drops one of them decides which, and a filter in front of a server that decides "
        "otherwise lets through what it was to stop.",
    ),
    Requirement(
        "payload:keys:prototype",
        "Keys to which JavaScript gives a meaning (`__proto__`, `constructor`) arrive like any other in params, "
        "results, errors and notifications.",
        "convention",
        "To JSON they are keys like any other. A proxy that loses them changes what was said; one that obeys them "
        "lets a stranger change its own objects.",
    ),
    Requirement(
        "payload:text:escapes",
        "A character means the same whether it is escaped or not, in params, results, errors and notifications.",
        "MUST",
        FOLLOW,
    ),
    Requirement(
        "payload:text:spelling",
        "Strings and numbers keep their spelling (`\\u00e9`, `\\/`, `1E2`, `-0`) in params, results, errors and "
        "notifications.",
        "convention",
        "JSON gives the spelling no meaning, so whoever reads the message loses nothing. Whoever signs or hashes a "
        "payload needs every byte of it.",
    ),
    Requirement(
        "payload:nesting:thousand",
        "JSON nested 1,000 levels deep arrives exactly in params, results, errors and notifications.",
        "convention",
        LIMITS + "A syntax tree or a list linked through its nodes is nested that deeply.",
    ),
    Requirement(
        "payload:size:large",
        "A message of 50 MB arrives whole, both ways.",
        "convention",
        LIMITS + "A video, an archive or the dump of a table is that large in base64, and a bound has to be somewhere.",
    ),
    Requirement(
        "payload:extremes:answered",
        "A request that holds JSON which the proxy or its backend cannot take is answered, with an error if need be, "
        "and so is one whose result holds it.",
        "MUST",
        JSON_RPC,
    ),
)
