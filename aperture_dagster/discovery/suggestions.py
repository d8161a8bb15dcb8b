"""Suggestions of titles outside the library, the lists, what users dismissed, and notes of requests."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection

from aperture_dagster.catalogue.identity import ProviderIds
from aperture_dagster.catalogue.references import MediaType, TitleId
from aperture_dagster.discovery.pool import owned_under_any_id, settled_titles
from aperture_dagster.discovery.tables import discovery_candidates, seerr_requests
from aperture_dagster.members.hidden import hide, lock_hidden, not_hidden, show_again
from aperture_dagster.model import SKEW
from aperture_dagster.postgres.bulk import WriteCounts, upsert
from aperture_dagster.postgres.queries import execute, lock_until_commit, read_frame, read_rows, read_value
from aperture_dagster.taste.lists import reason_of, replace_rows
from aperture_dagster.texts import ENGLISH, Texts

if TYPE_CHECKING:
    import pandas as pd


REASONS = 2
# Ways to watch without paying for the single title.
INCLUDED = ("flatrate", "free", "ads")


def read_pool(connection: Connection) -> pd.DataFrame:
    """Read the titles of the pool with details, in the columns of the ranking, by work id; ``only_seen``: elsewhere."""
    import pandas as pd

    statement = """
        SELECT work_id, media_type, title, extract(year FROM release_date)::int AS year, genres, keywords, directors,
        creators, "cast", companies, networks, vote_average::float8 AS vote_average, vote_count::float8 AS vote_count,
        popularity::float8 AS popularity, release_date, tmdb_id, imdb_id, wanted_at IS NULL AS only_seen
        FROM discovery_pool WHERE fetched_at IS NOT NULL ORDER BY work_id"""
    frame = read_frame(connection, statement)
    for name in ("vote_average", "vote_count", "popularity"):
        frame[name] = pd.to_numeric(frame[name])
    frame["imdb_id"] = frame["imdb_id"].astype(object).where(frame["imdb_id"].notna(), None)
    return frame


def read_pool_edges(connection: Connection) -> pd.DataFrame:
    """Read TMDb's recommendations among the titles of library and pool: ``work_id``, ``recommended_work_id``, ``rank``.

    What is recommended within the library alone is included. Lists of similar titles are not: they say that titles
    share keywords and genres, which the ranking compares itself, and nothing of who liked both.
    """
    statement = """
        WITH here AS MATERIALIZED (
          SELECT work_id, media_type, tmdb_id FROM work_ids w WHERE tmdb_id IS NOT NULL
            AND EXISTS (SELECT 1 FROM present_titles t WHERE t.work_id = w.work_id)
          UNION SELECT work_id, media_type, tmdb_id FROM discovery_pool WHERE fetched_at IS NOT NULL),
        lists AS (
          SELECT h.work_id, h.media_type, m.recommended_tmdb_ids AS listed FROM here h
            JOIN tmdb_metadata m USING (work_id)
          UNION ALL SELECT work_id, media_type, recommended_tmdb_ids FROM discovery_pool WHERE fetched_at IS NOT NULL)
        SELECT l.work_id, h.work_id AS recommended_work_id, min(r.rank) AS rank FROM lists l
        CROSS JOIN LATERAL unnest(l.listed) WITH ORDINALITY AS r(tmdb_id, rank)
        JOIN here h ON h.media_type = l.media_type AND h.tmdb_id = r.tmdb_id WHERE h.work_id <> l.work_id
        GROUP BY 1, 2"""
    return read_frame(connection, statement)


def replace_candidates(
    connection: Connection, user_id: str, rows: Sequence[dict[str, Any]], *, today: date
) -> WriteCounts:
    """Replace a user's suggestions; equal lists are not written, and titles that stay keep their ``listed_since``.

    What was dismissed or added to the library since ``rows`` were computed is left out.
    """
    lock_hidden(connection, user_id)
    works = [row["work_id"] for row in rows]
    settled = settled_titles(connection, [user_id], works)[user_id] | owned_under_any_id(connection, works)
    since = listed_since(connection, [user_id])[user_id]
    kept: list[dict[str, Any]] = []
    places: dict[str, int] = {}
    for row in rows:
        if row["work_id"] not in settled:
            places[row["media_type"]] = places.get(row["media_type"], 0) + 1
            day = since.get(row["work_id"], today)
            kept.append(row | {"rank": places[row["media_type"]], "listed_since": day})
    return replace_rows(connection, discovery_candidates, kept, user_id=user_id)


def listed_since(connection: Connection, user_ids: Sequence[str]) -> dict[str, dict[int, date]]:
    """Return by user and title since when it has been on the user's list."""
    statement = "SELECT user_id, work_id, listed_since FROM discovery_candidates WHERE user_id = ANY(:users)"
    found: dict[str, dict[int, date]] = {user_id: {} for user_id in user_ids}
    for row in execute(connection, statement, users=list(user_ids)):
        found[row.user_id][row.work_id] = row.listed_since
    return found


