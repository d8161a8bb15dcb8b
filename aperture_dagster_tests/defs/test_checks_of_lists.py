"""Checks of what is made for users: vectors, lists, libraries, ratings and requests; each fails for its reason only."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from aperture_dagster.defs.daily_checks import LIMIT
from aperture_dagster.taste.crowd import table_in_use
from aperture_dagster.taste.crowd_table import ARRAYS, CrowdHeader, CrowdTable, write_table
from aperture_dagster.trakt.pushing import NOT_FOUND
from aperture_dagster_tests.defs.check_bench import ERROR, NOW, WARN, Bench

DAY, HOUR, SECOND = timedelta(days=1), timedelta(hours=1), timedelta(seconds=1)
FRESH = {
    "taste_profiles": "generate_recommendations",
    "recommendations": "generate_recommendations",
    "shows_you_watch": "sync_watching_libraries",
    "discovery_candidates": "generate_discovery_suggestions",
}


def leave_out(bench: Bench, user: str) -> None:
    """Let a user no longer take part."""
    bench.instance.delete_dynamic_partition("users", user)


def vectors(bench: Bench, *works: int, table: str = "embeddings", model: str = "m") -> None:
    for work in works:
        bench.do(f"INSERT INTO {table} VALUES (:model, :work, '', '[1,2]')", model=model, work=work)


def model(bench: Bench, name: str, *, age: int) -> None:
    bench.add("embedding_models", model_key=name, dimensions=2, activated_at=NOW - age * DAY)


def cover_the_library(bench: Bench, check: str) -> None:
    bench.fails(check, "no model is complete yet", missing=0, titles=0)
    model(bench, "m", age=1)
    bench.passes(check, missing=0, titles=0)
    bench.films(*range(1, 21))
    bench.add("enriched_metadata", *({"work_id": one} for one in range(1, 21)))
    bench.fails(check, "20 of 20 titles have no vector", missing=20)
    model(bench, "old", age=2)
    vectors(bench, *range(1, 21), model="old")
    bench.fails(check, "20 of 20 titles")
    vectors(bench, *range(1, 19))
    bench.fails(check, "2 of 20 titles have no vector", missing=2, titles=20)
    vectors(bench, 19)
    bench.passes(check, "1 of 20 titles have no vector", missing=1, titles=20)


def hold_nothing_watched(bench: Bench, check: str) -> None:
    seen = "UPDATE watch_state SET updated_at = :at"
    bench.passes(check, watched=0)
    bench.users("Alma", "Bruno")
    bench.add("recommendations", user_id="Alma", work_id=1, generated_at=NOW)
    bench.passes(check, watched=0)
    bench.add("watch_state", user_id="Bruno", work_id=1, updated_at=NOW - DAY, played=True)
    bench.passes(check)
    bench.add("watch_state", user_id="Alma", item_id=7, work_id=1, updated_at=NOW - DAY, played=True, play_count=0)
    bench.fails(check, "1 recommended titles had been watched.", watched=1)
    bench.add("watch_state", user_id="Alma", item_id=8, work_id=1, updated_at=NOW, played=True)
    bench.fails(check, "1 recommended titles", watched=1)
    bench.do(seen, at=NOW + SECOND)
    bench.passes(check, watched=0)
    leave_out(bench, "Alma")
    bench.passes(check, watched=0)


EVERYBODY_IS_SERVED = "household_overview.is_fresh_for_every_user"


def history_is_fresh(bench: Bench, look: str) -> None:
    """Expect the check to name those whose history was not read for a day, whatever was made of it."""
    read = "UPDATE history_syncs SET synced_at = :at WHERE user_id = :user"
    said = "watch_history is older than a day for {}: see the last run of sync_watch_history."
    bench.configure(schedules=dict.fromkeys(FRESH.values(), "off"))
    bench.passes(look, "Off in APERTURE_SCHEDULES", stale_users=0)
    bench.users("Alma", "Bruno")
    bench.fails(look, said.format("Alma, Bruno"), stale_users=2)
    bench.do("UPDATE users SET first_seen_at = :at", at=NOW - HOUR)
    bench.passes(look, "Off in", stale_users=0)
    bench.do("UPDATE users SET first_seen_at = :at", at=NOW - 2 * DAY)
    bench.add("history_syncs", {"user_id": "Alma"}, {"user_id": "Bruno"})
    bench.passes(look, "Off in", stale_users=0)
    bench.do(read, user="Alma", at=NOW - DAY - SECOND)
    bench.fails(look, said.format("Alma"), stale_users=1)
    bench.instance.delete_dynamic_partition("users", "Alma")
    bench.passes(look, "Off in")


def fresh_for_every_user(bench: Bench, asset: str) -> None:
    """By the real clock, as Dagster's events are."""
    job, check = FRESH[asset], EVERYBODY_IS_SERVED
    # The others are no part of this.
    others = dict.fromkeys({"sync_watch_history", *FRESH.values()} - {job}, "off")
    also = [other for other in FRESH if FRESH[other] == job and other != asset]
    said = f"{asset} is older than a day for {{}}: see the last run of {job}."

    def after(time: timedelta) -> None:
        """So much time has passed."""
        bench.clock.moment = datetime.now(UTC) + time

    def made(*partitions: str) -> None:
        bench.made(asset, *partitions)

    def passes(says: str = "Off in APERTURE_SCHEDULES") -> None:
        if also and partitions():
            # Of the two assets that the job makes, the other one is made all the time.
            bench.made(*also, *partitions())
        bench.passes(check, says, stale_users=0)

    def fails(users: str, count: int) -> None:
        bench.fails(check, said.format(users), stale_users=count)

    def partitions() -> list[str]:
        return list(bench.instance.get_dynamic_partitions("users"))

    def seen(ago: timedelta) -> None:
        bench.do("UPDATE users SET first_seen_at = :at", at=datetime.now(UTC) - ago)

    bench.configure(schedules=others)
    after(timedelta())
    passes()
    bench.users("Alma", "Bruno")
    seen(LIMIT - HOUR)
    passes()
    seen(LIMIT + HOUR)
    fails("Alma, Bruno", 2)
    made("Alma", "Bruno")
    passes()
    after(LIMIT)
    made("Bruno")
    fails("Alma", 2 if also else 1)
    after(LIMIT + HOUR)
    fails("Alma, Bruno", 2)
    bench.configure(schedules=others | {job: "off"})
    passes(job)
    bench.configure(schedules=others)
    leave_out(bench, "Alma")
    leave_out(bench, "Bruno")
    passes()
    bench.users(*"cdefgh")
    fails("c, d, e, f, g and others", 6)


