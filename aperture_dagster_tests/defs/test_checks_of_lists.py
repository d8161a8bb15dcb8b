"""Checks of what is made for users: vectors, lists, libraries, ratings and requests; each fails for its reason only."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from aperture_dagster.defs.freshness import LIMIT
from aperture_dagster.discovery.tables import REQUEST_STATES
from aperture_dagster.ratings.pushing import NOT_FOUND
from aperture_dagster.taste.crowd import table_in_use
from aperture_dagster.taste.crowd_table import ARRAYS, CrowdHeader, CrowdTable, write_table
from aperture_dagster_tests.defs.check_bench import (
    ERROR,
    NOW,
    WARN,
    Bench,
    Step,
    Then,
    add,
    both,
    configured,
    do,
    fails,
    films,
    follow,
    nothing,
    passes,
    users,
)

DAY, HOUR, SECOND = timedelta(days=1), timedelta(hours=1), timedelta(seconds=1)
FRESH = {
    "taste_profiles": "generate_recommendations",
    "recommendations": "generate_recommendations",
    "shows_you_watch": "sync_watching_libraries",
    "discovery_candidates": "generate_discovery_suggestions",
}


def leave_out(user: str) -> Then:
    """Let a user no longer take part."""
    return lambda bench: bench.instance.delete_dynamic_partition("users", user)


def vectors(*works: int, table: str = "embeddings", model: str = "m") -> Then:
    return lambda bench: [
        bench.do(f"INSERT INTO {table} VALUES (:model, :work, '', '[1,2]')", model=model, work=work) for work in works
    ]


def model(name: str, *, age: int) -> Then:
    return add("embedding_models", model_key=name, dimensions=2, activated_at=NOW - age * DAY)


def cover_the_library() -> list[Step]:
    merged = add("enriched_metadata", *({"work_id": one} for one in range(1, 21)))
    return [
        fails("no model", nothing, "no model is complete yet", missing=0, titles=0),
        fails("one that is not in use", add("embedding_models", model_key="new", dimensions=2), "no model is complete"),
        passes("an empty library", model("m", age=1), missing=0, titles=0),
        fails("no vectors", both(films(*range(1, 21)), merged), "20 of 20 titles have no vector", missing=20),
        fails("of another model", both(model("old", age=2), vectors(*range(1, 21), model="old")), "20 of 20 titles"),
        fails("a tenth has none", vectors(*range(1, 19)), "2 of 20 titles have no vector", missing=2, titles=20),
        passes("a twentieth has none", vectors(19), "1 of 20 titles have no vector", missing=1, titles=20),
        fails("a new model has none", model("new model", age=0), "20 of 20 titles have no vector"),
    ]


def hold_nothing_watched() -> list[Step]:
    seen = "UPDATE watch_state SET updated_at = :at"
    return [
        passes("nobody", nothing, watched=0),
        passes(
            "a list",
            both(users("Alma", "Bruno"), add("recommendations", user_id="Alma", work_id=1, generated_at=NOW)),
            watched=0,
        ),
        passes("seen by another", add("watch_state", user_id="Bruno", work_id=1, updated_at=NOW - DAY, played=True)),
        fails(
            "watched before",
            add("watch_state", user_id="Alma", item_id=7, work_id=1, updated_at=NOW - DAY, played=True, play_count=0),
            "1 recommended titles had been watched.",
            watched=1,
        ),
        fails(
            "two copies of it",
            add("watch_state", user_id="Alma", item_id=8, work_id=1, updated_at=NOW, played=True),
            "1 recommended titles",
            watched=1,
        ),
        passes("watched since", do(seen, at=NOW + SECOND), watched=0),
        passes("only started", do("UPDATE watch_state SET played = false, play_count = 0, updated_at = :at", at=NOW)),
        fails("watched, then unmarked", do("UPDATE watch_state SET play_count = 1"), "1 recommended", watched=1),
        passes("of somebody who left", leave_out("Alma"), watched=0),
    ]


def exist_for_every_user() -> list[Step]:
    return [
        passes("nobody", nothing, users=0, lists=None),
        fails("no lists", users("Alma", "Bruno"), "No list yet: Alma, Bruno.", users=2, without_a_list=2, lists=2),
        fails(
            "one", add("recommendations", user_id="Alma", media_type="series"), "No list yet: Bruno.", without_a_list=1
        ),
        passes("the other left", leave_out("Bruno"), users=1, without_a_list=0),
        fails("many without", users(*"cdefgh"), "No list yet: c, d, e, f, g.", users=7, without_a_list=6),
    ]


def fresh_for_every_user(asset: str) -> list[Step]:
    """By the real clock, as Dagster's events are."""
    job = FRESH[asset]
    said = f"Not made for more than a day: {{}}. See the last run of {job}."

    def after(time: timedelta) -> Then:
        """So much time has passed."""

        def wait(bench: Bench) -> None:
            bench.clock.moment = datetime.now(UTC) + time

        return wait

    def made(*partitions: str) -> Then:
        return lambda bench: bench.made(asset, *partitions)

    def seen(ago: timedelta) -> Then:
        return do("UPDATE users SET first_seen_at = :at", at=datetime.now(UTC) - ago)

    return [
        passes("nobody", after(timedelta()), stale_users=0),
        passes("newcomers", both(users("Alma", "Bruno"), seen(LIMIT - HOUR)), stale_users=0),
        fails("after a while", seen(LIMIT + HOUR), said.format("Alma, Bruno"), stale_users=2),
        passes("made", made("Alma", "Bruno"), stale_users=0),
        passes("two nights ago", after(LIMIT - timedelta(minutes=1)), stale_users=0),
        fails("for one only", both(after(LIMIT), made("Bruno")), said.format("Alma"), stale_users=1),
        fails("then for nobody", after(LIMIT + HOUR), said.format("Alma, Bruno"), stale_users=2),
        passes("switched off", configured(schedules_off=(job,)), f"APERTURE_SCHEDULES_OFF names {job}"),
        passes("both left", both(configured(), leave_out("Alma"), leave_out("Bruno")), stale_users=0),
        fails("many", users(*"cdefgh"), said.format("c, d, e, f, g and others"), stale_users=6),
    ]


