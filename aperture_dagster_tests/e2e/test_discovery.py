"""From what users like to what is suggested to them, also of what the library does not have."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url

from aperture_dagster.partitions import USERS
from aperture_dagster.postgres.connection import close_engine
from aperture_dagster.settings import load_settings
from aperture_dagster.simulator.responses import FaultRule
from aperture_dagster.simulator.server import running_simulator
from aperture_dagster.simulator.settings import SimulatorSettings
from aperture_dagster.taste.crowd import table_in_use
from aperture_dagster.taste.crowd_table import build_table, write_table
from aperture_dagster.trakt.accounts import TraktAccounts
from aperture_dagster.trakt.records import parse_tokens
from aperture_dagster_tests.databases import database_copy
from aperture_dagster_tests.e2e.discovery import DAY, JOB, NOW, Discovering, command, dismiss, odd_world, outside, title
from aperture_dagster_tests.household import Household, SetClock, failures, metadata_of, run_check
from aperture_dagster_tests.instances import instance_in_memory

pytestmark = pytest.mark.e2e

WORLD = odd_world()
PEOPLE = ("ann", "bob", "kid")
MADE = ("discovery_candidates", "discovery_vectors", "discovery_pool")


@pytest.fixture(scope="module")
def prepared(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A database of a household that has discovered titles once; its name."""
    with database_copy(postgres) as url:
        with running_simulator(WORLD) as simulator, instance_in_memory() as instance:
            settings = load_settings(
                home=tmp_path_factory.mktemp("prepared"), database_url=url, timezone="UTC", country="DE",
                discovery_per_list=200, tmdb_url=simulator.tmdb_url, tmdb_api_key="demo-tmdb-key", tmdb_requests=9000,
                media_server_url=simulator.jellyfin_url, media_server_api_key="demo-jellyfin-key",
                embedder_url=simulator.openai_url, embedder_api_key="demo-openai-key", embedder_model="demo-embedding",
            )  # fmt: skip
            clock = SetClock(NOW)
            home = Discovering(simulator, Household(settings, instance, clock=clock), clock)
            home.prepare()
            home.discover()
        close_engine(url.replace("postgresql://", "postgresql+psycopg://"))
        yield str(make_url(url).database)


@pytest.fixture
def database_url(postgres: str, prepared: str) -> Iterator[str]:
    """A copy of the prepared database."""
    with database_copy(postgres, prepared) as url:
        yield url


@pytest.fixture
def discovered(household: Any) -> Any:
    """``with discovered(**settings) as home``: some minutes after the first discovery.

    ``undone``: before the first discovery.
    """

    @contextmanager
    def living(*, undone: bool = False, stand_ins: Any = None, **overrides: Any) -> Iterator[Discovering]:
        clock = SetClock(NOW)
        overrides = {"country": "DE", "http_attempts": 1, "discovery_per_list": 200} | overrides
        stand_ins = SimulatorSettings(**stand_ins) if stand_ins else None
        with household(WORLD, {"clock": clock}, stand_ins=stand_ins, **overrides) as (simulator, home):
            home.instance.add_dynamic_partitions(USERS, list(PEOPLE))
            if undone:
                for table in (*MADE, "discovery_lists"):
                    home.rows(f"DELETE FROM {table} RETURNING 1")
                home.rows("DELETE FROM fetches WHERE source = 'tmdb_discovery' RETURNING 1")
            yield Discovering(simulator, home, clock)

    return living


# What is suggested


def test_people_get_what_resembles_their_taste_and_nothing_with_something_against_it(discovered: Any) -> None:
    with discovered() as home:
        ann, bob, kid = (home.titles(user) for user in PEOPLE)
        assert {one.split()[0] for one in ann[:5]} <= {"Heist", "For", "Unrated", "Documentary"}
        assert {one.split()[0] for one in bob[:5]} == {"Ghost"}
        for one in (ann, bob, kid):
            assert not {"Adult", "Erotic", "Unreleased", "In Cinemas", "Few Votes", "Korean"} & set(one)
            assert "Owned As Another" not in one and len(set(one)) == len(one)
        assert {"For Adults", "Unrated"} <= set(ann)
        assert not {"For Adults", "Unrated"} & set(kid) and "Heist 1030" in kid
        assert home.titles("ann", "series")[0].startswith("Heist")