def lead_to_unwatched_episodes(bench: Bench, check: str) -> None:
    listed = {"user_id": "Alma", "work_id": 1, "next_item_id": 2, "updated_at": NOW}
    state = {"item_id": 2, "work_id": 1, "is_episode": True, "updated_at": NOW}
    say = "1 next episodes are gone or were watched: materialize shows_you_watch."
    bench.passes(check, outdated=0, entries=None)
    bench.users("Alma", "Bruno")
    bench.films(1, media_type="series")
    bench.add("shows_you_watch", listed)
    bench.add("episodes", item_id=2, series_item_id=1, work_id=1, server_item_id="e2")
    bench.passes(check, outdated=0)
    bench.add("watch_state", state, user_id="Alma", played=True)
    bench.fails(check, say, outdated=1, entries=1)
    leave_out(bench, "Alma")
    bench.passes(check, outdated=0)


# Discovery


def suggested(bench: Bench, user: str, *works: int, **facts: Any) -> None:
    """Suggest titles outside the library to a user; they are known to TMDb by the same numbers."""
    kind = {"media_type": facts.pop("media_type", "movie")}
    rows = [{"work_id": one, "rank": one} | kind for one in works]
    pool = [{"work_id": one, "tmdb_id": one, "fetched_at": NOW, "title": f"Film {one}"} | kind | facts for one in works]
    bench.add("works", *({"work_id": one} | kind for one in works))
    bench.add("discovery_pool", *pool)
    bench.add("discovery_candidates", *rows, user_id=user)