def lead_to_unwatched_episodes() -> list[Step]:
    listed = {"user_id": "Alma", "work_id": 1, "next_item_id": 2, "updated_at": NOW}
    state = {"item_id": 2, "work_id": 1, "is_episode": True, "updated_at": NOW}
    say = "1 next episodes are gone or were watched: materialize shows_you_watch."
    return [
        passes("nobody", nothing, outdated=0, entries=None),
        passes(
            "the last one was watched",
            both(
                users("Alma", "Bruno"), films(1, media_type="series"), add("shows_you_watch", user_id="Alma", work_id=9)
            ),
            outdated=0,
        ),
        passes(
            "a next episode",
            both(
                do("DELETE FROM shows_you_watch"),
                add("shows_you_watch", listed),
                add("episodes", item_id=2, series_item_id=1, work_id=1, server_item_id="e2"),
            ),
            outdated=0,
        ),
        passes("another saw it", add("watch_state", state, user_id="Bruno", played=True), outdated=0),
        fails("it was watched", add("watch_state", state, user_id="Alma", played=True), say, outdated=1, entries=1),
        passes("it was watched since", do("UPDATE watch_state SET updated_at = :at", at=NOW + SECOND), outdated=0),
        fails("it is gone", do("UPDATE episodes SET removed_at = now()"), say, outdated=1),
        passes("who left", leave_out("Alma"), outdated=0),
    ]


# Discovery


def suggested(user: str, *works: int, **facts: Any) -> Then:
    """Suggest titles outside the library to a user; they are known to TMDb by the same numbers."""
    kind = {"media_type": facts.pop("media_type", "movie")}
    rows = [{"work_id": one, "rank": one} | kind for one in works]
    pool = [{"work_id": one, "tmdb_id": one, "fetched_at": NOW, "title": f"Film {one}"} | kind | facts for one in works]
    return both(add("works", *({"work_id": one} | kind for one in works)), add("discovery_pool", *pool), add(
        "discovery_candidates", *rows, user_id=user))  # fmt: skip