def test_the_command_shows_lists_with_reasons_and_where_to_stream(discovered: Any) -> None:
    with discovered() as home:
        said = command(home, "discover", "ann", "--count", "3")
        rows = [line for line in said.splitlines() if "Heist" in line]
        assert len(rows) >= 5 and "People who liked Heist 3 also liked this" in rows[0]
        assert "Where to stream (DE)" in said and "JustWatch" in said and "TMDb" in said
        dismiss(home, "kid", "Heist 1031")
        assert "tmdb:movie:1031" in command(home, "discover", "kid", "--dismissed")


def test_a_title_that_only_similar_lists_name_is_suggested_for_its_likeness(discovered: Any) -> None:
    with discovered(undone=True) as home:
        only_similar = title(3100, "heist", title="Heist Lookalike", vote_count=60, vote_average=5.0)
        home.state.add_title(only_similar)
        home.state.add_fault(FaultRule("tmdb", path_contains="discover", status=400))
        home.home.rows(
            "UPDATE tmdb_metadata SET similar_tmdb_ids = CASE WHEN work_id IN (SELECT work_id FROM titles WHERE "
            "media_type = 'movie' AND tmdb_id = 3) THEN '{3100}' ELSE '{}' END::bigint[] RETURNING 1"
        )
        home.discover()
        row = next(row for row in home.rows("ann") if row["tmdb_id"] == 3100)
        assert row["components"]["recommended_from"] <= 0, "nothing says who liked both"
        lines = command(home, "discover", "ann", "--count", "99").splitlines()
        (shown,) = (line for line in lines if "Lookalike" in line)
        assert "Because you liked Heist" in shown and "People who liked" not in shown
        assert home.details()["movie/3100"] == 1 and home.state.requests("tmdb", "similar") == 0


# Requests


def test_a_day_later_only_what_is_new_or_old_is_requested(discovered: Any) -> None:
    with discovered() as home:
        home.clock.moment += DAY
        result = home.home.must(JOB, users=list(PEOPLE))
        assert metadata_of(result, "discovery_pool")["details_requested"] == 0 and home.lists() == 0, "all are known"
        shown = metadata_of(result, "discovery_candidates", "ann")
        row = shown["films"].splitlines()[2]
        assert "liked Heist" in row and "![](" in row and "/w92/" in row, row
        assert len(shown["films"]) < 1000 and "JustWatch" in shown["attribution"]
        home.state.add_title(title(2050, "heist", title="Newcomer", vote_count=5000))
        home.clock.moment += 14 * DAY
        metadata = home.discover()
        assert "Newcomer" in home.titles("ann")
        assert max(home.details().values()) == 1
        # At the border of two pages, a list repeats one title and hides another.
        assert metadata["details_requested"] >= metadata["dagster/row_count"] - 2
        assert metadata["embedded"] == metadata["added"] <= 3, "equal texts are not embedded again"


# What users and the library have


def test_a_dismissed_title_leaves_at_once_for_its_user_alone_and_comes_back_when_undone(discovered: Any) -> None:
    with discovered(discovery_per_list=10) as home:
        home.suggest()
        before = home.titles("ann")
        assert "Heist 1030" in before
        said = dismiss(home, "ann", "Heist 1030 (2010)")
        assert said.strip() == "Heist 1030 (2010) is not suggested to ann any more."
        said = dismiss(home, "ann", "Heist 6 (2010)")
        assert said.endswith(" It has left their list.\n"), "it is in the library"
        dismiss(home, "ann", "Heist 6 (2010)", "--undo")
        assert home.titles("ann") == [one for one in before if one != "Heist 1030"] and "Heist 1030" in home.titles(
            "kid"
        )
        home.suggest()
        after = home.titles("ann")
        assert len(after) == 10 and "Heist 1030" not in after, "another one takes its place"
        assert "may be suggested to ann again" in dismiss(home, "ann", "imdb:tt0001030", "--undo")
        home.suggest()
        assert home.titles("ann") == before


