"""Single values about the installation."""

from __future__ import annotations

from aperture_dagster.facts import delete_fact, read_dated_fact, read_fact, write_fact
from aperture_dagster.postgres.database import Database


def test_a_value_is_deleted_only_if_it_holds_what_is_said(database: Database):
    with database.transaction() as connection:
        write_fact(connection, "pause", {"app": "one", "why": "refused"})
        delete_fact(connection, "pause", app="another")
        assert read_fact(connection, "pause") == {"app": "one", "why": "refused"}
        delete_fact(connection, "pause", app="one")
        assert read_fact(connection, "pause") is None


def test_an_equal_value_keeps_its_date(database: Database):
    dates = []
    for value in ("one", "one", "another"):
        with database.transaction() as connection:
            write_fact(connection, "trouble", {"kind": value})
        with database.transaction() as connection:
            found = read_dated_fact(connection, "trouble")
        assert found is not None and found[0] == {"kind": value}
        dates.append(found[1])
    assert dates[0] == dates[1] < dates[2]
