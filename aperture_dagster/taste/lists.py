"""Inputs and results of the ranking. A list is replaced in one transaction, so that readers never see a partial one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import Connection, Table

from aperture_dagster.catalogue.visibility import LibraryCopy
from aperture_dagster.members.hidden import not_hidden
from aperture_dagster.postgres.bulk import INTEGER, WriteCounts, driver_cursor, merge, read_packed, stage, upsert
from aperture_dagster.postgres.queries import (
    array_of,
    execute,
    lock_until_commit,
    read_rows,
    read_value,
)
from aperture_dagster.postgres.tables import written_columns
from aperture_dagster.taste.histories import KNOWN_ELSEWHERE
from aperture_dagster.taste.tables import recommendations, taste_profiles, taste_weights
from aperture_dagster.texts import ENGLISH, Texts

if TYPE_CHECKING:
    import pandas as pd

    from aperture_dagster.taste.ranking.features import PackedNames

NAME_LISTS = ("genres", "directors", "creators", "cast")
ITEM_BATCH = 2_000
_TITLES = """
    SELECT s.work_id, s.item_id, s.media_type, coalesce(e.title, s.title) AS title,
    coalesce(e.year, s.year) AS year, coalesce(e.genres, s.genres) AS genres,
    coalesce(e.directors, '{}') AS directors, coalesce(e.creators, '{}') AS creators,
    coalesce(e."cast"[1:5], '{}') AS "cast", coalesce(e.vote_average, s.community_rating)::float8 AS vote_average,
    e.vote_count::float8 AS vote_count, e.popularity::float8 AS popularity, m.collection_id::float8 AS collection,
    (extract(year FROM m.release_date) + extract(doy FROM m.release_date) / 367)::float8 AS released,
    coalesce(e.official_rating, s.official_rating) AS official_rating, coalesce(e.tmdb_id, s.tmdb_id) AS tmdb_id,
    coalesce(e.imdb_id, s.imdb_id) AS imdb_id,
    (SELECT count(DISTINCT (season, number)) FROM present_episodes p
      WHERE p.work_id = s.work_id AND coalesce(p.season, 1) > 0)::float8 AS episodes_total
    FROM (SELECT DISTINCT ON (work_id) * FROM present_titles ORDER BY work_id, item_id) s
    LEFT JOIN enriched_metadata e USING (work_id) LEFT JOIN tmdb_metadata m USING (work_id)"""
# The lists of names as one text, which is parsed much faster than arrays.
_BETWEEN_LISTS = "\x1e"
_LIST = """translate(array_to_string(array_remove("{}", ''), E'\\x1f'), E'\\x1e', '')"""
_LISTS = ", ".join(map(_LIST.format, NAME_LISTS))
_PACKED_ITEMS = """
    SELECT work_id, item_id, media_type, title, year, vote_average, vote_count, popularity, collection, released,
    official_rating, tmdb_id, imdb_id, episodes_total, concat_ws(E'\\x1e', {lists}) AS lists
    FROM ({items}) rows ORDER BY work_id"""
OUTSIDE = 0
"""``item_id`` of what the library lacks."""
# What somebody has seen elsewhere, and the library lacks, with details.
_SEEN = f"""
    discovery_pool p WHERE p.fetched_at IS NOT NULL AND p.title IS NOT NULL AND p.work_id IN ({KNOWN_ELSEWHERE})
    AND NOT EXISTS (SELECT 1 FROM present_titles t WHERE t.work_id = p.work_id)"""
_SEEN_TITLES = f"""
    SELECT p.work_id, {OUTSIDE}::bigint AS item_id, p.media_type, p.title,
    extract(year FROM p.release_date)::int AS year, p.genres,
    p.directors, p.creators, p."cast"[1:5] AS "cast", p.vote_average::float8 AS vote_average,
    p.vote_count::float8 AS vote_count, p.popularity::float8 AS popularity, NULL::float8 AS collection,
    (extract(year FROM p.release_date) + extract(doy FROM p.release_date) / 367)::float8 AS released,
    NULL::text AS official_rating, p.tmdb_id, p.imdb_id, NULL::float8 AS episodes_total
    FROM {_SEEN}"""
TRAITS = """
    SELECT DISTINCT ON (s.work_id) s.work_id, s.media_type, coalesce(e.genres, s.genres) AS genres,
    coalesce(e.keywords, '{}') AS keywords
    FROM present_titles s LEFT JOIN enriched_metadata e USING (work_id) ORDER BY s.work_id, s.item_id"""
BRIDGED = 5_000
"""Titles of a media type up to which what the library lacks is read, too: a larger library has what lists name."""
# Only the recommended lists, which come from what people watch: titles that share keywords and genres (TMDb's similar
# lists) make lists worse than no lists at all. What is outside the library has a negative number: of its id at TMDb,
# even for films and odd for series.
EDGES = f"""
    WITH here AS MATERIALIZED (SELECT work_id, media_type, tmdb_id FROM works w
      WHERE EXISTS (SELECT 1 FROM present_titles t WHERE t.work_id = w.work_id)),
    small AS (SELECT media_type FROM here GROUP BY media_type HAVING count(*) <= {BRIDGED}),
    seen AS MATERIALIZED (SELECT p.work_id, p.media_type, p.tmdb_id, p.recommended_tmdb_ids AS listed FROM {_SEEN}),
    known AS (SELECT * FROM here UNION ALL SELECT work_id, media_type, tmdb_id FROM seen),
    lists AS (
      SELECT w.work_id, w.media_type, r.tmdb_id, r.rank FROM tmdb_metadata m JOIN here w USING (work_id)
      CROSS JOIN LATERAL unnest(m.recommended_tmdb_ids) WITH ORDINALITY AS r(tmdb_id, rank)
      UNION ALL SELECT s.work_id, s.media_type, r.tmdb_id, r.rank FROM seen s
      CROSS JOIN LATERAL unnest(s.listed) WITH ORDINALITY AS r(tmdb_id, rank))
    SELECT l.work_id, l.rank,
    coalesce(k.work_id, -2 * l.tmdb_id - (l.media_type = 'series')::int) AS recommended_work_id
    FROM lists l LEFT JOIN known k ON k.media_type = l.media_type AND k.tmdb_id = l.tmdb_id
    WHERE CASE WHEN k.work_id IS NULL THEN l.media_type IN (SELECT media_type FROM small)
      ELSE k.work_id <> l.work_id END"""
COPIES = """
    SELECT work_id, item_id, library_id, tags, path FROM present_titles
    WHERE media_type = coalesce(CAST(:media_type AS text), media_type)"""


def seen_version(connection: Connection, model_key: str) -> str:
    """Return a hash of what lists are made from of the titles that were seen elsewhere."""
    statement = f"""
        SELECT md5(string_agg(concat_ws(':', s.work_id, v.text_hash, listed), ',' ORDER BY s.work_id)) FROM (
          SELECT p.work_id, p.recommended_tmdb_ids AS listed FROM {_SEEN}) s
        LEFT JOIN discovery_vectors v ON v.work_id = s.work_id AND v.model_key = :key"""
    return read_value(connection, statement, key=model_key) or ""


def read_items(connection: Connection) -> pd.DataFrame:
    """Read the item table of the ranking: one row per work in the library; ``item_id`` is the copy to play.

    Values come from the merged metadata or, before the first merge, from the media server. Missing numbers are NaN,
    missing texts None.
    """
    frame, packed = read_titles(connection)
    # One object for each name, however many titles have it: there are a dozen names per title.
    once: dict[str, str] = {}
    same = once.setdefault
    for name, lists in packed.items():
        frame[name] = [[same(one, one) for one in names] for names in lists.unpack()]
    return frame


def read_titles(connection: Connection, *, seen: bool = False) -> tuple[pd.DataFrame, dict[str, PackedNames]]:
    """Read the item table without its lists of names, and these by column.

    ``seen``: with what somebody has seen elsewhere, whose ``item_id`` is ``OUTSIDE``.
    """
    # pandas and numpy double the time that every `dagster` command takes to start.
    import pandas as pd

    from aperture_dagster.taste.ranking.features import PackedNames

    # A cursor of the server: otherwise, all rows would be there twice for a while.
    with driver_cursor(connection, name="titles", binary=True) as cursor:
        items = f"{_TITLES} UNION ALL {_SEEN_TITLES}" if seen else _TITLES
        cursor.execute(_PACKED_ITEMS.format(items=items, lists=_LISTS))
        columns: dict[str, list[Any]] = {column.name: [] for column in (cursor.description or ())[:-1]}
        lists = {name: PackedNames() for name in NAME_LISTS}
        while rows := cursor.fetchmany(ITEM_BATCH):
            *values, packed = zip(*rows, strict=True)
            for of_name, more in zip(columns.values(), values, strict=True):
                of_name.extend(more)
            texts = zip(*(row.split(_BETWEEN_LISTS) for row in packed), strict=True)
            for of_name, more in zip(lists.values(), texts, strict=True):
                of_name.add(more)
    frame = pd.DataFrame(columns)
    for name in ("vote_average", "vote_count", "popularity", "collection", "released", "episodes_total"):
        frame[name] = pd.to_numeric(frame[name])
    for name in ("official_rating", "imdb_id"):
        frame[name] = frame[name].astype(object).where(frame[name].notna(), None)
    return frame, lists


class Traits(NamedTuple):
    """What may set a taste apart: the media type, genres and keywords of a title."""

    of: str
    genres: Sequence[str]
    keywords: Sequence[str]


def read_traits(connection: Connection, works: Sequence[int]) -> dict[int, Traits]:
    """Read the traits of those of some works that are in the library."""
    rows = execute(connection, f"SELECT * FROM ({TRAITS}) t WHERE work_id = ANY(:works)", works=works)
    return {row.work_id: Traits(row.media_type, row.genres, row.keywords) for row in rows}


def trait_shares(connection: Connection) -> dict[tuple[str, str], dict[str, float]]:
    """Return by media type and kind (``genres``, ``keywords``) the share of the library's titles with each name."""
    statement = f"""
        WITH t AS MATERIALIZED ({TRAITS}), sizes AS (SELECT media_type, count(*) AS titles FROM t GROUP BY 1)
        SELECT t.media_type, kind, name, count(*) / max(s.titles)::float8 AS share
        FROM t JOIN sizes s USING (media_type) CROSS JOIN LATERAL (SELECT 'genres' AS kind, unnest(genres) AS name
          UNION SELECT 'keywords', unnest(keywords)) n
        GROUP BY 1, 2, 3"""
    found: dict[tuple[str, str], dict[str, float]] = {}
    for media_type, kind, name, share in execute(connection, statement):
        found.setdefault((media_type, kind), {})[name] = share
    return found


