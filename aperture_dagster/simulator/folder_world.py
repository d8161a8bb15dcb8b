"""A world from a folder of films and real ratings: every rater is a user of the media server, every rating a play.

To try discovery, the library may own only some of the films, the server may have only the early plays of some of the
users, and TMDb's recommendations may come from what other users of the folder liked. Without that, TMDb's lists are
those of the folder's files; a folder without such files has no lists.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TextIO

from aperture_dagster.simulator.catalogue import stable_number
from aperture_dagster.simulator.opinions import neighbours
from aperture_dagster.simulator.world import CastMember, Play, World, WorldTitle, WorldUser

_LIKED = 4.0
ListName = Literal["recommended", "similar"]
_Rating = tuple[int, int, str, float]


class WorldFileError(ValueError):
    """A file of the folder is missing or invalid. The message has the file and, if known, the line."""


def load_folder_world(
    folder: Path,
    *,
    users: int | range | None = None,
    now: datetime,
    owned: float = 1.0,
    played: float = 1.0,
    neighbours_of: range | None = None,
) -> World:
    """Load films from ``movies.jsonl[.gz]`` and plays from ``ratings.csv[.gz]`` (userId, movieId, rating, timestamp).

    TMDb's lists are in ``recommended.jsonl[.gz]`` and ``similar.jsonl[.gz]`` (see :func:`read_lists`), if these exist.

    A rating (0.5-5) becomes a complete play with a rating, doubled to the server's scale of 0-10. All times are shifted
    by the same amount, so that the last one of the file is the first moment of the day of ``now`` (UTC).

    Args:
        folder: the folder of the two files.
        users: the users of the server: the first ones by number, or those whose number is in the range; None: all. It
            changes nothing else.
        now: the present.
        owned: share of the films that the library owns. Whether it owns one depends on its movieId alone.
        played: share of each user's plays, the earliest ones, that have happened (rounded down). :func:`later_plays`
            returns the others. Plays of films that nobody owns are not on the server.
        neighbours_of: numbers of the users from whose likes TMDb's recommendations are made, at most 40 per film, in
            place of those of the folder. The histories reach the metadata in no other way.

    Raises:
        WorldFileError: a file is missing or invalid.
        ValueError: a share is not from 0 to 1.
    """
    titles, ratings, shift = _read(folder, now)
    chosen = _chosen(ratings, users)
    titles = [title if is_owned(title.key, owned) else replace(title, copies=0) for title in titles]
    at_home = {title.key for title in titles if title.copies}
    titles = _with_lists(folder, titles)
    if neighbours_of is not None:
        titles = _with_neighbours(titles, ratings, neighbours_of)
    early, _ = _split((rating for rating in ratings if rating[1] in chosen), played)
    return World(
        name=f"folder:{folder.name}",
        titles=titles,
        users=[WorldUser(str(number), is_administrator=place == 0) for place, number in enumerate(chosen)],
        plays=[_play(rating, shift) for rating in early if rating[2] in at_home],
    )


def later_plays(folder: Path, *, users: int | range | None = None, now: datetime, played: float) -> list[Play]:
    """Return the plays that :func:`load_folder_world` leaves out as not ``played`` yet, of all films, owned or not.

    Raises:
        WorldFileError, ValueError: as there.
    """
    _, ratings, shift = _read(folder, now)
    chosen = _chosen(ratings, users)
    _, late = _split((rating for rating in ratings if rating[1] in chosen), played)
    return [_play(rating, shift) for rating in late]


def is_owned(key: str, owned: float) -> bool:
    """Return whether a library that owns this share of the films owns the one with this key."""
    if not 0 <= owned <= 1:
        raise ValueError(f"owned is {owned}, which is no share from 0 to 1")
    return stable_number(f"1|{key}") < owned * 2.0**64


def read_lists(folder: Path, name: ListName, films: Collection[int]) -> dict[int, list[int]]:
    """Read TMDb's lists of one kind, a JSON object in each line, such as ``{"movieId": 1, "ids": [3, 2]}``.

    Args:
        folder: the folder of the file, ``recommended.jsonl[.gz]`` or ``similar.jsonl[.gz]``.
        name: which kind.
        films: the movieIds of all films of the folder; ``ids`` are movieIds as well, the best first.

    Returns:
        The listed films by film; empty if there is no such file.

    Raises:
        WorldFileError: a line is invalid, names an unknown film, or a film has two lines.
    """
    path = next((path for path in _candidates(folder, f"{name}.jsonl") if path.is_file()), None)
    lists: dict[int, list[int]] = {}
    for number, row in [] if path is None else _objects(path):
        try:
            film, listed = row["movieId"], row["ids"]
            if not isinstance(listed, list) or not all(type(value) is int for value in [film, *listed]):
                raise ValueError("movieId must be a whole number, and ids a list of whole numbers")
            unknown = [value for value in [film, *listed] if value not in films]
            if unknown:
                raise ValueError(f"there is no film {unknown[0]}")
            if film in lists:
                raise ValueError(f"film {film} has a list already")
            if len({film, *listed}) <= len(listed):
                raise ValueError(f"the list of film {film} names a film twice, or the film itself")
        except KeyError as error:
            raise WorldFileError(f"{path}, line {number}: {error.args[0]} is missing") from error
        except ValueError as error:
            raise WorldFileError(f"{path}, line {number}: {error}") from error
        lists[film] = listed
    return lists


def _with_lists(folder: Path, titles: list[WorldTitle]) -> list[WorldTitle]:
    """Return the titles with the folder's lists of TMDb; films that TMDb doesn't know are left out."""
    films = {int(title.key.removeprefix("movie:")): title.tmdb_id for title in titles}

    def ids(lists: dict[int, list[int]], title: WorldTitle) -> tuple[int, ...]:
        listed = lists.get(int(title.key.removeprefix("movie:")), [])
        return tuple(tmdb_id for film in listed if (tmdb_id := films[film]) is not None)

    recommended, similar = read_lists(folder, "recommended", films), read_lists(folder, "similar", films)
    return [
        replace(title, recommended_tmdb_ids=ids(recommended, title), similar_tmdb_ids=ids(similar, title))
        for title in titles
    ]


def _read(folder: Path, now: datetime) -> tuple[list[WorldTitle], list[_Rating], int]:
    """Return films, ratings in chronological order, and the seconds by which their times are to be shifted."""
    titles = _read_titles(_file(folder, "movies.jsonl"))
    ratings, last = _read_ratings(_file(folder, "ratings.csv"), {title.key for title in titles})
    return titles, ratings, _shift(last, now)


def _chosen(ratings: Iterable[_Rating], users: int | range | None) -> dict[int, None]:
    """Return the numbers of the chosen users, in order."""
    numbers = sorted({rating[1] for rating in ratings})
    if isinstance(users, range):
        return dict.fromkeys(number for number in numbers if number in users)
    return dict.fromkeys(numbers[:users])


def _split(ratings: Iterable[_Rating], played: float) -> tuple[list[_Rating], list[_Rating]]:
    """Split each user's ratings by time. Both parts stay in chronological order."""
    if not 0 <= played <= 1:
        raise ValueError(f"played is {played}, which is no share from 0 to 1")
    given = list(ratings)
    left: dict[int, int] = {}
    for _, user_id, _, _ in given:
        left[user_id] = left.get(user_id, 0) + 1
    # A share such as 0.8 of 5 must not become 3.999.
    left = {user_id: math.floor(count * played + 1e-9) for user_id, count in left.items()}
    early: list[_Rating] = []
    late: list[_Rating] = []
    for rating in given:
        left[rating[1]] -= 1
        (early if left[rating[1]] >= 0 else late).append(rating)
    return early, late


