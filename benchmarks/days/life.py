"""The life of a household on its media server, on Trakt and with Seerr: the same in both homes, hour by hour."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from aperture_dagster.simulator.state import SimulatorState
from aperture_dagster.simulator.world import DEFAULT_LIBRARIES, Play, World, WorldLibrary, WorldTitle, WorldUser
from aperture_dagster.simulator.worlds import WorldSize, generate_world

KIDS = WorldLibrary("Kids", "movies", ("/media/kids",), has_id=False)
NEWCOMER, RENAMED = "newcomer", "renamed"
PLAYS_A_DAY = 4
HOURS = (10, 13, 16, 18, 19, 20, 21, 22)
# Share of the unplayed titles that only the metadata services know at first.
OUTSIDE_SHARE = 0.6
NEW_EVERY, RENAMED_EVERY, GONE_EVERY = 3, 7, 11
"""Days from one new title to the next, from one that gets another name, and from one that leaves for good."""


@dataclass(order=True, slots=True)
class Happening:
    """Something that happens at a moment."""

    at: datetime
    happen: Callable[[SimulatorState], Any] = field(compare=False)


def make_world(start: datetime, *, users: int, seed: int) -> World:
    """Make a world of films, series and titles outside the library; one library is not there yet."""
    made = generate_world(
        WorldSize(movies=140, series=20, episodes=400, users=users, plays=30 * users), seed=seed, now=start
    )
    played = {play.title_key for play in made.plays}
    chance = random.Random(seed)
    titles = []
    for title in made.titles:
        if title.key not in played and chance.random() < OUTSIDE_SHARE:
            title = replace(title, copies=0)
        elif title.media_type == "movie" and title.key not in played and chance.random() < 0.1:
            title = replace(title, library=KIDS.name, copies=1)
        titles.append(title)
    return World(made.name, titles, made.users, made.plays, (*DEFAULT_LIBRARIES, KIDS))


class Life:
    """What happens in the days from ``start``; the same arguments give the same life.

    No user plays or rates anything twice: a home that did not look in between could not know. Which side gave a rating
    last is never in doubt, either.
    """

    def __init__(self, world: World, start: datetime, *, days: int, seed: int) -> None:
        self._world, self._start, self._days = world, start, days
        self._chance = random.Random(seed + 1)
        self.users = [user.name for user in world.users]
        self.connected = self.users[:2]
        self._leaver = self.users[-1]
        self._gone: set[str] = set()
        """Titles that leave for good, or for a while."""

    def happenings(self) -> list[Happening]:
        """Return everything in order."""
        found = [*self._people(), *self._titles(), *self._plays(), *self._ratings(), *self._prices()]
        return sorted(found)

    def _at(self, day: int, hour: float) -> datetime:
        return self._start + timedelta(days=day, hours=hour)

    def _share(self, share: float) -> int:
        """Return the day at this share of the time."""
        return int(self._days * share)

    def _people(self) -> Iterator[Happening]:
        renamed, leaver = self.users[2 % len(self.users)], self._leaver
        yield Happening(self._at(self._share(0.27), 14), lambda state: state.rename_user(renamed, RENAMED))

        def come(state: SimulatorState) -> None:
            state.add_user(WorldUser(NEWCOMER))
            state.seerr_import(NEWCOMER)

        yield Happening(self._at(self._share(0.34), 15), come)
        if leaver not in (*self.connected, renamed):
            # Just before a look at the users that reads no histories: that of somebody who has left cannot be read.
            yield Happening(self._at(self._share(0.6), 8.5), lambda state: state.remove_user(leaver))

    def _titles(self) -> Iterator[Happening]:
        outside = [title for title in self._world.titles if title.copies == 0]
        self._chance.shuffle(outside)
        for day, title in zip(range(0, self._days, NEW_EVERY), outside, strict=False):
            yield self._changed(day, 17, replace(title, copies=1))
        played = {play.title_key for play in self._world.plays}
        gone, *others = (one for one in self._owned("movie") if one.key not in played)
        self._gone = {gone.key}
        for day, title in zip(range(5, self._days, GONE_EVERY), others, strict=False):
            self._gone.add(title.key)
            yield Happening(self._at(day, 11), lambda state, key=title.key: state.remove_title(key))
        for day, title in zip(range(4, self._days, RENAMED_EVERY), self._owned("movie"), strict=False):
            if title.key not in self._gone:
                yield self._changed(day, 11, replace(title, title=f"{title.title} Restored"))
        yield Happening(self._at(self._share(0.17), 11), lambda state: state.remove_title(gone.key))
        yield Happening(self._at(self._share(0.5), 11), lambda state: state.shift(comes=gone.key))
        yield Happening(self._at(self._share(0.4), 11), lambda state: state.change_library(KIDS.name, has_id=True))
        for number, show in enumerate(self._owned("series")[:3]):
            longer = replace(show, episodes_per_season=(*show.episodes_per_season, 3))
            yield self._changed(self._share(0.2 + 0.2 * number), 9, longer)

    def _changed(self, day: int, hour: float, title: WorldTitle) -> Happening:
        return Happening(self._at(day, hour), lambda state: state.add_title(title))

    def _owned(self, media_type: str) -> list[WorldTitle]:
        return [
            title
            for title in self._world.titles
            if title.copies and title.media_type == media_type and title.library is None
        ]

    def _plays(self) -> Iterator[Happening]:
        seen = {(play.user, play.title_key) for play in self._world.plays}
        films = [one.key for one in self._owned("movie") if one.key not in self._gone]
        shows = [one for one in self._owned("series") if sum(one.episodes_per_season) > 4]
        stay = [user for user in self.users if user not in (self._leaver, self.users[2 % len(self.users)])]
        places = {(user, show.key): self._unseen(user, show) for user in stay for show in shows}
        for day in range(self._days):
            for hour in self._chance.sample(HOURS, k=min(PLAYS_A_DAY, len(HOURS))):
                at = self._at(day, hour) + timedelta(minutes=self._chance.randrange(1, 29))
                user = self._chance.choice(stay)
                unseen = [key for key in films if (user, key) not in seen]
                if self._chance.random() < 0.5 and unseen:
                    key = self._chance.choice(unseen)
                    seen.add((user, key))
                    play = Play(user, key, at, favorite=self._chance.random() < 0.1)
                else:
                    show = self._chance.choice(shows)
                    episode = next(places[user, show.key], None)
                    if episode is None:
                        continue
                    play = Play(user, show.key, at, *episode)
                yield Happening(at, lambda state, play=play: state.play(play))

    def _unseen(self, user: str, show: WorldTitle) -> Iterator[tuple[int, int]]:
        played = {
            (one.season, one.episode) for one in self._world.plays if (one.user, one.title_key) == (user, show.key)
        }
        every = [
            (season, episode)
            for season, count in enumerate(show.episodes_per_season, start=1)
            for episode in range(1, count + 1)
        ]
        return iter([one for one in every if one not in played])

    def _ratings(self) -> Iterator[Happening]:
        rated = {(play.user, play.title_key) for play in self._world.plays if play.rating is not None}
        titles = [one.key for one in (*self._owned("movie"), *self._owned("series")) if one.key not in self._gone]
        for day in range(self._days):
            for side in ("server", "trakt"):
                user, key, value = (
                    self._chance.choice(self.connected), self._chance.choice(titles), self._chance.randint(1, 10),
                )  # fmt: skip
                if (user, key) in rated:
                    continue
                rated.add((user, key))
                at = self._at(day, 12 if side == "server" else 20)
                yield Happening(at, _rating(side, user, key, value))
                if self._chance.random() < 0.15 and day + 6 < self._days:
                    # Long enough afterwards to be known in both homes.
                    other = "trakt" if side == "server" else "server"
                    yield Happening(at + timedelta(days=5), _rating(other, user, key, 11 - value))

    def _prices(self) -> Iterator[Happening]:
        for number, share in enumerate((0.2, 0.6), start=2):

            def change(state: SimulatorState, number: int = number) -> None:
                state.prices["text-embedding-3-small"]["input_cost_per_token"] = number * 2e-08

            yield Happening(self._at(self._share(share), 8), change)


def _rating(side: str, user: str, key: str, value: int) -> Callable[[SimulatorState], Any]:
    if side == "server":
        return lambda state: state.rate(user, key, value)

    def rate(state: SimulatorState) -> None:
        # Trakt does not know every title.
        if state.trakt.titles.of_key(key) is not None:
            state.trakt_rate(user, key, value)

    return rate