def test_what_the_library_gets_leaves_all_lists_and_the_pool(discovered: Any) -> None:
    with discovered() as home:
        assert "Heist 1030" in command(home, "discover", "ann")
        home.state.add_title(outside(3, "heist", copies=2))
        home.home.must("sync_movies")
        found = run_check(home.home, "discovery_candidates", "suit_their_users")
        assert found.passed and found.metadata["known"].value == 3
        assert "Heist 1030" not in command(home, "discover", "ann")
        home.state.add_fault(FaultRule("tmdb", status=503))
        home.clock.moment += 15 * DAY
        lists = home.home.snapshot()["discovery_lists"]
        result = home.run()
        assert not result.success and "503" in failures(result)["discovery_pool"]
        assert home.home.snapshot()["discovery_lists"] == lists, "TMDb is down, but what is here is known"
        assert "Heist 1030" not in command(home, "discover", "ann")
        home.state.clear_faults()
        home.discover()
        assert "Heist 1030" not in {*home.titles("ann"), *home.titles("kid")}
        assert run_check(home.home, "discovery_candidates", "suit_their_users").passed


# What members have seen elsewhere

GHOSTS = [
    title(4000 + number, "ghost", title=f"Old Ghost {number}", vote_count=3, recommended_tmdb_ids=(10,))
    for number in range(12)
]
ELSEWHERE = [
    *GHOSTS,
    title(4100, "space", title="Twin", vote_count=3, recommended_tmdb_ids=()),
    title(4101, "space", title="Twin", vote_count=3, recommended_tmdb_ids=()),
    title(4103, "space", title="Known By Id", vote_count=3, imdb_id="tt0004103", recommended_tmdb_ids=()),
    title(4102, "ghost", "series", title="Ghost Stories", vote_count=3, recommended_tmdb_ids=()),
]
IMDB = "Const,Your Rating,Date Rated,Title,Title Type,Year\n"


def bring(
    home: Discovering, folder: Path, user: str, *, letterboxd: str = "", imdb: str = "", netflix: str = ""
) -> None:
    """Import a member's files."""
    for name, content in (
        ("ratings.csv", f"Date,Name,Year,Letterboxd URI,Rating\n{letterboxd}" if letterboxd else ""),
        ("imdb.csv", f"{IMDB}{imdb}" if imdb else ""),
        ("NetflixViewingHistory.csv", f"Title,Date\n{netflix}" if netflix else ""),
    ):
        if content:
            (folder / name).write_text(content)
            command(home, "history", "import", str(folder / name), "--user", user, "--apply")