def read_copies(connection: Connection, media_type: str | None = None) -> list[LibraryCopy]:
    """Read every copy of every work in the library, or of those of one media type."""
    rows = execute(connection, COPIES, media_type=media_type)
    return [LibraryCopy(work, item, library, tuple(tags), path) for work, item, library, tags, path in rows]


def read_edges(connection: Connection) -> pd.DataFrame:
    """Read what TMDb recommends from titles of the library: ``work_id``, ``recommended_work_id``, ``rank``.

    Titles that a small library lacks are included, as negative numbers (see :func:`links_of`).
    """
    import numpy as np
    import pandas as pd

    names = ("work_id", "recommended_work_id", "rank")
    blocks = list(read_packed(connection, EDGES, dict.fromkeys(names, INTEGER)))
    return pd.DataFrame(
        {name: np.concatenate([np.zeros(0, dtype=np.int64), *(block[name] for block in blocks)]) for name in names}
    )


def replace_taste(
    connection: Connection, user_id: str, profiles: Iterable[dict[str, Any]], weights: Iterable[dict[str, Any]]
) -> WriteCounts:
    """Replace a user's taste: a profile per media type, and the weight of every work in the history."""
    weights = list(weights)
    works = array_of([row["work_id"] for row in weights])
    counts = upsert(connection, taste_profiles, profiles) + merge(
        connection,
        taste_weights,
        # There are thousands: as arrays they need no table and no text.
        "(SELECT CAST(:user AS text) AS user_id, * FROM unnest(CAST(:works AS bigint[]), CAST(:types AS text[]), "
        "CAST(:weights AS real[])) AS w (work_id, media_type, weight)) incoming",
        ("user_id", "work_id", "media_type", "weight"),
        user=user_id,
        works=works,
        types=array_of([row["media_type"] for row in weights]),
        weights=array_of([row["weight"] for row in weights]),
    )
    statement = "DELETE FROM taste_weights WHERE user_id = :user AND NOT work_id = ANY(CAST(:works AS bigint[]))"
    counts.deleted = execute(connection, statement, user=user_id, works=works).rowcount
    return counts


