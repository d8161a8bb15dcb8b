"""What other people watched together, if the home has a table of it; and whom such a table would help."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from aperture_dagster.catalogue.people import who_takes_part
from aperture_dagster.catalogue.stored_users import read_users
from aperture_dagster.http.errors import ServiceError
from aperture_dagster.model import counted, listed, sentence
from aperture_dagster.postgres.queries import read_value
from aperture_dagster.taste.histories import read_histories
from aperture_dagster.taste.lists import read_titles

if TYPE_CHECKING:
    import pandas as pd

    from aperture_dagster.catalogue.people import User
    from aperture_dagster.settings import Settings
    from aperture_dagster.taste.crowd_table import CrowdTable
    from aperture_dagster.taste.ranking.crowd import Crowd

FEW_PEOPLE = 20
"""With fewer active people, a household learns little from itself, and a crowd helps most."""
ACTIVE = timedelta(days=90)
NAMED = 12
"""People who are named at most when a crowd is fetched."""


def table_in_use(settings: Settings) -> Path:
    """Return where the home keeps the table that ``aperture crowd use`` copies."""
    return settings.home_path / "crowd" / "table.npz"


def crowd_version(settings: Settings) -> str:
    """Return a hash of the table, on which lists depend; empty if there is none, the reason if it cannot be read."""
    try:
        return hashlib.sha256(table_in_use(settings).read_bytes()).hexdigest()
    except FileNotFoundError:
        return ""
    except OSError as error:
        return str(error)


def read_crowd(log: logging.Logger, settings: Settings, items: pd.DataFrame) -> Crowd | None:
    """Read what other people watched together, as far as it is in ``items``; None if the home has no table.

    A table that cannot be used costs only the crowd: a warning says why, and the lists are made without it.
    """
    if not table_in_use(settings).exists():
        return None
    # pandas doubles the time that every `dagster` command takes to start.
    from aperture_dagster.taste.crowd_table import read_table

    try:
        table = read_table(table_in_use(settings))
    except ServiceError as error:
        log.warning(f"{sentence(error)} The lists are made without what other people watched.")
        return None
    crowd = table.on(items)
    known = len(set(crowd.sources.tolist()))
    log.info(f"{table.header.people:,} people from outside; they know {known:,} films of these.")
    return crowd


# Whom a crowd helps.


def count_active_people(connection: Connection, settings: Settings, *, now: datetime) -> int:
    """Count the people who take part and have watched something in the last 90 days."""
    statement = "SELECT count(DISTINCT user_id) FROM plays WHERE user_id = ANY(:users) AND played_at > :since"
    users = [user.user_id for user in who_takes_part(settings, read_users(connection))]
    return read_value(connection, statement, users=users, since=now - ACTIVE)


def crowd_advice(settings: Settings, active_people: int) -> str | None:
    """Recommend a crowd to a household that is too small to learn from itself and has none; None if it needs none.

    Nobody is advised before somebody has watched something, or if ``APERTURE_CROWD_URL`` is off.
    """
    is_off = settings.crowd_url is None or table_in_use(settings).exists()
    if is_off or not 0 < active_people < FEW_PEOPLE:
        return None
    return (
        f"{counted(active_people, 'people')} watched something in the last {ACTIVE.days} days, and so few learn little "
        "from each other. What other people watched makes their lists of films better: `aperture crowd fetch ml-32m` "
        "shows the terms of the data first (APERTURE_CROWD_URL=off ends this advice)."
    )


def describe_effect(connection: Connection, settings: Settings, table: CrowdTable) -> list[str]:
    """Say in sentences what a table will change, and for whom."""
    import numpy as np

    items, _ = read_titles(connection)
    films = items.loc[items["media_type"] == "movie", "work_id"].to_numpy()
    if not len(films):
        return ["The library has not been read yet, so nothing can be said of whom it helps."]
    known = np.intersect1d(table.works(items), films)
    histories = read_histories(connection)
    watched = histories.loc[np.isin(histories["work_id"], films)]
    users = who_takes_part(settings, read_users(connection))
    return [
        f"It knows {len(known):,} of the library's {counted(len(films), 'films')}. Lists of series stay as they are.",
        *_describe_people(users, watched, known.tolist()),
    ]


def _describe_people(users: Sequence[User], watched: pd.DataFrame, known: Sequence[int]) -> list[str]:
    """Say how many of the watched films of each user (a row per user and work) are among those that are known."""
    is_known = watched["work_id"].isin(known)
    of_user = watched.assign(known=is_known).groupby("user_id")["known"].agg(["sum", "size"])
    counts = {user.name: of_user.loc[user.user_id] for user in users if user.user_id in of_user.index}
    helped = {name: row for name, row in counts.items() if row["sum"]}
    if not helped:
        return ["Nobody has watched any of them yet: lists change as soon as somebody does."]
    shown = sorted(helped, key=lambda name: (-int(helped[name]["sum"]), name))[:NAMED]
    details = [f"{name} ({helped[name]['sum']:,} of {helped[name]['size']:,} watched films)" for name in shown]
    more = [f"{len(helped) - len(shown)} more"] * (len(helped) > len(shown))
    said = [f"It changes the lists of films of {counted(len(helped), 'people')}: {listed([*details, *more])}."]
    rest = [user.name for user in users if user.name not in helped]
    if rest and len(rest) <= NAMED:
        said.append(f"Nothing changes for {listed(rest)}, of whose films it knows none.")
    return said
