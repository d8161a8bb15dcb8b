"""The title sources: services of facts about titles, each declared in a module of its own.

Everything else derives from :data:`SOURCES`: assets and their checks, jobs, the merged view, the doctor and the demo.
How to add one is in ``docs/adding-a-source.md``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aperture_dagster.enrichment.mdblist.source import MDBLIST
from aperture_dagster.enrichment.merge import SERVER, SERVER_GIVES, MergePlan
from aperture_dagster.enrichment.omdb.source import OMDB
from aperture_dagster.enrichment.source import TitleSource
from aperture_dagster.enrichment.tmdb.logos import TMDB_IMAGES
from aperture_dagster.enrichment.tmdb.source import TMDB
from aperture_dagster.model import Clock
from aperture_dagster.postgres.database import Database
from aperture_dagster.settings import Settings
from aperture_dagster.worklist.fetches import find_due
from aperture_dagster.worklist.services import Service

SOURCES: tuple[TitleSource[Any], ...] = (TMDB, OMDB, MDBLIST)
# Every service that has a work list.
SERVICES: tuple[Service[Any], ...] = (*SOURCES, TMDB_IMAGES)


def merge_plan() -> MergePlan:
    """Return how the media server and the sources are merged."""
    return MergePlan({SERVER: SERVER_GIVES} | {source.name: source.gives for source in SOURCES})


def nothing_is_due(sources: Sequence[Service[Any]], item: str, settings: Settings, clock: Clock) -> str | None:
    """Look at the work lists, and say why there is no need to ask; None if there may be."""
    with Database(settings).transaction() as connection:
        due = [
            find_due(
                connection,
                source,
                now=clock.now(),
                language=source.language(settings) if source.language is not None else None,
            )
            for source in sources
            if source.key(settings) is not None
        ]
    return None if any(due) else f"No {item} is due at {' or '.join(source.label for source in sources)}."
