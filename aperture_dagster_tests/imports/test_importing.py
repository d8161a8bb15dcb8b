"""An import counts once, stays here unless it may be shared, is taken back as a whole, and waits for titles."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from aperture_dagster.catalogue.history.progress import lock_history
from aperture_dagster.catalogue.history_import.columns import Reading
from aperture_dagster.catalogue.history_import.files import read_history_file
from aperture_dagster.catalogue.history_import.matching import NamedTitle
from aperture_dagster.catalogue.history_import.stored import read_imports
from aperture_dagster.catalogue.people import User
from aperture_dagster.catalogue.stored_users import read_users
from aperture_dagster.discovery.pool import settled_titles
from aperture_dagster.imports import plan as plan_module
from aperture_dagster.imports.importing import apply_plan, plan_import, recognise_names, take_back
from aperture_dagster.imports.plan import Plan
from aperture_dagster.media_server.records import ServerEpisode, ServerTitle
from aperture_dagster.members.for_later import titles_for_later
from aperture_dagster.members.said import said_hashes
from aperture_dagster.postgres.database import Database
from aperture_dagster.ratings.in_force import ratings_in_force
from aperture_dagster.ratings.outbox import rate_here, read_outbox
from aperture_dagster.ratings.server import copies_to_rate
from aperture_dagster_tests.catalogue.viewers import histories, history_of
from aperture_dagster_tests.shelf import Shelf, film, played

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
ZONE = ZoneInfo("UTC")
HEAD = "Date,Name,Year,Letterboxd URI"
Bring = Callable[..., Plan]


@pytest.fixture
def shelf(database: Database) -> Shelf:
    """Three films, one of which another one is called like, and a series."""
    filled = Shelf(database)
    filled.users("ann", "bob")
    filled.films(
        film(1, title="Alien", year=1979, imdb_id="tt0078748", runtime_minutes=100),
        film(2, title="Solaris", year=1972),
        film(3, title="Solaris", year=2002),
    )
    filled.series(ServerTitle("show", "Dark", tmdb_id=70523, year=2017))
    filled.episodes(
        *(ServerEpisode(f"e{n}", "show", name, season=1, number=n) for n, name in ((1, "Secrets"), (2, "Lies")))
    )
    return filled


@pytest.fixture
def letterboxd(tmp_path: Path) -> Path:
    path = tmp_path / "letterboxd.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(
            "watched.csv", f"{HEAD}\n2025-03-06,Alien,1979,x\n2025-03-06,Stalker,1979,x\n2025-03-06,Solaris,1973,x\n"
        )
        archive.writestr("diary.csv", f"{HEAD},Rating,Watched Date\n2025-03-06,Alien,1979,x,4.5,2025-03-04\n")
        archive.writestr("ratings.csv", f"{HEAD},Rating\n2025-03-07,Alien,1979,x,4.5\n2025-03-07,Stalker,1979,x,5\n")
        archive.writestr("watchlist.csv", f"{HEAD}\n2025-03-07,Solaris,2002,x\n2025-03-07,Alien,1979,x\n")
    return path


def user_of(shelf: Shelf, name: str) -> User:
    with shelf.open() as connection:
        return next(user for user in read_users(connection) if user.name == name)


@pytest.fixture
def bring(shelf: Shelf) -> Bring:
    """Import a file for a user, and return what was planned."""

    def bringing(
        path: Path,
        user: str = "ann",
        *,
        share: bool = False,
        decided: Mapping[NamedTitle, int | None] | None = None,
        reading: Reading | None = None,
    ) -> Plan:
        with shelf.open() as connection:
            lock_history(connection, user)
            rows = read_history_file(path, ZONE, reading)
            plan = plan_import(connection, user_of(shelf, user), rows, now=NOW, decided=decided)
            apply_plan(connection, user, plan, file_name=path.name, share_ratings=share, now=NOW)
        return plan

    return bringing


def rating(shelf: Shelf, work: int, user: str = "ann") -> int | None:
    with shelf.open() as connection:
        found = ratings_in_force(connection, user).get(work)
    return found.value if found is not None else None


def work_of(shelf: Shelf, item: str) -> int:
    return shelf.item(item)["work_id"]


def said(shelf: Shelf) -> list[list[dict[str, Any]]]:
    """Return everything that is known of what users watched and rated."""
    return [
        shelf.rows(f"SELECT to_jsonb(t) - 'updated_at' AS row FROM {table} t ORDER BY 1")
        for table in ("plays", "seen_elsewhere", "history_imports", "watch_state", "for_later")
    ] + [shelf.rows("SELECT user_id, work_id, rating FROM ratings WHERE rating IS NOT NULL ORDER BY 1, 2")]


def test_an_export_counts_once_and_is_taken_back_as_a_whole(shelf: Shelf, bring: Bring, letterboxd: Path):
    shelf.history("ann", played("film-2", last_played_at=NOW))
    before = said(shelf)
    plan = bring(letterboxd)
    assert plan.figures == {"plays": 1, "elsewhere": 0, "named": 1, "ratings": 2, "wanted": 1}
    assert [(question.title, question.year) for question in plan.questions.values()] == [("Solaris", 1973)]
    with shelf.open() as connection:
        assert [row["title"] for row in titles_for_later(connection, "ann")] == ["Solaris"]
    row = history_of(shelf, "film-1")
    assert (row["plays"], row["rating"], row["last_played_at"]) == (1, 9, datetime(2025, 3, 4, 12, tzinfo=UTC))
    again = bring(letterboxd)
    assert again.is_empty and again.known
    with shelf.open() as connection:
        imports = read_imports(connection, "ann")
        assert [stored.source for stored in imports] == ["letterboxd"]
        assert not take_back(connection, "bob", imports[0].import_id, now=NOW), "it is somebody else's"
        assert take_back(connection, "ann", imports[0].import_id, now=NOW)
    assert said(shelf) == before
    assert bring(letterboxd).figures == plan.figures, "it may be imported again"


def test_what_was_seen_elsewhere_is_recognised_later_and_never_suggested(shelf: Shelf, bring: Bring, letterboxd: Path):
    bring(letterboxd)
    with shelf.open() as connection:
        assert recognise_names(connection, now=NOW) == 0
    work = shelf.value("INSERT INTO works (media_type, tmdb_id) VALUES ('movie', 1398) RETURNING work_id")
    statement = """
        INSERT INTO discovery_pool (work_id, media_type, tmdb_id, wanted_at, fetched_at, title, release_date)
        VALUES (:work, 'movie', 1398, now(), now(), 'Stalker', '1979-05-25')"""
    shelf.do(statement, work=work)
    with shelf.open() as connection:
        assert recognise_names(connection, now=NOW) == 1
        assert settled_titles(connection, ["ann", "bob"]) == {"ann": {work}, "bob": set()}
    assert rating(shelf, work) == 10
    row = histories(shelf, "ann").set_index("work_id").loc[work]
    assert (row["plays"], row["rating"]) == (1, 10)
    assert bring(letterboxd).is_empty
    shelf.do("DELETE FROM ratings WHERE work_id = :work", work=work)
    with shelf.open() as connection:
        assert settled_titles(connection, ["ann"]) == {"ann": {work}}, "seen, if not rated"
        take_back(connection, "ann", read_imports(connection, "ann")[0].import_id, now=NOW)
    assert rating(shelf, work) is None and histories(shelf, "ann").empty


def test_titles_with_ids_become_works_which_the_library_takes_over(shelf: Shelf, bring: Bring, tmp_path: Path):
    path = tmp_path / "ratings.csv"
    path.write_text("Const,Your Rating,Date Rated,Title,Title Type,Year\ntt0079944,10,2025-01-01,Stalker,Movie,1979\n")
    assert bring(path).figures["ratings"] == 1
    shelf.films(film(9, title="Stalker", year=1979, tmdb_id=1398, imdb_id="tt0079944"))
    assert history_of(shelf, "film-9")["rating"] == 10


def test_a_title_that_was_known_by_its_name_counts_once_the_library_has_it(
    shelf: Shelf, bring: Bring, letterboxd: Path
):
    bring(letterboxd)
    shelf.films(film(8, title="Stalker", year=1979))
    with shelf.open() as connection:
        assert recognise_names(connection, now=NOW) == 1
        before = said_hashes(connection, with_for_later=False)
        take_back(connection, "ann", read_imports(connection, "ann")[0].import_id, now=NOW)
        assert said_hashes(connection, with_for_later=False) != before, "lists follow"


def test_ratings_stay_here_unless_they_may_be_shared(shelf: Shelf, bring: Bring, letterboxd: Path):
    shelf.connect_to_trakt("ann")
    alien = work_of(shelf, "film-1")

    def sent() -> tuple[bool, object]:
        with shelf.open() as connection:
            waiting = {work: entry.rating for work, entry in read_outbox(connection, "ann").items()}
            to_share = ratings_in_force(connection, "ann", to_share=True)
            assert (alien in to_share) == (alien in waiting)
            return bool(copies_to_rate(connection, "ann")), waiting.get(alien, "nothing")

    def taken_back() -> None:
        with shelf.open() as connection:
            for stored in read_imports(connection, "ann"):
                take_back(connection, "ann", stored.import_id, now=NOW)

    bring(letterboxd)
    assert sent() == (False, "nothing")
    taken_back()
    assert sent() == (False, "nothing")
    bring(letterboxd, share=True)
    assert sent() == (True, 9)
    taken_back()
    assert rating(shelf, alien) is None and sent() == (False, None), "Trakt is told"
    bring(letterboxd)
    with shelf.open() as connection:
        rate_here(connection, "ann", alien, 3, now=NOW)
    taken_back()
    assert rating(shelf, alien) == 3, "it was given here since"


def test_what_was_rated_here_stays(shelf: Shelf, bring: Bring, letterboxd: Path):
    alien = work_of(shelf, "film-1")
    with shelf.open() as connection:
        rate_here(connection, "ann", alien, 3, now=NOW)
    bring(letterboxd)
    assert rating(shelf, alien) == 3


def test_an_unclear_title_is_decided_or_skipped(shelf: Shelf, bring: Bring, letterboxd: Path):
    plan = bring(letterboxd)
    name, question = next(iter(plan.questions.items()))
    assert [title.year for title in question.candidates] == [1972]
    assert bring(letterboxd, decided={name: None}).refused == {"skipped": 1}
    plan = bring(letterboxd, decided={name: question.candidates[0].work_id})
    assert not plan.questions and history_of(shelf, "film-2")["plays"] == 1


def test_viewings_on_netflix_are_of_episodes_and_names_alone_are_never_enough(
    shelf: Shelf, bring: Bring, tmp_path: Path
):
    path = tmp_path / "NetflixViewingHistory.csv"
    path.write_text('Title,Date\n"Dark: Season 1: Lies","13/6/24"\n"Dark: Season 9: Gone","13/6/24"\nAlien,"14/6/24"\n')
    shown = bring(path, reading=Reading(dates="dmy"))
    assert [question.title for question in shown.questions.values()] == ["Dark", "Alien"]
    names = list(shown.questions)
    decided = {name: shown.questions[name].candidates[0].work_id for name in names}
    assert bring(path, decided=decided, reading=Reading(dates="dmy")).figures["plays"] == 2
    assert history_of(shelf, "show")["episodes_played"] == 1


def test_rows_of_somebody_else_are_left_out(shelf: Shelf, bring: Bring, tmp_path: Path):
    path = tmp_path / "backup.tsv"
    lines = [
        ("2025-03-01 21:00:00", user, "film-1", "Movie", "Alien", "x", "x", "x", "5900") for user in ("ann", "bob")
    ]
    path.write_text("\n".join("\t".join(line) for line in lines))
    plan = bring(path)
    assert (plan.figures["plays"], plan.refused) == (1, {"of somebody else": 1})
    assert histories(shelf, "bob").empty


def test_a_plain_table_of_titles_with_the_ids_of_films_that_nobody_knows_is_kept(
    shelf: Shelf, bring: Bring, tmp_path: Path
):
    path = tmp_path / "seen.csv"
    path.write_text("tmdb_id,title,watched_at\n" + "".join(f"{900 + n},Film,2025-01-01\n" for n in range(300)))
    assert bring(path).figures["elsewhere"] == 300
    assert len(histories(shelf, "ann")) == 300
    assert bring(path).is_empty


def test_a_file_of_more_titles_than_anybody_sees_is_cut_and_says_so(
    shelf: Shelf, bring: Bring, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(plan_module, "MOST_TITLES", 20)
    path = tmp_path / "seen.csv"
    path.write_text("title,year,rating\n" + "".join(f"Film no. {n},1990,8\n" for n in range(50)))
    plan = bring(path, reading=Reading(scale=10))
    assert (plan.figures["named"], plan.figures["ratings"]) == (20, 20)
    assert plan.refused == {"more than 20 different titles and episodes": 30}