def count_what_became_known(bench: Bench, check: str) -> None:
    asked = {"user_id": "Alma", "work_id": 1, "tmdb_id": 1}
    bench.passes(check, known=0, titles=None)
    bench.users("Alma", "Bruno")
    suggested(bench, "Alma", 1, 2)
    bench.passes(check, known=0)
    bench.add("dismissals", user_id="Bruno", work_id=1)
    bench.passes(check, known=0)
    bench.add("dismissals", user_id="Alma", work_id=1)
    bench.passes(check, known=1, titles=1)
    bench.do("DELETE FROM dismissals")
    bench.passes(check, known=0)
    bench.add("watch_state", user_id="Alma", work_id=1, played=True)
    bench.passes(check, known=1)
    bench.do("DELETE FROM watch_state")
    bench.add("trakt_ratings", user_id="Alma", work_id=2)
    bench.passes(check, known=1)
    bench.do("DELETE FROM trakt_ratings")
    bench.add("seerr_requests", asked, state="pending")
    bench.passes(check, known=1)
    bench.do("UPDATE seerr_requests SET state = 'failed'")
    bench.passes(check, known=0)
    bench.films(77, tmdb_id=2)
    bench.passes(check, known=1)
    leave_out(bench, "Alma")
    bench.passes(check, known=0)


def stay_within_parental_limits(bench: Bench, check: str) -> None:

    def certified(age: str) -> None:
        bench.do("UPDATE discovery_pool SET certifications = CAST(:said AS jsonb)", said=f'{{"US": ["{age}"]}}')

    say = (
        "1 suggestions are above their user's limit or have a blocked tag: run the job generate_discovery_suggestions."
    )
    limit = "UPDATE users SET max_parental_rating = :limit WHERE name = 'Kid'"
    bench.passes(check, forbidden=0)
    bench.users("Alma", "Kid")
    suggested(bench, "Kid", 1, original_language="fi")
    certified("R")
    bench.passes(check)
    bench.do(limit, limit=13)
    bench.fails(check, say, forbidden=1)
    certified("PG-13")
    bench.passes(check, forbidden=0)
    bench.do("UPDATE discovery_pool SET certifications = NULL")
    bench.fails(check, say, forbidden=1)
    bench.do("UPDATE discovery_candidates SET user_id = 'Alma'")
    bench.passes(check, forbidden=0)
    bench.do("UPDATE discovery_candidates SET user_id = 'Kid'")
    certified("G")
    bench.do("UPDATE users SET blocked_tags = '{horror}'")
    bench.do("UPDATE discovery_pool SET keywords = '{Horror}'")
    bench.fails(check, say)
    leave_out(bench, "Kid")
    bench.passes(check, forbidden=0)


# Libraries and ratings


def are_shown_completely(bench: Bench, check: str, kind: str) -> None:
    say = "1 libraries are incomplete: publish again, and look at the warnings of the run."
    others = {"recommendations", "top_picks", "shows_you_watch"} - {kind}
    theirs = [{"list_key": f"{one}/x", "folder": one} for one in others]
    own = {"list_key": f"{kind}/Alma/movie", "folder": "own", "name": "Alma's films"}
    entry = {"list_key": own["list_key"], "entry_id": "e"}
    bench.passes(check, libraries=0, incomplete=None)
    bench.add("published_libraries", *theirs, missing=1)
    bench.passes(check, libraries=0)
    bench.add("published_libraries", own, missing=0)
    bench.passes(check, libraries=0)
    bench.add("published_entries", entry, state="placed")
    bench.passes(check, libraries=0)
    bench.do("UPDATE published_libraries SET missing = 1 WHERE folder = 'own'")
    bench.fails(check, say)
    bench.do("UPDATE published_libraries SET missing = 0 WHERE folder = 'own'")
    bench.do("UPDATE published_entries SET state = 'planned'")
    bench.fails(check, say, libraries=1)
    bench.do("DELETE FROM published_entries")
    bench.passes(check, libraries=0)
    bench.do("UPDATE published_libraries SET unverified_since = :at", at=NOW - DAY / 4)
    bench.passes(check, libraries=0)
    bench.do("UPDATE published_libraries SET unverified_since = :at", at=NOW - DAY / 4 - SECOND)
    bench.fails(
        check,
        "The media server has not shown what was placed in Alma's films for hours: publish again with",
        libraries=1,
    )


def are_on_the_server(bench: Bench, check: str) -> None:
    bench.passes(check, missing=0)
    bench.made("studio_pictures", missing=3)
    bench.fails(check, "did not accept 3 pictures.")
    bench.made("studio_pictures", missing=0)
    bench.passes(check, missing=0)