def hold_nothing_known() -> list[Step]:
    say = "1 suggestions are in the library or known to their user: run the job generate_discovery_suggestions."
    clear = do("DELETE FROM watch_state")
    asked = {"user_id": "Alma", "work_id": 1, "tmdb_id": 1}
    return [
        passes("nobody", nothing, known=0, titles=None),
        passes("suggestions", both(users("Alma", "Bruno"), suggested("Alma", 1, 2)), known=0),
        passes("dismissed by another", add("dismissals", user_id="Bruno", work_id=1), known=0),
        fails("dismissed", add("dismissals", user_id="Alma", work_id=1), say, known=1, titles=1),
        passes("not any more", do("DELETE FROM dismissals"), known=0),
        fails("watched", add("watch_state", user_id="Alma", work_id=1, played=True), say, known=1),
        fails("rated on Trakt", both(clear, add("trakt_ratings", user_id="Alma", work_id=2)), say, known=1),
        fails("requested", both(do("DELETE FROM trakt_ratings"), add("seerr_requests", asked, state="pending")), say),
        passes("which failed", do("UPDATE seerr_requests SET state = 'failed'"), known=0),
        fails("in the library", films(77, tmdb_id=2), say, known=1),
        fails("both", add("dismissals", user_id="Alma", work_id=1), say.replace("1", "2"), known=2),
        passes("of somebody who left", leave_out("Alma"), known=0),
    ]


def stay_within_parental_limits() -> list[Step]:
    def certified(age: str) -> Then:
        return do("UPDATE discovery_pool SET certifications = CAST(:said AS jsonb)", said=f'{{"US": ["{age}"]}}')

    say = (
        "1 suggestions are above their user's limit or have a blocked tag: run the job generate_discovery_suggestions."
    )
    limit = "UPDATE users SET max_parental_rating = :limit WHERE name = 'Kid'"
    return [
        passes("nobody", nothing, forbidden=0),
        passes("no limits", both(users("Alma", "Kid"), suggested("Kid", 1, original_language="fi"), certified("R"))),
        fails("above the limit", do(limit, limit=13), say, forbidden=1),
        passes("within the limit", certified("PG-13"), forbidden=0),
        fails("without a rating", do("UPDATE discovery_pool SET certifications = NULL"), say, forbidden=1),
        passes("not for the adult", do("UPDATE discovery_candidates SET user_id = 'Alma'"), forbidden=0),
        fails(
            "a blocked tag",
            both(
                do("UPDATE discovery_candidates SET user_id = 'Kid'"),
                certified("G"),
                do("UPDATE users SET blocked_tags = '{horror}'"),
                do("UPDATE discovery_pool SET keywords = '{Horror}'"),
            ),
            say,
        ),
        passes("of somebody who left", leave_out("Kid"), forbidden=0),
    ]


def suggestions_exist() -> list[Step]:
    key = {"tmdb_api_key": "key"}
    return [
        passes("no key", users("Alma", "Bruno"), "suggested: TMDB_API_KEY is not set.", users=2),
        passes("no pool", configured(**key), "suggested: no title is known yet."),
        passes(
            "an empty library",
            add("discovery_pool", work_id=99, tmdb_id=99, fetched_at=NOW),
            users=2,
            without_suggestions=0,
            lists=None,
        ),
        fails("films", films(50), "There are no films for Alma, Bruno: run the job", without_suggestions=2, lists=2),
        fails("for one", suggested("Alma", 1), "There are no films for Bruno: ", users=2, without_suggestions=1),
        fails(
            "series",
            films(60, media_type="series"),
            "no films for Bruno and no series for Alma, Bruno: ",
            without_suggestions=2,
        ),
        fails("a series", suggested("Alma", 2, media_type="series"), "no films for Bruno and no series for Bruno: "),
        passes("one left", leave_out("Bruno"), users=1, without_suggestions=0),
        fails("many", users(*"cdefgh"), "no films for c, d, e, f, g and 1 more and no series for c, "),
    ]


def pool_has_vectors() -> list[Step]:
    details = {"fetched_at": NOW}
    return [
        passes("nothing", nothing, titles=0, without_a_vector=0),
        passes("without details", add("discovery_pool", work_id=1, tmdb_id=1), titles=0),
        fails(
            "with details",
            add("discovery_pool", {"work_id": 2, "tmdb_id": 2}, {"work_id": 3, "tmdb_id": 3}, **details),
            "2 of 2 titles have no vector of the model in use: materialize discovery_pool.",
            titles=2,
        ),
        fails(
            "of another model",
            both(model("old", age=3), model("m", age=1), vectors(2, 3, table="discovery_vectors", model="old")),
            "2 of 2 titles",
            without_a_vector=2,
        ),
        fails("one", vectors(2, table="discovery_vectors"), "1 of 2 titles", without_a_vector=1),
        passes("both", vectors(3, table="discovery_vectors"), titles=2, without_a_vector=0),
    ]


