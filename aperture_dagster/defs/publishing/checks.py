"""What is expected of published libraries."""

from __future__ import annotations

import dagster as dg

from aperture_dagster.automation import daily_check
from aperture_dagster.defs.reporting import table, warn_unless
from aperture_dagster.model.clock import Clock
from aperture_dagster.postgres.database import Database
from aperture_dagster.publishing.outcome import why_unread
from aperture_dagster.publishing.publication import KINDS, STEMS, Kind
from aperture_dagster.publishing.published import unfinished_libraries

SHOWN = 20


def are_shown_completely(kind: Kind) -> dg.AssetChecksDefinition:
    """The check that the media server shows every title of the published libraries of a kind."""

    @daily_check(
        name="are_shown_completely",
        asset=f"{STEMS[kind]}_libraries",
        description="The media server shows every title that was published. If not, publish again, and look at the "
        "warnings of the run.",
    )
    def check(database: dg.ResourceParam[Database], clock: dg.ResourceParam[Clock]) -> dg.AssetCheckResult:
        with database.transaction() as connection:
            unfinished = unfinished_libraries(connection, kind, now=clock.now())
        problem = f"{len(unfinished)} libraries are incomplete: publish again, and look at the warnings of the run."
        unread = [one["name"] for one in unfinished if one["unread_since"] is not None]
        if unread:
            problem = f"{why_unread(unread)} {problem if len(unread) < len(unfinished) else ''}".rstrip()
        metadata = {"libraries": len(unfinished)} | ({"incomplete": table(unfinished[:SHOWN])} if unfinished else {})
        return warn_unless(not unfinished, problem if unfinished else "", metadata)

    return check


CHECKS = tuple(are_shown_completely(kind) for kind in KINDS)
