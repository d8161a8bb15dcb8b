"""A household that discovers titles outside its library."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from aperture_dagster.settings import load_settings
from aperture_dagster.simulator.server import RunningSimulator
from aperture_dagster.simulator.world import CastMember, Play, Release, World, WorldTitle, WorldUser
from aperture_dagster_tests.e2e.commands import run_command
from aperture_dagster_tests.e2e.reading import read_server
from aperture_dagster_tests.household import Household, SetClock, metadata_of

NOW = datetime(2026, 5, 17, 12, tzinfo=UTC)
DAY = timedelta(days=1)
JOB = "generate_discovery_suggestions"
# Unowned titles are recommended from owned ones of the same kind.
OUTSIDE = 1000
THEMES: dict[str, dict[str, Any]] = {
    "heist": {"genres": ("Crime", "Thriller"), "keywords": ("heist", "robbery"), "directors": ("Mann",)},
    "ghost": {"genres": ("Horror",), "keywords": ("ghost", "haunted house"), "directors": ("Carpenter",)},
    "space": {"genres": ("Science Fiction",), "keywords": ("spaceship", "alien"), "directors": ("Scott",)},
}
WORDS = {"heist": "bank vault robbers safe", "ghost": "haunted spirit cellar", "space": "orbit starship planet"}


def title(number: int, theme: str, media_type: str = "movie", **fields: Any) -> WorldTitle:
    """A title of a theme that everybody may see; numbers from ``OUTSIDE`` on are not in the library."""
    recommended = tuple(range(OUTSIDE + number * 10, OUTSIDE + number * 10 + 6)) if number < OUTSIDE else ()
    name = f"{theme.title()} {number}" if media_type == "movie" else f"{theme.title()} Series {number}"
    usual: dict[str, Any] = {
        "title": name, "year": 2010, "release_date": "2010-03-01", "vote_average": 7.0,
        "vote_count": 900 - number % 700, "popularity": 50.0, "tmdb_id": number, "official_rating": "PG",
        "language": "en", "imdb_id": f"tt{number + (0 if media_type == 'movie' else 500_000):07}",
        "overview": f"{WORDS[theme]} number {number}", "cast": (CastMember(f"Star of {theme}"),),
        "recommended_tmdb_ids": recommended, "copies": 0 if number >= OUTSIDE else 1, **THEMES[theme],
    }  # fmt: skip
    if media_type == "series":
        usual |= {"episodes_per_season": (4,), "tvdb_id": number, "official_rating": "TV-PG"}
    return WorldTitle(f"{media_type}:{number}", media_type, **usual | fields)


def outside(number: int, theme: str, media_type: str = "movie", **fields: Any) -> WorldTitle:
    """A title that is recommended from the owned one with this number, the first of them."""
    return title(OUTSIDE + number * 10, theme, media_type, **fields)


def theme_of(number: int) -> str:
    """The theme of an owned title."""
    return list(THEMES)[number % 3]


def watched(user: str, *numbers: int, media_type: str = "movie") -> list[Play]:
    """Plays of films, or of the first episode of series, of five days ago."""
    episode = {} if media_type == "movie" else {"season": 1, "episode": 1}
    return [
        Play(user, f"{media_type}:{number}", NOW - 5 * DAY - timedelta(hours=place), **episode)
        for place, number in enumerate(numbers)
    ]


# Films that are recommended from what ann and kid like, each with something against it.
ODD = {
    "Adult": {"adult": True},
    "Erotic": {"keywords": ("heist", "softcore")},
    "Unreleased": {"release_date": "2027-01-01", "status": "Post Production"},
    "In Cinemas": {
        "release_date": "2026-04-20", "releases": (Release("DE", 3, "2026-04-20", "12"),), "offers": (),
    },
    "Few Votes": {"vote_count": 49},
    "Korean": {"language": "ko"},
    "For Adults": {"certifications": (("DE", "16"), ("US", "PG"))},
    "Unrated": {"certifications": ()},
    "Documentary": {"genres": ("Documentary",)},
    "Owned As Another": {"imdb_id": "tt0099999"},
}  # fmt: skip


def odd_world() -> World:
    """Films and series 1-12 in the library, six unowned titles for each, and films with something against them.

    Ann, bob and kid, who may see up to 12, have watched some.
    """
    odd = {name: title(2001 + place, "heist", title=name, **fields) for place, (name, fields) in enumerate(ODD.items())}
    usual = title(3, "heist")
    favourite = title(3, "heist", recommended_tmdb_ids=(*usual.recommended_tmdb_ids, *range(2001, 2001 + len(ODD))))
    other_copy = title(50, "space", tmdb_id=None, imdb_id="tt0099999")
    users = [WorldUser("ann", is_administrator=True), WorldUser("bob"), WorldUser("kid", max_parental_rating=12)]
    plays = [
        *watched("ann", 3, 6, 9), *watched("ann", 3, 6, media_type="series"),
        *watched("bob", 1, 4, 7), *watched("bob", 1, 4, media_type="series"), *watched("kid", 3, 6),
    ]  # fmt: skip
    titles = {
        one.key: one
        for media_type in ("movie", "series")
        for number in range(1, 13)
        for one in (
            title(number, theme_of(number), media_type),
            *(title(OUTSIDE + number * 10 + place, theme_of(number), media_type) for place in range(6)),
        )
    }
    titles |= {one.key: one for one in (favourite, other_copy, *odd.values())}
    return World("discovery", list(titles.values()), users, plays)


@dataclass
class Discovering:
    """The stand-ins and the home, with a look at what is suggested."""

    simulator: RunningSimulator
    home: Household
    clock: SetClock

    @property
    def state(self) -> Any:
        """The stand-ins' state."""
        return self.simulator.state

    def use(self, **changed: Any) -> None:
        """Go on with other settings."""
        given = self.home.settings.model_dump(exclude_unset=True) | changed
        self.home = Household(load_settings(**given), self.home.instance, clock=self.clock)

    def prepare(self) -> None:
        """Read everything that discovery builds on, and learn tastes."""
        read_server(self.home, histories=True)
        self.home.must("enrich_metadata")
        self.home.must("generate_embeddings")
        self.learn()

    def learn(self) -> None:
        """Learn tastes."""
        self.home.must("generate_recommendations", users=self.home.everyone(), assets=["taste_profiles"])

    def run(self) -> dg.ExecuteInProcessResult:
        """Run the job for everybody."""
        return self.home.run(JOB, users=self.home.everyone())

    def discover(self, asset: str = "discovery_pool") -> dict[str, Any]:
        """Run the job, which must succeed; return the metadata of the pool, or of another of its assets."""
        return metadata_of(self.home.must(JOB, users=self.home.everyone()), asset)

    def suggest(self) -> None:
        """Make the lists again from the pool as it is."""
        self.home.must(JOB, users=self.home.everyone(), assets=["discovery_candidates"])

    def rows(self, user: str, media_type: str = "movie") -> list[dict[str, Any]]:
        """A user's suggestions in rank order."""
        return self.home.rows(
            "SELECT c.*, p.title, p.tmdb_id FROM discovery_candidates c JOIN users u USING (user_id) "
            "JOIN discovery_pool p USING (work_id) WHERE u.name = :user AND c.media_type = :media_type ORDER BY rank",
            user=user,
            media_type=media_type,
        )

    def titles(self, user: str, media_type: str = "movie") -> list[str]:
        """The titles suggested to a user in rank order."""
        return [row["title"] for row in self.rows(user, media_type)]

    def details(self) -> Counter[str]:
        """Requests for details of titles outside the library so far, such as ``movie/1030``."""
        asked = self.state.asked("tmdb")
        return Counter({one: count for one, count in asked.items() if re.fullmatch(r"(movie|tv)/\d{4,}", one)})

    def lists(self) -> int:
        """Requests for lists so far."""
        return sum(self.state.requests("tmdb", one) for one in ("discover", "recommendations"))


def dismiss(home: Discovering, *arguments: str) -> str:
    """Run ``aperture dismiss``; return what it says."""
    return command(home, "dismiss", *arguments)


def command(home: Discovering, *arguments: str) -> str:
    """Run a command that succeeds; return what it says."""
    result = run_command(home.home.settings, *arguments, columns=200)
    assert result.exit_code == 0, result.output
    return result.output
