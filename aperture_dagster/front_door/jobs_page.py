"""The page on which administrators of the media server see all jobs, and start, stop and switch them."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import TypeVar
from urllib.parse import quote, urlencode
from zoneinfo import ZoneInfo

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Route

from aperture_dagster.enrichment.sources import SOURCES
from aperture_dagster.front_door.dagster_queries import DagsterQueries, DeclaredJob, NotDone
from aperture_dagster.front_door.examination import Examination
from aperture_dagster.front_door.house import House, Visit, read_form
from aperture_dagster.front_door.jobs_board import JobsBoard
from aperture_dagster.front_door.operators import after_password, for_operators, moment_in_words
from aperture_dagster.front_door.rendering import HEADERS, NO_STORE
from aperture_dagster.front_door.restore_order import read_order
from aperture_dagster.front_door.restore_page import backup_named, outcome_in_words, restore_routes
from aperture_dagster.model import duration
from aperture_dagster.postgres.backup.folder import backup_folder, read_backups
from aperture_dagster.texts import marked

_LOG = logging.getLogger(__name__)
T = TypeVar("T")
PATH = "/jobs"
REMEMBERED = timedelta(minutes=5)
"""How long the declared jobs are not asked for again. What is switched here is asked for at once."""
REFRESH_SECONDS = 5
"""How often a page on which something runs loads itself again."""
SAID = {
    "started": marked("The run was requested. It starts as soon as there is room for it."),
    "already": marked("A run of this job is already waiting or running, so no other one was started."),
    "stopped": marked("The run was asked to stop. What it has done so far is kept."),
    "over": marked("That run has already ended."),
    "on": marked("The schedule is on."),
    "off": marked("The schedule is off. The job starts by hand only."),
    "looking": marked("The examination has begun. It takes some seconds."),
}
NO_DAGSTER = marked("Dagster does not answer at the moment. Try again in a minute; the log of this program says why.")
NEVER_BY_HAND = ("first_list", "follow_plays")
"""Sensors start them, for the members whom they are for."""


def routes(house: House, dagster: DagsterQueries) -> Sequence[BaseRoute]:
    """Return the routes. ``dagster`` starts, stops and switches."""
    return routes_of(JobsPage(house, dagster))


def routes_of(page: JobsPage) -> Sequence[BaseRoute]:
    """Return the routes of a page."""
    forms = {"run": page.run, "stop": page.stop, "schedule": page.switch, "look": page.look}
    return [
        Route(PATH, page.show, methods=["GET"]),
        *(Route(f"{PATH}/{name}", functools.partial(page.act, act), methods=["POST"]) for name, act in forms.items()),
        Route(f"{PATH}/backups/{{name}}", page.download, methods=["GET"]),
        *restore_routes(page.house, page.board),
    ]


class JobsPage:
    """The page, and what its buttons do. Each action is the admitted operator's, from a form of theirs."""

    def __init__(self, house: House, dagster: DagsterQueries) -> None:
        self.house, self._dagster = house, dagster
        self.board = JobsBoard(house.settings)
        self.examination = Examination(house.settings, house.clock)
        self._declared: tuple[datetime, list[DeclaredJob]] | None = None
        # Of two clicks, the second one has to find the run that the first one starts.
        self._launching = asyncio.Lock()

    async def show(self, request: Request) -> Response:
        """Show the page."""
        visit = Visit(self.house, request)
        refusal = await self._answer(functools.partial(for_operators, target=PATH), visit)
        if refusal is not None:
            return refusal
        try:
            jobs = await self._jobs()
        except NotDone as error:
            _LOG.warning("%s", error)
            jobs = self._declared[1] if self._declared is not None else None
        if self.examination.looked_at is None:
            self.examination.begin()
        return await self._answer(functools.partial(self._render, jobs), visit)

    def _render(self, jobs: Sequence[DeclaredJob] | None, visit: Visit) -> Response:
        house, _ = self.house, visit.texts
        now, zone = house.clock.now(), ZoneInfo(house.settings.schedule_timezone)
        with house.database.connection() as connection:
            cards = self.board.cards(connection, jobs or (), now)
            server_trouble = house.watch.trouble(connection)
        said = SAID.get(visit.request.query_params.get("said", ""), "")
        about = visit.request.query_params.get("job", "")
        names = {job.name for job in jobs or ()}
        backups = read_backups(backup_folder(house.settings))[::-1]
        restored = read_order(house.settings)
        is_busy = any(card.running is not None for card in cards) or self.examination.is_looking
        answer = visit.render(
            "jobs.html",
            heading=_("Jobs"),
            refresh=REFRESH_SECONDS if is_busy else 0,
            cards=cards,
            said=f"{about}: {_(said)}" if said and about in names else said and _(said),
            problem=_(NO_DAGSTER) if jobs is None else _(server_trouble) if server_trouble else "",
            examination=self.examination,
            job_names=names,
            sources={source.job for source in SOURCES},
            by_hand=names.difference(NEVER_BY_HAND),
            when=functools.partial(moment_in_words, _, zone),
            took=in_seconds,
            zone=house.settings.schedule_timezone,
            backups=backups,
            restored=outcome_in_words(restored, _, zone),
            restored_said=restored.said if restored is not None else (),
            csrf=house.gate.csrf(visit.request),
        )
        return answer

    async def act(self, action: Callable[[Visit], object], request: Request) -> Response:
        """Do what a form asks for, and lead back to the job."""
        visit = Visit(self.house, request, await read_form(request))
        refusal = await self._answer(checked, visit)
        if refusal is not None:
            return refusal
        try:
            said = await action(visit)  # pyright: ignore[reportGeneralTypeIssues]
        except NotDone as error:
            _LOG.warning("%s: %s", visit.request.url.path, error)
            return visit.step(visit.texts("Jobs"), 503, problem=visit.texts(NO_DAGSTER))
        name = visit.form.get("job", "")
        target = f"{self.house.prefix}{PATH}?{urlencode({'said': said, 'job': name})}"
        return visit.back(f"{target}#{quote(name)}" if name else target)

    async def run(self, visit: Visit) -> str:
        """Start a run of a job, unless one is under way."""
        job = await self._named(visit)
        config = {}
        if visit.form.get("again"):
            tables = [source.table for source in SOURCES if source.job == job.name]
            config = {"ops": {table: {"config": {"refetch": ["all"]}} for table in tables}}
        async with self._launching:
            if await self._in_thread(self.board.runs_under_way, job.name):
                return "already"
            run_id = await self._dagster.launch(job, config)
        self._note(visit, "started %s (run %s)", job.name, run_id)
        return "started"

    async def stop(self, visit: Visit) -> str:
        """Stop the run of a job that is on the page; another one that began meanwhile goes on."""
        job, run_id = await self._named(visit), visit.form.get("run", "")
        if run_id not in await self._in_thread(self.board.runs_under_way, job.name):
            return "over"
        await self._dagster.stop(run_id)
        self._note(visit, "stopped %s (run %s)", job.name, run_id)
        return "stopped"

    async def switch(self, visit: Visit) -> str:
        """Switch the schedule of a job on or off."""
        job, on = await self._named(visit), visit.form.get("on") == "1"
        if job.schedule is None:
            raise HTTPException(404)
        if job.schedule.is_on != on:
            await self._dagster.switch(job, on=on)
            self._note(visit, "switched %s %s", job.name, "on" if on else "off")
        self._declared = None
        return "on" if on else "off"

    async def look(self, visit: Visit) -> str:
        """Examine everything again."""
        self.examination.begin()
        return "looking"

    async def download(self, request: Request) -> Response:
        """Send a backup to somebody who has entered their password within the last minutes."""
        visit = Visit(self.house, request)
        target = f"{PATH}/backups/{quote(request.path_params['name'])}"
        for admit in (for_operators, after_password):
            refusal = await self._answer(functools.partial(admit, target=target), visit)
            if refusal is not None:
                return refusal
        backup = await self._in_thread(backup_named, visit, request.path_params["name"])
        self._note(visit, "downloaded %s", backup.path.name)
        headers = {**HEADERS, **NO_STORE}
        return FileResponse(backup.path, media_type="application/gzip", filename=backup.path.name, headers=headers)

    async def _jobs(self, *, fresh: bool = False) -> list[DeclaredJob]:
        now = self.house.clock.now()
        if fresh or self._declared is None or _is_old(self._declared, now):
            self._declared = now, await self._dagster.jobs()
        return self._declared[1]

    async def _named(self, visit: Visit) -> DeclaredJob:
        """Return the job that a form names, read from Dagster anew. Raises HTTPException 404 if there is none."""
        jobs = await self._jobs(fresh=True)
        job = next((one for one in jobs if one.name == visit.form.get("job")), None)
        if job is None:
            raise HTTPException(404)
        return job

    async def _answer(self, answer: Callable[[Visit], T], visit: Visit) -> T:
        return await self.house.answer(self.house.pages, answer, visit)

    async def _in_thread(self, function: Callable[..., T], *arguments: object) -> T:
        return await self.house.pages.run(function, *arguments)

    def _note(self, visit: Visit, text: str, *values: object) -> None:
        """Log what an operator did."""
        visitor = visit.visitor
        name = visitor.user.name if visitor is not None and visitor.user is not None else "an administrator"
        _LOG.warning(f"{name} {text} on the page of jobs.", *values)


def checked(visit: Visit) -> Response | None:
    """Return where somebody has to go before a form of theirs is answered; raises as ``require_csrf``."""
    refusal = for_operators(visit, PATH)
    if refusal is None:
        visit.require_csrf()
    return refusal


def in_seconds(seconds: float) -> str:
    """Say how long something takes, in whole seconds at least."""
    return duration(max(round(seconds), 1))


def _is_old(declared: tuple[datetime, list[DeclaredJob]], now: datetime) -> bool:
    """Tell whether the jobs have to be asked for again: after a while, and once a start that was ahead is over."""
    asked_at, jobs = declared
    ticks = [max(job.schedule.ticks, default=0.0) for job in jobs if job.schedule is not None and job.schedule.is_on]
    return not timedelta() <= now - asked_at < REMEMBERED or any(tick <= now.timestamp() for tick in ticks)
