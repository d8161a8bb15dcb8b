"""Accounts on Trakt: who has to do something after a failure, and tokens that are never spent twice."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from aperture_dagster.http.errors import ServiceBusy, ServicePaused, ServiceUnavailable
from aperture_dagster.simulator.responses import FaultRule
from aperture_dagster.trakt.errors import ActionNeeded, AppRefused, EdgeBlocked, ReconnectNeeded
from aperture_dagster.trakt.records import TokenPair
from aperture_dagster.trakt.tokens import TokenStore
from aperture_dagster_tests.clocks import redate
from aperture_dagster_tests.programs import Program
from aperture_dagster_tests.trakt.trakt_home import LIFE, TraktHome
from aperture_dagster_tests.waiting import wait_for

# Opens Trakt for a user, in a process of its own.
LOOK = """
import sys
from aperture_dagster.model import Clock
from aperture_dagster.postgres.database import Database
from aperture_dagster.settings import load_settings
from aperture_dagster.trakt.accounts import TraktAccounts
settings = load_settings()
with TraktAccounts(settings, Database(settings), Clock()).open(sys.argv[1]) as client:
    print(client.account())
"""


def look_elsewhere(home: TraktHome, user: str) -> Program:
    """Open Trakt for a user in another process."""
    return Program(LOOK, user, environment={**os.environ, **home.environment()})


def make_due(home: TraktHome, *users: str) -> None:
    """Make tokens old enough to be renewed, also by the clock of other processes."""
    names = ", ".join(f"'{user}'" for user in users)
    home.do(
        "UPDATE trakt_accounts SET issued_at = now() - interval '7 days', expires_at = now() + interval '1 hour' "
        f"WHERE user_id IN ({names})"
    )


def wait_for_refresh(home: TraktHome, process: Program | None = None) -> None:
    wait_for(lambda: home.count("POST /oauth/token"), "no token is renewed", pause=0.01, process=process)


# Tokens


def test_tokens_are_encrypted_and_the_owner_is_known(home: TraktHome):
    tokens = home.grant("ada")
    assert home.accounts.connect("ada", tokens) == "ada"
    (row,) = home.rows("SELECT * FROM trakt_accounts")
    assert (row["trakt_user"], row["state"]) == ("ada", "connected")
    for token in (tokens.access_token, tokens.refresh_token):
        assert token not in str(row) and token not in repr(tokens)
    assert home.look("ada") == "ada"
    assert home.accounts.connected_users() == ["ada"]


def test_a_token_is_renewed_when_a_tenth_of_its_life_is_left(home: TraktHome):
    home.connect("ada")
    home.wait(LIFE * 0.88)
    home.state.reset_counters()
    home.look("ada")
    assert home.count("POST /oauth/token") == 0
    home.wait(LIFE * 0.03)
    home.look("ada")
    home.look("ada")
    assert home.count("POST /oauth/token") == 1
    for _ in range(3):
        home.wait(LIFE * 0.95)
        assert home.look("ada") == "ada"
    assert home.states() == {"ada": "connected"}


def test_new_tokens_are_stored_before_their_first_use(home: TraktHome):
    home.connect("ada")
    home.wait(LIFE * 0.95)
    fault = home.state.add_fault(FaultRule("trakt", status=500))
    with pytest.raises(ServiceUnavailable):
        home.look("ada")
    home.state.remove_fault(fault)
    home.state.reset_counters()
    assert home.look("ada") == "ada"
    assert home.count("POST /oauth/token") == 0


def test_a_refresh_killed_before_it_is_stored_costs_only_that_user(home: TraktHome):
    home.connect("ada", "ben")
    make_due(home, "ada", "ben")
    home.state.reset_counters()
    home.state.add_fault(FaultRule("trakt_auth", kind="slow", delay_seconds=30, times=1))
    process = look_elsewhere(home, "ada")
    wait_for_refresh(home, process)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    for _ in range(2):
        with pytest.raises(ReconnectNeeded, match=r"ada must connect again.*aperture trakt connect ada"):
            home.look("ada")
    assert home.look("ben") == "ben"
    assert home.states() == {"ada": "reconnect", "ben": "connected"}
    assert "was lost" in home.trouble("ada")
    assert home.accounts.connected_users() == ["ben"]
    home.connect("ada")
    assert home.look("ada") == "ada"


def test_a_lost_answer_is_asked_for_once_more_and_then_the_user_must_connect_again(home: TraktHome):
    home.connect("ada")
    home.wait(LIFE * 0.95)
    home.state.reset_counters()
    home.state.add_fault(FaultRule("trakt_auth", kind="cut_off", times=1))
    with pytest.raises(ReconnectNeeded):
        home.look("ada")
    assert home.count("POST /oauth/token") == 2


def test_an_outage_of_the_sign_in_costs_nobody_the_connection(home: TraktHome):
    home.connect("ada")
    home.wait(LIFE * 0.95)
    fault = home.state.add_fault(FaultRule("trakt_auth", status=502))
    assert home.look("ada") == "ada", "the token is still valid"
    home.wait(LIFE * 0.1)
    with pytest.raises(ServiceUnavailable):
        home.look("ada")
    assert home.states() == {"ada": "connected"}
    home.state.remove_fault(fault)
    assert home.look("ada") == "ada"


def test_a_token_that_is_still_valid_is_used_while_another_process_holds_the_lock(
    home: TraktHome, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("aperture_dagster.trakt.tokens.LEASE_PATIENCE_SECONDS", 0.1)
    home.connect("ada")
    home.wait(LIFE * 0.95)
    with TokenStore(home.settings, home.database, home.clock).lease("ada"):
        assert home.look("ada") == "ada"
        home.wait(LIFE * 0.1)
        with pytest.raises(ServiceBusy, match="Try again later"):
            home.look("ada")
    assert home.look("ada") == "ada" and home.states() == {"ada": "connected"}


def test_a_hiccup_of_the_database_does_not_lose_new_tokens(
    home: TraktHome, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr("aperture_dagster.trakt.tokens.WRITE_WAITS_SECONDS", (0.05,) * 1_000)
    home.connect("ada")
    home.wait(LIFE * 0.95)
    home.state.reset_counters()
    home.do("ALTER TABLE trakt_accounts ADD CONSTRAINT hiccup CHECK (issued_at < '2000-01-01') NOT VALID")
    with ThreadPoolExecutor() as pool:
        looking = pool.submit(home.look, "ada")
        while caplog.text.count("could not be stored") < 2:
            assert not looking.done()
            time.sleep(0.01)
        home.do("ALTER TABLE trakt_accounts DROP CONSTRAINT hiccup")
        assert looking.result(30) == "ada"
    assert home.count("POST /oauth/token") == 1
    assert home.look("ada") == "ada" and home.states() == {"ada": "connected"}


def test_refused_recommendations_do_not_stop_the_ratings(home: TraktHome):
    home.connect("ada")
    home.state.add_fault(FaultRule("trakt", path_contains="recommendations", status=426))
    with pytest.raises(ActionNeeded), home.accounts.open("ada") as client:
        client.recommendations("movie")
    assert home.states() == {"ada": "connected"} and home.look("ada") == "ada"


def test_a_refused_token_is_renewed_once_the_request_repeated_and_then_tried_once_a_day(home: TraktHome):
    home.connect("ada")
    home.state.trakt_invalidate("ada", refresh=False)
    home.state.reset_counters()
    with home.accounts.open("ada") as client:
        assert client.account() == "ada"
        assert client.last_activities() is not None
    assert home.count("POST /oauth/token") == 1
    # A renewed token that is refused, too, does not lead to a third one.
    home.state.add_fault(FaultRule("trakt", status=401))
    home.state.reset_counters()
    with pytest.raises(ActionNeeded, match="401"):
        home.look("ada")
    assert home.count("POST /oauth/token") == 1
    assert home.states() == {"ada": "waiting"}
    # After that, it is tried once a day until Trakt has recovered.
    home.state.reset_counters()
    with pytest.raises(ActionNeeded, match="aperture trakt connect ada"):
        home.look("ada")
    assert not home.count(), "it was tried again at once"
    home.wait(86_400)
    with pytest.raises(ActionNeeded):
        home.look("ada")
    home.state.clear_faults()
    home.wait(86_400)
    assert home.look("ada") == "ada" and home.states() == {"ada": "connected"}


def test_a_void_token_is_forgiven_if_a_newer_one_was_stored_meanwhile(home: TraktHome):
    home.connect("ada")
    home.wait(LIFE * 0.95)
    home.state.trakt_invalidate("ada")
    home.state.reset_counters()
    home.state.add_fault(FaultRule("trakt_auth", kind="slow", delay_seconds=0.5, times=1))
    with ThreadPoolExecutor() as pool:
        looking = pool.submit(home.look, "ada")
        wait_for_refresh(home)
        # As a process would whose lock was lost with its connection.
        TokenStore(home.settings, home.database, home.clock).write("ada", home.grant("ada"))
        assert looking.result(30) == "ada"
    assert home.states() == {"ada": "connected"}


def test_a_token_that_another_process_renewed_is_used_instead_of_renewing_it_again(home: TraktHome):
    home.connect("ada")
    home.state.reset_counters()
    with home.accounts.open("ada") as client:
        home.state.trakt_invalidate("ada", refresh=False)
        assert home.look("ada") == "ada"
        assert client.account() == "ada"
    assert home.count("POST /oauth/token") == 1


# Failures, told apart


@pytest.mark.parametrize(("app", "due"), [("deleted", True), ("blocked", False)])
def test_a_refused_app_stops_all_work_and_marks_no_user(home: TraktHome, app: str, due: bool):
    home.connect("ada", "ben")
    if due:
        home.wait(LIFE * 0.95)
    home.state.trakt_set(app=app)
    home.state.reset_counters()
    with pytest.raises(AppRefused, match="TRAKT_CLIENT_ID"):
        home.look("ada")
    sent = home.count()
    assert sent <= 3
    with pytest.raises(AppRefused):
        home.look("ben")
    assert home.accounts.connected_users() == []
    assert home.count() == sent, "nothing more is sent for anybody"
    assert home.states() == {"ada": "connected", "ben": "connected"}
    home.state.trakt_set(app=None)
    # The operator put it right and looks.
    home.accounts.check_app()
    assert [home.look(user) for user in ("ada", "ben")] == ["ada", "ben"]


def test_a_refused_app_is_tried_again_after_hours_and_another_app_at_once(home: TraktHome):
    home.connect("ada")
    home.state.trakt_set(app="blocked")
    with pytest.raises(AppRefused):
        home.look("ada")
    home.state.trakt_set(app=None)
    with pytest.raises(AppRefused):
        home.look("ada")
    before = home.settings
    home.use(before.model_copy(update={"trakt_client_id": "another"}))
    assert home.accounts.pause() is None
    home.use(before)
    assert home.accounts.pause() is not None
    home.clock.moment += timedelta(hours=7)
    assert home.look("ada") == "ada"


def test_a_block_by_the_edge_pauses_everybody_for_an_hour(home: TraktHome):
    home.connect("ada", "ben")
    home.wait(LIFE * 0.95)
    home.state.trakt_set(edge="blocked")
    home.state.reset_counters()
    with pytest.raises(EdgeBlocked) as raised:
        home.look("ada")
    assert raised.value.resumes_at >= home.clock.now() + timedelta(hours=1)
    assert home.count() == 1
    home.state.trakt_set(edge=None)
    for attempt in (lambda: home.look("ben"), home.accounts.check_app):
        with pytest.raises(ServicePaused):
            attempt()
    assert home.accounts.connected_users() == []
    assert home.count() == 1
    assert home.states() == {"ada": "connected", "ben": "connected"}
    home.clock.moment += timedelta(minutes=61)
    assert [home.look(user) for user in ("ada", "ben")] == ["ada", "ben"]


def test_a_user_who_must_act_on_trakt_waits_for_a_day(home: TraktHome):
    home.connect("ada", "ben")
    home.state.trakt_account("ada", trouble="locked")
    home.state.reset_counters()
    for _ in range(2):
        with pytest.raises(ActionNeeded, match="Trakt refuses something for ada: the account on Trakt is locked"):
            home.look("ada")
    assert home.count() == 1
    assert home.states() == {"ada": "waiting", "ben": "connected"}
    assert home.look("ben") == "ben" and home.accounts.connected_users() == ["ben"]
    home.state.trakt_account("ada", trouble=None)
    home.clock.moment += timedelta(hours=25)
    assert home.accounts.connected_users() == ["ada", "ben"]
    assert home.look("ada") == "ada"
    assert home.rows("SELECT state, trouble FROM trakt_accounts WHERE user_id = 'ada'") == [
        {"state": "connected", "trouble": None}
    ]


def test_an_older_session_neither_lifts_nor_causes_what_concerns_other_tokens(home: TraktHome):
    home.connect("ada")
    with home.accounts.open("ada") as client:
        client.account()
        home.do("UPDATE trakt_accounts SET state = 'reconnect', trouble = 'another process knows more'")
    assert home.states() == {"ada": "reconnect"}
    home.connect("ada")
    with home.accounts.open("ada") as client:
        home.wait(60)
        TokenStore(home.settings, home.database, home.clock).write("ada", home.grant("ada"))
        home.state.trakt_account("ada", trouble="locked")
        with pytest.raises(ActionNeeded):
            client.account()
    assert home.states() == {"ada": "connected"}


def test_after_a_clock_that_was_ahead_tokens_are_renewed_and_no_pause_lasts(home: TraktHome):
    ahead = timedelta(days=365)
    home.connect("ada", "ben")
    now = home.clock.moment
    assert not TokenPair("a", "b", now, now + timedelta(days=90)).is_due(now)
    # Trakt dates its tokens itself; without a date of its own, that of our clock counts.
    assert TokenPair("a", "b", now + ahead, now + ahead + timedelta(days=90)).is_due(now)
    home.clock.moment += ahead
    home.accounts._note_pause(AppRefused("the app is unknown"))
    home.do(
        "UPDATE trakt_accounts SET state = 'waiting', trouble = 'a vacation', waits_until = now() + interval '1 day' "
        "WHERE user_id = 'ada'"
    )
    redate(home.database, ahead, "trakt_accounts")
    assert home.accounts.pause() is not None
    home.clock.moment -= ahead
    assert home.accounts.pause() is None
    assert home.look("ada") == "ada" and home.states() == {"ada": "connected", "ben": "connected"}
