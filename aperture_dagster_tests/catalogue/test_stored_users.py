"""Users are kept forever, and their keys are unique."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from aperture_dagster.catalogue.people import partition_key
from aperture_dagster.catalogue.stored_users import (
    new_partitions,
    read_users,
    remember_server,
    users_differ,
    users_of_partitions,
    write_users,
)
from aperture_dagster.simulator.worlds import ODD_USERS
from aperture_dagster_tests.shelf import NOW, Shelf, user_row


def sync(shelf: Shelf, *rows: dict[str, Any]) -> Any:
    with shelf.open() as connection:
        return write_users(connection, rows, still_there=[row["user_id"] for row in rows], key_for=partition_key)


def users(shelf: Shelf) -> dict[str, Any]:
    with shelf.open() as connection:
        return {user.user_id: user for user in read_users(connection)}


def row(user_id: str, name: str | None = None, **facts: Any) -> dict[str, Any]:
    return user_row(user_id) | {"name": name or user_id} | facts


ANN, BOB, CLEO = row("1", "ann"), row("2", "bob"), row("3", "cleo")


def test_a_user_who_left_is_kept_and_returns_as_the_same_row(shelf: Shelf):
    sync(shelf, ANN, BOB)
    before = users(shelf)["1"]
    assert sync(shelf, BOB).deleted == 1
    assert users(shelf)["1"].gone
    assert sync(shelf, BOB).written == 0
    with shelf.open() as connection:
        assert users_differ(connection, [ANN, BOB], on_server=("1", "2"))
        assert not users_differ(connection, [BOB], on_server=("2",))
    assert sync(shelf, ANN, BOB).updated == 1
    assert users(shelf)["1"] == before


def test_nobody_is_removed_while_a_user_cannot_be_identified(shelf: Shelf):
    sync(shelf, row("1", "ann"), row("2", "bob"))
    with shelf.open() as connection:
        counts = write_users(connection, [row("2", "Robert")], still_there=None, key_for=partition_key)
    assert (counts.updated, counts.deleted) == (1, 0)
    assert not users(shelf)["1"].gone


@pytest.mark.parametrize(
    ("rows", "on_server", "differ"),
    [
        ([ANN, BOB], ("1", "2"), False),
        ([ANN, BOB | {"last_activity_at": NOW}], ("1", "2"), False),
        ([ANN, BOB | {"name": "Robert"}], ("1", "2"), True),
        ([ANN, BOB | {"is_administrator": True}], ("1", "2"), True),
        ([ANN, BOB, CLEO], ("1", "2", "3"), True),
        ([ANN], ("1",), True),
        # One who cannot be read is still there, and in a list that may be incomplete, nobody is missing.
        ([ANN], ("1", "2"), False),
        ([ANN], None, False),
    ],
)
def test_a_look_tells_whether_a_sync_would_change_anything(shelf: Shelf, rows: list[Any], on_server: Any, differ: bool):
    sync(shelf, ANN, BOB)
    with shelf.open() as connection:
        assert users_differ(connection, rows, on_server=on_server) is differ
    with shelf.open() as connection:
        counts = write_users(connection, rows, still_there=on_server, key_for=partition_key)
    moved = any(one["last_activity_at"] for one in rows)
    assert bool(counts.written or counts.deleted) is (differ or moved)


def test_users_are_new_from_the_moment_at_which_they_were_first_seen(shelf: Shelf):
    sync(shelf, ANN)
    seen = shelf.value("SELECT first_seen_at FROM users")
    with shelf.open() as connection:
        assert new_partitions(connection, since=seen) == {"ann"}
        assert new_partitions(connection, since=seen + timedelta(seconds=1)) == set()


def test_a_renamed_user_keeps_the_key(shelf: Shelf):
    sync(shelf, row("1", "ann"))
    assert sync(shelf, row("1", "Annabel")).updated == 1
    assert (users(shelf)["1"].name, users(shelf)["1"].partition_key) == ("Annabel", "ann")
    sync(shelf, row("1", "Annabel"), row("2", "ann"))
    assert users(shelf)["2"].partition_key != "ann"


def test_odd_names_are_stored_unchanged_with_unique_keys(shelf: Shelf):
    rows = [row(f"{number}", name) for number, name in enumerate(ODD_USERS)]
    assert sync(shelf, *rows).inserted == len(ODD_USERS)
    assert sync(shelf, *rows).written == 0
    found = users(shelf)
    assert [found[f"{number}"].name for number in range(len(ODD_USERS))] == list(ODD_USERS)
    keys = [user.partition_key for user in found.values()]
    assert len({key.casefold() for key in keys}) == len(keys)
    with shelf.open() as connection:
        assert list(users_of_partitions(connection, [keys[3], "nobody", keys[1]])) == [keys[3], keys[1]]


def test_the_first_server_of_a_home_is_recorded(shelf: Shelf):
    first = {"server_id": "1", "name": "One", "version": "10.11", "product": "Jellyfin"}
    other = first | {"server_id": "2", "name": "Two"}
    with shelf.open() as connection:
        assert remember_server(connection, first) is None
        assert remember_server(connection, other) == first
        assert remember_server(connection, first | {"version": "12.0"}) == first
        assert remember_server(connection, first) == first | {"version": "12.0"}