def users_with_taste(connection: Connection) -> set[str]:
    """Return the ids of users who have a taste profile, even an empty one."""
    return set(execute(connection, "SELECT DISTINCT user_id FROM taste_profiles").scalars())


def profile_table(connection: Connection, user_ids: Sequence[str]) -> list[dict[str, Any]]:
    """Describe users' tastes, for the asset's page and the summary; genres and keywords are those that stand out."""
    statement = """
        SELECT u.name AS user, p.media_type, p.titles, p.liked, p.disliked, p.summary->>'sentence' AS taste,
        jsonb_path_query_array(p.summary, '$.genres[*].name') AS genres,
        jsonb_path_query_array(p.summary, '$.keywords[*].name') AS keywords
        FROM taste_profiles p JOIN users u USING (user_id) WHERE user_id = ANY(:users)
        ORDER BY u.first_seen_at, u.name, p.media_type"""
    return read_rows(connection, statement, users=list(user_ids))


def replace_recommendations(
    connection: Connection, user_id: str, rows: Sequence[dict[str, Any]], *, today: date
) -> WriteCounts:
    """Replace a user's lists; equal lists are not written, and titles that stay keep their ``listed_since``.

    Those that leave are added to ``past_picks``.
    """
    statement = "SELECT work_id, listed_since FROM recommendations WHERE user_id = :user"
    since = {row.work_id: row.listed_since for row in execute(connection, statement, user=user_id)}
    dated = [row | {"listed_since": since.get(row["work_id"], today)} for row in rows]
    statement = """
        INSERT INTO past_picks (user_id, work_id, listed_since)
        SELECT user_id, work_id, listed_since FROM recommendations
        WHERE user_id = :user AND work_id <> ALL(CAST(:works AS bigint[])) ON CONFLICT DO NOTHING"""
    execute(connection, statement, user=user_id, works=array_of([row["work_id"] for row in rows]))
    return replace_rows(connection, recommendations, dated, user_id=user_id)


