"""How tables and files of a home grow: rows and bytes each day, and whether they level off.

What an ordinary day leaves behind must be deleted again after a while, or have a reason to stay.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import mean

from sqlalchemy import Engine, text

from aperture_dagster.postgres.database import Database
from aperture_dagster.settings import Settings

Sizes = Mapping[str, Sequence[int]]
"""Rows of a table, or number of files, and bytes, by name."""

# What may grow for as long as the program is used, with the reason.
STAYS = {
    "product plays": "plays are never deleted",
    "product watch_state": "what somebody has watched is never deleted",
    "product ratings": "ratings are never deleted",
    "product rating_changes": "neither are their changes",
    "product trakt_ratings": "a row for each rating that Trakt knows",
    "product top_picks": "lists of past days are never deleted",
    "product seerr_requests": "requests are never deleted, so that none is sent twice",
    "product quota": "counts are kept for 90 days",
    "product item_versions": "a row for each copy that was published once, so that what was watched on it counts",
    "product first_places": "30 titles of a list at most",
    "Dagster's job_ticks": "turns of schedules are kept for 90 days",
    "Dagster's snapshots": "jobs and their plans, as they were in past runs, are kept",
    "files home/postgres/pg_wal": "PostgreSQL keeps 1 GB at most",
}
# What grows as the household's library does, whose titles are never deleted.
LIBRARY = {
    f"product {table}"
    for table in (
        "titles", "episodes", "works", "fetches", "tmdb_metadata", "omdb_ratings", "mdblist_scores",
        "enriched_metadata", "merges", "embeddings", "taste_weights", "item_files", "item_versions",
    )
}  # fmt: skip
# Bounded: what came in the last third of the days is below this share of what was there, or is next to nothing.
SHARE, FEW = 0.05, 10
# What stays may not come faster, in a day, than in the first third, or than titles and episodes do.
FASTER = 1.5
# How much larger a row or file may be than a third of the days before: PostgreSQL uses the space of deleted rows again,
# but in indexes on random keys pages stay half empty.
WIDER, FEW_BYTES = 1.25, 300_000
WEEK = 7
# Files are counted by folder; what has a name of its own in each home, or each run, counts as one.
_NAMES = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\d[\d.-]*")
DEPTH = 3


def sizes_of(database: Database, dagster: Engine, settings: Settings) -> dict[str, tuple[int, int]]:
    """Measure every table of both databases, and every folder of the home and of what is published."""
    found: dict[str, tuple[int, int]] = {}
    ours = dagster.connect().execution_options(isolation_level="AUTOCOMMIT")
    for name, opened in (("product", database.autocommit()), ("Dagster's", ours)):
        with opened as connection:
            # Autovacuum goes by the real clock, and would come a few times in a quarter.
            connection.execute(text("VACUUM"))
            tables = "SELECT oid::regclass::text, pg_total_relation_size(oid) FROM pg_class WHERE relkind = 'r' "
            tables += "AND relnamespace = 'public'::regnamespace"
            for table, size in connection.execute(text(tables)).all():
                rows = connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one()
                found[f"{name} {table}"] = rows, size
    places = {"home": (settings.home_path, DEPTH), "published": (settings.publish_root, 0)}
    for name, (root, depth) in places.items():
        for path in Path(root).rglob("*") if root else ():
            with suppress(OSError):
                if path.is_file() and "base" not in path.parts:
                    folder = _NAMES.sub("…", "/".join(path.relative_to(root).parent.parts[:depth]))
                    count, size = found.get(f"files {name}/{folder}", (0, 0))
                    found[f"files {name}/{folder}"] = count + 1, size + path.stat().st_size
    return found


def grown(days: Sequence[Sizes]) -> tuple[list[str], list[str]]:
    """Return the lines of a table, and what grows without a reason. Each third of the days must have a week or more."""
    third = len(days) // 3
    at = [days[: min(WEEK, third)], *(days[n * third - min(WEEK, third) : n * third] for n in (1, 2, 3))]
    lines = [
        f"{'means of a week':<52}{'first':>10}{f'day {third}':>10}{f'day {2 * third}':>10}{f'day {3 * third}':>10}"
    ]
    wrong, still = [], 0

    def means(name: str, part: int) -> list[float]:
        return [mean(day.get(name, (0, 0))[part] for day in week) for week in at]

    library = [sum(both) for both in zip(means("product titles", 0), means("product episodes", 0), strict=True)]
    pace = max(1.0, (library[3] - library[2]) / max(library[1] - library[0], FEW))
    for name in sorted({name for day in days for name in day}):
        rows, size = means(name, 0), means(name, 1)
        why = STAYS.get(name) or ("the library grows" if name in LIBRARY else "")
        usual = size[2] * rows[3] / rows[2] if rows[2] else 0
        faster = FASTER * (pace if name in LIBRARY else 1) if why else None
        grows = _grows(rows, third, faster) or size[3] > max(WIDER * usual, usual + FEW_BYTES)
        if not grows and rows[0] == rows[3]:
            still += 1
            continue
        cells = "".join(f"{one:>10,.0f}" for one in rows)
        verdict = "grows" if grows else why or "bounded"
        lines.append(
            f"{name:<52}{cells}  +{rows[1] - rows[0]:,.0f}, +{rows[3] - rows[2]:,.0f} "
            f"({(size[3] - size[2]) / 1e3:+,.0f} kB): {verdict}"
        )
        if grows:
            wrong.append(f"{name}: {rows[2]:,.0f} to {rows[3]:,.0f}, {size[2] / 1e3:,.0f} to {size[3] / 1e3:,.0f} kB")
    lines.append(f"{still} more tables and folders have as many rows or files as in the beginning")
    return lines, wrong


def _grows(levels: Sequence[float], third: int, faster: float | None) -> bool:
    last = levels[3] - levels[2]
    if last <= max(SHARE * levels[2], FEW):
        return False
    # From the middle of the first week to that of the third's last one.
    first = (levels[1] - levels[0]) * third / max(third - min(WEEK, third), 1)
    return faster is None or last > faster * max(first, FEW)
