"""What tastes and lists are made from, as hashes: with equal inputs nothing has to be computed again.

The hashes are made by the database from the very queries that read the inputs, so that only they travel. Each is a
count and a sum over the rows, and thus independent of their order.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection

from aperture_dagster.postgres.bulk import upsert
from aperture_dagster.postgres.queries import content_versions, execute, read_value
from aperture_dagster.taste.histories import HISTORIES
from aperture_dagster.taste.lists import COPIES, ITEMS, TRAITS, WEIGHTS
from aperture_dagster.taste.tables import computations

Result = Literal["taste_profiles", "recommendations"]
# The tables of each result.
TABLES: dict[Result, tuple[str, ...]] = {
    "taste_profiles": ("taste_profiles", "taste_weights"),
    "recommendations": ("recommendations",),
}
NOTHING = "0:0"

TRAIT_COLUMNS = ("work_id", "media_type", "genres", "keywords")
LIST_COLUMNS = (
    "work_id", "item_id", "media_type", "year", "genres", "directors", "creators", "cast", "vote_average", "vote_count",
    "popularity", "collection", "released", "official_rating", "tmdb_id", "imdb_id",
)  # fmt: skip
HISTORY_COLUMNS = (
    "work_id", "plays", "completion", "favorite", "rating", "wants_more", "last_played_at", "episodes_played",
    "episodes_total",
)  # fmt: skip
WEIGHT_COLUMNS = ("work_id", "weight")
COPY_COLUMNS = ("work_id", "item_id", "library_id", "tags", "path")
# A play that is later than now comes from a wrong clock: its date does not count yet.
_UNTIL_NOW = "SELECT h.*, CASE WHEN h.last_played_at <= :now THEN h.last_played_at END AS counted_date FROM ({}) h"
# Supersets of what read_vectors() and read_edges() return, without the vectors and the join of the edges: the hash of
# the text stands for a vector.
_VECTORS = "SELECT work_id, text_hash FROM embeddings WHERE model_key = :model"
_LINKS = "SELECT work_id, recommended_tmdb_ids, similar_tmdb_ids FROM tmdb_metadata"
_IDS = """
    SELECT work_id, media_type, tmdb_id FROM works w
    WHERE EXISTS (SELECT 1 FROM present_titles t WHERE t.work_id = w.work_id)"""
# What is not in the library is on no list that could follow.
_SAID = """
    SELECT user_id, work_id, 'hidden' AS what, NULL::float8 AS rating, dismissed_at AS said_at FROM dismissals d
    WHERE EXISTS (SELECT 1 FROM present_titles t WHERE t.work_id = d.work_id)
    UNION ALL SELECT user_id, NULL, array_to_string(excluded_genres, '/'), NULL, NULL FROM member_choices
    WHERE cardinality(excluded_genres) > 0
    UNION ALL SELECT user_id, work_id, 'more', NULL, asked_at FROM more_like_this
    UNION ALL SELECT user_id, work_id, 'rated', rating, updated_at FROM ratings WHERE source = 'own'"""


@dataclass(frozen=True, slots=True)
class Computation:
    """The inputs of a user's last result, by name, its version, and whether it is still what was made of them."""

    made_from: Mapping[str, str]
    version: str
    is_intact: bool
    computed_at: datetime


def history_hashes(connection: Connection, *, now: datetime, without: Collection[str] = ()) -> dict[str, str]:
    """Return a hash of each user's rows of :func:`read_histories`, as they count at a time."""
    columns = ["counted_date" if column == "last_played_at" else column for column in HISTORY_COLUMNS]
    query = _UNTIL_NOW.format(HISTORIES)
    return _hashes(connection, query, columns, by="user_id", now=now, without=list(without))


def said_hashes(connection: Connection) -> dict[str, str]:
    """Return a hash of what each user said by hand and their list follows; users who said nothing are absent."""
    return _hashes(connection, _SAID, ("work_id", "what", "rating", "said_at"), by="user_id")


def weight_hashes(connection: Connection) -> dict[str, str]:
    """Return a hash of each present user's rows of :func:`read_weights`."""
    return _hashes(connection, WEIGHTS, WEIGHT_COLUMNS, by="user_id")


def trait_hash(connection: Connection) -> str:
    """Return a hash of the rows of :func:`read_traits`."""
    return _hash(connection, TRAITS, TRAIT_COLUMNS)


def title_hash(connection: Connection) -> str:
    """Return a hash of the rows of :func:`read_items` in the columns that a list is made from."""
    return _hash(connection, ITEMS, LIST_COLUMNS)


def vector_hash(connection: Connection, model_key: str) -> str:
    """Return a hash of a model and its vectors."""
    return f"{model_key}:{_hash(connection, _VECTORS, ('work_id', 'text_hash'), model=model_key)}"


def link_hash(connection: Connection) -> str:
    """Return a hash of all that :func:`read_edges` depends on."""
    links = _hash(connection, _LINKS, ("work_id", "recommended_tmdb_ids", "similar_tmdb_ids"))
    return f"{links}:{_hash(connection, _IDS, ('work_id', 'media_type', 'tmdb_id'))}"


def copies_hash(connection: Connection) -> str:
    """Return a hash of the rows of :func:`read_copies`."""
    return _hash(connection, COPIES, COPY_COLUMNS, media_type=None)


def read_computations(connection: Connection, result: Result) -> dict[str, Computation]:
    """Return what each user's last result was made from."""
    statement = "SELECT user_id, made_from, version, updated_at FROM computations WHERE result = :result"
    rows = execute(connection, statement, result=result).all()
    versions = content_versions(connection, *TABLES[result], by="user_id", of=[row.user_id for row in rows])
    return {
        row.user_id: Computation(row.made_from, row.version, row.version == versions[row.user_id], row.updated_at)
        for row in rows
    }


def write_computation(
    connection: Connection, result: Result, user_id: str, made_from: Mapping[str, str], version: str
) -> None:
    """Record what a user's result was made from, in the transaction that writes it."""
    row = {"user_id": user_id, "result": result, "made_from": dict(made_from), "version": version}
    upsert(connection, computations, [row])


def _hash(connection: Connection, query: str, columns: Sequence[str], **values: Any) -> str:
    return read_value(connection, f"SELECT {_digest(columns)} FROM ({query}) rows", **values)


def _hashes(connection: Connection, query: str, columns: Sequence[str], *, by: str, **values: Any) -> dict[str, str]:
    statement = f"SELECT {by}, {_digest(columns)} FROM ({query}) rows GROUP BY {by}"
    return {key: digest for key, digest in execute(connection, statement, **values)}


def _digest(columns: Sequence[str]) -> str:
    """Return an expression for the hash of a group of rows, ``NOTHING`` for none."""
    row = ", ".join(f'"{column}"' for column in columns)
    return f"count(*) || ':' || coalesce(sum(hash_record_extended(ROW({row}), 0)), 0)"