_SHOWN = """
    p.title, extract(year FROM p.release_date)::int AS year, p.tmdb_id, p.imdb_id, p.poster_path,
    p.providers->CAST(:country AS text) AS providers"""


def candidate_table(connection: Connection, user_id: str, *, country: str) -> list[dict[str, Any]]:
    """List a user's suggestions with titles, reasons and where they stream in a country; films first, in rank order.

    What the library has by now, and what the user has hidden, is left out. ``because`` has the titles of reasons,
    ``liked`` their works.
    """
    reasons = """
        FROM unnest(c.because) WITH ORDINALITY AS b_(work_id, place)
        JOIN work_names b USING (work_id) WHERE b.title IS NOT NULL ORDER BY place"""
    statement = f"""
        SELECT c.work_id, c.media_type, c.rank, {_SHOWN}, c.score::float8 AS score, c.components,
        ARRAY(SELECT b.title {reasons}) AS because, ARRAY(SELECT work_id {reasons}) AS liked
        FROM discovery_candidates c JOIN discovery_pool p USING (work_id)
        WHERE c.user_id = :user
        AND {not_hidden(":user", "c.work_id")}
        ORDER BY c.media_type, c.rank"""
    rows = read_rows(connection, statement, user=user_id, country=country)
    owned = owned_under_any_id(connection, [row["work_id"] for row in rows]) if rows else set()
    return [row for row in rows if row["work_id"] not in owned]


def dismiss_title(connection: Connection, user_id: str, work_id: int, title: str, *, now: datetime) -> bool:
    """Dismiss a title for a user, under all of its ids, and take it off their list at once; False if it was already.

    A title of the library is on no page or row of theirs from now on, and on no list that is made or published.
    """
    is_new = hide(connection, user_id, _all_ids(connection, work_id), title, now=now)
    # Titles of excluded genres are only hidden: they return at once if the genre is wanted again.
    statement = """
        DELETE FROM discovery_candidates WHERE user_id = :user AND (work_id = :work OR work_id = ANY(:settled)
        AND work_id NOT IN (SELECT work_id FROM hidden_works WHERE user_id = :user))"""
    settled = list(settled_titles(connection, [user_id])[user_id])
    execute(connection, statement, user=user_id, work=work_id, settled=settled)
    return is_new


def undo_dismissal(connection: Connection, user_id: str, work_id: int) -> int:
    """Forget that a user dismissed a title, under whichever id; return how many dismissals are forgotten."""
    return show_again(connection, user_id, _all_ids(connection, work_id))


def _all_ids(connection: Connection, work_id: int) -> TitleId:
    """Return every id of a work that the library or the pool knows; of an unknown work, none but its own."""
    statement = """
        SELECT w.media_type, coalesce(p.tmdb_id, w.tmdb_id) AS tmdb_id, coalesce(w.imdb_id, p.imdb_id) AS imdb_id,
        coalesce(w.tvdb_id, p.tvdb_id) AS tvdb_id
        FROM work_ids w LEFT JOIN discovery_pool p USING (work_id) WHERE w.work_id = :work"""
    row = execute(connection, statement, work=work_id).one_or_none()
    if row is None:
        return TitleId(ProviderIds(), work_id)
    return TitleId(ProviderIds(row.tmdb_id, row.imdb_id, row.tvdb_id), work_id, row.media_type)


def why_suggested(row: Mapping[str, Any], _: Texts = ENGLISH) -> str:
    """Return why a title is suggested, with at most two liked titles, in a language."""
    return reason_of({**row, "because": row["because"][:REASONS]}, _)


def said_to_stream(row: Mapping[str, Any], _: Texts) -> list[str]:
    """Say where a suggested title streams without an extra price, in a line; nothing if no such service is known."""
    streams = where_to_stream(row["providers"])
    return [_("Streams on %(services)s", services=streams)] if streams and not streams.startswith("rent") else []


