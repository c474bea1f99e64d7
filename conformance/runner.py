"""Playing a scenario in a case, and what became of it."""

import shutil
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from itertools import cycle, islice
from math import inf
from typing import Any

import anyio

from . import first
from .case import Case, Transport
from .client import Command
from .fixtures import Server
from .probing import apart
from .requirements.model import LEGACY, MODERN, REVISIONS, Era, Requirement
from .scenarios import Scenario
from .session import Run, Session
from .stage import Stage, World
from .verdict import Failure, HarnessError, NotApplicable, NotOffered, RunResult, Silence, Verdict, first_of

RUN_WAIT = 60.0
"""Seconds a scenario may take, all its waits together. The target's start is not part of it."""

TRIED = 3
"""How often it is tried to start the target, in front of various servers, before it is said that it does not start."""

LONG = 30.0
"""Seconds after which it is tried only once more."""

WORDS = 2000
"""Characters of a target's log that are told where it has ended."""


@dataclass
class Played:
    """A run, and the transcript that is still to be compared.

    Args:
        silent: whether it failed since the target did not answer.
        before: how many runs there were before it in its world.
        limit: the seconds to which its waits were limited.
    """

    result: RunResult
    transcript: list[Any]
    silent: bool = False
    before: int = 0
    limit: float = inf


