"""Every kind of fault in every kind of request: films, series and episodes, users, histories, TMDb.

Each time, no data is lost, the message is clear, and other items are not affected. After the fault, the next run ends
in the same state as a home that never had the fault. ``Twins`` compare the two row by row.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest

from aperture_dagster.simulator.world import WorldUser
from aperture_dagster_tests.e2e.twins import JOBS, NAMES, Twins, portrait, twins_on
from aperture_dagster_tests.household import failures, metadata_of

pytestmark = pytest.mark.e2e

# For each kind of request: job, step, and how many requests succeed before the fault. Most fail half-way.
SUBJECTS = {
    "users": ("sync_users", "users", 0),
    "movies": ("sync_movies", "movies", 1),
    "series": ("sync_series", "series", 1),
    "episodes": ("sync_series", "episodes", 1),
    "watch_history": ("sync_watch_history", "watch_history", 1),
    "tmdb": ("enrich_metadata", "tmdb_metadata", 1),
}
# Transient faults, and words in the message to the operator if they persist.
RETRY_AFTER = "0.2"
OUTAGES: dict[str, tuple[dict[str, Any], str]] = {
    "429 with Retry-After": ({"status": 429, "retry_after": RETRY_AFTER}, "429"),
    "429": ({"status": 429}, "429"),
    "500": ({"status": 500}, "500"),
    "slow": ({"kind": "slow", "delay_seconds": 0.7}, "no answer in time"),
    "cut off": ({"kind": "cut_off"}, "closed"),
    "malformed": ({"kind": "malformed_json"}, "not JSON (application/json"),
    "html": ({"kind": "html"}, "not JSON (text/html"),
}
# The field without which an answer is unreadable, if it is not the list of a listing.
FIELDS = {"tmdb": "id", "libraries": "ItemId"}
KEPT = ("kept", "Nothing was changed", "nothing was removed", "no mark was removed")
FEW = ("429 with Retry-After", "cut off", "html")
# Answers that are valid JSON, but not the expected data.
SHAPES: dict[str, dict[str, Any]] = {
    "empty object": {"kind": "empty_object"},
    "field missing": {"kind": "missing_field"},
    "wrong type": {"kind": "wrong_type"},
}


AT_NIGHT = pytest.mark.nightly(
    reason="Every fault in every request of both servers: a minute and a half of processor time.",
    instead="the same test on the other server, or with other requests",
)
jellyfin_first = pytest.mark.parametrize("server", ["jellyfin", pytest.param("emby", marks=AT_NIGHT)])
emby_first = pytest.mark.parametrize("server", ["emby", pytest.param("jellyfin", marks=AT_NIGHT)])
# What `make test` has. Other reads, and those of Jellyfin, have the same transport.
BY_DAY = {("emby", "series")}
EVERYTHING = [(server, subject) for server in ("jellyfin", "emby") for subject in SUBJECTS]
MATRIX = [
    *((server, subject, FEW) for server, subject in EVERYTHING if (server, subject) in BY_DAY),
    # Emby has other requests, but the same transport.
    *(
        pytest.param(server, subject, tuple(OUTAGES) if server == "jellyfin" else FEW, marks=AT_NIGHT)
        for server, subject in EVERYTHING
        if server == "jellyfin" or (server, subject) not in BY_DAY
    ),
]


@pytest.fixture
def twins(postgres: str, serve: Callable[..., Any]) -> Callable[[str], AbstractContextManager[Twins]]:
    """``with twins("emby") as twins``: two homes with data, on stand-ins."""
    return lambda server: twins_on(server, postgres, serve, f"twins_{uuid.uuid4().hex[:8]}")


@pytest.mark.parametrize(("server", "subject", "names"), MATRIX)
def test_an_outage_loses_nothing_and_a_transient_one_is_retried(
    twins, server: str, subject: str, names: tuple[str, ...]
):
    job, step, passing = SUBJECTS[subject]
    # One unreadable title is not an outage.
    unlike = ("slow", "malformed") if subject == "tmdb" else ()
    faults = {name: OUTAGES[name] for name in names if name not in unlike}
    with twins(server) as home:
        home.add_news()
        before = portrait(home.troubled)
        home.update_undisturbed(job)
        impatient = home.with_settings(http_attempts=2, media_server_timeout_seconds=0.35)
        for fault, why in faults.values():
            home.fault(fault, subject, after=passing, retry_after=0 if "retry_after" in fault else None)
            result = home.run(impatient, job)
            assert list(failures(result)) == [step], (fault, failures(result))
            said = home.messages(result)[0]
            assert ("TMDb" if subject == "tmdb" else NAMES[server]) in said, said
            assert why in said and "kept" in said, said
            home.assert_nothing_lost(before)
            home.state.clear_faults()
        # All transient faults once, some of them in a row.
        passing_faults = [fault for name, (fault, _) in faults.items() if name != "malformed"]
        for number, fault in enumerate(passing_faults):
            home.fault(fault, subject, after=passing if number == 0 else (number + 1) % 2, times=1)
        patient = home.with_settings(
            http_attempts=10, http_retry_wait_seconds=0.001, media_server_timeout_seconds=0.35, media_server_page_size=3
        )
        home.state.reset_counters()
        home.must(patient, job)
        assert home.state.faults.active() == {}, "every fault occurred"
        arrivals = home.state.arrivals(*home.target(subject))
        first, met_at = arrivals[passing]
        again_at = next(at for target, at in arrivals[passing + 1 :] if target == first)
        assert again_at - met_at >= float(RETRY_AFTER)
        home.assert_equal()


@pytest.mark.nightly(
    reason="Twins of a household, whose tables are compared row by row.",
    instead="resources/test_jellyfin.py::test_a_malformed_answer_fails_the_listing",
)
@emby_first
def test_an_answer_of_another_shape_fails_its_step_and_loses_nothing(twins, server: str):
    with twins(server) as home:
        home.add_news()
        before = portrait(home.troubled)
        home.update_undisturbed()
        for name, subject in shapes(server):
            job, step, passing = SUBJECTS.get(subject, ("sync_movies", "movies", 0))
            home.fault(SHAPES[name], subject, after=passing, field=FIELDS.get(subject))
            result = home.run(home.troubled, job)
            messages = home.messages(result)
            if subject == "tmdb":
                # Each answer is about one title and does not affect the others.
                messages = [metadata_of(result, step)["errors"]]
                assert result.success and messages != [0]
            else:
                assert list(failures(result)) == [step], (name, subject, failures(result))
                assert NAMES[server] in messages[0] and "expected" in messages[0] and "kept" in messages[0], messages
            home.assert_nothing_lost(before)
            home.state.clear_faults()
        for job in JOBS:
            home.must(home.troubled, job)
        home.assert_equal()


def shapes(server: str) -> list[tuple[str, str]]:
    """Return pairs of shape and subject. A bare list has no fields except those of its entries."""
    bare = {"users", "libraries"} if server == "jellyfin" else set()
    return [
        (name, subject)
        for name in SHAPES
        for subject in (*SUBJECTS, "libraries")
        if name == "empty object" or (subject not in bare and (server == "jellyfin" or name == "wrong type"))
    ]


@pytest.mark.nightly(
    reason="A whole household and its runs, for what the part beneath shows alone.",
    instead="storage/test_catalogue_sync.py::test_an_empty_answer_removes_nothing",
)
@emby_first
def test_an_empty_answer_removes_nothing(twins, server: str):
    nothing = {"kind": "empty_list"}
    with twins(server) as home:
        before = portrait(home.troubled)
        for subject in ("users", "libraries", "movies", "series", "episodes", "watch_history"):
            job, step, _ = SUBJECTS.get(subject, ("sync_movies", "movies", 0))
            home.fault(nothing, subject)
            config = {"watch_history": {"full": True}} if subject == "watch_history" else {}
            result = home.run(home.troubled, job, **config)
            assert list(failures(result)) == [step], (subject, failures(result))
            said = home.messages(result)[0]
            assert "server" in said and any(word in said for word in KEPT), said
            home.assert_like(before)
            home.state.clear_faults()
        for subject in ("movies", "series", "episodes"):
            # The second page is empty, so the listing is incomplete.
            home.fault(nothing, subject, after=1)
        for job in ("sync_movies", "sync_series"):
            messages = home.messages(home.must(home.troubled, job))
            assert messages and all("nothing is removed" in said for said in messages), messages
        home.assert_like(before)
        home.state.clear_faults()
        for job in JOBS:
            home.must(home.troubled, job)
        home.assert_like(before)
        assert len(home.troubled.everyone()) == 4


@pytest.mark.nightly(
    reason="Twins of a household, whose tables are compared row by row.",
    instead="storage/test_catalogue.py::test_an_unreadable_item_is_not_removed",
)
@jellyfin_first
def test_an_unreadable_entry_affects_only_itself(twins, server: str):
    with twins(server) as home:
        home.add_news()
        before = portrait(home.troubled)
        ids = {name: home.one_that_changes(name) for name in ("users", "movies", "series", "episodes", "watch_history")}
        home.update_undisturbed()
        for subject, field, table, kind in (
            ("users", "Id", "users", "missing_field"),
            ("users", "Name", "users", "missing_field"),
            ("movies", "Overview", "titles", "wrong_type"),
            ("episodes", "SeriesId", "episodes", "missing_field"),
            ("series", "Name", "titles", "missing_field"),
            ("watch_history", "UserData", "watch_state", "missing_field"),
        ):
            job, step, _ = SUBJECTS[subject]
            home.fault({"kind": kind}, subject, field=field, entry_contains=ids[subject])
            result = home.must(home.troubled, job)
            partition = "ada0" if subject == "watch_history" else None
            assert metadata_of(result, step, partition)["unreadable"] == 1, subject
            assert subject == "watch_history" or "1 " in home.messages(result)[0]
            home.assert_nothing_lost(before)
            assert (portrait(home.undisturbed)[table] - portrait(home.troubled)[table]).total() >= 1, (
                "the entry is not updated"
            )
            home.state.clear_faults()
        wrong: tuple[dict[str, Any], ...] = ({"status": 500}, {"status": 400}, {"kind": "missing_field", "field": "id"})
        for fault, film in zip(wrong, home.due_films(), strict=False):
            home.fault(fault, "tmdb", path_contains=f"/movie/{film}?")
        home.must(home.troubled, "enrich_metadata")
        home.assert_nothing_lost(before)
        outcomes = home.troubled.rows("SELECT detail FROM fetches WHERE source = 'tmdb' AND outcome = 'error'")
        assert len(outcomes) == len(wrong)
        home.state.clear_faults()
        for job in JOBS:
            home.must(home.troubled, job)
        home.assert_equal()


@pytest.mark.nightly(
    reason="Twins of a household, whose tables are compared row by row.",
    instead="storage/test_catalogue_sync.py::test_shifting_pages_remove_nothing",
)
@jellyfin_first
def test_pages_that_shift_during_a_listing_lose_nothing_and_the_next_run_completes(twins, server: str):
    with twins(server) as home:
        before = portrait(home.troubled)
        leafing = home.with_settings(media_server_page_size=3)
        for subject, kind in (("movies", "movie"), ("series", "series"), ("episodes", "series")):
            job = SUBJECTS[subject][0]
            first, *_, last = home.oldest_first(kind)
            shift = {"kind": "shift", "leaves": first}
            if subject != "episodes":
                # As many titles come as leave, so the total does not change.
                home.state.remove_title(last)
                shift["comes"] = last
            home.fault(shift, subject, after=1, times=1)
            messages = home.messages(home.must(leafing, job))
            assert any("changed while it was read; nothing is removed" in said for said in messages), (
                subject,
                messages,
            )
            assert home.state.faults.active() == {}
            # One title has left, which is within the limit for removals.
            home.update_undisturbed(job)
            home.assert_nothing_lost(before)
            home.must(leafing, job)
            home.assert_equal()
            home.state.shift(comes=first)
            home.update_undisturbed(job)
            home.must(leafing, job)
            home.assert_like(before)
        # The same in a history: a mark that moved to another page is not removed.
        played = home.played_by("ada0")
        home.state.remove_title(played[-1])
        home.fault({"kind": "shift", "leaves": played[0], "comes": played[-1]}, "watch_history", after=1, times=1)
        result = home.must(leafing, "sync_watch_history", watch_history={"full": True})
        assert metadata_of(result, "watch_history", "ada0")["compared_in_full"] is False
        assert portrait(home.troubled)["watch_state"] == before["watch_state"]
        home.state.shift(comes=played[0])
        home.must(home.troubled, "sync_watch_history")
        home.assert_like(before)


@pytest.mark.nightly(
    reason="Both servers again, with other ids.",
    instead="e2e/test_identity.py::test_new_server_ids_of_every_item_change_nothing_for_any_user",
)
@pytest.mark.parametrize("server", ["jellyfin", "emby"])
def test_new_ids_of_all_watched_items_lose_no_mark_whichever_job_runs_first(twins, server: str):
    with twins(server) as home:
        before = home.troubled.snapshot()
        for title in home.world.titles:
            home.state.reassign_item_ids(title.key)
        full = {"watch_history": {"full": True}}
        result = home.run(home.troubled, "sync_watch_history", **full)
        for said in home.messages(result):
            assert "no mark was removed" in said or "could not be served" in said, said
        assert same_but_ids(home.troubled.snapshot()) == same_but_ids(before)
        home.must(home.troubled, "sync_movies")
        metadata = metadata_of(home.must(home.troubled, "sync_series"), "episodes")
        assert (metadata["added"], metadata["removed"]) == (0, 0)
        home.state.reset_counters()
        home.must(home.troubled, "enrich_metadata")
        assert home.state.requests("tmdb") == 0, "new server ids cause no requests to TMDb"
        home.must(home.troubled, "sync_watch_history", **full)
        assert same_but_ids(home.troubled.snapshot()) == same_but_ids(before)
        # A recreated user is a new user; the history of the old one is kept, and nobody else is affected.
        before_that = home.troubled.snapshot()
        home.state.remove_user("bela1")
        home.state.add_user(WorldUser("bela1"))
        home.must(home.troubled, "sync_watch_history")
        home.must(home.troubled, "sync_users")
        after = home.troubled.snapshot()
        assert (after["watch_state"], after["plays"]) == (before_that["watch_state"], before_that["plays"])
        both = home.troubled.rows("SELECT removed_at IS NULL AS here FROM users WHERE name = 'bela1' ORDER BY 1")
        assert [row["here"] for row in both] == [False, True]


@pytest.mark.nightly(
    reason="A whole household and its runs, for what the part beneath shows alone.",
    instead="storage/test_catalogue.py::test_a_large_loss_of_a_library_is_applied_only_when_accepted",
)
@jellyfin_first
def test_a_missing_library_is_kept_until_it_returns_or_the_operator_accepts_the_loss(twins, server: str):
    with twins(server) as home:
        before = portrait(home.troubled)
        for library, job, steps, gone in (
            ("Movies", "sync_movies", ["movies"], "media_type = 'movie'"),
            ("TV Shows", "sync_series", ["series"], "media_type = 'series'"),
        ):
            home.state.hide_library(library)
            result = home.run(home.troubled, job)
            assert list(failures(result)) == steps
            said = home.messages(result)[0]
            assert f"of {library!r} (100%)" in said and "nothing was removed" in said, said
            # Nor does the full comparison of histories remove marks of its items.
            home.run(home.troubled, "sync_watch_history", watch_history={"full": True})
            home.assert_like(before)
            home.state.show_library(library)
            home.must(home.troubled, job)
            home.must(home.troubled, "sync_watch_history", watch_history={"full": True})
            home.assert_like(before)
            home.state.hide_library(library)
            home.must(home.troubled, job, **accepted(said))
            here = f"SELECT count(*) FROM titles WHERE {gone} AND removed_at IS NULL"
            assert home.troubled.value(here) == 0
            home.must(home.troubled, job)
            after = portrait(home.troubled)
            assert (after["watch_state"], after["plays"]) == (before["watch_state"], before["plays"])
            if library == "TV Shows":
                assert home.troubled.value("SELECT count(*) FROM episodes WHERE removed_at IS NULL") == 0
            home.state.show_library(library)
            home.must(home.troubled, job)
            home.assert_like(before)


@pytest.mark.nightly(
    reason="A whole household and its runs, for what the part beneath shows alone.",
    instead="storage/test_catalogue_sync.py::test_a_large_loss_is_refused_until_the_operator_accepts_it",
)
@emby_first
def test_a_large_loss_of_titles_is_refused_until_the_operator_accepts_it(twins, server: str):
    with twins(server) as home:
        before = portrait(home.troubled)
        films, shows = home.oldest_first("movie"), home.oldest_first("series")
        lost = [*films[: round(0.9 * len(films))], *shows[: round(0.6 * len(shows))]]
        for key in lost:
            home.state.remove_title(key)
        kept = portrait(home.troubled)
        result = home.run(home.troubled, "sync_movies")
        assert list(failures(result)) == ["movies"]
        said = home.messages(result)[0]
        assert "nothing was removed" in said, said
        home.assert_like(kept)
        home.must(home.troubled, "sync_movies", **accepted(said))
        # Six series are within the limit.
        home.must(home.troubled, "sync_series")
        left = "SELECT count(DISTINCT work_id) FROM titles WHERE removed_at IS NULL"
        assert home.troubled.value(left) == len(films) + len(shows) - len(lost)
        orphans = "SELECT count(*) FROM episodes e JOIN titles t ON t.item_id = e.series_item_id "
        assert home.troubled.value(f"{orphans} WHERE e.removed_at IS NULL AND t.removed_at IS NOT NULL") == 0
        for key in lost:
            home.state.add_title(home.state.titles[key])
        for job in JOBS:
            home.must(home.troubled, job)
        home.assert_like(before)
        # Only episodes.
        episodes = home.lose_episodes(0.6)
        result = home.run(home.troubled, "sync_series")
        assert list(failures(result)) == ["episodes"]
        said = home.messages(result)[0]
        assert "episodes" in said and "nothing was removed" in said, said
        home.assert_like(before)
        assert metadata_of(home.must(home.troubled, "sync_series", **accepted(said)), "episodes")["removed"] == episodes


@pytest.mark.nightly(
    reason="Twins of a household, whose tables are compared row by row.",
    instead="e2e/test_history_reads.py::test_a_history_that_is_suddenly_gone_is_kept_until_the_operator_accepts_it",
)
@jellyfin_first
def test_a_large_loss_of_history_is_refused_until_the_operator_accepts_it(twins, server: str):
    full = {"watch_history": {"full": True}}
    with twins(server) as home:
        for share in (0.6, 1.0):
            before = portrait(home.troubled)
            home.forget_history("ada0", share)
            result = home.run(home.troubled, "sync_watch_history", **full)
            said = home.messages(result)[0]
            assert said.startswith("1 of 4 users could not be served, the others were. ada0:"), said
            assert "no mark was removed" in said, said
            home.assert_like(before)
            result = home.must(home.troubled, "sync_watch_history", **accepted(said))
            assert metadata_of(result, "watch_history", "ada0")["marks_taken_back"] > 0
            assert portrait(home.troubled)["plays"] == before["plays"], "the log of plays keeps everything"
        marked = (
            "SELECT count(*) FROM watch_state JOIN users USING (user_id) "
            "WHERE name = 'ada0' AND (played OR position_share > 0)"
        )
        assert home.troubled.value(marked) == 0


def accepted(said: str) -> dict[str, Any]:
    """Return the run config that a message suggests."""
    named = re.search(r"run (\w+) with the config accept_removals: true", said)
    assert named, said
    return {named[1]: {"accept_removals": True}}


def same_but_ids(snapshot: dict[str, list[tuple[Any, ...]]]) -> dict[str, Any]:
    """Return the tables that use the home's own ids, and the number of rows of the others."""
    found = {
        table: snapshot[table] for table in ("watch_state", "plays", "works", "tmdb_metadata", "enriched_metadata")
    }
    return found | {table: len(snapshot[table]) for table in ("titles", "episodes", "users")}
