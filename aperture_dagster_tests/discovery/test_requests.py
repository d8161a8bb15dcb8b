"""What is requested on Seerr, as whom, and when not: by the desk alone, with scripted answers of Seerr."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from aperture_dagster.catalogue.people import User
from aperture_dagster.catalogue.stored_users import read_users
from aperture_dagster.discovery.requests import NoSeerrUser, RequestDesk
from aperture_dagster.discovery.seerr import RequestQuota, SeerrRequest, SeerrTitle, SeerrUser
from aperture_dagster.discovery.suggestions import Wish, read_requests
from aperture_dagster.http.errors import ServiceUnavailable
from aperture_dagster_tests.defs.check_bench import NOW, Bench
from aperture_dagster_tests.discovery.test_what_may_be_requested import FILM, SERIES, asked, suggested

__all__ = ["suggested"]
MAY_REQUEST = 32
ALMA = SeerrUser(1, "Alma", "alma", MAY_REQUEST)


class Seerr:
    """Seerr, with one account, two seasons of the series, and no limits."""

    requests = 0

    def __init__(self) -> None:
        self.accounts = [ALMA]
        self.made: dict[int, list[SeerrRequest]] = {10: [], 11: []}
        self.left: int | None = None
        self.loses_answers = False

    def users(self) -> list[SeerrUser]:
        return self.accounts

    def verify_user(self, seerr_id: int) -> None:
        pass

    def title(self, media_type: str, tmdb_id: int) -> SeerrTitle:
        seasons = (1, 2) if media_type == "series" else ()
        return SeerrTitle("It", "unknown", seasons, seasons, tuple(self.made[tmdb_id]))

    def quota(self, seerr_id: int) -> dict[str, RequestQuota]:
        return dict.fromkeys(("movie", "series"), RequestQuota(self.left, self.left, 7))

    def request(self, seerr_id: int, media_type: str, tmdb_id: int, *, seasons: Any = None) -> SeerrRequest:
        made = SeerrRequest(100 + sum(map(len, self.made.values())), "pending", seerr_id)
        self.made[tmdb_id].append(made)
        if self.loses_answers:
            raise ServiceUnavailable("the connection broke")
        return made

    def read_request(self, request_id: int) -> SeerrRequest:
        return next(one for made in self.made.values() for one in made if one.request_id == request_id)


@pytest.fixture
def seerr() -> Seerr:
    return Seerr()


def alma(bench: Bench) -> User:
    with bench.database.transaction() as connection:
        return next(one for one in read_users(connection) if one.name == "Alma")


def request_best(bench: Bench, seerr: Any, *, days: float = 0, **settings: Any) -> Any:
    bench.configure(**{"requests_per_week": 9} | settings)
    bench.clock.moment = NOW + timedelta(days=days)
    return RequestDesk(seerr, bench.database, bench.clock).request_best(alma(bench), bench.settings)


def stored(bench: Bench) -> dict[int, tuple[str, int | None]]:
    with bench.database.transaction() as connection:
        return {one.work_id: (one.state, one.request_id) for one in read_requests(connection, ["Alma"])}


def test_nothing_is_requested_for_somebody_with_two_accounts_or_none(suggested: Bench, seerr: Seerr):
    seerr.accounts = [ALMA, SeerrUser(2, "Alma again", "alma", MAY_REQUEST)]
    assert (
        "Several users of Seerr belong to Alma: Alma (1), Alma again (2)" in request_best(suggested, seerr).reasons[0]
    )
    seerr.accounts = [SeerrUser(3, "Bruno", "bruno", MAY_REQUEST)]
    assert "Alma has no user on Seerr" in request_best(suggested, seerr).reasons[0]
    with pytest.raises(NoSeerrUser):
        RequestDesk(seerr, suggested.database, suggested.clock).account_of(alma(suggested))  # pyright: ignore[reportArgumentType]
    assert not any(seerr.made.values())


def test_a_request_whose_answer_was_lost_is_found_and_not_sent_again(suggested: Bench, seerr: Seerr):
    # Somebody else's, and an older one of hers.
    seerr.made[10] = [SeerrRequest(7, "completed", 9), SeerrRequest(8, "completed", 1)]
    asked("Alma", "refused", work_id=FILM, media_type="movie", tmdb_id=10, request_id=8, title="It",
          requested_at=NOW - timedelta(days=20))(suggested)  # fmt: skip
    seerr.loses_answers = True
    with pytest.raises(ServiceUnavailable):
        request_best(suggested, seerr)
    assert stored(suggested)[SERIES][0] == "sending"
    # The best one comes first; the film is next.
    with pytest.raises(ServiceUnavailable):
        request_best(suggested, seerr)
    assert stored(suggested)[FILM][0] == "sending"
    seerr.loses_answers = False
    request_best(suggested, seerr, days=1)
    assert [len(made) for made in seerr.made.values()] == [3, 1], "each was sent once"
    assert stored(suggested)[FILM] == ("pending", seerr.made[10][-1].request_id)
    assert stored(suggested)[SERIES] == ("pending", seerr.made[11][0].request_id)


def test_a_note_that_never_arrived_is_not_taken_for_an_older_request(suggested: Bench, seerr: Seerr):
    seerr.made[10] = [SeerrRequest(8, "completed", 1)]
    asked("Alma", "sending", work_id=FILM, media_type="movie", tmdb_id=10, request_id=8, title="It")(suggested)
    RequestDesk(seerr, suggested.database, suggested.clock).read_back(alma(suggested))  # pyright: ignore[reportArgumentType]
    assert stored(suggested)[FILM] == ("completed", 8), "only the older one exists"


def test_a_note_that_never_arrived_is_sent_by_the_next_run_and_a_full_week_sends_no_more(
    suggested: Bench, seerr: Seerr
):
    asked("Alma", "sending", requested_at=NOW - timedelta(hours=1))(suggested)
    result = request_best(suggested, seerr, requests_per_week=1)
    assert [one.work_id for one in result.sent] == [SERIES]
    assert "limit of 1 request " in result.reasons[-1]
    assert request_best(suggested, seerr, requests_per_week=1).sent == []


def test_a_quota_that_a_series_exceeds_leaves_room_for_a_film(suggested: Bench, seerr: Seerr):
    seerr.left = 1
    result = request_best(suggested, seerr)
    assert [one.work_id for one in result.sent] == [FILM]
    assert "1 of 1 seasons left in 7 days, and 2 are needed" in result.reasons[0]


def test_what_was_declined_is_not_requested_again_by_itself(suggested: Bench, seerr: Seerr):
    seerr.made[11] = [SeerrRequest(5, "declined", 9)]
    result = request_best(suggested, seerr)
    assert [one.work_id for one in result.sent] == [FILM]
    assert "A request for It (2000) was declined on Seerr." in result.reasons


def test_what_a_new_limit_forbids_is_not_requested_even_if_it_is_still_on_the_list(suggested: Bench, seerr: Seerr):
    suggested.do("UPDATE users SET max_parental_rating = 5 WHERE name = 'Alma'")
    result = request_best(suggested, seerr)
    assert result.sent == [] and not any(seerr.made.values())
    assert result.reasons == ["It (2000): above the parental limit."] * 2


def test_a_plan_says_what_would_be_sent_and_what_would_follow(suggested: Bench, seerr: Any):
    desk = RequestDesk(seerr, suggested.database, suggested.clock)
    after = [("quota", "no limit"), ("approval", "waits on Seerr until somebody approves it")]
    show = desk.plan(ALMA, Wish(SERIES, "series", 11, "It"))
    assert show.facts == [("seasons", "all 2 without specials (1, 2)"), *after]
    assert desk.plan(ALMA, Wish(SERIES, "series", 11, "It"), [2]).season_text == "2"
    assert desk.plan(ALMA, Wish(FILM, "movie", 10, "It")).facts == after
