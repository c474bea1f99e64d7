"""Playing a scenario in a case, and what became of it."""

import shutil
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import anyio

from . import first
from .case import Case, Transport
from .client import Command
from .fixtures import Server
from .probing import apart
from .requirements.model import REVISIONS, Era, Requirement
from .scenarios import Scenario
from .session import Run, Session
from .stage import Stage
from .verdict import Failure, HarnessError, NotApplicable, NotOffered, RunResult, Verdict

RUN_WAIT = 60.0
"""Seconds a scenario may take, all its waits together."""


@dataclass
class Played:
    """A run, and the transcript that is still to be compared."""

    result: RunResult
    transcript: list[Any]


class Player:
    """Plays scenarios on a stage, and keeps the sessions that they share."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._sessions: dict[tuple[tuple[Server, ...], Transport, Transport, Era], Session] = {}
        self._given_up: set[tuple[str, ...]] = set()
        self._apart: dict[tuple[tuple[str, ...], Case], str] = {}
        self.remark = ""
        """What the first look at the target found that is to be told."""
        self._playing: anyio.CancelScope | None = None

    async def stop(self) -> None:
        """Break off what is being played. Its end would wait for answers that come no more."""
        if self._playing:
            self._playing.cancel()

    async def try_out(self, runs: Sequence[tuple[Scenario, Case]]) -> None:
        """Start the target once, in the first shared world that is wanted, or else in one of its own.

        Raises:
            Failure: the target does not start.
            HarnessError: a fixture server does not, or nothing of the target has a name that its file tells.
            Missing: this machine lacks something without which the target cannot be started.
        """
        runs = [run for run in runs if run[0].servers]  # to start with none is a requirement of its own
        if not runs:
            return
        scenario, case = next(((scenario, case) for scenario, case in runs if not scenario.own), runs[0])
        own = scenario.own
        world = await (self._stage.own_world if own else self._stage.world)(scenario.servers, case.backend)
        endpoint = world.running.endpoint(case.client, scenario.servers[0].name)
        if own:
            await world.close()
        if isinstance(endpoint, Command) and shutil.which(endpoint.argv[0]) is None:
            raise Failure(f"there is no command '{endpoint.argv[0]}'")
        if not own and self._stage.target.is_proxy:
            session = await self._shared(scenario, case)
            self.remark = session.remark
            await first.look_at_names(session)

    async def play(self, scenario: Scenario, case: Case) -> Played:
        """Play a scenario; never raises for what the target or the scenario does."""
        run = Run()
        begun = time.monotonic()
        result = RunResult(scenario.requirement.id, scenario.name, case, Verdict.PASS, 0.0)
        bound = RUN_WAIT * self._stage.target.patience
        try:
            with anyio.fail_after(bound) as self._playing:
                async with self._session(scenario, case, run) as session:
                    try:
                        await _admit(session, scenario.requirement)
                        await self._remembered(session, scenario)
                        await scenario.play(session)
                    finally:
                        result.revision = session.revision
            if not run.checks:
                raise HarnessError("the scenario looked at nothing")
        except TimeoutError:
            result.verdict, result.message = Verdict.FAIL, f"it was not over within {bound:g} s"
        except Exception as exc:
            _grade(result, exc)
        result.seconds = round(time.monotonic() - begun, 3)
        if result.verdict != Verdict.PASS:
            run.wire.add("harness", "note", f"{result.verdict}: {result.message}")
        result.wire, result.behind, result.stderr = run.wire.entries, run.behind, run.stderr
        return Played(result, run.transcript)

    @asynccontextmanager
    async def _session(self, scenario: Scenario, case: Case, run: Run) -> AsyncGenerator[Session, None]:
        if scenario.own:
            world = await self._stage.own_world(scenario.servers, case.backend)
            try:
                session = Session(self._stage, world, case)
                session.begin(run)
                failed = True
                try:
                    yield session
                    failed = False
                finally:
                    with anyio.CancelScope(shield=True):
                        await session.note_behind(failed)
                        await session.end()
                        await session.leave()
            finally:
                with anyio.CancelScope(shield=True):
                    await world.close()
            return
        session = await self._shared(scenario, case)
        session.begin(run, session.world.running.logged)
        for backend in session.world.backends.values():
            backend.journal.mark()
        failed = True
        try:
            yield session
            failed = False
        finally:
            with anyio.CancelScope(shield=True):
                await session.note_behind(failed)
                await session.end()
                if not session.healthy:
                    await self._drop(scenario, case)

    async def _remembered(self, session: Session, scenario: Scenario) -> None:
        """See that a server can remember what the scenario is about.

        Raises:
            NotApplicable: each request meets another process of it.
        """
        legacy = "legacy" in (session.era, scenario.servers[0].era)
        if not (scenario.remembers and legacy and self._stage.target.is_proxy):
            return
        key = (tuple(session.world.backends), session.case)
        if key not in self._apart:
            self._apart[key] = await apart(session)
        if self._apart[key]:
            raise NotApplicable(self._apart[key])

    async def _shared(self, scenario: Scenario, case: Case) -> Session:
        key = (scenario.servers, case.backend, case.client, case.era)
        try:
            world = await self._stage.world(scenario.servers, case.backend)
        except Exception as exc:
            if not scenario.may_refuse or _first(exc, Failure) is None:
                raise
            raise NotApplicable("it does not start in front of these servers") from None
        if key in self._sessions and self._sessions[key].world is not world:
            await self._drop(scenario, case)
        if key not in self._sessions:
            self._sessions[key] = Session(self._stage, world, case)
            await self._settle(self._sessions[key])
        return self._sessions[key]

    async def _settle(self, session: Session) -> None:
        """Wait until every server is offered: a proxy may well be ready before those behind it are."""
        servers = tuple(session.world.site.backends)  # those it has from the start, and none that a scenario adds
        if self._stage.target.is_proxy and servers not in self._given_up:
            session.remark = await first.settle(session, servers)
            if session.remark:
                self._given_up.add(servers)

    async def _drop(self, scenario: Scenario, case: Case) -> None:
        await self._sessions.pop((scenario.servers, case.backend, case.client, case.era)).leave()


async def _admit(session: Session, requirement: Requirement) -> None:
    """See that the requirement holds of what was agreed on. What cannot be found out is for the scenario to tell.

    What is required toward servers depends on what is spoken there, not on what is spoken with this client.

    Raises:
        NotApplicable: it is newer than the revision that is spoken.
        NotOffered: it is about a capability that the target does not declare.
    """
    dated = session.era == "legacy" and requirement.since > REVISIONS[0] and requirement.area != "servers"
    try:
        if dated:
            await session.client()
        undeclared = requirement.offers if requirement.offers and not await session.offers(requirement.offers) else ""
    except Exception as exc:
        if _first(exc, Failure) is None:
            raise
        return
    if dated and requirement.since > session.revision:
        raise NotApplicable(f"it is of {requirement.since}, and {session.revision} was agreed on")
    if undeclared:
        raise NotOffered(f"it does not declare {undeclared}")


def _grade(result: RunResult, exc: Exception) -> None:
    """What an exception says about a run."""
    for kind, verdict in ((NotOffered, Verdict.NOT_OFFERED), (NotApplicable, Verdict.NOT_APPLICABLE)):
        if (lacking := _first(exc, kind)) is not None:
            result.verdict, result.message = verdict, str(lacking)
            return
    failure = _first(exc, Failure)
    if missing := _first(exc, KeyError):
        # A scenario reads the target's messages as they should be.
        failure = failure or Failure(f"a message lacks the field {missing}")
    if failure is None:
        result.verdict = Verdict.HARNESS_ERROR
        cause = _first(exc, Exception) or exc
        result.message = str(cause) if isinstance(cause, HarnessError) else f"{type(cause).__name__}: {cause}"
        return
    result.verdict = Verdict.FAIL
    result.message = failure.message
    result.expected, result.actual, result.diff = failure.expected, failure.actual, failure.diff


E = TypeVar("E", bound=BaseException)


def _first(exc: BaseException, kind: type[E]) -> E | None:
    """The first exception of a kind in a group, or the exception itself."""
    if isinstance(exc, BaseExceptionGroup):
        found = (_first(part, kind) for part in exc.exceptions)
        return next((part for part in found if part is not None), None)
    return exc if isinstance(exc, kind) else None