class Player:
    """Plays scenarios on a stage, and keeps the sessions that they share."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self._sessions: dict[tuple[tuple[Server, ...], Transport, Transport, Era], Session] = {}
        self._given_up: set[tuple[str, ...]] = set()
        self._apart: dict[tuple[tuple[str, ...], Case], str] = {}
        self.remark = ""
        """What the first look at the target found that is to be told."""
        self._playing: set[anyio.CancelScope] = set()

    async def stop(self) -> None:
        """Break off what is being played. Its end would wait for answers that come no more."""
        for scope in self._playing:
            scope.cancel()

    async def clear(self) -> None:
        """Leave and close the shared worlds."""
        for key in [*self._sessions]:
            await self._sessions.pop(key).leave()
        await self.stage.clear()

    async def try_out(self, runs: Sequence[tuple[Scenario, Case]]) -> None:
        """Start the target, in the first shared world that is wanted, or else in one of its own; if it does not start,
        in others.

        Raises:
            Failure: the target does not start.
            HarnessError: a fixture server does not, or nothing of the target has a name that its file tells.
            Missing: this machine lacks something without which the target cannot be started.
        """
        places: dict[tuple[tuple[Server, ...], Transport], tuple[Scenario, Case]] = {}
        for scenario, case in sorted(runs, key=lambda run: run[0].own):
            if scenario.servers:  # to start with none is a requirement of its own
                places.setdefault((scenario.servers, case.backend), (scenario, case))
        problem: Failure | None = None
        begun = time.monotonic()
        # What does not start once is tried again: in other company, or else in the same.
        for tries, (scenario, case) in enumerate(islice(cycle(places.values()), TRIED)):
            if tries > 1 and time.monotonic() - begun > LONG:
                break
            try:
                await self._start(scenario, case)
                await self._look(scenario, case)
                await self._look_at_eras({each.era for _, each in runs})
                return
            except Exception as exc:
                failure = first_of(exc, Failure)
                if failure is None:
                    raise
                problem = problem or failure
        if problem:
            raise problem

    async def _look(self, scenario: Scenario, case: Case) -> None:
        """Look at the target's names, once."""
        if not scenario.own and self.stage.target.is_proxy:
            session = await self._shared(scenario, case)
            self.remark = session.remark
            try:
                await first.look_at_names(session)
            except Exception as exc:
                if first_of(exc, Failure) is None:
                    raise
                # What it does not answer is for the scenarios to say.

    async def _look_at_eras(self, eras: set[Era]) -> None:
        """See whether clients of the other era are answered, too; if not, that is told once, with what to write."""
        for known in [*self._sessions.values()]:
            for era in eras - {known.era}:
                session = Session(self.stage, known.world, replace(known.case, era=era))
                try:
                    _ = (await session.request(None, "tools/list")).result
                except Exception as exc:
                    if (failure := first_of(exc, Failure)) is None:
                        raise
                    meant = f'eras = ["{known.era}"] under [target] says that it is not meant to serve them'
                    remark = f"no client of {MODERN if era == 'modern' else LEGACY} is served ({failure}); {meant}"
                    self.remark = "; ".join(filter(None, [self.remark, remark]))
                finally:
                    with anyio.CancelScope(shield=True):
                        await session.leave()

    async def _start(self, scenario: Scenario, case: Case) -> None:
        """Start the target once, and connect to it: somebody has to answer."""
        world = await (self.stage.own_world if scenario.own else self.stage.world)(scenario.servers, case.backend)
        session = Session(self.stage, world, case)
        begun = False
        try:
            endpoint = world.running.endpoint(case.client, scenario.servers[0].name)
            if isinstance(endpoint, Command) and shutil.which(endpoint.argv[0]) is None:
                raise Silence(f"there is no command '{endpoint.argv[0]}'")
            client = await session.client()
            if case.era == "modern":  # which begins without a handshake
                await (await client.request("server/discover")).response()
            begun = True
        except Exception as exc:
            if first_of(exc, Failure) is not None and first_of(exc, Silence) is None:
                begun = True  # it answers, if wrongly
                return
            await _note_end(world, exc)
            raise
        finally:
            with anyio.CancelScope(shield=True):
                await session.leave()
                if scenario.own:
                    await world.close()
                elif not begun:
                    await self.stage.discard(world)

    async def answers(self, servers: tuple[Server, ...], case: Case) -> bool:
        """Whether the target, in a fresh world and with all the time that it may take, answers a list with anything."""
        try:
            async with self._fresh(servers, case, Run(), full=True) as session:
                await session.request(None, "tools/list")
        except Exception as exc:
            return first_of(exc, Silence) is None
        return True

    async def play(self, scenario: Scenario, case: Case, *, fresh: bool = False) -> Played:
        """Play a scenario; never raises for what the target or the scenario does. What is broken off is not checked.

        Args:
            fresh: in a world of its own, and with all the time that it may take. Several can be played so at once.
        """
        run = Run()
        begun = time.monotonic()
        played = Played(RunResult(scenario.requirement.id, scenario.name, case, Verdict.PASS, 0.0), run.transcript)
        with anyio.CancelScope() as scope:
            self._playing.add(scope)
            try:
                await self._attempt(scenario, case, run, played, fresh)
            finally:
                self._playing.discard(scope)
        result = played.result
        if scope.cancelled_caught:
            result.verdict, result.message = Verdict.NOT_CHECKED, "it was broken off"
        result.seconds = round(time.monotonic() - begun, 3)
        if result.verdict != Verdict.PASS:
            run.wire.add("harness", "note", f"{result.verdict}: {result.message}")
        result.wire, result.behind, result.stderr = run.wire.entries, run.behind, run.stderr
        return played

    async def _attempt(self, scenario: Scenario, case: Case, run: Run, played: Played, fresh: bool) -> None:
        """Play, and say in `played` what became of it. The time that the target takes to start has its own bound."""
        bound = RUN_WAIT * self.stage.target.patience
        try:
            async with self._session(scenario, case, run, fresh) as session:
                played.before, session.world.runs = session.world.runs, session.world.runs + 1
                played.limit = session.world.patience.limit
                try:
                    with anyio.fail_after(bound):
                        await _admit(session, scenario.requirement)
                        await self._remembered(session, scenario)
                        await scenario.play(session)
                except TimeoutError:
                    raise Silence(f"it was not over within {bound:g} s") from None
                except Exception as exc:
                    await _note_end(session.world, exc)
                    raise
                finally:
                    played.result.revision = session.revision
            if not run.checks:
                raise HarnessError("the scenario looked at nothing")
        except Exception as exc:
            _grade(played.result, exc)
            played.silent = played.result.verdict == Verdict.FAIL and first_of(exc, Silence) is not None

    @asynccontextmanager
    async def _session(self, scenario: Scenario, case: Case, run: Run, fresh: bool) -> AsyncGenerator[Session, None]:
        if scenario.own or fresh:
            refusing = scenario.may_refuse and not scenario.own
            async with self._fresh(scenario.servers, case, run, full=fresh, may_refuse=refusing) as session:
                if not scenario.own:
                    await self._settle(session)
                yield session
            return
        session = await self._shared(scenario, case)
        session.begin(run, session.world.running.logged)
        for backend in session.world.backends.values():
            backend.journal.mark()
        failed = True
        try:
            yield session
            failed = False
        except BaseException as exc:
            if first_of(exc, Silence) is not None:
                session.world.stuck = True
            raise
        finally:
            with anyio.CancelScope(shield=True):
                await session.note_behind(failed)
                await session.end()
                if session.world.stuck:
                    await self._discard(session.world)
                elif not session.healthy:
                    await self._drop(scenario, case)

    async def _remembered(self, session: Session, scenario: Scenario) -> None:
        """See that a server can remember what the scenario is about.

        Raises:
            NotApplicable: each request meets another process of it.
        """
        if not scenario.remembers or not self.stage.target.is_proxy:
            return
        if "legacy" not in (session.era, scenario.servers[0].era):
            return
        key = (tuple(session.world.backends), session.case)
        if key not in self._apart:
            self._apart[key] = await apart(session)
        if self._apart[key]:
            raise NotApplicable(self._apart[key])

    @asynccontextmanager
    async def _fresh(
        self, servers: tuple[Server, ...], case: Case, run: Run, *, full: bool = False, may_refuse: bool = False
    ) -> AsyncGenerator[Session, None]:
        """The first session of a world of its own, which ends with it."""
        try:
            world = await self.stage.own_world(servers, case.backend, full=full)
        except Exception as exc:
            raise _refused(exc, may_refuse) from None
        try:
            session = Session(self.stage, world, case)
            session.begin(run)
            failed = True
            try:
                yield session
                failed = False
            except BaseException as exc:
                world.stuck = world.stuck or first_of(exc, Silence) is not None
                raise
            finally:
                with anyio.CancelScope(shield=True):
                    await session.note_behind(failed)
                    await session.end()
                    await session.leave()
        finally:
            with anyio.CancelScope(shield=True):
                await world.close()

    async def _discard(self, world: World) -> None:
        """Replace a shared world whose target is dead or stuck; its sessions end."""
        for key in [key for key, session in self._sessions.items() if session.world is world]:
            await self._sessions.pop(key).leave()
        await self.stage.discard(world)

    async def _shared(self, scenario: Scenario, case: Case) -> Session:
        key = (scenario.servers, case.backend, case.client, case.era)
        try:
            world = await self.stage.world(scenario.servers, case.backend)
        except Exception as exc:
            raise _refused(exc, scenario.may_refuse) from None
        if key in self._sessions and self._sessions[key].world is not world:
            await self._drop(scenario, case)
        if key not in self._sessions:
            self._sessions[key] = Session(self.stage, world, case)
            await self._settle(self._sessions[key])
        return self._sessions[key]

    async def _settle(self, session: Session) -> None:
        """Wait until every server is offered: a proxy may well be ready before those behind it are."""
        servers = tuple(session.world.site.backends)  # those it has from the start, and none that a scenario adds
        if not self.stage.target.is_proxy or servers in self._given_up:
            return
        if remark := await first.settle(session, servers):
            session.remark = f"{remark}; it goes on"
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
        if first_of(exc, Failure) is None:
            raise
        return
    if dated and requirement.since > session.revision:
        raise NotApplicable(f"it is of {requirement.since}, and {session.revision} was agreed on")
    if undeclared:
        raise NotOffered(f"it does not declare {undeclared}")


