"""What a scenario is, and which cases it is played in.

Rules:
- A scenario is bound to one requirement, whose window of revisions says in which eras it is played.
- It is played for every case the target offers: client transport and era, and transport of the backends.
"""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from conformance.case import Case, Transport
from conformance.fixtures import Server
from conformance.requirements import REQUIREMENTS
from conformance.requirements.model import Era, Requirement
from conformance.session import Session
from conformance.target import Target

Play = Callable[[Session], Awaitable[None]]
Needs = Literal["admin", "shared endpoint", "start", "process", "processes", "env", "headers"]
"""What a target must have: an `admin` API; one `shared endpoint` for all servers; that the harness can `start` it, or
starts it as a `process` for all clients; that the `processes` of servers can be seen from here; that its configuration
can say the `env` or the `headers` of a server."""


@dataclass(frozen=True)
class Scenario:
    """A scripted client session that checks one requirement. See `scenario` for the fields."""

    name: str
    requirement: Requirement
    play: Play
    servers: tuple[Server, ...]
    clients: tuple[Transport, ...]
    backends: tuple[Transport, ...]
    eras: tuple[Era, ...]
    proxy_only: bool
    own: bool
    once: bool
    needs: tuple[Needs, ...]
    may_refuse: bool
    remembers: bool

    def cases(self, target: Target, full: bool) -> list[Case]:
        """Those of the target's cases in which it is played.

        Unless `full`, one that takes long is played in the first of each era; and in an era of which the few cases that
        are played by default have none for it, in the first of all that would do.
        """
        mine = self._fitting(matrix(target, full))
        if full:
            return mine
        every = self._fitting(matrix(target, full=True))
        first = {era: [case for case in every if case.era == era][:1] for era in self.eras}
        chosen = {era: [case for case in mine if case.era == era] or first[era] for era in self.eras}
        if self.once:
            chosen = {era: cases[:1] for era, cases in chosen.items()}
        wanted = [case for cases in chosen.values() for case in cases]
        return [case for case in every if case in wanted]

    def _fitting(self, cases: Iterable[Case]) -> list[Case]:
        return [
            case
            for case in cases
            if case.client in self.clients and case.backend in self.backends and case.era in self.eras
        ]


SCENARIOS: dict[str, Scenario] = {}

NEIGHBOUR = Server("neighbour", file="mirror")
EVERY: tuple[Transport, ...] = ("stdio", "sse", "http")


def scenario(
    requirement: str,
    *,
    servers: Iterable[str | Server] = ("everything", "mirror"),
    clients: Iterable[Transport] = EVERY,
    backends: Iterable[Transport] = EVERY,
    eras: Iterable[Era] = ("legacy", "modern"),
    proxy_only: bool = False,
    own: bool = False,
    once: bool = False,
    needs: Iterable[Needs] = (),
    may_refuse: bool = False,
    remembers: bool = False,
) -> Callable[[Play], Play]:
    """Make a function the scenario that checks a requirement.

    Args:
        requirement: its id.
        servers: the fixture servers behind the target, in the order of its configuration. A single one gets a
            neighbour: some proxies name things otherwise when there is nothing to tell apart.
        clients: client transports it makes sense for.
        backends: backend transports it makes sense for.
        eras: narrower than the requirement's window, if need be.
        proxy_only: what it looks at does not exist without a proxy, so that it is not played with `direct`.
        own: it wants a world of its own, since it harms it or has to see it start. That takes long.
        once: it takes long: by default it is played once in each era.
        needs: what a target must have.
        may_refuse: that the target does not start in front of these servers is for other scenarios to judge.
        remembers: it is about what a legacy server remembers of a client from one request to the next. Where each
            request meets another process, there is nothing that remembers it, and it is not applicable.
    """

    def register(play: Play) -> Play:
        known = REQUIREMENTS[requirement]
        name = f"{play.__module__.rpartition('.')[2]}.{play.__name__}"
        if name in SCENARIOS:
            raise ValueError(f"there are two scenarios {name}")
        asked = tuple(server if isinstance(server, Server) else Server(server) for server in servers)
        SCENARIOS[name] = Scenario(
            name=name,
            requirement=known,
            play=play,
            servers=asked if len(asked) != 1 else (*asked, NEIGHBOUR),
            clients=tuple(clients),
            backends=tuple(backends),
            eras=tuple(era for era in known.eras if era in tuple(eras)),
            proxy_only=proxy_only,
            own=own,
            once=once or own,
            needs=tuple(needs),
            may_refuse=may_refuse,
            remembers=remembers,
        )
        return play

    return register


def matrix(target: Target, full: bool) -> list[Case]:
    """The cases of a target.

    In full: every client transport and era with every transport of backends. By default: each client with the first
    transport of backends, and each further transport of backends once; SSE with a legacy client, since a modern one
    never meets it directly.
    """
    clients: list[tuple[Transport, Era]] = [
        (transport, era)
        for transport in target.clients
        for era in target.eras
        if not (transport == "sse" and era == "modern")
    ]
    if not target.is_proxy:
        return [Case(transport, era, transport) for transport, era in clients]
    first, *further = target.transports
    if full:
        return [Case(transport, era, backend) for backend in (first, *further) for transport, era in clients]
    cases = [Case(transport, era, first) for transport, era in clients]
    for backend in further:
        wanted: Era = "legacy" if backend == "sse" else "modern"
        transport, era = next((client for client in reversed(clients) if client[1] == wanted), clients[-1])
        cases.append(Case(transport, era, backend))
    return cases
