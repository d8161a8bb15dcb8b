"""Read everything that published lists consist of: titles, copies that may be seen, and their files on the server."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from aperture_dagster.catalogue.visibility import Visibility, copies_in_sight
from aperture_dagster.media_server.records import Artwork, MediaSource
from aperture_dagster.publishing.disk.listed import ListedTitle, ListSpec, Number, Original, OriginalEpisode
from aperture_dagster.publishing.disk.nfo import TitleFacts
from aperture_dagster.publishing.disk.queries import (
    BeingPlayed,
    ShownCopy,
    being_played,
    copies_of,
    episodes_of,
    furthest_watched,
    has_hidden_all,
    known_files,
    liked_because,
    listed_works,
    next_episodes,
    title_facts,
    works_in_progress,
    write_files,
)

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from aperture_dagster.media_server.writer import MediaServerWriter
    from aperture_dagster.postgres.database import Database

# New subtitles of an original are noticed after so long.
FILES_TTL = timedelta(days=7)
FILES_BATCH = 500
EPISODE_COLUMNS = tuple(one.name for one in fields(OriginalEpisode) if one.name != "sources")
FACTS = (
    "title", "original_title", "overview", "tagline", "year", "premiere_date", "community_rating", "critic_rating",
    "status",
)  # fmt: skip
FACTS_IN_LISTS = ("genres", "studios", "countries", "tags", "directors", "writers")
# Later than any episode.
AFTER_ALL: Number = (1_000_000, 0)
NO_DATE = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class Gathered:
    """The titles of each list by its key, and those that were left out, with the reason.

    ``hidden`` are the lists that are empty on purpose: their users have hidden all that is published, or are in the
    middle of all that is listed.
    """

    titles: dict[str, list[ListedTitle]] = field(default_factory=dict)
    skipped: dict[str, list[str]] = field(default_factory=dict)
    hidden: set[str] = field(default_factory=set)


class _Files(NamedTuple):
    """The files of an item, the tag of its poster, and its other pictures."""

    sources: tuple[MediaSource, ...] = ()
    picture_tag: str | None = None
    artwork: tuple[Artwork, ...] = ()


@dataclass(slots=True)
class _Raw:
    """Rows from the database: by list, what its titles are, start with, and are there for; then by work and series.

    ``played`` are the episodes and films that are being played, by list and work.
    """

    works: dict[str, list[tuple[int, int]]]
    starts: dict[str, dict[int, Number]]
    watched: dict[str, dict[int, Number]]
    because: dict[str, dict[int, dict[int, str]]]
    facts: dict[int, dict[str, Any]]
    copies: dict[int, list[ShownCopy]]
    episodes: dict[int, list[dict[str, Any]]]
    played: dict[str, dict[int, list[BeingPlayed]]]


def gather(
    specs: Sequence[ListSpec],
    access: Mapping[str, Visibility],
    database: Database,
    server: MediaServerWriter,
    now: datetime,
    *,
    playing: Collection[tuple[str, str]] = (),
) -> Gathered:
    """Read the titles of lists. The server is asked only about files that are not known yet.

    Args:
        specs: the lists.
        access: what each user may see, by user id. A shared list holds what all of its viewers may see.
        database: the catalogue and the lists.
        server: where the files are; unless it is a dry run, its answers are stored.
        now: the time in the household's time zone.
        playing: what is being played at this moment, as pairs of ids of users and items on the server.
    """
    with database.transaction() as connection:
        raw = _read(connection, specs, playing, now)
        empty = (spec.list_key for spec in specs if spec.user_id is not None and not raw.works[spec.list_key])
        hidden = {
            key for key in empty if has_hidden_all(connection, key) or listed_works(connection, key, today=now.date())
        }
    visible = {spec.list_key: _visible(spec, raw, access) for spec in specs}
    files = _files(raw, visible.values(), database, server, now)
    result = Gathered(hidden=hidden)
    for spec in specs:
        titles, skipped = _titles(spec, raw, visible[spec.list_key], files)
        result.titles[spec.list_key], result.skipped[spec.list_key] = titles, skipped
    return result


def _read(
    connection: Connection, specs: Sequence[ListSpec], playing: Collection[tuple[str, str]], now: datetime
) -> _Raw:
    played: dict[str, dict[int, list[BeingPlayed]]] = {}
    for one in being_played(connection, playing):
        played.setdefault(one.list_key, {}).setdefault(one.work_id, []).append(one)
    works = {spec.list_key: _works(connection, spec, played.get(spec.list_key, {}), now) for spec in specs}
    watching = [spec for spec in specs if spec.most_episodes is not None and spec.user_id is not None]
    starts = {spec.list_key: next_episodes(connection, spec.user_id) for spec in watching if spec.user_id is not None}
    picked = {spec.list_key: spec.user_id for spec in specs if spec.user_id is not None and spec not in watching}
    because = {key: liked_because(connection, user_id) for key, user_id in picked.items()}
    watched = {
        key: furthest_watched(connection, user_id, [work_id for _, work_id in works[key]])
        for key, user_id in picked.items()
    }
    listed = {work_id for rows in works.values() for _, work_id in rows}
    copies = copies_of(connection, listed)
    of_series = {work_id for spec in specs if spec.media_type == "series" for _, work_id in works[spec.list_key]}
    series = {copy.item_id for work_id in of_series for copy, *_ in copies.get(work_id, ())}
    episodes: dict[int, list[dict[str, Any]]] = {}
    for row in episodes_of(connection, series):
        episodes.setdefault(row["series_item_id"], []).append(row)
    return _Raw(works, starts, watched, because, title_facts(connection, listed), copies, episodes, played)


def _works(connection: Connection, spec: ListSpec, played: Collection[int], now: datetime) -> list[tuple[int, int]]:
    """Read a list as (rank, work id).

    What its user is in the middle of leaves a list of recommendations: *Continue Watching* has it. What is being played
    at this moment stays in any list, at the end if it has left it.
    """
    works = listed_works(connection, spec.list_key, today=now.date())
    if not works:
        return []
    last, listed = works[-1][0], {work_id for _, work_id in works}
    if spec.user_id is not None and spec.most_episodes is None:
        begun = works_in_progress(connection, spec.user_id, listed) - set(played)
        works = [(rank, work_id) for rank, work_id in works if work_id not in begun]
    return works + list(enumerate((one for one in played if one not in listed), start=last + 1))


def _visible(spec: ListSpec, raw: _Raw, access: Mapping[str, Visibility]) -> dict[int, list[ShownCopy]]:
    """The copies of each listed work that every viewer may see."""
    rules = (access[user_id] for user_id in spec.viewers if user_id in access)
    limited = [rule for rule in rules if rule.is_limited]
    found: dict[int, list[ShownCopy]] = {}
    for _, work_id in raw.works[spec.list_key]:
        copies = raw.copies.get(work_id, [])
        for rule in limited:
            shown = {copy.item_id for copy in copies_in_sight([copy for copy, *_ in copies], rule)}
            copies = [one for one in copies if one[0].item_id in shown]
        found[work_id] = copies
    return found


def _files(
    raw: _Raw,
    visible: Iterable[Mapping[int, Sequence[ShownCopy]]],
    database: Database,
    server: MediaServerWriter,
    now: datetime,
) -> dict[int, _Files]:
    """The files of all copies and of their episodes by item id: remembered ones, else as the server lists them."""
    wanted: dict[int, tuple[str, str | None]] = {}
    for copies in (copies for works in visible for copies in works.values()):
        for copy, server_item_id, *_ in copies:
            wanted[copy.item_id] = (server_item_id, copy.path)
            for row in raw.episodes.get(copy.item_id, ()):
                wanted[row["item_id"]] = (row["server_item_id"], row["path"])
    with database.transaction() as connection:
        known = known_files(connection, wanted.keys(), since=now - FILES_TTL)
    missing = [item_id for item_id in wanted if item_id not in known]
    for start in range(0, len(missing), FILES_BATCH):
        batch = missing[start : start + FILES_BATCH]
        answers = server.original_files([wanted[item_id][0] for item_id in batch])
        rows = [
            {
                "item_id": item_id,
                "path": wanted[item_id][1],
                "sources": [asdict(source) for source in answer.sources],
                "picture_tag": answer.picture_tag,
                "artwork": [list(one) for one in answer.artwork],
                "read_at": now,
            }
            for item_id in batch
            if (answer := answers.get(wanted[item_id][0])) is not None
        ]
        if not server.dry_run:
            with database.transaction() as connection:
                write_files(connection, rows)
        known |= {row["item_id"]: row for row in rows}
    return {
        item_id: _Files(_sources(row), row["picture_tag"], tuple(Artwork(*one) for one in row["artwork"]))
        for item_id, row in known.items()
    }


def _sources(row: Mapping[str, Any]) -> tuple[MediaSource, ...]:
    return tuple(
        MediaSource(**{**one, "parts": tuple(one["parts"]), "side_cars": tuple(one["side_cars"])})
        for one in row["sources"]
    )


def _titles(
    spec: ListSpec,
    raw: _Raw,
    visible: Mapping[int, Sequence[ShownCopy]],
    files: Mapping[int, _Files],
) -> tuple[list[ListedTitle], list[str]]:
    titles: list[ListedTitle] = []
    skipped: list[str] = []
    starts = raw.starts.get(spec.list_key)
    for rank, work_id in raw.works[spec.list_key]:
        facts = raw.facts.get(work_id)
        if facts is None or not raw.copies.get(work_id):
            # It left the library after the list was made.
            continue
        if not visible[work_id]:
            skipped.append(f"{facts['title']}: not everybody who sees this list may see it")
            continue
        played = raw.played.get(spec.list_key, {}).get(work_id, ())
        if starts is not None and work_id not in starts and not played:
            # Every episode has been watched; it returns with the next one.
            continue
        originals, episodes = [], {}
        for copy, server_item_id, rating, library in visible[work_id]:
            found = files.get(copy.item_id, _Files())
            originals.append(Original(copy.item_id, server_item_id, *found, official_rating=rating, library=library))
            episodes[copy.item_id] = [_episode(row, files) for row in raw.episodes.get(copy.item_id, ())]
        start = starts.get(work_id, AFTER_ALL) if starts is not None else None
        titles.append(
            ListedTitle(
                work_id,
                rank,
                _facts(facts),
                tuple(originals),
                episodes,
                start,
                raw.watched.get(spec.list_key, {}).get(work_id),
                raw.because.get(spec.list_key, {}).get(work_id),
                facts["poster_path"],
                frozenset(one.number for one in played if one.number is not None),
            )
        )
    return titles, skipped


def _episode(row: dict[str, Any], files: Mapping[int, _Files]) -> OriginalEpisode:
    given = {name: row[name] for name in EPISODE_COLUMNS}
    return OriginalEpisode(**given, sources=files.get(row["item_id"], _Files()).sources)


def _facts(row: Mapping[str, Any]) -> TitleFacts:
    ids = {"tmdb": row["tmdb_id"], "imdb": row["imdb_id"], "tvdb": row["tvdb_id"]}
    facts: dict[str, Any] = {name: row[name] for name in FACTS}
    facts |= {name: tuple(value for value in row[name] or () if value) for name in FACTS_IN_LISTS}
    return TitleFacts(
        date_added=NO_DATE,
        marker="",
        cast=tuple((one["name"], one.get("character")) for one in row["cast"] if one.get("name")),
        provider_ids={name: str(value) for name, value in ids.items() if value},
        **facts,
    )
