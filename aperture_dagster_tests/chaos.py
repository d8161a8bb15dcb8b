"""Programs in a home of their own, and what their databases hold in the end."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from aperture_dagster.settings.home import project_root
from aperture_dagster.simulator.counters import UNMODELLED_LOG

# Columns and tables that differ between equal results: times, and the cost of the run.
VOLATILE_COLUMNS = {
    "updated_at", "created_at", "first_seen_at", "seen_at", "generated_at", "fetched_at", "attempted_at", "due_at",
    "synced_at", "full_synced_at", "activated_at", "rated_at", "noted_at", "change_id", "unused_since", "read_at",
    "changed", "listed_at", "wanted_at", "listed_since", "valid_from",
}  # fmt: skip
# Of these tables only: homes have other folders. Rows of ``facts`` that every home makes up for itself.
VOLATILE_ELSEWHERE = {("fetches", "added_at"), ("published_libraries", "root")}
VOLATILE_FACTS = "name <> 'installation'"
# Published folders and files are named after our ids of works, and dated.
VOLATILE_TABLES = {"services", "quota", "merges", "published_entries", "published_copies", "step_progress"}


def environment(home: Path, **more: str) -> dict[str, str]:
    """Return an isolated environment for a program that works in ``home``, with temporary files beside it."""
    temporary = home.parent / "temporary"
    temporary.mkdir(exist_ok=True)
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home.parent),
        "TMPDIR": str(temporary),
        "APERTURE_TIMEZONE": "UTC",
        "DAGSTER_HOME": str(project_root()),
        # Its stand-ins report unmodelled requests in the log of the tests.
        **{name: os.environ[name] for name in (UNMODELLED_LOG,) if name in os.environ},
        **more,
    }


@dataclass(frozen=True)
class DemoHome:
    """The home of a demo, to look into its databases."""

    home: Path

    @contextlib.contextmanager
    def databases(self) -> Iterator[tuple[psycopg.Connection, psycopg.Connection]]:
        """Connect to the product's database and to Dagster's; the server runs until the block ends."""
        from aperture_dagster.postgres.connection import DAGSTER_DATABASE, PRODUCT_DATABASE
        from aperture_dagster.postgres.embedded import release_embedded_server, start_embedded_server

        folder = self.home / "postgres"
        url = start_embedded_server(folder)
        try:
            with (
                psycopg.connect(url, dbname=PRODUCT_DATABASE, autocommit=True) as product,
                psycopg.connect(url, dbname=DAGSTER_DATABASE, autocommit=True) as dagster,
            ):
                yield product, dagster
        finally:
            release_embedded_server(folder)


def tables(
    connection: psycopg.Connection,
    *,
    volatile: Collection[str] = frozenset(),
    leave_out: Collection[str] = frozenset(),
    where: Mapping[str, str] | None = None,
) -> dict[str, list[tuple[Any, ...]]]:
    """Return the sorted rows of all tables, with the media server's ids instead of the ids of works and items.

    Our own ids may differ after a kill. Works outside the library are named by TMDb's ids.

    Args:
        volatile: further columns that differ between equal results.
        leave_out: further tables.
        where: conditions by table, for rows of which only some are compared.
    """
    from aperture_dagster.schema import metadata

    work = (
        "coalesce((SELECT min(server_item_id) FROM titles named WHERE named.work_id = number), "
        "(SELECT media_type || ' ' || tmdb_id FROM works named WHERE named.work_id = number))"
    )
    item = "(SELECT server_item_id FROM all_items named WHERE named.item_id = number)"
    connection.execute(
        "CREATE TEMPORARY VIEW all_items AS SELECT item_id, server_item_id FROM titles UNION ALL "
        "SELECT item_id, server_item_id FROM episodes UNION ALL SELECT item_id, server_item_id FROM item_versions"
    )
    # "number" is replaced by the column.
    named = {
        "work_id": work,
        "item_id": item,
        "series_item_id": item,
        "primary_item_id": item,
        # The time of a removal may differ, the removal itself may not.
        "removed_at": "number IS NOT NULL",
        "because": f"(SELECT array_agg({work.replace('number', 'one')} ORDER BY place) "
        "FROM unnest(number) WITH ORDINALITY numbers(one, place))",
        "item": f"CASE WHEN kind IN ('movie', 'series') THEN {work} ELSE number::text END",
    }
    found = {}
    for table in metadata.sorted_tables:
        if table.name not in VOLATILE_TABLES and table.name not in leave_out:
            columns = [
                "(" + re.sub(r"\bnumber\b", f't."{column.name}"', named.get(column.name, "number")) + ")::text"
                for column in table.columns
                if column.name not in VOLATILE_COLUMNS
                and column.name not in volatile
                and (table.name, column.name) not in VOLATILE_ELSEWHERE
            ]
            compared = {"item_versions": "NOT is_published", "facts": VOLATILE_FACTS, **(where or {})}.get(
                table.name, "true"
            )
            statement = f"SELECT {', '.join(columns)} FROM {table.name} t WHERE {compared}"
            found[table.name] = sorted(connection.execute(statement.encode()).fetchall(), key=str)
    published = f"SELECT list_key, rank, state, {work.replace('number', 'e.work_id')} FROM published_entries e"
    found["published"] = sorted(connection.execute(published.encode()).fetchall(), key=str)
    return found