def replace_rows(connection: Connection, target: Table, rows: Sequence[dict[str, Any]], **of: Any) -> WriteCounts:
    """Replace the rows of ``target`` with the values ``of`` these columns, unless they are equal, under a lock."""
    lock_until_commit(connection, f"{target.name}:{'/'.join(map(str, of.values()))}")
    where = " AND ".join(f"{name} = :{name}" for name in of)
    columns = written_columns(target)
    staged = stage(connection, target, map(itemgetter(*columns), rows), columns)
    names = ", ".join(columns)
    new, current = f"SELECT {names} FROM {staged}", f"SELECT {names} FROM {target.name} WHERE {where}"
    differs = f"SELECT EXISTS (({new} EXCEPT {current}) UNION ALL ({current} EXCEPT {new}))"
    counts = WriteCounts()
    if read_value(connection, differs, **of):
        counts.deleted = execute(connection, f"DELETE FROM {target.name} WHERE {where}", **of).rowcount
        counts.inserted = execute(connection, f"INSERT INTO {target.name} ({names}) {new}").rowcount
    connection.exec_driver_sql(f"DROP TABLE {staged}")
    return counts


def why_recommended(because: Sequence[str], *, together: bool = False, _: Texts = ENGLISH) -> str:
    """Return why a title is recommended, in a language.

    Args:
        because: The liked titles that contribute most to its score; none if it is widely liked.
        together: Whether they do so because others watched them together with it, and not because it is like them.
        _: The texts.
    """
    if not because:
        return _("Widely liked")
    titles, count = _.listed(because), len(because)
    if together:
        return _.plural(
            "People who liked %(titles)s also liked this",
            "People who liked %(titles)s also liked this",
            count,
            titles=titles,
        )
    return _.plural("Because you liked %(titles)s", "Because you liked %(titles)s", count, titles=titles)


def reason_of(row: Mapping[str, Any], _: Texts = ENGLISH) -> str:
    """Return why a title is on a list, given its row (``because`` and ``components``), in a language."""
    parts = row["components"]
    together = parts.get("co_watch", 0.0) + parts.get("recommended_from", 0.0)
    return why_recommended(row["because"], together=together > parts.get("similarity", 0.0), _=_)


