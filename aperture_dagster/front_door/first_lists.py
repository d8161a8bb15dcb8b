"""How far the first lists are: what was read and made so far, shown until the first list is there."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection

from aperture_dagster.postgres.queries import read_rows
from aperture_dagster.texts import Texts

REFRESH_SECONDS = 5
"""How often a page that waits for the first lists loads itself again."""


@dataclass(frozen=True, slots=True)
class FirstLists:
    """Counts of a home in which there is no list yet.

    Attributes:
        users: read from the media server.
        titles: films and series, likewise.
        vectors: titles that have one; lists are made from them.
        histories: users whose history was read.
    """

    users: int
    titles: int
    vectors: int
    histories: int

    def facts(self, _: Texts) -> list[tuple[str, str]]:
        """Return what was done so far, for a page."""
        return [
            (_("Users read"), _.number(self.users)),
            (_("Films and series read"), _.number(self.titles)),
            (_("Vectors made"), _.number(self.vectors)),
            (_("Histories read"), _.number(self.histories)),
        ]


def read_first_lists(connection: Connection) -> FirstLists | None:
    """Count what was done for the first lists; None once there is a list of anybody."""
    rows = read_rows(
        connection,
        """SELECT (SELECT count(*) FROM present_users) AS users, (SELECT count(*) FROM present_titles) AS titles,
            (SELECT count(DISTINCT work_id) FROM embeddings) AS vectors,
            (SELECT count(DISTINCT user_id) FROM history_syncs) AS histories
        WHERE NOT EXISTS (SELECT FROM recommendations)""",
    )
    return next((FirstLists(**row) for row in rows), None)
