"""Worlds for tests and benchmarks: random ones of any size, and a small one of odd titles and users."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import accumulate
from random import Random
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

FIRST_INVENTED_ID = 900_000_000
"""The first id of generated titles. No real title has such an id."""
_HISTORY_DAYS = 730
_EPISODES_PER_SEASON = 10
_THEMES: dict[str, tuple[str, ...]] = {
    "Action": ("chase", "mercenary", "bomb", "escape", "bodyguard", "convoy", "martial arts", "hostage"),
    "Adventure": ("treasure", "jungle", "map", "expedition", "island", "desert", "caravan", "lost city"),
    "Animation": ("talking animal", "toy", "forest spirit", "friendship", "moon", "robot child", "music box", "fox"),
    "Comedy": ("wedding", "mistaken identity", "road trip", "neighbour", "office", "prank", "reunion", "bakery"),
    "Crime": ("heist", "detective", "informant", "mafia", "undercover", "courtroom", "forgery", "harbour"),
    "Documentary": ("archive", "glacier", "orchestra", "election", "migration", "reef", "factory", "village"),
    "Drama": ("inheritance", "loss", "illness", "small town", "teacher", "farm", "sisters", "letter"),
    "Family": ("dog", "summer holiday", "grandfather", "school play", "snowman", "circus", "tree house", "kite"),
    "Fantasy": ("dragon", "spell", "prophecy", "kingdom", "witch", "portal", "sword", "curse"),
    "History": ("siege", "empress", "revolution", "treaty", "railway", "plague", "cathedral", "exile"),
    "Horror": ("haunted house", "possession", "cabin", "mirror", "doll", "cult", "fog", "cellar"),
    "Music": ("band", "piano", "contest", "choir", "tour", "jazz club", "opera", "record shop"),
    "Mystery": ("disappearance", "locked room", "diary", "amnesia", "lighthouse", "poison", "twin", "clockmaker"),
    "Romance": ("paris", "florist", "second chance", "rival", "train", "summer love", "bookshop", "dance"),
    "Science Fiction": (
        "spaceship",
        "time loop",
        "android",
        "colony",
        "alien signal",
        "clone",
        "asteroid",
        "simulation",
    ),
    "Thriller": ("conspiracy", "stalker", "hacker", "blackmail", "safe house", "snow storm", "border", "witness"),
    "War": ("trench", "resistance", "submarine", "pilot", "deserter", "field hospital", "radio", "bridge"),
    "Western": ("sheriff", "gold rush", "saloon", "duel", "cattle", "outlaw", "ranch", "stagecoach"),
}
_FIRST = (
    "Ada", "Bela", "Cora", "Dario", "Edda", "Farid", "Gesa", "Hana", "Ivo", "Jonna", "Kofi", "Lena", "Milo",
    "Nuria", "Odin", "Petra", "Quirin", "Rosa", "Sami", "Tilda", "Umar", "Vera", "Wanda", "Xenia", "Yannis", "Zora",
)  # fmt: skip
_LAST = (
    "Abel", "Brandt", "Castell", "Dorn", "Eklund", "Farkas", "Grau", "Holm", "Ibarra", "Jansky", "Kessel", "Lund",
    "Moreau", "Nagy", "Okoro", "Pohl", "Quist", "Rask", "Sato", "Thorne", "Ulrich", "Vance", "Weir", "Yilmaz",
)  # fmt: skip
_QUALITIES = (
    "Silent", "Crimson", "Last", "Hidden", "Broken", "Golden", "Distant", "Burning", "Secret", "Frozen", "Endless",
    "Hollow", "Restless", "Paper", "Electric", "Borrowed",
)  # fmt: skip
_THINGS = (
    "River", "Garden", "Orchard", "Station", "Harbour", "Mountain", "Winter", "Shadow", "Promise", "Horizon",
    "Kingdom", "Letter", "Voyage", "Machine", "Mirror", "Season", "Witness", "Island",
)  # fmt: skip
_CERTIFICATES = {"movie": ("G", "PG", "PG-13", "R"), "series": ("TV-G", "TV-PG", "TV-14", "TV-MA")}


@dataclass(frozen=True, slots=True)
class WorldSize:
    """How much a generated world has of everything."""

    movies: int = 0
    series: int = 0
    episodes: int = 0
    users: int = 0
    plays: int = 0

    def __post_init__(self) -> None:
        """Raise ValueError for plays without users or titles."""
        if self.plays and not (self.users and (self.movies or (self.series and self.episodes))):
            raise ValueError("plays need users and something to play")


def generate_world(size: WorldSize, *, seed: int, now: datetime) -> World:
    """Generate a world of exactly this size; the same arguments give the same world.

    To leave something to learn, users prefer two or three genres each, popular titles are played more, and series
    are watched in order. Plays are from the two years before ``now``. Some titles lack an overview or a TMDb id, and
    one film in a hundred has two copies.
    """
    random = Random(seed)
    titles = [_movie(random, number, size.movies, now) for number in range(size.movies)]
    titles += _series(random, size.series, size.episodes, now)
    world_users = [
        WorldUser(f"{_FIRST[number % len(_FIRST)].lower()}{number}", is_administrator=number == 0)
        for number in range(size.users)
    ]
    history = list(_plays(random, titles, world_users, size.plays, now)) if size.plays else []
    return World(f"generated:{size.movies}+{size.series}:{seed}", titles, world_users, history)


def _movie(random: Random, number: int, count: int, now: datetime) -> WorldTitle:
    facts = _facts(random, number, count, "movie", now)
    if random.random() < 0.08:
        franchise = number % max(1, count // 40)
        facts["collection"] = (
            FIRST_INVENTED_ID + franchise,
            f"{_QUALITIES[franchise % 16]} Saga {franchise} Collection",
        )
    return WorldTitle(
        key=f"movie:{FIRST_INVENTED_ID + number}",
        media_type="movie",
        runtime_minutes=random.randint(75, 165),
        directors=(_person(random),),
        status="Released",
        copies=2 if random.random() < 0.01 else 1,
        **facts,
    )


def _series(random: Random, count: int, episodes: int, now: datetime) -> Iterator[WorldTitle]:
    # Series of different lengths that add up exactly.
    weights = [random.uniform(0.3, 2.0) for _ in range(count)]
    total, given, passed = sum(weights), 0, 0.0
    for number in range(count):
        passed += weights[number]
        upto = episodes if number == count - 1 else round(episodes * passed / total)
        own, given = upto - given, upto
        seasons = [_EPISODES_PER_SEASON] * (own // _EPISODES_PER_SEASON)
        if own % _EPISODES_PER_SEASON:
            seasons.append(own % _EPISODES_PER_SEASON)
        yield WorldTitle(
            key=f"series:{FIRST_INVENTED_ID + number}",
            media_type="series",
            runtime_minutes=random.choice((24, 30, 45, 52)),
            creators=(_person(random),),
            networks=(f"{random.choice(_THINGS)} TV",),
            status=random.choice(("Ended", "Returning Series")),
            tvdb_id=FIRST_INVENTED_ID + number,
            episodes_per_season=tuple(seasons),
            **_facts(random, number, count, "series", now),
        )


def _facts(random: Random, number: int, count: int, media_type: str, now: datetime) -> dict[str, Any]:
    genres = random.sample(list(_THEMES), random.choice((1, 2, 2, 3)))
    themes = random.sample(_THEMES[genres[0]], 4) + [random.choice(_THEMES[genre]) for genre in genres[1:]]
    year = now.year - 1 - min(int(random.expovariate(0.07)), 90)
    quality = min(9.0, max(2.0, random.gauss(6.4, 1.0)))
    # Popularity follows Zipf's law, the first title being the most popular.
    popularity = round(200.0 / (1 + number) ** 0.6, 4)
    lead = _person(random)
    place = random.choice(_THINGS).lower()
    overview = (
        f"{lead.split()[0]} comes upon a {themes[0]} and a {themes[1]} near the {place}. "
        f"What begins with a {themes[2]} soon turns on a {themes[3]}, and nobody is what they seem."
    )
    language = random.choice(("en", "en", "en", "fr", "de", "ja", "es"))
    return {
        "title": f"The {random.choice(_QUALITIES)} {random.choice(_THINGS)} {number + 1}",
        "year": year,
        "genres": tuple(genres),
        "overview": "" if random.random() < 0.05 else overview,
        "tagline": f"Beware of the {themes[0]}." if random.random() < 0.4 else "",
        "keywords": tuple(themes),
        "cast": tuple(CastMember(name) for name in (lead, _person(random), _person(random))),
        "writers": (_person(random),),
        "companies": (f"{random.choice(_QUALITIES)} {random.choice(_THINGS)} Pictures",),
        "countries": (random.choice(("US", "US", "GB", "FR", "DE", "JP")),),
        "language": language,
        "release_date": date(year, random.randint(1, 12), random.randint(1, 28)).isoformat(),
        "official_rating": random.choice(_CERTIFICATES[media_type]),
        "vote_average": round(quality, 3),
        "vote_count": int(popularity * random.uniform(20, 120)) + 1,
        "popularity": popularity,
        "tmdb_id": None if random.random() < 0.02 else FIRST_INVENTED_ID + number,
        "imdb_id": f"tt{FIRST_INVENTED_ID + number + (50_000_000 if media_type == 'series' else 0)}",
        "recommended_tmdb_ids": tuple(
            FIRST_INVENTED_ID + other for other in {random.randrange(count) for _ in range(8)} if other != number
        ),
    }


def _person(random: Random) -> str:
    return f"{random.choice(_FIRST)} {random.choice(_LAST)} {random.choice(_LAST)}"


class _Shelf:
    """Titles of one media type and genre, drawn by popularity."""

    def __init__(self, titles: list[WorldTitle]) -> None:
        self.titles = titles
        self.weights = list(accumulate(title.popularity or 1.0 for title in titles))

    def draw(self, random: Random) -> WorldTitle:
        return random.choices(self.titles, cum_weights=self.weights)[0]


def _shelves(titles: list[WorldTitle]) -> dict[str, _Shelf]:
    by_genre: dict[str, list[WorldTitle]] = {}
    for title in titles:
        for genre in title.genres:
            by_genre.setdefault(genre, []).append(title)
    return {genre: _Shelf(group) for genre, group in sorted(by_genre.items())}


class _Viewer:
    """A user's favourite genres, and their progress in a series."""

    def __init__(self, random: Random, name: str, genres: list[str]) -> None:
        self.name = name
        self.liked = random.sample(genres, min(len(genres), random.choice((2, 3))))
        self.genres = genres
        self.seen: set[str] = set()
        self.watching: Iterator[tuple[WorldTitle, int, int]] = iter(())

    def draw(self, random: Random, shelves: dict[str, _Shelf]) -> WorldTitle:
        liked = [genre for genre in self.liked if genre in shelves]
        # Mostly a favourite genre, sometimes any.
        genre = random.choice(liked if liked and random.random() < 0.8 else list(shelves))
        title = shelves[genre].draw(random)
        for _ in range(3):
            if title.key not in self.seen:
                break
            title = shelves[genre].draw(random)
        self.seen.add(title.key)
        return title

    def next_episode(self, random: Random, shelves: dict[str, _Shelf]) -> tuple[WorldTitle, int, int]:
        found = next(self.watching, None) if random.random() < 0.95 else None
        while found is None:
            self.watching = _episodes(self.draw(random, shelves))
            found = next(self.watching, None)
        return found