def recommendation_table(connection: Connection, user_id: str, *, work_id: int | None = None) -> list[dict[str, Any]]:
    """List a user's recommendations, except hidden ones, with titles and reasons, films first, in rank order.

    ``because`` has the titles of reasons, ``liked`` their works. ``work_id``: that title alone.
    """
    # Not a condition that is always there: the planner would take it for one that leaves a single row.
    alone = "AND work_id = :work" if work_id is not None else ""
    of_one = {"work": work_id} if work_id is not None else {}
    statement = f"""
        SELECT work_id, media_type, rank, score::float8 AS score, components, is_cold, listed_since, generated_at,
        because FROM recommendations r WHERE user_id = :user {alone}
        AND {not_hidden(":user", "r.work_id")}
        AND work_id NOT IN (SELECT work_id FROM watched_together WHERE user_id = :user) ORDER BY media_type, rank"""
    rows = read_rows(connection, statement, user=user_id, **of_one)
    # Reasons repeat, so the names of each work are read once, by a list of ids that the planner knows to be short.
    works = {work for row in rows for work in (row["work_id"], *row["because"])}
    statement = """
        SELECT work_id, title, year, tmdb_id, imdb_id FROM work_names
        WHERE work_id = ANY(CAST(:works AS bigint[]))"""
    names = {row["work_id"]: row for row in read_rows(connection, statement, works=array_of(works))}
    titled = {work: row["title"] for work, row in names.items() if row["title"] is not None}
    for row in rows:
        row["liked"] = [work for work in row["because"] if work in titled]
    return [row | names[row["work_id"]] | {"because": [titled[work] for work in row["liked"]]} for row in rows]


def first_recommendations(connection: Connection, user_ids: Sequence[str], limit: int) -> list[dict[str, Any]]:
    """List the first recommendations of users, films before series, in rank order.

    Each row has ``user_id``, ``media_type``, ``rank``, ``work_id``, ``title``, ``year``, ``because`` (titles),
    ``components`` and ``server_item_id``, whose picture the media server shows.
    """
    statement = """
        SELECT r.user_id, r.media_type, r.rank, r.work_id, n.title, n.year, t.server_item_id, r.components,
        ARRAY(SELECT b.title FROM unnest(r.because) WITH ORDINALITY AS b_(work_id, place)
          JOIN work_names b USING (work_id) WHERE b.title IS NOT NULL ORDER BY place) AS because
        FROM recommendations r JOIN work_names n USING (work_id) LEFT JOIN titles t ON t.item_id = r.item_id
        WHERE r.user_id = ANY(:users) AND r.rank <= :limit ORDER BY r.media_type, r.user_id, r.rank"""
    return read_rows(connection, statement, users=list(user_ids), limit=limit)


def liked_genres(connection: Connection, user_ids: Sequence[str]) -> dict[str, dict[str, float]]:
    """Return by user the share (0-1) of each genre: the weight of their liked titles of it, of that of all they like.

    A title counts for each of its genres, so the shares of a user add up to more than 1.
    """
    statement = """
        SELECT w.user_id, genre, (sum(w.weight) / max(a.weight))::float8 AS share
        FROM taste_weights w JOIN work_copies c USING (work_id) LEFT JOIN enriched_metadata e USING (work_id)
        JOIN (SELECT user_id, sum(weight) AS weight FROM taste_weights WHERE weight > 0 AND user_id = ANY(:users)
          GROUP BY user_id) a USING (user_id)
        CROSS JOIN LATERAL unnest(coalesce(nullif(e.genres, '{}'), c.genres)) AS genre
        WHERE w.weight > 0 AND w.user_id = ANY(:users)
        GROUP BY w.user_id, genre ORDER BY w.user_id, share DESC, genre"""
    shares: dict[str, dict[str, float]] = {user_id: {} for user_id in user_ids}
    for row in read_rows(connection, statement, users=list(user_ids)):
        shares[row["user_id"]][row["genre"]] = row["share"]
    return shares


def watched_recommendations(connection: Connection, user_ids: Sequence[str]) -> int:
    """Count recommended titles that the user had already played or started; the expected result is zero.

    A film that was begun once and left may be recommended again, so it does not count.
    """
    statement = """
        SELECT count(DISTINCT (r.user_id, r.work_id)) FROM recommendations r
        JOIN watch_state w ON w.user_id = r.user_id AND w.work_id = r.work_id WHERE r.user_id = ANY(:users)
        AND (w.played OR w.play_count > CASE WHEN w.position_share > 0 AND NOT w.is_episode THEN 1 ELSE 0 END)
        AND w.updated_at <= r.generated_at AND r.generated_at <= clock_timestamp()"""
    return read_value(connection, statement, users=list(user_ids))
