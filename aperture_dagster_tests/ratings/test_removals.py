"""Removed ratings are counted over thirty days: the real sync, on PostgreSQL and the stand-in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from aperture_dagster.catalogue.rules import RemovalRefused
from aperture_dagster.ratings.removals import accept_removals, held_by_user, held_removals, undo_removals
from aperture_dagster.ratings.sync import RatingsReport
from aperture_dagster_tests.ratings.rated_home import RatedHome
from aperture_dagster_tests.ratings.trakt_home import trakt_home

FILMS = [f"movie:{number}" for number in range(1, 31)]
DAY = 86_400
SIDES = pytest.mark.parametrize("side", ["trakt", "server"])


class Losing(RatedHome):
    """A home whose users lose ratings."""

    def have(self, count: int, user: str = "ada") -> None:
        """Have ratings on the media server that are in step."""
        for key in FILMS[:count]:
            self.rate_on_server(user, key, 8)
        self.sync(user, accept_first_sync=True)
        assert len(self.values(user)) == len(self.values_there(user)) == count

    def lose(self, side: str, keys: list[str], user: str = "ada") -> RatingsReport:
        """Remove ratings on a side, and sync a day later."""
        remove = {"trakt": self.rate_on_trakt, "server": self.rate_on_server, "own": self.rate}[side]
        for key in keys:
            remove(user, key, None)
        self.home.wait(DAY)
        return self.sync(user)

    def left(self, side: str, user: str = "ada") -> int:
        """Return how many ratings the side has to which the removals travel."""
        return len(self.values(user) if side == "trakt" else self.values_there(user))

    def held(self, user: str = "ada") -> set[str]:
        keys = {work: key for key, work in self.works.items()}
        with self.home.database.transaction() as connection:
            return {keys[one.work_id] for one in held_removals(connection, user) if not one.is_accepted}

    def accept(self, keys: list[str] | None = None, user: str = "ada") -> int:
        works = [self.works[key] for key in keys] if keys is not None else None
        with self.home.database.transaction() as connection:
            return accept_removals(connection, user, works=works)

    def undo(self, keys: list[str], user: str = "ada") -> int:
        with self.home.database.transaction() as connection:
            return undo_removals(connection, user, [self.works[key] for key in keys], now=self.home.clock.now())


@pytest.fixture
def losing(serve: Callable[..., Any]) -> Iterator[Losing]:
    with trakt_home(serve) as home:
        home.connect("ada", "ben")
        yield Losing(home)


@pytest.mark.parametrize("side", ["trakt", "server", "own"])
def test_instalments_below_the_limit_stop_where_the_sum_is_above_it(losing: Losing, side: str):
    losing.have(30)
    reports = [losing.lose(side, FILMS[start : start + 6]) for start in range(0, 30, 6)]
    assert losing.left(side) == 24 and losing.held() == set(FILMS[6:])
    assert [len(one.held) for one in reports] == [0, 6, 12, 18, 24]
    assert reports[0].refusal is None and isinstance(reports[-1].refusal, RemovalRefused)
    assert "of ada's 30 ratings, 24 " in str(reports[-1].refusal)


@pytest.mark.parametrize(("side", "count"), [("trakt", 10), ("server", 3), ("own", 1)])
def test_whoever_loses_everything_keeps_it_however_little_that_is(losing: Losing, side: str, count: int):
    losing.have(count)
    losing.have(1, "ben")
    losing.rate_on_trakt("ben", "series:2", 3)
    report = losing.lose(side, FILMS[:count])
    assert losing.left(side) == count and len(report.held) == count
    said = str(report.refusal)
    assert f"of ada's {count} rating" in said and "Film 1" in said and "`aperture trakt removals ada`" in said
    losing.rate_on_trakt("ada", "series:1", 4)
    losing.rate("ada", "series:2", 5)
    for user, values in (("ada", {"series:1": 4, "series:2": 5}), ("ben", {"movie:1": 8, "series:2": 3})):
        losing.home.wait(DAY)
        losing.sync(user)
        assert losing.values(user).items() >= values.items() and losing.values_there(user).items() >= values.items()
    assert losing.left(side) == count + 2 and len(losing.held()) == count


@SIDES
def test_what_is_removed_at_a_normal_rate_travels(losing: Losing, side: str):
    losing.have(30)
    for key in FILMS[:10]:
        report = losing.lose(side, [key])
        assert report.refusal is None and key not in losing.values() | losing.values_there()
    for _ in range(2):
        losing.home.wait(14.5 * DAY)
        losing.sync()
    for key in FILMS[10:14]:
        assert losing.lose(side, [key]).refusal is None
    assert losing.values() == losing.values_there() and len(losing.values()) == 16


@SIDES
def test_what_was_shown_can_be_accepted_and_nothing_else(losing: Losing, side: str):
    losing.have(30)
    losing.lose(side, FILMS[:5])
    losing.lose(side, FILMS[5:12])
    shown = datetime.now(UTC)
    assert losing.held() == set(FILMS[5:12])
    losing.lose(side, FILMS[12:16])
    report = losing.sync(accept_held_before=shown)
    assert report.removed_here + report.removed_there == 7
    # The four that came afterwards are held, as they were before.
    assert losing.held() == set(FILMS[12:16]) and losing.left(side) == 18
    assert losing.accept() == 4 and losing.held() == set()
    losing.sync()
    assert losing.values() == losing.values_there() and len(losing.values()) == 14
    # Counting has started again.
    assert losing.lose(side, FILMS[16:25]).refusal is None
    assert losing.lose(side, FILMS[25:27]).refusal is not None and losing.left(side) == 5


def test_an_acceptance_without_anything_held_accepts_nothing(losing: Losing):
    losing.have(30)
    losing.lose("trakt", FILMS[:9])
    for key in FILMS[9:14]:
        losing.rate_on_trakt("ada", key, None)
    report = losing.sync(accept_held_before=datetime.now(UTC))
    assert len(report.held) == 5 and len(losing.values()) == 21
    assert losing.accept([FILMS[0], FILMS[9]]) == 1
    assert losing.sync().removed_here == 1


def test_a_decision_that_is_not_carried_out_yet_survives_a_kill_and_can_be_taken_back(losing: Losing):
    losing.have(5)
    losing.lose("server", FILMS[:5])
    losing.accept()
    assert losing.sync_until("ada", 3)
    assert losing.undo(FILMS[:1]) == 1
    losing.home.wait(DAY)
    losing.sync()
    assert losing.values() == losing.values_there() == {FILMS[0]: 8}


@SIDES
def test_held_removals_can_be_undone(losing: Losing, side: str):
    losing.have(12)
    before = losing.here()
    losing.lose(side, FILMS[:12])
    assert losing.undo(FILMS[:11]) == 11 and losing.held() == {FILMS[11]}
    losing.sync()
    assert losing.values() | losing.values_there() == {key: value for key, (value, _) in before.items()}
    assert len(losing.values().keys() & losing.values_there().keys()) == 11 and losing.held() == {FILMS[11]}
    losing.home.wait(DAY)
    assert len(losing.sync().held) == 1
    assert losing.undo(FILMS) == 1
    losing.sync()
    assert losing.here() == losing.there() == before and losing.held() == set()


@SIDES
def test_a_rating_that_is_back_is_held_no_longer(losing: Losing, side: str):
    losing.have(3)
    losing.lose(side, FILMS[:3])
    give = {"trakt": losing.rate_on_trakt, "server": losing.rate_on_server, "own": losing.rate}[side]
    for key in FILMS[:2]:
        give("ada", key, 8)
    assert len(losing.sync().held) == 1
    give("ada", FILMS[2], 9)
    report = losing.sync()
    assert (report.held, report.refusal) == ([], None)
    assert losing.values() == losing.values_there() == {FILMS[0]: 8, FILMS[1]: 8, FILMS[2]: 9}
    assert losing.lose(side, FILMS[:1]).refusal is None, "one of three, as if nothing had been"


@SIDES
def test_kills_between_any_two_steps_count_every_removal_once(losing: Losing, side: str):
    losing.have(30)
    remove = {"trakt": losing.rate_on_trakt, "server": losing.rate_on_server, "own": losing.rate}[side]
    for start, is_held in ((0, False), (6, True)):
        for key in FILMS[start : start + 6]:
            remove("ada", key, None)
        kill_at = 1
        while losing.sync_until("ada", kill_at):
            losing.home.wait(3 * 3600)
            kill_at += 1
        losing.home.wait(3 * 3600)
        losing.sync()
        assert losing.left(side) == 24
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


def test_another_account_on_trakt_begins_without_held_removals(losing: Losing):
    losing.have(3)
    losing.lose("server", FILMS[:3])
    losing.home.accounts.connect("ada", losing.home.grant("somebody-else"))
    assert losing.held() == set()


def test_held_removals_are_listed_by_user_without_those_who_are_gone(losing: Losing):
    for user in ("ada", "ben"):
        losing.have(2, user)
        losing.lose("server", FILMS[:2], user)
    with losing.home.database.transaction() as connection:
        assert [[one.title for one in held] for held in held_by_user(connection)] == [["Film 1", "Film 2"]] * 2
    losing.home.do("UPDATE users SET removed_at = now() WHERE user_id = 'ada'")
    with losing.home.database.transaction() as connection:
        assert [held[0].user for held in held_by_user(connection)] == ["ben"]


def test_held_removals_write_nothing_again(losing: Losing):
    losing.have(3)
    losing.lose("server", FILMS[:3])
    before = losing.shelf.rows("SELECT * FROM rating_removals ORDER BY work_id")
    losing.home.wait(DAY)
    assert losing.sync().rows_written == 0
    assert losing.shelf.rows("SELECT * FROM rating_removals ORDER BY work_id") == before and len(before) == 3