def where_to_stream(providers: Mapping[str, Sequence[str]] | None, most: int = 2) -> str:
    """Name services that stream a title, those without an extra price first; empty if none is known."""
    offers = providers if isinstance(providers, Mapping) else {}
    included = [name for way in INCLUDED for name in offers.get(way, ())]
    if included:
        return ", ".join(list(dict.fromkeys(included))[:most])
    paid = [name for way in ("rent", "buy") for name in offers.get(way, ())]
    return f"rent or buy: {paid[0]}" if paid else ""


# Notes of requests for titles that the library lacks: what was sent to Seerr for whom, and what became of it.


# States that Seerr may still change, and that of a request whose answer is not known.
OPEN_STATES = ("sending", "pending", "approved", "failed")
# What was completed becomes available, and what was declined can be approved after all: Seerr is asked for so long.
COMPLETED_FOR, DECLINED_FOR = timedelta(days=180), timedelta(days=28)
WEEK = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class StoredRequest:
    """A row of ``seerr_requests``: one per user and title, that of the last request."""

    user_id: str
    work_id: int
    media_type: MediaType
    tmdb_id: int
    title: str
    state: str
    requested_at: datetime
    request_id: int | None = None
    seasons: int | None = None
    read_at: datetime | None = None
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class Wish:
    """A title that may be requested; ``title`` has the year."""

    work_id: int
    media_type: MediaType
    tmdb_id: int
    title: str


_NAME = """
    coalesce(p.title || coalesce(' (' || extract(year FROM p.release_date)::int || ')', ''),
      'tmdb:' || p.media_type || ':' || p.tmdb_id)"""
_COLUMNS = ", ".join(StoredRequest.__dataclass_fields__)


def read_requests(connection: Connection, user_ids: Collection[str]) -> list[StoredRequest]:
    """Read the requests of users, the latest first."""
    statement = f"""
        SELECT {_COLUMNS} FROM seerr_requests WHERE user_id = ANY(:users) ORDER BY requested_at DESC, title, work_id"""
    return [StoredRequest(**row) for row in read_rows(connection, statement, users=list(user_ids))]


def unsettled_requests(connection: Connection, user_ids: Collection[str], *, now: datetime) -> list[StoredRequest]:
    """Read the requests of users whose state Seerr may still change, the latest first."""
    statement = f"""
        SELECT {_COLUMNS} FROM seerr_requests WHERE user_id = ANY(:users)
        AND (state = ANY(:open) OR (request_id IS NOT NULL AND (
          (state = 'completed' AND read_at > :completed) OR (state = 'declined' AND read_at > :declined))))
        ORDER BY requested_at DESC, title, work_id"""
    values = {"open": list(OPEN_STATES), "completed": now - COMPLETED_FOR, "declined": now - DECLINED_FOR}
    return [StoredRequest(**row) for row in read_rows(connection, statement, users=list(user_ids), **values)]


def read_request(connection: Connection, user_id: str, work_id: int) -> StoredRequest | None:
    """Read the request of a user for a title; None if there was none."""
    return next((request for request in read_requests(connection, [user_id]) if request.work_id == work_id), None)


def write_request(connection: Connection, request: StoredRequest) -> int:
    """Write a request; return 1 if that changed anything, else 0."""
    row = {name: getattr(request, name) for name in StoredRequest.__dataclass_fields__}
    return upsert(connection, seerr_requests, [row]).written


def begin_request(connection: Connection, request: StoredRequest, *, per_week: int | None) -> bool:
    """Note a request in the state ``sending``, before it is sent; False if the user's week has no room for it.

    ``per_week``: how many requests a user has within seven days; None: no limit. Concurrent calls for one user wait
    for each other, so that the limit holds.
    """
    lock_until_commit(connection, f"seerr_requests:{request.user_id}")
    if per_week is not None and requested_in_week(connection, request.user_id, now=request.requested_at) >= per_week:
        return False
    write_request(connection, request)
    return True


def withdraw_request(connection: Connection, request: StoredRequest, previous: StoredRequest | None) -> None:
    """Take back a note of :func:`begin_request`, since nothing was created: restore what was there before."""
    if previous is not None:
        write_request(connection, previous)
        return
    statement = "DELETE FROM seerr_requests WHERE (user_id, work_id) = (:user, :work) AND state = 'sending'"
    execute(connection, statement, user=request.user_id, work=request.work_id)


def requested_in_week(connection: Connection, user_id: str, *, now: datetime) -> int:
    """Count what was requested for a user in the last seven days, whatever became of it.

    What created nothing, and what is dated in the future, does not count.
    """
    statement = """
        SELECT count(*) FROM seerr_requests WHERE user_id = :user
        AND requested_at > :since AND requested_at <= :latest
        AND (state = 'sending' OR (request_id IS NOT NULL AND state <> 'refused'))"""
    return read_value(connection, statement, user=user_id, since=now - WEEK, latest=now + SKEW)