def test_what_a_member_has_seen_elsewhere_counts_for_their_taste_and_is_suggested_to_nobody(
    discovered: Any, tmp_path: Path
) -> None:
    with discovered() as home:
        for one in ELSEWHERE:
            home.state.add_title(one)

        def listed(user: str) -> list[str]:
            home.learn()
            home.home.must("generate_recommendations", users=home.home.everyone())
            statement = """
                SELECT n.title FROM recommendations r JOIN users u USING (user_id) JOIN work_names n USING (work_id)
                WHERE u.name = :user AND r.media_type = 'movie' ORDER BY rank"""
            return [row["title"] for row in home.home.rows(statement, user=user)]

        def kept() -> dict[str, Any]:
            return {row["title"]: row["works"] for row in home.home.rows(
                "SELECT title, count(work_id) AS works FROM seen_elsewhere GROUP BY title"
            )}  # fmt: skip

        before = listed("ann")
        assert before[0].startswith("Heist")
        bring(
            home, tmp_path, "ann",
            letterboxd="".join(f"2026-05-01,{one.title},2010,x,5\n" for one in GHOSTS) + "2026-05-01,Twin,2010,x,5\n",
            imdb="tt0004103,9,2026-05-02,Another Name,Movie,2010\ntt0504102102,7,2026-05-02,Two,TV Episode,2010\n",
            netflix='"Ghost Stories: Season 1: One","1/13/26"\n"Twin","1/14/26"\n',
        )  # fmt: skip
        figures = home.discover()
        assert figures["seen_looked_up"] == len(GHOSTS) + 5
        unclear = {name for name, works in kept().items() if not works}
        assert unclear == {"Twin"}, "there are two of that name"
        assert set(kept()) - unclear >= {one.title for one in GHOSTS} | {"Two", "Ghost Stories", "Another Name"}
        numbers = {4000 + number for number in range(12)} | {4103}
        pool = home.home.rows("SELECT tmdb_id, media_type FROM discovery_pool WHERE wanted_at IS NULL")
        assert {row["tmdb_id"] for row in pool} == numbers | {4102}
        assert not {one.title for one in ELSEWHERE} & {name for user in PEOPLE for name in home.titles(user)}
        after = listed("ann")
        assert after[0] == "Ghost 10", "her ghosts lead to it"
        assert not {one.title for one in ELSEWHERE} & set(after)
        because = home.home.value(
            "SELECT array_agg(DISTINCT n.title) FROM recommendations r JOIN users u USING (user_id) "
            "CROSS JOIN LATERAL unnest(r.because) b JOIN work_names n ON n.work_id = b WHERE u.name = 'ann'"
        )
        assert {one.title for one in GHOSTS} & set(because), "reasons tell what led to it"
        home.clock.moment += DAY
        assert home.discover()["details_requested"] == 0 == home.discover()["seen_looked_up"]
        for place in range(len(home.home.rows("SELECT 1 FROM history_imports"))):
            command(home, "history", "take-back", "ann", str(place + 1))
        home.discover()
        assert not home.home.rows("SELECT 1 FROM discovery_pool WHERE wanted_at IS NULL")
        assert not home.home.rows("SELECT 1 FROM fetches WHERE source = 'tmdb_seen'")
        assert listed("ann") == before


@pytest.mark.nightly(
    reason="A second cycle of discovery.",
    instead="e2e/test_discovery.py"
    "::test_what_a_member_has_seen_elsewhere_counts_for_their_taste_and_is_suggested_to_nobody",
)
def test_another_member_is_suggested_what_one_has_seen_elsewhere_once_lists_lead_to_it(
    discovered: Any, tmp_path: Path
) -> None:
    with discovered() as home:
        assert "Ghost 1010" in home.titles("bob")
        bring(home, tmp_path, "ann", letterboxd="2026-05-01,Ghost 1010,2010,x,5\n2026-05-01,Late Ghost,2010,x,5\n")
        home.state.add_title(title(4200, "ghost", title="Late Ghost", vote_count=3, recommended_tmdb_ids=(10,)))
        home.discover()
        assert "Ghost 1010" in home.titles("bob") and "Ghost 1010" not in home.titles("ann")
        assert "Late Ghost" not in home.titles("bob")
        home.state.add_title(title(4200, "ghost", title="Late Ghost", vote_count=5000, recommended_tmdb_ids=(10,)))
        home.clock.moment += 15 * DAY
        home.discover()
        assert home.details()["movie/4200"] == 2, "what is suggested has to be new"
        assert "Late Ghost" in home.titles("bob") and "Late Ghost" not in home.titles("ann")
        home.clock.moment += 70 * DAY
        home.state.add_fault(FaultRule("tmdb", path_contains="discover", status=400))
        home.discover()
        assert "Late Ghost" not in home.titles("bob")
        assert home.home.value("SELECT wanted_at IS NULL FROM discovery_pool WHERE tmdb_id = 4200"), "kept for ann"


