"""What members said since when: a hash of it, by which the next look notices news."""

from __future__ import annotations

from sqlalchemy import Connection

from aperture_dagster.postgres.queries import execute


def said_hashes(connection: Connection, *, with_for_later: bool) -> dict[str, str]:
    """Return a hash of what each user said by hand and their lists follow; users who said nothing are absent.

    ``with_for_later``: what they put aside counts, too, because a list on the media server follows it.
    """
    # What is not in the library is on no list that could follow.
    statement = """
        SELECT user_id, count(*) || ':' || sum(hash_record_extended(ROW(work_id, what, rating, said_at), 0)) FROM (
          SELECT user_id, work_id, 'hidden' AS what, NULL::float8 AS rating, dismissed_at AS said_at FROM dismissals d
          WHERE EXISTS (SELECT 1 FROM present_titles t WHERE t.work_id = d.work_id)
          UNION ALL SELECT user_id, NULL, array_to_string(excluded_genres, '/'), NULL, NULL FROM member_choices
          WHERE cardinality(excluded_genres) > 0
          UNION ALL SELECT user_id, work_id, 'more', NULL, asked_at FROM more_like_this
          UNION ALL SELECT user_id, work_id, 'later', NULL, added_at FROM for_later l
          WHERE :for_later AND EXISTS (SELECT 1 FROM present_titles t WHERE t.work_id = l.work_id)
          UNION ALL SELECT user_id, import_id, 'imported', NULL, imported_at FROM history_imports
          UNION ALL SELECT user_id, work_id, 'together', NULL, watched_at FROM watched_together
          UNION ALL SELECT user_id, work_id, 'rated', rating, updated_at FROM ratings WHERE source = 'own') said
        GROUP BY user_id"""
    return {user_id: digest for user_id, digest in execute(connection, statement, for_later=with_for_later)}