def were_answered() -> list[Step]:
    asked = [
        {"user_id": "Alma", "work_id": work, "state": state, "requested_at": NOW - 9 * DAY}
        for work, state in enumerate(REQUEST_STATES)
        if state not in ("sending", "failed")
    ]
    state = "UPDATE seerr_requests SET state = :state, requested_at = :at WHERE work_id = 0"
    return [
        passes("none", users("Alma"), unanswered=0, failed=0, requests=None),
        passes(
            "old ones of other states",
            both(
                add("seerr_requests", *asked),
                add("seerr_requests", user_id="Alma", work_id=0, state="sending", requested_at=NOW - DAY),
            ),
            unanswered=0,
        ),
        fails(
            "unanswered for longer",
            do(state, state="sending", at=NOW - DAY - SECOND),
            "1 requests have no known answer: run `aperture requests`, which asks Seerr.",
            unanswered=1,
            requests=1,
        ),
        fails("failed", do(state, state="failed", at=NOW), "1 failed on Seerr, which could not pass", failed=1),
        passes("of somebody who left", do("UPDATE users SET removed_at = now()"), failed=0),
    ]


# Libraries and ratings


def are_shown_completely(kind: str) -> list[Step]:
    say = "1 libraries are incomplete: publish again, and look at the warnings of the run."
    others = {"recommendations", "top_picks", "shows_you_watch"} - {kind}
    theirs = [{"list_key": f"{one}/x", "folder": one} for one in others]
    own = {"list_key": f"{kind}/Alma/movie", "folder": "own", "name": "Alma's films"}
    entry = {"list_key": own["list_key"], "entry_id": "e"}
    return [
        passes("nothing is published", nothing, libraries=0, incomplete=None),
        passes("others are incomplete", add("published_libraries", *theirs, missing=1), libraries=0),
        passes("complete", add("published_libraries", own, missing=0), libraries=0),
        passes("with an entry", add("published_entries", entry, state="placed"), libraries=0),
        fails("the server shows less", do("UPDATE published_libraries SET missing = 1 WHERE folder = 'own'"), say),
        fails(
            "not placed",
            both(
                do("UPDATE published_libraries SET missing = 0 WHERE folder = 'own'"),
                do("UPDATE published_entries SET state = 'planned'"),
            ),
            say,
            libraries=1,
        ),
        fails("not removed", do("UPDATE published_entries SET state = 'leaving'"), say, libraries=1, incomplete=1),
        passes("removed", do("DELETE FROM published_entries"), libraries=0),
        passes(
            "not read yet", do("UPDATE published_libraries SET unverified_since = :at", at=NOW - DAY / 4), libraries=0
        ),
        fails(
            "not read for long",
            do("UPDATE published_libraries SET unverified_since = :at", at=NOW - DAY / 4 - SECOND),
            "The media server has not shown what was placed in Alma's films for hours: publish again with",
            libraries=1,
        ),
    ]


def are_on_the_server() -> list[Step]:
    return [
        passes("never made", nothing, missing=0),
        fails("some missing", lambda bench: bench.made("studio_pictures", missing=3), "did not accept 3 pictures."),
        passes("none", lambda bench: bench.made("studio_pictures", missing=0), missing=0),
    ]


def reach_trakt_within_a_day() -> list[Step]:
    say = "2 ratings have waited for more than a day. Trakt is down."
    rows = [
        {"work_id": 1, "queued_at": NOW - 2 * DAY, "detail": "Trakt is down."},
        {"work_id": 2, "queued_at": NOW - DAY},
    ]
    return [
        passes("none", nothing, waiting=0, unknown_to_trakt=0),
        fails(
            "for two days",
            both(users("Alma"), add("rating_outbox", *rows, user_id="Alma")),
            "1 ratings have waited for more than a day. Trakt is down.",
            waiting=1,
        ),
        fails(
            "and for a day",
            do("UPDATE rating_outbox SET queued_at = :at WHERE work_id = 2", at=NOW - DAY - SECOND),
            say,
        ),
        fails(
            "one is unknown",
            do("UPDATE rating_outbox SET detail = :said WHERE work_id = 1", said=NOT_FOUND),
            "1 ratings have waited for more than a day.",
            waiting=1,
            unknown_to_trakt=1,
        ),
        passes("pushed", do("DELETE FROM rating_outbox WHERE work_id = 2"), waiting=0, unknown_to_trakt=1),
        passes(
            "who left", both(do("UPDATE rating_outbox SET detail = NULL"), do("UPDATE users SET removed_at = now()"))
        ),
    ]


