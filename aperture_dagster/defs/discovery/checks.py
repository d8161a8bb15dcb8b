"""What must hold of suggestions of titles outside the library."""

from collections.abc import Sequence
from typing import Any

import dagster as dg

from aperture_dagster.automation import daily_check
from aperture_dagster.defs.discovery.candidates import discovery_candidates
from aperture_dagster.defs.discovery.pool import discovery_pool
from aperture_dagster.defs.freshness import fresh_for_every_user
from aperture_dagster.defs.reporting import table, warn_unless
from aperture_dagster.library.suitability import why_not_for_user
from aperture_dagster.partitions import user_partitions
from aperture_dagster.resources.database import Database
from aperture_dagster.settings import Settings
from aperture_dagster.sources.discovery_plan import user_languages
from aperture_dagster.sources.suitability import user_rules
from aperture_dagster.sources.tmdb import TMDB
from aperture_dagster.storage.discovery import pool_summary, vectors_of_pool
from aperture_dagster.storage.discovery_inputs import library_sizes
from aperture_dagster.storage.people import users_of_partitions
from aperture_dagster.storage.suggestions import candidate_sizes, listed_facts, misplaced_candidates, read_pool_facts
from aperture_dagster.storage.vectors import active_model

SHOWN, NAMED = 20, 5
REMEDY = "run the job generate_discovery_suggestions; the page of discovery_candidates says what was left out."


# All look at all users, so they do not belong to a run that serves one; and they run when some users failed.
@daily_check(
    asset=discovery_candidates,
    description="Nothing is suggested that is in the library, or that its user watched, rated, dismissed or requested. "
    "If something is, run the job generate_discovery_suggestions.",
)
def hold_nothing_known(
    context: dg.AssetCheckExecutionContext,
    settings: dg.ResourceParam[Settings],
    database: dg.ResourceParam[Database],
) -> dg.AssetCheckResult:
    """Warn of suggestions that have become pointless since the lists were made."""
    with database.transaction() as connection:
        found = misplaced_candidates(connection, _user_ids(context, settings, connection))
    problem = f"{len(found):,} suggestions are in the library or known to their user: run the job again."
    metadata: dict[str, Any] = {"known": len(found)} | ({"titles": table(found[:SHOWN])} if found else {})
    return warn_unless(not found, problem if found else "", metadata)


@daily_check(
    asset=discovery_candidates,
    description="Nobody is suggested anything above their parental limit, or with a tag that is blocked for them. If "
    "somebody is, run the job generate_discovery_suggestions.",
)
def stay_within_parental_limits(
    context: dg.AssetCheckExecutionContext,
    settings: dg.ResourceParam[Settings],
    database: dg.ResourceParam[Database],
) -> dg.AssetCheckResult:
    """Fail when a list holds a title that its user's limit or tags forbid now."""
    certified_by = (settings.country, settings.fallback_country)
    with database.transaction() as connection:
        users = users_of_partitions(connection, user_partitions(context.instance)).values()
        user_ids = [user.user_id for user in users]
        listed = listed_facts(connection, user_ids)
        facts = {one.work_id: one for one in read_pool_facts(connection)}
        languages = user_languages(connection, user_ids, settings)
    forbidden = 0
    for user in users:
        # Languages are a matter of taste, not of limits.
        rules = user_rules(user, languages[user.user_id][0] | {one.language or "" for one in facts.values()})
        own = (facts[work_id] for work_id in listed[user.user_id] if work_id in facts)
        forbidden += sum(why_not_for_user(one, rules, certified_by) is not None for one in own)
    return dg.AssetCheckResult(
        passed=forbidden == 0,
        metadata={"forbidden": forbidden},
        description=f"{forbidden:,} suggestions are above their user's limit or have a blocked tag: run the job "
        "generate_discovery_suggestions."
        if forbidden
        else None,
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
    found = f"There are {' and '.join(missing)}: {REMEDY}" if missing else ""
    metadata: dict[str, Any] = {
        "users": len(sizes), "without_suggestions": len({name for names in without.values() for name in names})
    }  # fmt: skip
    return warn_unless(not missing, found, metadata | ({"lists": table(sizes)} if missing else {}))


def _named(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED:,} more" if len(names) > NAMED else "")


def _user_ids(context: dg.AssetCheckExecutionContext, settings: Settings, connection: Any) -> list[str]:
    found = users_of_partitions(connection, user_partitions(context.instance))
    return [user.user_id for user in found.values()]


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
    hold_nothing_known,
    stay_within_parental_limits,
    exist_for_every_user,
    fresh_for_every_user(discovery_candidates, "generate_discovery_suggestions"),
)