# Trakt


def test_what_trakt_recommends_is_asked_once_a_day_and_an_empty_answer_or_failure_keeps_it(discovered: Any) -> None:
    # Nothing else leads to them: no list of recommendations, and no trait of what ann likes.
    titles = [
        title(3000 + number, "space", title=f"Unheard {number}", vote_count=400, recommended_tmdb_ids=())
        for number in range(3)
    ]
    # No list of TMDb's has a title.
    with discovered(discovery_minimum_votes=100_000) as home:
        stand_ins = home.state.settings
        home.use(
            trakt_url=home.simulator.trakt_url,
            trakt_client_id=stand_ins.trakt_client_id,
            trakt_client_secret=stand_ins.trakt_client_secret,
            secret_key="a key with which tokens are encrypted",
        )
        for one in titles:
            home.state.add_title(one)
        home.clock.moment += timedelta(minutes=5)
        tokens = parse_tokens(home.state.trakt_connect("ann"), home.clock.now())
        user_id = home.home.value("SELECT user_id FROM users WHERE name = 'ann'")
        TraktAccounts(home.home.settings, home.home.database, home.clock).connect(user_id, tokens)
        home.state.trakt_recommend("ann", [one.key for one in titles])

        def unheard() -> set[str]:
            """The titles of Trakt's list that are wanted in the pool now."""
            rows = home.home.rows(
                "SELECT title FROM discovery_pool WHERE title LIKE 'Unheard%' "
                "AND wanted_at = (SELECT max(wanted_at) FROM discovery_pool)"
            )
            return {row["title"] for row in rows}

        def asked() -> int:
            """The number of requests for recommendations to Trakt."""
            return home.state.requests("trakt", "recommendations")

        assert home.discover("trakt_recommendations")["requests"] == 2
        every = {one.title for one in titles}
        assert unheard() == every
        home.use(discovery_minimum_votes=50)
        home.suggest()
        assert every <= set(home.titles("ann"))
        home.use(discovery_minimum_votes=100_000)
        home.clock.moment += DAY
        home.state.trakt_recommend("ann", [])
        home.discover()
        assert asked() == 4 and unheard() == every
        assert home.discover("trakt_recommendations")["requests"] == 0, "that it was empty is known for the day"
        home.clock.moment += DAY
        home.state.add_fault(FaultRule("trakt", status=503))
        assert home.discover("trakt_recommendations")["lists_failed"] == 1
        assert unheard() == every
        kept = home.home.rows("UPDATE trakt_recommendations SET read_at = read_at - interval '50 days' RETURNING 1")
        assert len(kept) == 2 and home.discover("trakt_recommendations")["dagster/row_count"] == 2
        home.state.clear_faults()
        home.clock.moment += DAY
        before = asked()
        home.use(trakt_sync_only=True)
        assert home.discover("trakt_recommendations")["requests"] == 0 and asked() == before
        assert unheard() == set(), "Trakt is only kept in step"
        home.use(trakt_sync_only=False)
        home.state.add_fault(FaultRule("trakt", status=503))
        home.home.rows("UPDATE trakt_recommendations SET read_at = read_at - interval '12 days' RETURNING 1")
        assert home.discover("trakt_recommendations")["dagster/row_count"] == 0, "nobody could read them for months"


# Other people's lists and histories