def crowd_is_usable() -> list[Step]:
    def use(bench: Bench) -> None:
        one = np.ones(1)
        arrays = {name: one.astype(kind) for name, kind in ARRAYS.items()} | {"neighbours": np.zeros(1, np.uint16)}
        write_table(table_in_use(bench.settings), CrowdTable(CrowdHeader("ml-32m", 2, 9), arrays))

    def damage(bench: Bench) -> None:
        table_in_use(bench.settings).write_bytes(b"no table")

    return [
        passes("none", nothing, "No crowd is set up."),
        passes("a table", use, people=2, films=1, source="ml-32m", licence="none"),
        fails("a damaged table", damage, "is no usable table of a crowd"),
    ]


def beats_popularity() -> list[Step]:
    def measured(**numbers: float) -> Then:
        return lambda bench: bench.made("recommendation_quality", **numbers)

    def of(name: str, ratio: float, high: float) -> dict[str, float]:
        return {f"{name}_ratio": ratio, f"{name}_ratio_low": ratio / 2, f"{name}_ratio_high": high}

    return [
        passes("never", nothing, "Too little to tell for films and series."),
        passes("a small home", measured(films_users=3, films_hits=9), "Too little to tell for films and series."),
        passes("films are unclear", measured(**of("films", 0.8, 1.01)), "Too little to tell for series."),
        passes("both are better", measured(**of("films", 1.5, 2.0), **of("series", 1.2, 1.4))),
        fails(
            "series are worse",
            measured(**of("films", 1.5, 2.0), **of("series", 0.8, 0.99)),
            "The lists of series reach 0.80",
        ),
        fails("films are worse", measured(**of("films", 0.75, 0.9)), "The lists of films reach 0.75 of the NDCG@10"),
    ]


FRESHNESS = {f"{asset}.is_fresh_for_every_user": (WARN, fresh_for_every_user(asset)) for asset in FRESH}
KINDS = {"recommendation": "recommendations", "top_picks": "top_picks", "shows_you_watch": "shows_you_watch"}
CHECKS: dict[str, tuple[Any, list[Step]]] = {
    "embeddings.cover_the_library": (ERROR, cover_the_library()),
    "recommendations.hold_nothing_watched": (ERROR, hold_nothing_watched()),
    "recommendations.exist_for_every_user": (WARN, exist_for_every_user()),
    "recommendation_quality.beats_popularity": (WARN, beats_popularity()),
    "recommendations.crowd_is_usable": (WARN, crowd_is_usable()),
    **FRESHNESS,
    "shows_you_watch.lead_to_unwatched_episodes": (WARN, lead_to_unwatched_episodes()),
    "discovery_candidates.suit_their_users": (WARN, hold_nothing_known()),
    "discovery_candidates.exist_for_every_user": (WARN, suggestions_exist()),
    "discovery_pool.have_vectors": (WARN, pool_has_vectors()),
    "seerr_requests.were_answered": (WARN, were_answered()),
    **{f"{name}_libraries.are_shown_completely": (WARN, are_shown_completely(kind)) for name, kind in KINDS.items()},
    "studio_pictures.are_on_the_server": (WARN, are_on_the_server()),
    "trakt_ratings.reach_trakt_within_a_day": (WARN, reach_trakt_within_a_day()),
}


@pytest.mark.parametrize("name", CHECKS)
def test_a_check_fails_for_its_reason_and_passes_otherwise(bench: Bench, name: str):
    severity, steps = CHECKS[name]
    follow(bench, name, steps, severity)


def test_what_a_limit_or_tag_forbids_is_an_error(bench: Bench):
    follow(bench, "discovery_candidates.suit_their_users", stay_within_parental_limits(), ERROR)