def wishes(connection: Connection, user_id: str, *, now: datetime) -> list[Wish]:
    """List a user's suggestions that were requested for nobody before, the best first.

    What Seerr refused may be requested again after a week, since a quota or a blocklist changes.
    """
    statement = f"""
        SELECT c.work_id, c.media_type, p.tmdb_id, {_NAME} AS title
        FROM discovery_candidates c JOIN discovery_pool p USING (work_id)
        WHERE c.user_id = :user AND NOT EXISTS (
          SELECT 1 FROM seerr_requests r
          WHERE (r.work_id = c.work_id OR (r.media_type, r.tmdb_id) = (c.media_type, p.tmdb_id))
          AND NOT (r.state = 'refused' AND r.requested_at < :refused_after))
        ORDER BY c.score DESC, c.rank, c.work_id"""
    rows = read_rows(connection, statement, user=user_id, refused_after=now - WEEK)
    return [Wish(**row) for row in rows]


def wish_for(connection: Connection, work_id: int) -> Wish | None:
    """Return a title of the pool as one that may be requested; None if the pool does not have it."""
    statement = f"""
        SELECT p.work_id, p.media_type, p.tmdb_id, {_NAME} AS title FROM discovery_pool p WHERE p.work_id = :work"""
    return next((Wish(**row) for row in read_rows(connection, statement, work=work_id)), None)


def suggested_title(connection: Connection, user_id: str, work_id: int) -> str | None:
    """Return what a suggestion of a user is called; None if it is none of theirs."""
    statement = """
        SELECT p.title FROM discovery_candidates c JOIN discovery_pool p USING (work_id)
        WHERE (c.user_id, c.work_id) = (:user, :work)"""
    return read_value(connection, statement, user=user_id, work=work_id)


def pool_names(connection: Connection, works: Collection[int]) -> dict[int, dict[str, Any]]:
    """Return ``title``, ``year`` and ``poster_path`` of titles of the pool whose names are known, in their order."""
    statement = """
        SELECT work_id, title, extract(year FROM release_date)::int AS year, poster_path FROM discovery_pool
        WHERE title IS NOT NULL AND work_id = ANY(CAST(:works AS bigint[]))"""
    rows = {row["work_id"]: row for row in read_rows(connection, statement, works=list(works))}
    return {work: rows[work] for work in works if work in rows}


def pool_details(connection: Connection, work_id: int, *, country: str) -> dict[str, Any]:
    """Return what the pool knows of a title, for its page: its columns, with those by country in one country.

    Empty if it is not there.
    """
    statement = """
        SELECT *, extract(year FROM release_date)::int AS year, providers->CAST(:country AS text) AS offers,
        certifications->CAST(:country AS text)->>0 AS official_rating
        FROM discovery_pool WHERE work_id = :work"""
    rows = read_rows(connection, statement, work=work_id, country=country)
    return rows[0] if rows else {}


def suggested_among(connection: Connection, user_id: str, media_type: str, tmdb_ids: Collection[int]) -> set[int]:
    """Return which titles with these ids on TMDb are on a user's list, whether they may be shown or not."""
    statement = """
        SELECT work_id FROM discovery_candidates c JOIN discovery_pool p USING (work_id)
        WHERE c.user_id = :user AND p.media_type = :type AND p.tmdb_id = ANY(CAST(:ids AS bigint[]))"""
    return set(execute(connection, statement, user=user_id, type=media_type, ids=list(tmdb_ids)).scalars())


def picture_paths(connection: Connection, work_id: int) -> dict[str, str | None]:
    """Return TMDb's paths of the poster and the backdrop of a title of the pool, by kind; empty if it is not there."""
    statement = "SELECT poster_path AS poster, backdrop_path AS backdrop FROM discovery_pool WHERE work_id = :work"
    rows = read_rows(connection, statement, work=work_id)
    return rows[0] if rows else {}


def requests_table(connection: Connection, user_id: str) -> list[dict[str, Any]]:
    """List a user's requests, for the asset's page."""
    statement = """
        SELECT title, media_type, state, requested_at::date AS requested, detail
        FROM seerr_requests WHERE user_id = :user ORDER BY requested_at DESC, title LIMIT 20"""
    return read_rows(connection, statement, user=user_id)
