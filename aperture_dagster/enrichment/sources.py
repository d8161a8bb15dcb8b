"""The title sources: services of facts about titles, each declared in a module of its own.

Everything else derives from :data:`SOURCES`: assets and their checks, jobs, the merged view, the doctor and the demo.
How to add one is in ``docs/adding-a-source.md``.
"""

from __future__ import annotations

from typing import Any

from aperture_dagster.enrichment.mdblist.source import MDBLIST
from aperture_dagster.enrichment.merge import SERVER, SERVER_GIVES, MergePlan
from aperture_dagster.enrichment.omdb.source import OMDB
from aperture_dagster.enrichment.source import TitleSource
from aperture_dagster.enrichment.tmdb.logos import TMDB_IMAGES
from aperture_dagster.enrichment.tmdb.source import TMDB
from aperture_dagster.worklist.services import Service

SOURCES: tuple[TitleSource[Any], ...] = (TMDB, OMDB, MDBLIST)
# Every service that has a work list.
SERVICES: tuple[Service[Any], ...] = (*SOURCES, TMDB_IMAGES)


def merge_plan() -> MergePlan:
    """Return how the media server and the sources are merged."""
    return MergePlan({SERVER: SERVER_GIVES} | {source.name: source.gives for source in SOURCES})
