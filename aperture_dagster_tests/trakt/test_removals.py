"""Removed ratings are counted over thirty days: the real sync, on PostgreSQL and the stand-in."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from aperture_dagster.catalogue.removals import RemovalRefused
from aperture_dagster.ratings.removals import accept_removals, held_by_user, held_removals, undo_removals
from aperture_dagster.trakt.sync import RatingsReport
from aperture_dagster_tests.trakt.rated_home import RatedHome
from aperture_dagster_tests.trakt.trakt_home import TraktHome

FILMS = [f"movie:{number}" for number in range(1, 31)]
DAY = 86_400


class Losing(RatedHome):
    """A home whose users lose ratings."""

    def have(self, count: int, user: str = "ada") -> None:
        """Have ratings on the media server that are in step."""
        self.rate_all_on_server(user, FILMS[:count], 8)
        self.sync(user, accept_first_sync=True)
        assert len(self.values(user)) == len(self.values_there(user)) == count

    def lose(self, side: str, keys: list[str], user: str = "ada") -> RatingsReport:
        """Remove ratings on a side, and sync a day later."""
        remove = {"trakt": self.rate_on_trakt, "server": self.rate_on_server, "own": self.rate}[side]
        for key in keys:
            remove(user, key, None)
        self.home.wait(DAY)
        return self.sync(user)

    def left(self, side: str) -> int:
        """Return how many ratings the side has to which the removals travel."""
        return len(self.values() if side == "trakt" else self.values_there())

    def held(self, user: str = "ada") -> set[str]:
        keys = {work: key for key, work in self.works.items()}
        with self.home.database.transaction() as connection:
            return {keys[one.work_id] for one in held_removals(connection, user) if not one.is_accepted}

    def removals(self) -> list[Any]:
        return self.shelf.rows("SELECT * FROM rating_removals ORDER BY work_id")

    def accept(self, keys: list[str]) -> int:
        with self.home.database.transaction() as connection:
            return accept_removals(connection, "ada", [self.works[key] for key in keys])

    def undo(self, keys: list[str]) -> int:
        with self.home.database.transaction() as connection:
            return undo_removals(connection, "ada", [self.works[key] for key in keys], now=self.home.clock.now())


@pytest.fixture
def losing(home: TraktHome) -> Losing:
    home.connect("ada", "ben")
    return Losing(home)


def test_what_is_removed_at_a_normal_rate_travels_until_the_sum_is_too_much(losing: Losing):
    losing.have(30)
    assert losing.lose("server", FILMS[:10]).refusal is None
    report = losing.lose("server", FILMS[10:12])
    assert losing.left("server") == 20 and losing.held() == set(FILMS[10:12])
    assert isinstance(report.refusal, RemovalRefused) and "of ada's 30 ratings, 2 " in str(report.refusal)
    losing.home.wait(30 * DAY)
    losing.sync()
    # Those of the first day no longer count, but what is held stays held.
    assert len(losing.lose("server", FILMS[12:13]).held) == 2
    assert losing.left("server") == 19


def test_whoever_loses_everything_keeps_it_however_little_that_is(losing: Losing):
    losing.have(1)
    losing.have(1, "ben")
    report = losing.lose("own", FILMS[:1])
    assert losing.left("own") == len(report.held) == 1
    said = str(report.refusal)
    assert "of ada's 1 rating," in said and "Film 1" in said and "`aperture trakt removals ada`" in said
    losing.rate_on_trakt("ada", "series:1", 4)
    losing.rate_on_trakt("ben", "series:2", 3)
    for user, key, value in (("ada", "series:1", 4), ("ben", "series:2", 3)):
        losing.sync(user)
        assert losing.values(user)[key] == value, "the rest goes on"
    assert len(losing.held()) == 1


def test_what_was_shown_can_be_accepted_and_nothing_else(losing: Losing):
    losing.have(30)
    losing.lose("trakt", FILMS[:8])
    losing.lose("trakt", FILMS[8:15])
    assert losing.held() == set(FILMS[8:15])
    assert losing.accept([*FILMS[:1], *FILMS[8:14]]) == 6
    report = losing.lose("trakt", FILMS[15:19])
    assert report.removed_here == 6 + 4, "counting has started again"
    assert losing.held() == {FILMS[14]} and losing.left("trakt") == 12


def test_a_decision_that_is_not_carried_out_yet_survives_a_kill_and_can_be_taken_back(losing: Losing):
    losing.have(5)
    losing.lose("server", FILMS[:5])
    losing.accept(FILMS[:5])
    assert losing.sync_until("ada", 3)
    assert losing.undo(FILMS[:1]) == 1
    losing.home.wait(DAY)
    losing.sync()
    assert losing.values() == losing.values_there() == {FILMS[0]: 8}


@pytest.mark.parametrize("side", ["trakt", "own"])
def test_held_removals_write_nothing_again_and_can_be_undone(losing: Losing, side: str):
    losing.have(3)
    before = losing.here()
    losing.lose(side, FILMS[:3])
    removals = losing.removals()
    losing.home.wait(DAY)
    assert losing.sync().rows_written == 0 and losing.removals() == removals and len(removals) == 3
    assert losing.undo(FILMS[1:3]) == 2 and losing.held() == {FILMS[0]}
    losing.sync()
    assert len(losing.values().keys() & losing.values_there().keys()) == 2 and losing.held() == {FILMS[0]}
    assert losing.undo(FILMS) == 1
    losing.sync()
    assert losing.here() == losing.there() == before and losing.held() == set()


def test_a_rating_that_is_back_is_held_no_longer(losing: Losing):
    losing.have(2)
    losing.lose("trakt", FILMS[:2])
    losing.rate_on_trakt("ada", FILMS[0], 8)
    assert len(losing.sync().held) == 1
    losing.rate_on_trakt("ada", FILMS[1], 9)
    assert losing.sync().refusal is None
    assert losing.values() == losing.values_there() == {FILMS[0]: 8, FILMS[1]: 9}


@pytest.mark.nightly(
    reason="A kill at each step.",
    instead="trakt/test_removals.py",
)
def test_kills_between_any_two_steps_count_every_removal_once(losing: Losing):
    losing.have(14)
    for start, is_held in ((0, False), (6, True)):
        losing.home.wait(DAY)
        for key in FILMS[start : start + 6]:
            losing.rate_on_trakt("ada", key, None)
        kill_at = 1
        while losing.sync_until("ada", kill_at):
            kill_at += 1
        losing.sync()
        assert losing.left("trakt") == 8
        assert losing.held() == (set(FILMS[6:12]) if is_held else set())
    rows = losing.shelf.rows("SELECT count(*) AS n FROM rating_removals WHERE passed_at IS NOT NULL")
    assert rows == [{"n": 6}]


def test_a_clock_that_was_ahead_or_jumps_ahead_empties_nothing(losing: Losing):
    losing.have(30)
    losing.home.clock.moment += timedelta(days=365)
    losing.lose("server", FILMS[:8])
    losing.home.clock.moment -= timedelta(days=365)
    assert len(losing.lose("server", FILMS[8:14]).held) == 6
    assert losing.left("server") == 22
    losing.home.clock.moment += timedelta(days=365)
    assert len(losing.lose("server", FILMS[14:18]).held) == 10


def test_held_removals_are_listed_by_user_without_those_who_are_gone_or_use_another_account(losing: Losing):
    for user in ("ada", "ben"):
        losing.have(2, user)
        losing.lose("server", FILMS[:2], user)
    with losing.home.database.transaction() as connection:
        assert [[one.title for one in held] for held in held_by_user(connection)] == [["Film 1", "Film 2"]] * 2
    losing.home.do("UPDATE users SET removed_at = now() WHERE user_id = 'ada'")
    with losing.home.database.transaction() as connection:
        assert [held[0].user for held in held_by_user(connection)] == ["ben"]
    losing.home.accounts.connect("ben", losing.home.grant("somebody-else"))
    assert losing.held("ben") == set()