def _refused(exc: Exception, may_refuse: bool) -> Exception:
    """What it means that a world does not begin."""
    if may_refuse and first_of(exc, Failure) is not None:
        return NotApplicable("it does not start in front of these servers")
    return exc


async def _note_end(world: World, exc: Exception) -> None:
    """Add to a failure that the target has ended meanwhile, or does not answer over stdio, and with which words."""
    failure = first_of(exc, Failure)
    if failure is None:
        return
    ended = not await world.running.alive()
    if ended:
        failure.message += "; the target has ended"
        failure.cause = failure.cause or "the target has ended"
        world.stuck = True
    if ended or (world.site.target.endpoints.stdio and isinstance(failure, Silence)):
        words = (await world.running.said(0))[-WORDS:].strip()
        failure.actual = f"{failure.actual}\nits last words: {words or 'none'}".strip()


def _grade(result: RunResult, exc: Exception) -> None:
    """What an exception says about a run."""
    for kind, verdict in ((NotOffered, Verdict.NOT_OFFERED), (NotApplicable, Verdict.NOT_APPLICABLE)):
        if (lacking := first_of(exc, kind)) is not None:
            result.verdict, result.message = verdict, str(lacking)
            return
    failure = first_of(exc, Failure)
    if missing := first_of(exc, KeyError):
        # A scenario reads the target's messages as they should be.
        failure = failure or Failure(f"a message lacks the field {missing}")
    if failure is None:
        result.verdict = Verdict.HARNESS_ERROR
        cause = first_of(exc, Exception) or exc
        result.message = str(cause) if isinstance(cause, HarnessError) else f"{type(cause).__name__}: {cause}"
        return
    result.verdict = Verdict.FAIL
    result.message = failure.message
    result.expected, result.actual, result.diff = failure.expected, failure.actual, failure.diff
    result.cause = failure.cause
