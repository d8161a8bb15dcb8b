"""What must hold of suggestions of titles outside the library."""

from typing import Any

import dagster as dg

from aperture_dagster.automation import daily_check
from aperture_dagster.defs.discovery.candidates import discovery_candidates
from aperture_dagster.defs.discovery.pool import discovery_pool
from aperture_dagster.defs.reporting import table, warn_unless
from aperture_dagster.library.suitability import why_not_for_user
from aperture_dagster.partitions import USERS
from aperture_dagster.resources.database import Database
from aperture_dagster.settings import Settings
from aperture_dagster.sources.discovery_plan import user_languages
from aperture_dagster.sources.suitability import user_rules
from aperture_dagster.storage.discovery import vectors_of_pool
from aperture_dagster.storage.people import users_of_partitions
from aperture_dagster.storage.suggestions import candidate_sizes, listed_facts, misplaced_candidates, read_pool_facts
from aperture_dagster.storage.vectors import active_model

SHOWN = 20


# All look at all users, so they do not belong to a run that serves one; and they run when some users failed.
@daily_check(
    asset=discovery_candidates,
    description="Nothing is suggested that is in the library, or that its user watched, rated, dismissed or requested.",
)
def hold_nothing_known(
    context: dg.AssetCheckExecutionContext, database: dg.ResourceParam[Database]
) -> dg.AssetCheckResult:
    """Warn of suggestions that have become pointless since the lists were made."""
    with database.transaction() as connection:
        found = misplaced_candidates(connection, _user_ids(context, connection))
    problem = f"{len(found):,} suggestions are in the library or known to their user: run the job again."
    metadata: dict[str, Any] = {"known": len(found)} | ({"titles": table(found[:SHOWN])} if found else {})
    return warn_unless(not found, problem if found else "", metadata)


@daily_check(asset=discovery_candidates, description="Nobody is suggested anything above their parental limit.")
def stay_within_parental_limits(
    context: dg.AssetCheckExecutionContext,
    settings: dg.ResourceParam[Settings],
    database: dg.ResourceParam[Database],
) -> dg.AssetCheckResult:
    """Fail when a list holds a title that its user's limit or tags forbid now."""
    certified_by = (settings.country, settings.fallback_country)
    with database.transaction() as connection:
        users = users_of_partitions(connection, context.instance.get_dynamic_partitions(USERS)).values()
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
        description=f"{forbidden:,} suggestions are above their user's limit." if forbidden else None,
    )


@daily_check(asset=discovery_candidates, description="Every user who takes part has suggestions.")
def exist_for_every_user(
    context: dg.AssetCheckExecutionContext, database: dg.ResourceParam[Database]
) -> dg.AssetCheckResult:
    """Warn of users to whom nothing outside the library is suggested."""
    participants = set(context.instance.get_dynamic_partitions(USERS))
    with database.transaction() as connection:
        sizes = [row for row in candidate_sizes(connection) if row["partition"] in participants]
    without = [row["name"] for row in sizes if row["films"] + row["series"] == 0]
    found = f"No suggestions yet: {', '.join(without[:5])}." if without else ""
    metadata = {"users": len(sizes), "without_suggestions": len(without)}
    return warn_unless(not without, found, metadata | ({"lists": table(sizes)} if without else {}))


def _user_ids(context: dg.AssetCheckExecutionContext, connection: Any) -> list[str]:
    found = users_of_partitions(connection, context.instance.get_dynamic_partitions(USERS))
    return [user.user_id for user in found.values()]


@daily_check(asset=discovery_pool, description="Every title of the pool with details has a vector.")
def have_vectors(database: dg.ResourceParam[Database]) -> dg.AssetCheckResult:
    """Warn of titles without a vector of the model in use: similarity is blind to them."""
    with database.transaction() as connection:
        titles, without = vectors_of_pool(connection, active_model(connection))
    found = f"{without:,} of {titles:,} titles have no vector of the model in use: materialize discovery_pool."
    return warn_unless(not without, found if without else "", {"titles": titles, "without_a_vector": without})


CHECKS = (have_vectors, hold_nothing_known, stay_within_parental_limits, exist_for_every_user)
