"""Requests for each user's best suggestions through Seerr, which nobody gets unless the operator turns it on."""

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import dagster as dg

from aperture_dagster.automation import daily_check
from aperture_dagster.catalogue.people import User, read_users
from aperture_dagster.defs.catalogue import users
from aperture_dagster.defs.discovery.candidates import discovery_candidates
from aperture_dagster.defs.jobs import Job
from aperture_dagster.defs.reporting import SHOWN_PROBLEMS, table, warn_unless
from aperture_dagster.defs.users import UserOutcome, for_each_user, user_asset
from aperture_dagster.discovery.requests import RequestDesk, RequestedBest
from aperture_dagster.discovery.seerr import SEERR, requests_are_off
from aperture_dagster.discovery.suggestions import read_requests, requests_table
from aperture_dagster.instance.failures import operator_errors
from aperture_dagster.instance.markdown import markdown_list
from aperture_dagster.model.clock import Clock
from aperture_dagster.model.moments import elapsed
from aperture_dagster.postgres.database import Database
from aperture_dagster.postgres.versions import content_version
from aperture_dagster.settings import Settings
from aperture_dagster.worklist.services import Services

UNANSWERED_FOR = timedelta(days=1)


SEND_REQUESTS = Job(
    "send_requests",
    "Request each user's best suggestions through Seerr, a few per week, if that is turned on.",
    ("seerr_requests",),
    cron="0 9 * * *",
    why="After the night's suggestions, when somebody can still take a request back.",
    scope="users",
    off_if=requests_are_off,
)


@user_asset(
    group_name="discovery",
    deps=[users, discovery_candidates],
    kinds={"postgres"},
    metadata={"dagster/table_name": "seerr_requests"},
)
def seerr_requests(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    database: dg.ResourceParam[Database],
    services: dg.ResourceParam[Services],
    clock: dg.ResourceParam[Clock],
) -> Iterator[dg.MaterializeResult]:
    """What was requested on Seerr for each user and what became of it, one row per user and title.

    Sends the best suggestions as that user, within a limit per week and the user's quota on Seerr. Off unless
    `requests_per_week` is set; with `requests_dry_run`, only shows what would be sent.
    """
    off = requests_are_off(settings)
    if off is not None:
        context.log.info(off)
    with ExitStack() as stack:
        desk: RequestDesk | None = None
        if off is None:
            with operator_errors(context, settings):
                desk = RequestDesk(stack.enter_context(services.get(SEERR).open()), database, clock)
        sent_before = 0

        def serve(user: User) -> UserOutcome:
            nonlocal sent_before
            if desk is None:
                return UserOutcome("off", {"skipped": off or "off"})
            result = desk.request_best(user, settings)
            _log(context, user, result)
            with database.transaction() as connection:
                shown = requests_table(connection, user.user_id)
                version = content_version(connection, "seerr_requests", user_id=user.user_id)
            sent_before, sent = desk.http_requests, desk.http_requests - sent_before
            return UserOutcome(version, _metadata(settings, result, shown), result.changes, requests=sent)

        yield from for_each_user(context, settings, database, serve)


@daily_check(
    asset=seerr_requests,
    description="Seerr answered every request within a day, and passed on what was approved. If not, the description "
    "of the result says which command helps.",
)
def were_answered(
    context: dg.AssetCheckExecutionContext, database: dg.ResourceParam[Database], clock: dg.ResourceParam[Clock]
) -> dg.AssetCheckResult:
    """Warn of requests without a known answer for a day, and of those that failed on Seerr.

    Users who have left the media server wait for nothing.
    """
    with database.transaction() as connection:
        here = [one.user_id for one in read_users(connection) if not one.gone]
        stored = read_requests(connection, here, states=("sending", "failed"))
    failed = [one for one in stored if one.state == "failed"]
    sending = [one for one in stored if one.state == "sending"]
    unknown = [one for one in sending if elapsed(one.requested_at, clock.now()) > UNANSWERED_FOR]
    problems = []
    if unknown:
        problems.append(f"{len(unknown)} requests have no known answer: run `aperture requests`, which asks Seerr.")
    if failed:
        problems.append(f"{len(failed)} failed on Seerr, which could not pass them on: retry them there.")
    metadata: dict[str, Any] = {"unanswered": len(unknown), "failed": len(failed)}
    if problems:
        rows = [{"title": one.title, "state": one.state, "detail": one.detail} for one in (*unknown, *failed)]
        metadata["requests"] = table(rows[:SHOWN_PROBLEMS])
    return warn_unless(not problems, " ".join(problems), metadata)


def _log(context: dg.AssetExecutionContext, user: User, result: RequestedBest) -> None:
    for sent in result.sent:
        context.log.info(f"Requested {sent.title} for {user.name}: {sent.state}.")
    for planned in result.planned:
        context.log.info(f"Would request {planned.wish.title} for {user.name} ({planned.approval_text}).")
    for reason in result.reasons:
        context.log.info(f"{user.name}: {reason}")


def _metadata(settings: Settings, result: RequestedBest, shown: list[dict[str, Any]]) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "requests_sent": len(result.sent),
        "dagster/row_count": len(shown),
        "states": table(shown),
    }
    if settings.requests_dry_run:
        rows = [
            {
                "title": one.wish.title,
                "as": one.account.name,
                "seasons": one.season_text,
                "quota": one.quota_text,
                "approval": one.approval_text,
            }
            for one in result.planned
        ]
        metadata |= {"would_be_sent": table(rows), "dry_run": True}
    if result.reasons:
        metadata["reasons"] = markdown_list(result.reasons[:20])
    return metadata