def reach_trakt_within_a_day(bench: Bench, check: str) -> None:
    say = "2 ratings have waited for more than a day. Trakt is down."
    rows = [
        {"work_id": 1, "queued_at": NOW - 2 * DAY, "detail": "Trakt is down."},
        {"work_id": 2, "queued_at": NOW - DAY},
    ]
    bench.passes(check, waiting=0, unknown_to_trakt=0)
    bench.users("Alma")
    bench.add("rating_outbox", *rows, user_id="Alma")
    bench.fails(check, "1 ratings have waited for more than a day. Trakt is down.", waiting=1)
    bench.do("UPDATE rating_outbox SET queued_at = :at WHERE work_id = 2", at=NOW - DAY - SECOND)
    bench.fails(check, say)
    bench.do("UPDATE rating_outbox SET detail = :said WHERE work_id = 1", said=NOT_FOUND)
    bench.fails(check, "1 ratings have waited for more than a day.", waiting=1, unknown_to_trakt=1)
    bench.do("DELETE FROM rating_outbox WHERE work_id = 2")
    bench.passes(check, waiting=0, unknown_to_trakt=1)
    bench.do("UPDATE rating_outbox SET detail = NULL")
    bench.do("UPDATE users SET removed_at = now()")
    bench.passes(check)


def crowd_is_usable(bench: Bench, check: str) -> None:

    def use(bench: Bench) -> None:
        one = np.ones(1)
        arrays = {name: one.astype(kind) for name, kind in ARRAYS.items()} | {"neighbours": np.zeros(1, np.uint16)}
        write_table(table_in_use(bench.settings), CrowdTable(CrowdHeader("ml-32m", 2, 9), arrays))

    def damage(bench: Bench) -> None:
        table_in_use(bench.settings).write_bytes(b"no table")

    bench.passes(check, "No crowd is set up.")
    use(bench)
    bench.passes(check, people=2, films=1, source="ml-32m", licence="none")
    damage(bench)
    bench.fails(check, "is no usable table of a crowd")


def beats_popularity(bench: Bench, check: str) -> None:

    def measured(**numbers: float) -> None:
        bench.made("recommendation_quality", **numbers)

    def of(name: str, ratio: float, high: float) -> dict[str, float]:
        return {f"{name}_ratio": ratio, f"{name}_ratio_low": ratio / 2, f"{name}_ratio_high": high}

    bench.passes(check, "Too little to tell for films and series.")
    measured(**of("films", 0.8, 1.01))
    bench.passes(check, "Too little to tell for series.")
    measured(**of("films", 1.5, 2.0), **of("series", 1.2, 1.4))
    bench.passes(check)
    measured(**of("films", 1.5, 2.0), **of("series", 0.8, 0.99))
    bench.fails(check, "The lists of series reach 0.80")
    measured(**of("films", 0.75, 0.9))
    bench.fails(check, "The lists of films reach 0.75 of the NDCG@10")


KINDS = {"recommendation": "recommendations", "top_picks": "top_picks", "shows_you_watch": "shows_you_watch"}
CHECKS: dict[str, tuple[Any, ...]] = {
    "embeddings.cover_the_library": (ERROR, cover_the_library),
    "recommendations.hold_nothing_watched": (ERROR, hold_nothing_watched),
    "recommendation_quality.beats_popularity": (WARN, beats_popularity),
    "recommendation_quality.crowd_is_usable": (WARN, crowd_is_usable),
    EVERYBODY_IS_SERVED: (WARN, history_is_fresh),
    "shows_you_watch.lead_to_unwatched_episodes": (WARN, lead_to_unwatched_episodes),
    "discovery_candidates.suit_their_users": (ERROR, stay_within_parental_limits),
    **{f"{name}_libraries.are_shown_completely": (WARN, are_shown_completely, kind) for name, kind in KINDS.items()},
    "studio_pictures.are_on_the_server": (WARN, are_on_the_server),
    "trakt_ratings.reach_trakt_within_a_day": (WARN, reach_trakt_within_a_day),
}


@pytest.mark.parametrize("name", CHECKS)
def test_a_check_fails_for_its_reason_and_passes_otherwise(bench: Bench, name: str):
    bench.severity, look, *arguments = CHECKS[name]
    look(bench, name, *arguments)


@pytest.mark.parametrize("asset", FRESH)
def test_users_are_named_for_whom_the_last_nights_made_nothing(bench: Bench, asset: str):
    fresh_for_every_user(bench, asset)


def test_what_was_requested_or_became_known_since_the_night_is_no_trouble(bench: Bench):
    count_what_became_known(bench, "discovery_candidates.suit_their_users")
