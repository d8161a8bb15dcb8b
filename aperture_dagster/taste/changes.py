"""Which tastes and lists have to be computed: those whose inputs have changed since the last time.

A list depends on what everybody in the household watched, so a play changes the inputs of all lists, but of one taste.
Plays age by the user's last one, so time alone changes only what rests (``freshness.py``). See docs/architecture.md.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import aperture_dagster
from aperture_dagster.catalogue.people import read_users
from aperture_dagster.postgres.queries import content_version
from aperture_dagster.taste.crowd import crowd_version
from aperture_dagster.taste.inputs import (
    NOTHING,
    TABLES,
    Computation,
    Result,
    copies_hash,
    history_hashes,
    link_hash,
    read_computations,
    title_hash,
    trait_hash,
    vector_hash,
    weight_hashes,
    write_computation,
)
from aperture_dagster.taste.sight import hidden_titles

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from aperture_dagster.catalogue.people import User
    from aperture_dagster.postgres.bulk import WriteCounts
    from aperture_dagster.postgres.database import Database
    from aperture_dagster.settings import Settings

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
        "settings": _hash(config),
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
            "household": _hash(others),
            "rest": _hash(sorted(resting.get(mine, ()))),
            "hidden titles": _hash(sorted(unwanted.get(mine, ()))),
            "access": _hash((user.access, user.max_parental_rating, copies if user.access.is_limited else None)),
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


def _hash(value: object) -> str:
    return hashlib.blake2b(repr(value).encode(), digest_size=8).hexdigest()
