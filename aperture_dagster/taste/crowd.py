"""What other people watched together, if the home has a table of it."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from aperture_dagster.http.errors import ServiceError
from aperture_dagster.model import sentence

if TYPE_CHECKING:
    import pandas as pd

    from aperture_dagster.settings import Settings
    from aperture_dagster.taste.ranking.crowd import Crowd


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
