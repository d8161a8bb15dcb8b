"""Which of a few titles a user may see, and wants to: by the rules of the lists, with the policies of the last sync.

Lists are made ahead. What a user may see can have changed since, so whatever shows a list asks again.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Connection

from aperture_dagster.catalogue.parental import within_limit
from aperture_dagster.catalogue.people import User
from aperture_dagster.catalogue.visibility import LibraryCopy, visible_copies
from aperture_dagster.postgres.queries import array_of, execute


@dataclass(frozen=True, slots=True)
class VisibleTitle:
    """A title in the library, with the copy of it that a user may see; ``server_item_id`` is that copy's."""

    work_id: int
    media_type: str
    item_id: int
    server_item_id: str
    title: str
    year: int | None
    picture_tag: str | None


def titles_in_sight(
    connection: Connection, user: User, works: Collection[int], *, with_hidden: bool = False
) -> dict[int, VisibleTitle]:
    """Return by work those of some works that are in the library, and that a user may see.

    ``with_hidden``: also those that they have hidden.
    """
    if not works:
        return {}
    statement = """
        SELECT t.work_id, t.media_type, t.item_id, t.library_id, t.tags, t.path, t.server_item_id, t.picture_tag,
        coalesce(e.title, t.title) AS title, coalesce(e.year, t.year) AS year, e.official_rating AS merged_rating,
        t.official_rating FROM present_titles t LEFT JOIN enriched_metadata e USING (work_id)
        WHERE t.work_id = ANY(CAST(:works AS bigint[]))
        AND (:hidden OR NOT EXISTS (SELECT 1 FROM hidden_works d WHERE (d.user_id, d.work_id) = (:user, t.work_id)))
        ORDER BY t.work_id, t.item_id"""
    rows = execute(connection, statement, works=array_of(works), user=user.user_id, hidden=with_hidden).all()
    allowed: set[int] = set()
    usual: dict[int, int] = {}
    for row in rows:
        # As in the lists, the rating of a work is the merged one, or else that of its first copy.
        if row.work_id not in usual:
            usual[row.work_id] = row.item_id
            if within_limit(row.merged_rating or row.official_rating, user.max_parental_rating):
                allowed.add(row.work_id)
    copies = [LibraryCopy(row.work_id, row.item_id, row.library_id, tuple(row.tags), row.path) for row in rows]
    shown = visible_copies(copies, user.visibility, usual)
    return {
        row.work_id: VisibleTitle(
            row.work_id, row.media_type, row.item_id, row.server_item_id, row.title, row.year, row.picture_tag
        )
        for row in rows
        if row.work_id in allowed and shown.get(row.work_id) == row.item_id
    }