def test_lists_follow_tmdbs_lists_and_what_a_crowd_watched_along(discovered: Any, tmp_path: Path) -> None:
    with discovered(discovery_per_list=100) as home:
        home.home.rows(
            "UPDATE tmdb_metadata SET recommended_tmdb_ids = recommended_tmdb_ids || 5 "
            "WHERE work_id IN (SELECT work_id FROM titles WHERE media_type = 'movie' AND tmdb_id = 3) RETURNING 1"
        )

        def recommend() -> list[dict]:
            """Recommend again; return ann's films, best first."""
            home.home.must("generate_recommendations", users=home.home.everyone(), assets=["recommendations"])
            return home.home.rows(
                "SELECT r.rank, n.tmdb_id, r.components, r.score FROM recommendations r JOIN users u USING (user_id) "
                "JOIN work_names n USING (work_id) WHERE u.name = 'ann' AND r.media_type = 'movie' ORDER BY r.rank"
            )

        usual = recommend()
        from_lists = {row["tmdb_id"]: row["components"]["recommended_from"] for row in usual}
        assert from_lists[5] > 0, "TMDb recommends it from a film that ann watched"
        before = usual, home.rows("ann")
        # Of both lists the last film, which a crowd watched along with what ann has watched.
        chosen = [[row["tmdb_id"] for row in rows if row["tmdb_id"]][-1] for rows in before]
        others = tuple(row["tmdb_id"] for rows in before for row in rows[:2] if row["tmdb_id"])
        write_crowd(tmp_path, (3, 6, 9, *chosen), others)
        table = table_in_use(home.home.settings)
        write_table(table, build_table(tmp_path))
        after = [recommend()]
        home.home.must(JOB, users=home.home.everyone(), assets=["discovery_candidates"])
        after.append(home.rows("ann"))
        for number, old, new in zip(chosen, before, after, strict=True):
            assert leading(new, "co_watch") == number
            scores = [next(row["score"] for row in rows if row["tmdb_id"] == number) for rows in (old, new)]
            assert scores[1] > scores[0]

        table.write_bytes(b"no table")
        assert recommend() == usual, "what cannot be read costs only the crowd"
        found = run_check(home.home, "recommendation_quality", "crowd_is_usable")
        assert not found.passed and "no usable table" in (found.description or "")


def leading(rows: list[dict], component: str) -> int:
    """Return the TMDb id of the only film with the best of a component, which speaks for it."""
    best, second = sorted(rows, key=lambda row: -row["components"][component])[:2]
    assert best["components"][component] > max(second["components"][component], 0.0)
    return best["tmdb_id"]


def write_crowd(folder: Path, *likes: tuple[int, ...]) -> None:
    """Write thirty people for each group of films, by TMDb id, who give all of them four stars and a half."""
    films = sorted({film for group in likes for film in group})
    # The ids of MovieLens are others than those of TMDb.
    (folder / "links.csv").write_text("movieId,imdbId,tmdbId\n" + "".join(f"{film + 7},,{film}\n" for film in films))
    rows = [
        f"{100 * number + person},{film + 7},4.5,{1_500_000_000 + person}\n"
        for number, group in enumerate(likes, start=1)
        for person in range(30)
        for film in group
    ]
    (folder / "ratings.csv").write_text("userId,movieId,rating,timestamp\n" + "".join(rows))


# Trouble


def test_titles_that_nobody_is_suggested_any_more_are_deleted_with_all_that_is_made_of_them(discovered: Any) -> None:
    with discovered(discovery_minimum_votes=100_000) as home:
        home.clock.moment += 61 * DAY
        home.home.rows("UPDATE discovery_pool SET wanted_at = :then WHERE title LIKE 'Space%' RETURNING 1", then=NOW)
        home.home.rows("UPDATE tmdb_metadata SET recommended_tmdb_ids = '{}' RETURNING 1")
        home.home.rows("UPDATE taste_profiles SET summary = '{}' RETURNING 1")
        home.home.rows("DELETE FROM taste_weights RETURNING 1")
        home.home.rows("DELETE FROM discovery_lists RETURNING 1")
        metadata = home.discover()
        assert metadata["pruned"] > 100 and metadata["dagster/row_count"] == 0
        assert all(home.titles(user) == [] for user in PEOPLE)
        assert home.home.rows("SELECT 1 FROM discovery_vectors") == []
        assert home.home.rows("SELECT 1 FROM fetches WHERE source = 'tmdb_discovery'") == []