def _episodes(title: WorldTitle) -> Iterator[tuple[WorldTitle, int, int]]:
    for season, count in enumerate(title.episodes_per_season, start=1):
        for episode in range(1, count + 1):
            yield title, season, episode


def _plays(
    random: Random, titles: list[WorldTitle], users: list[WorldUser], count: int, now: datetime
) -> Iterator[Play]:
    movies = _shelves([title for title in titles if title.media_type == "movie"])
    series = _shelves([title for title in titles if title.episodes_per_season])
    genres = sorted({*movies, *series})
    viewers = [_Viewer(random, user.name, genres) for user in users]
    # Some users watch a lot, some hardly anything.
    activity = list(accumulate(random.paretovariate(1.2) for _ in viewers))
    end = int(now.timestamp())
    times = sorted(random.randrange(end - _HISTORY_DAYS * 86_400, end) for _ in range(count))
    for when, viewer in zip(times, random.choices(viewers, cum_weights=activity, k=count), strict=True):
        played_at = datetime.fromtimestamp(when, UTC)
        completion = 1.0 if random.random() < 0.92 else round(random.uniform(0.05, 0.85), 2)
        if series and (not movies or random.random() < 0.6):
            title, season, episode = viewer.next_episode(random, series)
            first = season == 1 and episode == 1
            rating = _rating(random, viewer, title) if first and random.random() < 0.3 else None
            yield Play(viewer.name, title.key, played_at, season, episode, rating, completion)
        else:
            title = viewer.draw(random, movies)
            rating = _rating(random, viewer, title) if random.random() < 0.3 else None
            favorite = rating is not None and rating >= 9
            yield Play(viewer.name, title.key, played_at, None, None, rating, completion, favorite)


def _rating(random: Random, viewer: _Viewer, title: WorldTitle) -> float:
    matches = len(set(viewer.liked) & set(title.genres))
    value = (title.vote_average or 6.0) + 1.2 * matches - 0.8 + random.gauss(0, 1.0)
    return float(min(10, max(1, round(value))))


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
        _odd_series(0, 'Series: A "Quoted" / Slashed One', (3, 2)),
        _odd_series(1, "Series Without Episodes", ()),
        _odd_series(2, "مسلسل", (1,)),
        _odd_series(3, "Long Runner", (30,)),
        _odd_series(4, "Specials And Gaps", (5,), specials=2, double_episodes=((1, 1),), missing_episodes=((1, 4),)),
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
        _odd_plays(titles, now),
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


def _odd_series(number: int, name: str, seasons: tuple[int, ...], **facts: Any) -> WorldTitle:
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


def _odd_plays(titles: list[WorldTitle], now: datetime) -> list[Play]:
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