def _play(rating: _Rating, shift: int) -> Play:
    timestamp, user_id, key, stars = rating
    return Play(str(user_id), key, datetime.fromtimestamp(timestamp + shift, UTC), rating=stars * 2)


def _with_neighbours(titles: list[WorldTitle], ratings: Iterable[_Rating], users: range) -> list[WorldTitle]:
    likes: dict[int, list[str]] = {}
    known = {title.key: title.tmdb_id for title in titles if title.tmdb_id is not None}
    for _, user_id, key, stars in ratings:
        if user_id in users and stars >= _LIKED and key in known:
            likes.setdefault(user_id, []).append(key)
    nearest = neighbours(likes.values())
    return [
        replace(title, recommended_tmdb_ids=tuple(known[key] for key in nearest[title.key]))
        if title.key in nearest
        else title
        for title in titles
    ]


def _candidates(folder: Path, name: str) -> tuple[Path, Path]:
    return folder / f"{name}.gz", folder / name


def _file(folder: Path, name: str) -> Path:
    for candidate in _candidates(folder, name):
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


def _objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield number and content of each line that is not empty: a JSON object."""
    with _opened(path) as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise WorldFileError(f"{path}, line {number}: {error}") from error
            if not isinstance(row, dict):
                raise WorldFileError(f"{path}, line {number}: it is no JSON object")
            yield number, row


def _read_titles(path: Path) -> list[WorldTitle]:
    titles: list[WorldTitle] = []
    seen: set[str] = set()
    for number, row in _objects(path):
        try:
            title = _title(row)
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
        release_date=_iso_day(row.get("release_date"), row.get("year")),
        vote_average=row.get("vote_average"),
        vote_count=None if votes is None else int(votes),
        popularity=row.get("popularity"),
        tmdb_id=row.get("tmdbId"),
        imdb_id=row.get("imdbId"),
    )


def _iso_day(text: str | None, year: int | None) -> str | None:
    """Return a day as TMDb writes it. Some are ``M/D/YY``, in a century that the film's year knows."""
    parts = (text or "").split("/")
    if len(parts) != 3 or year is None:
        return text
    # It came out in the year of the film, or in one next to it.
    nearest = min((century + int(parts[2]) for century in (1800, 1900, 2000)), key=lambda one: abs(one - year))
    return f"{nearest}-{int(parts[0]):02}-{int(parts[1]):02}"


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _read_ratings(path: Path, known: set[str]) -> tuple[list[_Rating], int]:
    """Return rows of (timestamp, user, title key, rating) in chronological order, and the file's last timestamp."""
    rows: list[_Rating] = []
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
