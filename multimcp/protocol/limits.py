"""The bounds on what others may cost us, on both sides. Over one, the message or its sender gets an error; nobody else
notices, and one log line names it."""

from dataclasses import dataclass

MIB = 1024 * 1024


@dataclass(frozen=True)
class Limits:
    """How much is too much. Sizes are in bytes, times in seconds, all else are counts."""

    message: int = 64 * MIB
    """Bytes of one message, from a client or a server, decompressed; also of a line or an event that does not end."""

    unread: int = 64 * MIB
    """Bytes that wait for a client or a server that does not read: its session ends, or its calls fail."""

    head: int = 64 * 1024
    """Bytes of the head of an HTTP request of a client; a larger one is answered with 431."""

    head_time: float = 10.0
    """Seconds in which a client has to send the head of an HTTP request, once it has connected or begun with it."""

    sessions: int = 10_000
    """Sessions of legacy clients over HTTP; the one that was silent longest ends when there is one more."""

    streams: int = 10_000
    """Event streams that clients hold open (GET, SSE, `subscriptions/listen`); further ones are refused."""

    session_calls: int = 1_000
    """Calls in flight of one session, or of one client on a stream of its own; further ones get an error."""

    server_calls: int = 10_000
    """Calls in flight at one server; further ones get an error."""

    replay: int = 64 * MIB
    """Bytes of sent events that are kept so that clients can resume streams, of all of them together."""


DEFAULT = Limits()
