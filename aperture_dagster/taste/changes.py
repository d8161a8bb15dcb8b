"""Which tastes and lists have to be computed: those whose inputs have changed since the last time.

A list depends on what everybody in the household watched, so a play changes the inputs of all lists, but of one taste.
Plays age by the user's last one, so time alone changes only what rests. See docs/architecture.md.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import Connection

import aperture_dagster
from aperture_dagster.catalogue.people import read_users
from aperture_dagster.postgres.bulk import upsert
from aperture_dagster.postgres.queries import content_version, content_versions, execute, read_value
from aperture_dagster.taste.crowd import crowd_version
from aperture_dagster.taste.histories import HISTORIES
from aperture_dagster.taste.lists import COPIES, ITEMS, TRAITS, WEIGHTS
from aperture_dagster.taste.tables import computations
from aperture_dagster.taste.wishes import hidden_titles

if TYPE_CHECKING:
    from aperture_dagster.catalogue.people import User
    from aperture_dagster.postgres.bulk import WriteCounts
    from aperture_dagster.postgres.database import Database
    from aperture_dagster.settings import Settings

# What tastes and lists are made from, as hashes: with equal inputs nothing has to be computed again.
#
# The hashes are made by the database from the very queries that read the inputs, so that only they travel. Each is a
# count and a sum over the rows, and thus independent of their order.


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


# The code that makes a taste or a list. What it depends on beside the code is among the inputs.
CODE = ("taste", "catalogue")
# Reasons that are no inputs.
NEVER, ASKED, ALTERED = "never computed", "asked for", "the result was altered"
Inputs = Mapping[str, str]
"""A hash of each input by its name."""


@dataclass(frozen=True, slots=True)
class Changes:
    """The users of a run whose results have to be computed, and why; by user id."""

    result: Result
    inputs: Mapping[str, Inputs]
    before: Mapping[str, Computation]
    reasons: Mapping[str, tuple[str, ...]]

    def unchanged(self, user_id: str) -> Computation | None:
        """Return the last computation of a user whose inputs are the same; None if there has to be another."""
        return None if user_id in self.reasons else self.before.get(user_id)

    def store(self, database: Database, user_id: str, replace: Callable[[Connection], WriteCounts]) -> tuple[str, int]:
        """Replace a user's result, and record what it was made from; return its version and how many rows changed."""
        with database.transaction() as connection:
            counts = replace(connection)
            version = content_version(connection, *TABLES[self.result], user_id=user_id)
            write_computation(connection, self.result, user_id, self.inputs[user_id], version)
        return version, counts.written

    def shown(self, user_id: str) -> dict[str, Any]:
        """Say on the user's page why the result was computed, or since when nothing has changed."""
        if (last := self.unchanged(user_id)) is not None:
            return {"unchanged_since": last.computed_at.isoformat(timespec="seconds")}
        return {"computed_because": ", ".join(self.reasons[user_id])}


def find_changes(
    connection: Connection,
    result: Result,
    users: Iterable[User],
    inputs: Callable[[User], Inputs],
    *,
    recompute: bool = False,
) -> Changes:
    """Compare what the results of users would be made from with what they were made from.

    It must come before the inputs are read: what changes in between is found the next time.
    """
    before = read_computations(connection, result)
    now = {user.user_id: inputs(user) for user in users}
    reasons = {user_id: differences(before.get(user_id), of, asked=recompute) for user_id, of in now.items()}
    return Changes(result, now, before, {user_id: why for user_id, why in reasons.items() if why})


def differences(before: Computation | None, now: Inputs, *, asked: bool = False) -> tuple[str, ...]:
    """Return why a result has to be computed; nothing if its inputs are the same and it is still there."""
    if before is None:
        return (NEVER,)
    changed = tuple(
        sorted(name for name in before.made_from.keys() | now if before.made_from.get(name) != now.get(name))
    )
    if not before.is_intact:
        changed += (ALTERED,)
    return changed or ((ASKED,) if asked else ())


def taste_inputs(connection: Connection, settings: Settings, *, now: datetime) -> Callable[[User], Inputs]:
    """Return what the taste of a user is made from."""
    shared = {"program": program_hash(), "titles": trait_hash(connection)}
    histories = history_hashes(connection, now=now, without=settings.ignored_ratings)
    return lambda user: shared | {"history": histories.get(user.user_id, NOTHING)}


def list_inputs(
    connection: Connection,
    settings: Settings,
    *,
    now: datetime,
    model_key: str,
    config: object,
    resting: Mapping[str, Collection[int]] = MappingProxyType({}),
) -> Callable[[User], Inputs]:
    """Return what the list of a user is made from.

    ``config`` is the configuration of the ranking, ``resting`` has the works that rest, by user. What others watched,
    left out for the user, is "household".
    """
    shared = {
        "program": program_hash(),
        "settings": _hash_of(config),
        "titles": title_hash(connection),
        "vectors": vector_hash(connection, model_key),
        "TMDb's lists": link_hash(connection),
        "crowd": crowd_version(settings),
    }
    copies, unwanted = copies_hash(connection), hidden_titles(connection)
    histories = history_hashes(connection, now=now, without=settings.ignored_ratings)
    weights = weight_hashes(connection)
    present = {user.user_id for user in read_users(connection) if not user.gone}
    everybody = sorted(histories.keys() | present)

    def own(user: User) -> Inputs:
        mine = user.user_id
        others = [(one, one in present, histories.get(one), weights.get(one)) for one in everybody if one != mine]
        return shared | {
            "history": histories.get(mine, NOTHING),
            "taste": weights.get(mine, NOTHING),
            "household": _hash_of(others),
            "rest": _hash_of(sorted(resting.get(mine, ()))),
            "hidden titles": _hash_of(sorted(unwanted.get(mine, ()))),
            "access": _hash_of((user.access, user.max_parental_rating, copies if user.access.is_limited else None)),
        }

    return own


@functools.cache
def program_hash(*more: str) -> str:
    """Return a hash of the code that makes tastes and lists: after an update, everything is computed again.

    ``more`` are other folders of the package to include.
    """
    root = Path(aperture_dagster.__file__).parent
    digest = hashlib.blake2b(digest_size=8)
    for part in (*CODE, *more):
        for file in sorted((root / part).rglob("*.py")) if (root / part).is_dir() else [root / part]:
            digest.update(file.relative_to(root).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def _hash_of(value: object) -> str:
    return hashlib.blake2b(repr(value).encode(), digest_size=8).hexdigest()
