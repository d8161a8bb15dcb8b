"""What moves along when a title of the library turns out to be another work is declared with each table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from aperture_dagster.catalogue.identity import ProviderIds
from aperture_dagster.catalogue.references import TitleId
from aperture_dagster.catalogue.sync.moved_items import columns_that_follow
from aperture_dagster.media_server.records import ServerTitle
from aperture_dagster.members.for_later import put_aside
from aperture_dagster.members.hidden import hide
from aperture_dagster.members.more_like_this import want_more
from aperture_dagster.members.watched_together import note_watched
from aperture_dagster.postgres.tables import FOLLOWS_ITEM, FOLLOWS_TITLE, STAYS_WITH_WORK
from aperture_dagster.ratings.in_force import WHOLE_WORK
from aperture_dagster.ratings.outbox import rate_here
from aperture_dagster.schema import metadata
from aperture_dagster_tests.catalogue.test_catalogue import episode
from aperture_dagster_tests.shelf import NOW, Shelf, film, played

SHOW = ServerTitle("show", "The Show", path="/show")
SAME_SHOW = ServerTitle("show-7", "The Show", tmdb_id=7, path="/other/show")
TITLES_SAID = ("dismissals", "more_like_this", "for_later", "watched_together")


def say(shelf: Shelf, user: str, work_id: int, rating: int) -> None:
    """Hide a title, ask for more like it, put it aside, watch it with others, and rate it."""
    with shelf.open() as connection:
        hide(connection, user, TitleId(ProviderIds(), work_id, "movie"), f"Hidden {rating}", now=NOW)
        want_more(connection, user, work_id, f"Liked {rating}", now=NOW)
        put_aside(connection, user, work_id, f"Later {rating}", now=NOW)
        note_watched(connection, [user], work_id, f"Watched {rating}", now=NOW)
        rate_here(connection, user, work_id, rating, now=NOW)


def rows_of(shelf: Shelf, column: sa.Column[Any], *works: int) -> list[dict[str, Any]]:
    """Return the rows of works, without the work."""
    rows = shelf.rows(f"SELECT * FROM {column.table.name} WHERE {column.name} = ANY(:works)", works=list(works))
    return sorted(({name: value for name, value in row.items() if name != column.name} for row in rows), key=str)


def test_whatever_follows_a_title_or_its_items_moves_to_the_work_that_it_turns_out_to_be(shelf: Shelf):
    shelf.users("ann", "bo")
    shelf.films(film(1, tmdb_id=None), film(2))
    shelf.series(SHOW, SAME_SHOW)
    shelf.episodes(episode(1))
    shelf.history("ann", played("film-1", rating=8.0), played("episode-1-1", is_episode=True))
    film_before, film_after, show_before, show_after = (
        shelf.item(one)["work_id"] for one in ("film-1", "film-2", "show", "show-7")
    )
    say(shelf, "ann", film_before, 9)
    with shelf.open() as connection:
        columns = {*columns_that_follow(connection, "item"), *columns_that_follow(connection, "title")}
    before = {
        # What is about the whole work is about no item.
        column: [
            row
            for row in rows_of(shelf, column, film_before, show_before)
            if "title" in column.info["follows"] or row["item_id"] != WHOLE_WORK
        ]
        for column in columns
    }
    assert all(before.values()), "each declared table has rows that should move"
    # Who said something of both titles keeps what they said of the one that it is.
    say(shelf, "bo", film_before, 2)
    say(shelf, "bo", film_after, 3)

    shelf.films(film(1, tmdb_id=2), film(2))
    shelf.series(SHOW._replace(tmdb_id=7), SAME_SHOW)
    assert shelf.item("film-1")["work_id"] == film_after
    assert shelf.item("show")["work_id"] == shelf.item("episode-1-1")["work_id"] == show_after
    for column in columns:
        moved = [row for row in rows_of(shelf, column, film_after, show_after) if row.get("user_id") != "bo"]
        assert moved == before[column], column.table.name
    # Whatever the tables declare: nothing of Ann is left behind but the log of ratings of the whole work.
    left = [
        table.name
        for table in metadata.sorted_tables
        if {"user_id", "work_id"} <= set(table.columns.keys())
        for row in shelf.rows(f"SELECT * FROM {table.name} WHERE user_id = 'ann'")
        if row["work_id"] in (film_before, show_before)
    ]
    assert left == ["rating_changes"]
    titles = (f"right(title, 1)::int FROM {table}" for table in TITLES_SAID)
    for said in ("rating::int FROM ratings", *titles):
        of_bo = shelf.rows(f"SELECT work_id, {said} WHERE user_id = 'bo'")
        assert {tuple(row.values()) for row in of_bo} == {(film_before, 2), (film_after, 3)}


def test_what_was_said_of_a_title_with_ids_stays_with_that_title(shelf: Shelf):
    shelf.users("ann")
    shelf.films(film(1), film(2))
    wrong = shelf.item("film-1")["work_id"]
    say(shelf, "ann", wrong, 4)
    shelf.films(film(1, tmdb_id=77), film(2))
    assert shelf.item("film-1")["work_id"] != wrong
    for table in ("ratings", *TITLES_SAID):
        assert shelf.value(f"SELECT work_id FROM {table}") == wrong


# Declarations


def faults(tables: sa.MetaData) -> Iterator[str]:
    """Yield the columns that name works and do not say what becomes of their rows, or could not do what they say."""
    for table in tables.sorted_tables:
        for column in table.columns:
            refers = any(key.target_fullname == "works.work_id" for key in column.foreign_keys)
            names_works = column.name == "work_id" or column.name.endswith("_work_id")
            if not refers and (table.name == "works" or not names_works):
                continue
            follows = column.info.get("follows")
            if follows is None or not refers:
                yield f"{table.name}.{column.name} says nothing"
            elif "item" in follows and "item_id" not in table.columns:
                yield f"{table.name}.{column.name} has no item to follow"
            elif "title" in follows and not (column.primary_key and "user_id" in table.primary_key.columns):
                yield f"{table.name}.{column.name} is not said by a user"


def test_every_column_with_a_work_says_what_becomes_of_its_row_when_a_title_is_identified_anew():
    assert not list(faults(metadata)), "say one of those beside FOLLOWS_ITEM in postgres/tables.py"


def test_a_new_table_with_a_work_that_says_nothing_is_found():
    tables = sa.MetaData()
    sa.Table("works", tables, sa.Column("work_id", sa.BigInteger, primary_key=True))

    def declare(name: str, *columns: sa.Column[Any], **facts: Any) -> None:
        work = sa.Column("work_id", sa.BigInteger, sa.ForeignKey("works.work_id"), **facts)
        sa.Table(name, tables, work, *columns)

    declare("silent")
    sa.Table("loose", tables, sa.Column("about_work_id", sa.BigInteger))
    declare("itemless", info=FOLLOWS_ITEM)
    declare("nobodys", primary_key=True, info=FOLLOWS_TITLE)
    declare("fine", info=STAYS_WITH_WORK)
    declare("moving", sa.Column("item_id", sa.BigInteger), info=FOLLOWS_ITEM)
    assert sorted(one.partition(".")[0] for one in faults(tables)) == ["itemless", "loose", "nobodys", "silent"]
