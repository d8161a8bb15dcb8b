"""A small world of odd titles and users, with everything that ever broke a file name, a query or a page."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from aperture_dagster.simulator.world import (
    DEFAULT_LIBRARIES,
    BoxSet,
    CastMember,
    Play,
    World,
    WorldLibrary,
    WorldTitle,
    WorldUser,
)

_FIRST_ID = 900_000_000
LONG_NAME = "L" + "o" * 497 + "ng"
"""Five hundred characters."""
ODD_TITLES = (
    "Plain Film",
    "It's \"Quoted\" 'n' `Ticked`",
    "Either/Or",
    "Back\\Slash",
    "../../etc/passwd",
    "100 % Wolf %s %(name)s {braces} ${dollar}",
    "🎬 Emoji 👩‍👩‍👧 Film",
    "فيلم من اليمين إلى اليسار",
    "עברית (עם סוגריים)",
    LONG_NAME,
    " ",
    ".",
    "CON",
    "Trailing dot.",
    "  Blanks around  ",
    "Tab\tand\u00a0no-break blank",
    "<script>alert(1)</script> & Co.",
    "Robert'); DROP TABLE titles;--",
    "Zero\u200bwidth and \u202eoverride",
    "Ünïcödé combining e\u0301",
    "M*A*S*H: Again?",
    "![pixel](http://203.0.113.1/a.png) [link](http://203.0.113.1) www.example.org | cell",
    "\x1b[31mRed\x1b[0m and \x9b2Kgone",
    "1917",
    "null",
)
ODD_USERS = (
    "plain",
    'O\'Brien "the boss"',
    "🙂 emoji",
    "مستخدم",
    "slash/and\\backslash",
    LONG_NAME,
    "blanks in  between",
    "%41 percent?x=1&y=2#z",
    "../up",
    "Casey",
    "casey",
    "CASEY",
    "None",
)


def odd_world(now: datetime) -> World:
    """Make a world of odd titles and users, with a few plays each, up to ``now``. Keys: ``movie:900000000`` and up.

    Besides odd names, there are: a newline in an overview, films without year, ids or genres, two different films with
    the same name and year (``movie:900000100`` and ``…101``), a film with two copies (``…102``), one that is known but
    not owned (``…103``), films with two versions in one folder (``…107``) and merged from two (``…108``), one in a
    second library (``…109``), a collection of three, a series without episodes (``series:900000001``), one with
    specials, a double and a missing episode (``…004``), a library without an id, and users who are hidden, disabled,
    limited by age and by a tag, or have never played anything.
    """
    titles = [_film(number, name) for number, name in enumerate(ODD_TITLES)]
    titles += [
        _film(100, "Twins", year=2001, overview="One of two."),
        _film(101, "Twins", year=2001, overview="Another one altogether."),
        _film(102, "Two Copies", year=2010, copies=2),
        _film(103, "Known, Not Owned", year=2015, copies=0),
        WorldTitle("movie:900000104", "movie", "No Ids And No Year"),
        _film(105, "For Adults", official_rating="R"),
        _film(106, "Unknown Rating", official_rating="XYZ-99"),
        _film(107, "Two Versions In A Folder", runtime_minutes=90, versions=2),
        _film(108, "Two Versions Merged", runtime_minutes=90, versions=2, merged=True),
        _film(109, "In Another Library", library="Other Films", tags=("Forbidden",)),
        _series(0, 'Series: A "Quoted" / Slashed One', (3, 2)),
        _series(1, "Series Without Episodes", ()),
        _series(2, "مسلسل", (1,)),
        _series(3, "Long Runner", (30,)),
        _series(4, "Specials And Gaps", (5,), specials=2, double_episodes=((1, 1),), missing_episodes=((1, 4),)),
    ]
    users = [WorldUser(name, is_administrator=name == "plain") for name in ODD_USERS]
    users += [
        WorldUser("hidden", is_hidden=True),
        WorldUser("disabled", is_disabled=True),
        WorldUser("child", max_parental_rating=12, blocked_tags=("FORBIDDEN",)),
        WorldUser("never played"),
    ]
    return World(
        "odd",
        titles,
        users,
        _plays(titles, now),
        libraries=(
            *DEFAULT_LIBRARIES,
            WorldLibrary("Other Films", "movies", ("/media/other",)),
            WorldLibrary("Unscanned Music", "music", ("/media/music",), has_id=False),
        ),
        box_sets=[BoxSet('The "Odd" / Collection', tuple(f"movie:{_FIRST_ID + n}" for n in range(3)), _FIRST_ID)],
    )


def _film(number: int, name: str, **facts: object) -> WorldTitle:
    known: dict[str, object] = {
        "year": None if number % 7 == 3 else 1950 + number,
        "genres": ("Drama",) if number % 2 else ("Comedy", 'Sci-Fi & "More"'),
        "overview": "First line.\nSecond line, with a tab\tand 'quotes'." if number % 3 == 0 else "A film.",
        "keywords": ("odd", "50% off"),
        "cast": (CastMember("Zoë O'Hara", "Herself / Narrator"), CastMember("李小龍")),
        "directors": ('Åsa "Q" Öberg',),
        "companies": ("Smith & Sons / Films",),
        "runtime_minutes": None if number % 11 == 5 else 90,
        "tmdb_id": _FIRST_ID + number,
        "imdb_id": None if number % 5 == 4 else f"tt{_FIRST_ID + number}",
        "vote_average": 6.0,
        "vote_count": 10,
        "popularity": 1.0,
    }
    return WorldTitle(f"movie:{_FIRST_ID + number}", "movie", name, **(known | facts))  # type: ignore[arg-type]


def _series(number: int, name: str, seasons: tuple[int, ...], **facts: Any) -> WorldTitle:
    return WorldTitle(
        f"series:{_FIRST_ID + number}",
        "series",
        name,
        year=2000 + number,
        genres=("Drama",),
        overview="A series.",
        status="Returning Series" if number % 2 else "Ended",
        runtime_minutes=45,
        tmdb_id=_FIRST_ID + number,
        tvdb_id=_FIRST_ID + number,
        episodes_per_season=seasons,
        **facts,
    )


def _plays(titles: list[WorldTitle], now: datetime) -> list[Play]:
    films = [title.key for title in titles if title.media_type == "movie" and title.copies and title.versions == 1]
    start = now.astimezone(UTC) - timedelta(days=100)
    plays: list[Play] = []
    for place, user in enumerate((*ODD_USERS, "hidden", "disabled", "child")):
        for step in range(3):
            when = start + timedelta(days=place * 5 + step, hours=place)
            # The third play is not finished.
            completion = 0.4 if step == 2 else 1.0
            rating = float((place + step) % 11) if step == 0 else None
            key = films[(place * 2 + step) % len(films)]
            plays.append(Play(user, key, when, rating=rating, completion=completion, favorite=step == 1))
        when = start + timedelta(days=place * 5 + 4)
        plays.append(Play(user, f"series:{_FIRST_ID}", when, season=1, episode=1 + place % 3))
    plays.append(Play("plain", "movie:900000102", now.astimezone(UTC) - timedelta(hours=3)))
    for hours, key in enumerate(("movie:900000107", "movie:900000108"), start=4):
        when = now.astimezone(UTC) - timedelta(hours=hours)
        plays.append(Play("plain", key, when, completion=0.3, version=1))
    return sorted(plays, key=lambda play: play.played_at)
