"""Stdio: what is written, and how it ends."""

from .model import LEGACY, MODERN, Requirement, Spec
from .quotes import SHUTDOWN, SHUTDOWN_LEGACY

PAGE = "basic/transports/stdio"

REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement(
        "stdio:stdout:only-messages",
        "Nothing but messages is written to stdout, one a line.",
        "MUST",
        Spec(
            MODERN,
            PAGE,
            "The server MUST NOT write anything to its `stdout` that is not a valid MCP message.",
            since="2024-11-05",
        ),
    ),
    Requirement(
        "stdio:input:invalid",
        "A line on stdin that is not JSON does not end the proxy.",
        "convention",
        "A client may not write such a line, and no revision says what follows if it does. One slip should not cost "
        "the connections to every backend.",
    ),
    Requirement(
        "stdio:input:eof",
        "The proxy exits promptly when its stdin is closed.",
        "SHOULD",
        Spec(
            MODERN,
            f"{PAGE}#shutdown",
            "Servers SHOULD exit promptly when their standard input is closed or reads return end-of-file.",
        ),
        earlier=(
            Spec(
                LEGACY,
                "basic/lifecycle#stdio",
                "For the stdio transport, the client SHOULD initiate shutdown by: First, closing the input "
                "stream to the child process (the server) Waiting for the server to exit",
                since="2024-11-05",
            ),
        ),
    ),
    Requirement(
        "stdio:signal:term",
        "The proxy exits on SIGTERM.",
        "convention",
        "The specification has clients send SIGTERM, and SIGKILL if that does not help, but does not ask servers to "
        "heed it. A proxy that is killed cannot end its backends.",
    ),
    Requirement(
        "stdio:backends:reaped",
        "When the proxy has ended, none of its backends' processes is left.",
        "SHOULD",
        SHUTDOWN,
        earlier=(SHUTDOWN_LEGACY,),
    ),
)
