"""What must hold of suggestions of titles outside the library."""

from collections.abc import Sequence
from typing import Any

import dagster as dg

from aperture_dagster.automation import daily_check
from aperture_dagster.catalogue.people import users_of_partitions
from aperture_dagster.defs.discovery.assets import discovery_candidates, discovery_pool
from aperture_dagster.defs.reporting import table, warn_unless
from aperture_dagster.defs.schedules import fresh_for_every_user
from aperture_dagster.discovery.pool import pool_summary, vectors_of_pool
from aperture_dagster.discovery.suggestions import candidate_sizes
from aperture_dagster.discovery.suitability import FORBIDDEN, OWNED, SETTLED, library_sizes, unsuitable_suggestions
from aperture_dagster.enrichment.tmdb.source import TMDB
from aperture_dagster.model.clock import Clock
from aperture_dagster.partitions import user_partitions
from aperture_dagster.postgres.database import Database
from aperture_dagster.settings import Settings
from aperture_dagster.taste.vectors import active_model

SHOWN, NAMED = 20, 5
REMEDY = "run the job generate_discovery_suggestions"


# All look at all users, so they do not belong to a run that serves one; and they run when some users failed.
@daily_check(
    asset=discovery_candidates,
    description="Nothing is suggested that is in the library, that its user watched, rated, dismissed or requested, or "
    f"that their parental limit or tags forbid. If something is, {REMEDY}.",
)
def suit_their_users(
    context: dg.AssetCheckExecutionContext,
    settings: dg.ResourceParam[Settings],
    database: dg.ResourceParam[Database],
    clock: dg.ResourceParam[Clock],
) -> dg.AssetCheckResult:
    """Fail when a list holds what its user's limit or tags forbid now, warn when something became pointless."""
    with database.transaction() as connection:
        users = users_of_partitions(connection, user_partitions(context.instance)).values()
        found = unsuitable_suggestions(connection, settings, list(users), now=clock.now())
    forbidden = sum(row["why"] in FORBIDDEN for row in found)
    pointless = sum(row["why"] in (OWNED, SETTLED) for row in found)
    problems = [f"{forbidden:,} suggestions are above their user's limit or have a blocked tag"] if forbidden else []
    problems += [f"{pointless:,} suggestions are in the library or known to their user"] if pointless else []
    shown = [row for row in found if row["why"] in (*FORBIDDEN, OWNED, SETTLED)]
    metadata: dict[str, Any] = {"forbidden": forbidden, "known": pointless}
    return dg.AssetCheckResult(
        passed=not problems,
        severity=dg.AssetCheckSeverity.ERROR if forbidden else dg.AssetCheckSeverity.WARN,
        description=f"{'; '.join(problems)}: {REMEDY}." if problems else None,
        metadata=metadata | ({"titles": table(shown[:SHOWN])} if shown else {}),
    )


@daily_check(
    asset=discovery_candidates,
    description="Every user who takes part has suggestions of films and of series, as far as the library has any. If "
    "not, the page of discovery_candidates says what was left out, and why.",
)
def exist_for_every_user(
    context: dg.AssetCheckExecutionContext,
    settings: dg.ResourceParam[Settings],
    database: dg.ResourceParam[Database],
) -> dg.AssetCheckResult:
    """Warn of users to whom nothing outside the library is suggested."""
    participants = set(user_partitions(context.instance))
    with database.transaction() as connection:
        sizes = [row for row in candidate_sizes(connection) if row["partition"] in participants]
        here, pool = library_sizes(connection), pool_summary(connection)
    if settings.tmdb_api_key is None or not pool["films"] + pool["series"]:
        why = f"{TMDB.key_setting} is not set" if settings.tmdb_api_key is None else "no title is known yet"
        return dg.AssetCheckResult(
            passed=True, metadata={"users": len(sizes)}, description=f"Nothing outside the library is suggested: {why}."
        )
    columns = {"movie": "films", "series": "series"}
    without = {
        column: sorted(row["name"] for row in sizes if not row[column])
        for media_type, column in columns.items()
        if here.get(media_type)
    }
    missing = [f"no {column} for {_named(names)}" for column, names in without.items() if names]
    advice = f"{REMEDY}; the page of discovery_candidates says what was left out."
    found = f"There are {' and '.join(missing)}: {advice}" if missing else ""
    metadata: dict[str, Any] = {
        "users": len(sizes), "without_suggestions": len({name for names in without.values() for name in names})
    }  # fmt: skip
    return warn_unless(not missing, found, metadata | ({"lists": table(sizes)} if missing else {}))


def _named(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED:,} more" if len(names) > NAMED else "")


@daily_check(
    asset=discovery_pool,
    description="Every title of the pool with details has a vector; similarity is blind to the others. Materialize "
    "discovery_pool again.",
)
def have_vectors(database: dg.ResourceParam[Database]) -> dg.AssetCheckResult:
    """Warn of titles without a vector of the model in use: similarity is blind to them."""
    with database.transaction() as connection:
        titles, without = vectors_of_pool(connection, active_model(connection))
    found = f"{without:,} of {titles:,} titles have no vector of the model in use: materialize discovery_pool."
    return warn_unless(not without, found if without else "", {"titles": titles, "without_a_vector": without})


CHECKS = (
    have_vectors,
    suit_their_users,
    exist_for_every_user,
    fresh_for_every_user(discovery_candidates, "generate_discovery_suggestions"),
)
