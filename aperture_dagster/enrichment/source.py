"""What is declared of a title source, a service of facts about titles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from aperture_dagster.enrichment.answers import write_answers
from aperture_dagster.enrichment.merge import Gives
from aperture_dagster.enrichment.populations import TITLES
from aperture_dagster.worklist.services import Client, Service
from aperture_dagster.worklist.source import Population
from aperture_dagster.worklist.work_list import Attempt, OneByOne, WorkList

EVERY_SIX_HOURS = "0 */6 * * *"


@dataclass(frozen=True, kw_only=True)
class TitleSource(Service[Client]):
    """The declaration of a title source. Its asset, checks, resources, job and place in the merged view derive from it.

    Args:
        table: has one row per work, and ``name`` as its ``info["source"]``; also the name of the asset.
        about: what the service offers, for the page of the service.
        description: of the asset: what it holds, one row of what, how it is fetched.
        gives: the columns of the merged view that it has values for.
        titles: asks about the titles that are due.
        cron: when it is asked. Sources that are asked at the same times share a job.
    """

    table: str
    about: str
    description: str
    gives: tuple[Gives, ...]
    population: Population = TITLES
    titles: type[Titles[Client]]
    cron: str = EVERY_SIX_HOURS

    @property
    def job(self) -> str:
        """The job that asks it."""
        return "enrich_metadata" if self.cron == EVERY_SIX_HOURS else f"enrich_{self.name}"


class Titles(WorkList[Client]):
    """Asks about titles of the library, and writes the answers to the table of the source."""

    def store(self, connection: Connection, attempts: Sequence[Attempt]) -> int:
        """Write answers; return how many rows changed."""
        rows = ({"work_id": attempt.item.item, **attempt.answer} for attempt in attempts)
        return write_answers(connection, self.source.name, rows).written


class TitlesOneByOne(Titles[Client], OneByOne[Client]):
    """Asks about titles one at a time."""
