"""A world from a folder of films and real ratings: every rater is a user of the media server, every rating a play."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from aperture_dagster.simulator.world import CastMember, Play, World, WorldTitle, WorldUser


class WorldFileError(ValueError):
    """A file of the folder is missing or invalid. The message has the file and, if known, the line."""


def load_folder_world(folder: Path, *, users: int | None = None, now: datetime) -> World:
    """Load films from ``movies.jsonl[.gz]`` and plays from ``ratings.csv[.gz]`` (userId, movieId, rating, timestamp).

    A rating (0.5-5) becomes a complete play with a rating, doubled to the server's scale of 0-10. All times are shifted
    by the same amount, so that the last one of the file is the first moment of the day of ``now`` (UTC). ``users``
    limits the users to the first ones by number, and changes nothing else. TMDb's recommendations stay empty, lest the
    histories leak into the metadata.

    Raises WorldFileError.
    """
    titles = _read_titles(_file(folder, "movies.jsonl"))
    ratings, last = _read_ratings(_file(folder, "ratings.csv"), {title.key for title in titles})
    user_ids = sorted({rating[1] for rating in ratings})
    if users is not None:
        user_ids = user_ids[:users]
    chosen = {user_id: str(user_id) for user_id in user_ids}
    shift = _shift(last, now)
    plays = [
        Play(chosen[user_id], key, datetime.fromtimestamp(timestamp + shift, UTC), rating=rating * 2)
        for timestamp, user_id, key, rating in ratings
        if user_id in chosen
    ]
    return World(
        name=f"folder:{folder.name}",
        titles=titles,
        users=[WorldUser(name, is_administrator=place == 0) for place, name in enumerate(chosen.values())],
        plays=plays,
    )


def _file(folder: Path, name: str) -> Path:
    for candidate in (folder / f"{name}.gz", folder / name):
        if candidate.is_file():
            return candidate
    raise WorldFileError(f"{folder} holds neither {name}.gz nor {name}")


@contextmanager
def _opened(path: Path) -> Iterator[TextIO]:
    if path.suffix == ".gz":
        # Read as a whole: decompressing line by line takes several times as long.
        try:
            content = gzip.decompress(path.read_bytes()).decode("utf-8")
        except (OSError, EOFError, UnicodeDecodeError) as error:
            raise WorldFileError(f"{path}: {error}") from error
        yield io.StringIO(content, newline="")
    else:
        with path.open(encoding="utf-8", newline="") as file:
            yield file


def _read_titles(path: Path) -> list[WorldTitle]:
    titles: list[WorldTitle] = []
    seen: set[str] = set()
    with _opened(path) as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                title = _title(json.loads(line))
            except (ValueError, TypeError, AttributeError) as error:
                raise WorldFileError(f"{path}, line {number}: {error}") from error
            except KeyError as error:
                raise WorldFileError(f"{path}, line {number}: {error.args[0]} is missing") from error
            if title.key in seen:
                raise WorldFileError(f"{path}, line {number}: {title.key} is a duplicate")
            seen.add(title.key)
            titles.append(title)
    return titles


def _title(row: dict[str, Any]) -> WorldTitle:
    runtime, votes = row.get("runtime"), row.get("vote_count")
    director = row.get("director")
    return WorldTitle(
        key=f"movie:{int(row['movieId'])}",
        media_type="movie",
        title=_text(row["title"]),
        year=row.get("year"),
        genres=tuple(row.get("genres") or ()),
        overview=_text(row.get("overview") or ""),
        tagline=row.get("tagline") or "",
        keywords=tuple(row.get("keywords") or ()),
        cast=tuple(CastMember(name) for name in row.get("cast") or ()),
        directors=(director,) if director else (),
        companies=tuple(row.get("companies") or ()),
        language=row.get("language"),
        runtime_minutes=int(runtime) if runtime else None,
        release_date=row.get("release_date"),
        vote_average=row.get("vote_average"),
        vote_count=None if votes is None else int(votes),
        popularity=row.get("popularity"),
        tmdb_id=row.get("tmdbId"),
        imdb_id=row.get("imdbId"),
    )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _read_ratings(path: Path, known: set[str]) -> tuple[list[tuple[int, int, str, float]], int]:
    """Return rows of (timestamp, user, title key, rating) in chronological order, and the file's last timestamp."""
    rows: list[tuple[int, int, str, float]] = []
    keys = {int(key.removeprefix("movie:")): key for key in known}
    with _opened(path) as file:
        reader = csv.reader(file)
        header = next(reader, [])
        try:
            columns = [header.index(name) for name in ("userId", "movieId", "rating", "timestamp")]
        except ValueError as error:
            raise WorldFileError(f"{path}, line 1: {error}") from error
        at_user, at_movie, at_rating, at_time = columns
        for number, row in enumerate(reader, start=2):
            if not row:
                continue
            try:
                movie, rating = int(row[at_movie]), float(row[at_rating])
                if movie not in keys:
                    raise ValueError(f"there is no film {movie}")
                if not 0.5 <= rating <= 5:
                    raise ValueError(f"{rating} is no rating from 0.5 to 5")
                rows.append((int(row[at_time]), int(row[at_user]), keys[movie], rating))
            except (ValueError, IndexError) as error:
                raise WorldFileError(f"{path}, line {number}: {error}") from error
    rows.sort()
    return rows, rows[-1][0] if rows else 0


def _shift(last: int, now: datetime) -> int:
    """Return the seconds from the last event to the first moment of today, so that no play is in the future."""
    today = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return int(today.timestamp()) - last
