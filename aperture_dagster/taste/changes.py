"""Which tastes and lists have to be computed: those of whose inputs a table, a setting or the program has changed.

A list depends on what everybody in the household watched, so a play changes the inputs of all lists. Plays age by the
user's last one, so time alone changes only what rests. See docs/architecture.md.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sqlalchemy import Connection

import aperture_dagster
from aperture_dagster.postgres.bulk import upsert
from aperture_dagster.postgres.queries import change_version, content_version, content_versions, execute
from aperture_dagster.taste.crowd import crowd_version
from aperture_dagster.taste.lists import seen_version
from aperture_dagster.taste.tables import computations

if TYPE_CHECKING:
    from aperture_dagster.postgres.bulk import WriteCounts
    from aperture_dagster.postgres.database import Database
    from aperture_dagster.settings import Settings

Result = Literal["taste_profiles", "recommendations"]
# The tables of each result.
TABLES: dict[Result, tuple[str, ...]] = {
    "taste_profiles": ("taste_profiles", "taste_weights"),
    "recommendations": ("recommendations", "whole_lists"),
}
# The tables that tastes are made from, and those that lists are made from as well.
OF_TASTES = (
    "titles", "episodes", "watch_state", "plays", "ratings", "more_like_this",
    "watched_together", "seen_elsewhere", "enriched_metadata",
)  # fmt: skip
OF_LISTS = (*OF_TASTES, "tmdb_metadata", "taste_weights", "dismissals", "member_choices")
# The other columns of these change without any effect on a taste or a list.
COLUMNS = {
    "item_versions": ("item_id", "primary_item_id"),
    "taste_weights": ("user_id", "work_id", "weight"),
    "users": (
        "user_id", "removed_at", "max_parental_rating", "all_libraries", "library_ids", "blocked_tags", "allowed_tags",
        "open_library_ids", "excluded_folders",
    ),
}  # fmt: skip
# The code that makes a taste or a list.
CODE = ("taste", "catalogue")


@dataclass(frozen=True, slots=True)
class Computation:
    """The last computation of a user's result: the version of its inputs, its own, and when it was made."""

    made_from: str
    version: str
    computed_at: datetime


@dataclass(frozen=True, slots=True)
class Changes:
    """By user of a run the version of the inputs, and the last computation where that is still what it was."""

    result: Result
    made_from: Mapping[str, str]
    unchanged: Mapping[str, Computation]

    @property
    def due(self) -> set[str]:
        """The users whose results have to be computed."""
        return self.made_from.keys() - self.unchanged.keys()

    def store(self, database: Database, user_id: str, replace: Callable[[Connection], WriteCounts]) -> tuple[str, int]:
        """Replace a user's result, and record what it was made from; return its version and how many rows changed."""
        with database.transaction() as connection:
            counts = replace(connection)
            version = content_version(connection, *TABLES[self.result], user_id=user_id)
            made = {"user_id": user_id, "result": self.result, "made_from": self.made_from[user_id], "version": version}
            upsert(connection, computations, [made])
        return version, counts.written


def find_changes(
    connection: Connection, result: Result, made_from: Mapping[str, str], *, recompute: bool = False
) -> Changes:
    """Compare what the results of users would be made from with what they were made from; ``recompute`` all if asked.

    A result that was altered or lost has to be computed, too. This must come before the inputs are read: what changes
    in between is found the next time.
    """
    statement = "SELECT user_id, made_from, version, updated_at FROM computations WHERE result = :result"
    before = {row.user_id: Computation(*row[1:]) for row in execute(connection, statement, result=result)}
    versions = content_versions(connection, *TABLES[result], by="user_id", of=before)
    unchanged = {
        user_id: one
        for user_id, one in before.items()
        if one.made_from == made_from.get(user_id) and one.version == versions[user_id] and not recompute
    }
    return Changes(result, made_from, unchanged)


def taste_inputs(connection: Connection, settings: Settings) -> str:
    """Return a version of what tastes are made from."""
    return _hash_of((program_hash(), settings.ignored_ratings, _versions(connection, OF_TASTES)))


def list_inputs(
    connection: Connection,
    settings: Settings,
    *,
    model_key: str,
    config: object,
    resting: Mapping[str, Collection[int]],
) -> dict[str, str]:
    """Return by user a version of what their list is made from, given the works that rest in it.

    ``config`` is the configuration of the ranking.
    """
    vectors = content_version(connection, "embeddings", columns=("work_id", "text_hash"), model_key=model_key)
    shared = (
        program_hash(), settings.ignored_ratings, repr(config), model_key, vectors,
        seen_version(connection, model_key), crowd_version(settings),
        _versions(connection, OF_LISTS),
    )  # fmt: skip
    return {user_id: _hash_of((*shared, sorted(works))) for user_id, works in resting.items()}


def _versions(connection: Connection, tables: Collection[str]) -> list[str]:
    """Return a version of each of some tables, and of those that say which copies are one and who there is."""
    return [
        content_version(connection, name, columns=COLUMNS[name])
        if name in COLUMNS
        else change_version(connection, name)
        for name in (*tables, "item_versions", "users")
    ]


@functools.cache
def program_hash(*more: str) -> str:
    """Return a hash of the code that makes tastes and lists: after an update, everything is computed again.

    ``more`` are other folders of the package to include.
    """
    root = Path(aperture_dagster.__file__).parent
    digest = hashlib.blake2b(digest_size=8)
    for part in (*CODE, *more):
        for file in sorted((root / part).rglob("*.py")):
            digest.update(file.relative_to(root).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def _hash_of(value: object) -> str:
    return hashlib.blake2b(repr(value).encode(), digest_size=8).hexdigest()
