"""Accounts on Trakt: who has to do something after a failure, and tokens that are never spent twice."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from pydantic import SecretStr

from aperture_dagster.resources.errors import ServiceError, ServiceNotConfigured, ServicePaused, ServiceUnavailable
from aperture_dagster.resources.trakt.errors import (
    ActionNeeded,
    AppRefused,
    EdgeBlocked,
    ReconnectNeeded,
    UserProblem,
)
from aperture_dagster.simulator.faults import FaultRule
from aperture_dagster.sources.trakt_tokens import TokenStore
from aperture_dagster.storage.connection import close_engine, product_database_url
from aperture_dagster.storage.trakt import installation_id
from aperture_dagster_tests.conftest import PROJECT
from aperture_dagster_tests.databases import run_statements
from aperture_dagster_tests.sources.trakt_home import LIFE, TraktHome, trakt_home

# Opens Trakt for a user, in a process of its own.
LOOK = """
import sys
from aperture_dagster.resources.clock import Clock
from aperture_dagster.resources.database import Database
from aperture_dagster.settings import load_settings
from aperture_dagster.sources.trakt import TraktAccounts
settings = load_settings()
with TraktAccounts(settings, Database(settings), Clock()).open(sys.argv[1]) as client:
    print(client.settings().name)
"""


@pytest.fixture
def home(serve: Callable[..., Any]) -> Iterator[TraktHome]:
    with trakt_home(serve) as opened:
        yield opened


def look_elsewhere(home: TraktHome, user: str) -> subprocess.Popen[str]:
    """Open Trakt for a user in another process."""
    settings = home.settings
    environment = {
        "APERTURE_HOME": str(settings.home),
        "APERTURE_DATABASE_URL": settings.database_url.get_secret_value() if settings.database_url else "",
        "APERTURE_SECRET_KEY": settings.secret_key.get_secret_value() if settings.secret_key else "",
        "APERTURE_TRAKT_URL": settings.trakt_url,
        "APERTURE_TRAKT_AUTH_URL": settings.trakt_auth_url,
        "TRAKT_CLIENT_ID": settings.trakt_client_id or "",
        "TRAKT_CLIENT_SECRET": settings.trakt_client_secret.get_secret_value() if settings.trakt_client_secret else "",
    }
    return subprocess.Popen(
        [sys.executable, "-c", LOOK, user],
        env={**os.environ, **environment, "PYTHONPATH": str(PROJECT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def make_due(home: TraktHome, *users: str) -> None:
    """Make tokens old enough to be renewed, also by the clock of other processes."""
    names = ", ".join(f"'{user}'" for user in users)
    home.do(
        "UPDATE trakt_accounts SET issued_at = now() - interval '7 days', expires_at = now() + interval '1 hour' "
        f"WHERE user_id IN ({names})"
    )


def wait_for_refresh(home: TraktHome, process: subprocess.Popen[str] | None = None) -> None:
    deadline = time.monotonic() + 60
    while not home.count("POST /oauth/token"):
        assert time.monotonic() < deadline and (process is None or process.poll() is None)
        time.sleep(0.01)


# Tokens


def test_tokens_are_encrypted_and_the_owner_is_known(home: TraktHome):
    tokens = home.grant("ada")
    assert home.accounts.connect("ada", tokens).name == "ada"
    (row,) = home.rows("SELECT * FROM trakt_accounts")
    assert (row["trakt_user"], row["state"], row["is_vip"]) == ("ada", "connected", False)
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


def test_two_processes_renew_a_token_once(home: TraktHome):
    home.connect("ada")
    make_due(home, "ada")
    home.state.reset_counters()
    # While the first one waits for Trakt's answer, this one wants to renew the same token.
    home.state.add_fault(FaultRule("trakt_auth", kind="slow", delay_seconds=1, times=1))
    process = look_elsewhere(home, "ada")
    wait_for_refresh(home, process)
    assert home.look("ada") == "ada"
    answer = process.communicate(timeout=60)
    assert answer[0].strip() == "ada", answer
    assert home.count("POST /oauth/token") == 1
    assert home.states() == {"ada": "connected"}


def test_a_refresh_killed_before_it_is_stored_costs_only_that_user(home: TraktHome):
    home.connect("ada", "ben")
    make_due(home, "ada", "ben")
    home.state.reset_counters()
    home.state.add_fault(FaultRule("trakt_auth", kind="slow", delay_seconds=30, times=1))
    process = look_elsewhere(home, "ada")
    wait_for_refresh(home, process)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=10)
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


def test_a_refused_token_is_renewed_once_and_the_request_repeated(home: TraktHome):
    home.connect("ada")
    home.state.trakt_invalidate("ada", refresh=False)
    home.state.reset_counters()
    with home.accounts.open("ada") as client:
        assert client.settings().name == "ada"
        assert client.last_activities() is not None
    assert home.count("POST /oauth/token") == 1
    # A renewed token that is refused, too, does not lead to a third one.
    home.state.add_fault(FaultRule("trakt", status=401))
    home.state.reset_counters()
    with pytest.raises(ReconnectNeeded, match="401"):
        home.look("ada")
    assert home.count("POST /oauth/token") == 1
    assert home.states() == {"ada": "reconnect"}


def test_a_token_that_another_process_renewed_is_used_instead_of_renewing_it_again(home: TraktHome):
    home.connect("ada")
    home.state.reset_counters()
    with home.accounts.open("ada") as client:
        home.state.trakt_invalidate("ada", refresh=False)
        assert home.look("ada") == "ada"
        assert client.settings().name == "ada"
    assert home.count("POST /oauth/token") == 1


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


# Failures, told apart


@pytest.mark.parametrize("app", ["deleted", "blocked"])
@pytest.mark.parametrize("due", [False, True])
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


@pytest.mark.parametrize("edge", ["blocked", "banned"])
@pytest.mark.parametrize("due", [False, True])
def test_a_block_by_the_edge_pauses_everybody_for_an_hour(home: TraktHome, edge: str, due: bool):
    home.connect("ada", "ben")
    if due:
        home.wait(LIFE * 0.95)
    home.state.trakt_set(edge=edge)
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


@pytest.mark.parametrize("trouble", ["locked", "deactivated"])
def test_a_user_who_must_act_on_trakt_is_parked_for_a_day(home: TraktHome, trouble: str):
    home.connect("ada", "ben")
    home.state.trakt_account("ada", trouble=trouble)
    home.state.reset_counters()
    for _ in range(2):
        with pytest.raises(ActionNeeded, match=r"ada must act on trakt\.tv"):
            home.look("ada")
    assert home.count() == 1
    assert home.states() == {"ada": "parked", "ben": "connected"}
    assert home.look("ben") == "ben" and home.accounts.connected_users() == ["ben"]
    home.state.trakt_account("ada", trouble=None)
    home.clock.moment += timedelta(hours=25)
    assert home.accounts.connected_users() == ["ada", "ben"]
    assert home.look("ada") == "ada"
    assert home.rows("SELECT state, trouble FROM trakt_accounts WHERE user_id = 'ada'") == [
        {"state": "connected", "trouble": None}
    ]


def test_a_user_who_revoked_the_access_must_connect_again_and_the_others_go_on(home: TraktHome):
    home.connect("ada", "ben")
    home.state.trakt_invalidate("ada")
    with pytest.raises(ReconnectNeeded):
        home.look("ada")
    home.state.reset_counters()
    with pytest.raises(ReconnectNeeded):
        home.look("ada")
    assert home.count() == 0
    assert home.look("ben") == "ben"


# The key, and copies


def test_with_another_key_each_user_is_told_and_the_former_key_heals(home: TraktHome):
    home.connect("ada", "ben")
    before = home.settings
    home.use(before.model_copy(update={"secret_key": SecretStr("another key")}))
    home.state.reset_counters()
    for user in ("ada", "ben"):
        with pytest.raises(ReconnectNeeded, match=f"{user} must connect again.*APERTURE_SECRET_KEY"):
            home.look(user)
        assert "APERTURE_SECRET_KEY" in home.trouble(user)
    assert home.states() == {"ada": "reconnect", "ben": "reconnect"}
    assert home.accounts.connected_users() == [] and home.count() == 0
    home.connect("ben")
    assert home.look("ben") == "ben"
    home.use(before)
    assert home.look("ada") == "ada"


def test_a_copy_of_the_database_leaves_the_tokens_alone(home: TraktHome, postgres: str):
    home.connect("ada", "ben")
    home.wait(LIFE * 0.95)
    home.state.reset_counters()
    url = product_database_url(home.settings)
    name = url.rpartition("/")[2].partition("?")[0]
    close_engine(url)
    run_statements(postgres, f"CREATE DATABASE {name}_copy TEMPLATE {name}")
    copy = url.replace(name, f"{name}_copy")
    original = home.settings
    try:
        home.use(original.model_copy(update={"database_url": SecretStr(copy)}))
        for user in ("ada", "ben"):
            with pytest.raises(ReconnectNeeded, match="copy or a restored backup"):
                home.look(user)
        assert "settings/apps" in (home.accounts.disconnect("ben") or "")
        assert home.count() == 0, "neither renewed nor revoked"
        home.connect("ada")
        assert home.look("ada") == "ada"
    finally:
        close_engine(product_database_url(home.settings))
        run_statements(postgres, f"DROP DATABASE {name}_copy WITH (FORCE)")
    home.use(original)
    assert [home.look(user) for user in ("ada", "ben")] == ["ada", "ben"]


def test_the_installation_keeps_its_identity(home: TraktHome):
    with home.database.transaction() as connection:
        first = installation_id(connection)
    with home.database.transaction() as connection:
        assert installation_id(connection) == first


# Connecting and disconnecting


def rate_here(home: TraktHome) -> None:
    """Make a rating that is in step and one that waits, for everybody."""
    home.do("INSERT INTO works (work_id, media_type, tmdb_id) VALUES (1, 'movie', 1)")
    home.do(
        "INSERT INTO trakt_ratings (user_id, work_id, media_type, rating, rated_at) "
        "SELECT user_id, 1, 'movie', 8, now() FROM users"
    )
    home.do(
        "INSERT INTO rating_outbox (user_id, work_id, rating, rated_at, queued_at, due_at) "
        "SELECT user_id, 1, 9, now(), now(), now() FROM users"
    )
    home.do(
        "INSERT INTO ratings (user_id, source, work_id, item_id, rating, rated_at) "
        "SELECT user_id, source, 1, 0, 8, now() FROM users, (VALUES ('own'), ('trakt')) AS sources (source)"
    )
    home.do('UPDATE trakt_accounts SET activities = \'{"movie": "then"}\', read_at = now()')


def in_step(home: TraktHome) -> dict[str, int]:
    rows = home.rows(
        "SELECT user_id, (SELECT count(*) FROM trakt_ratings t WHERE t.user_id = a.user_id) + "
        "(SELECT count(*) FROM rating_outbox o WHERE o.user_id = a.user_id) + (read_at IS NOT NULL)::int AS found "
        "FROM trakt_accounts a"
    )
    return {row["user_id"]: row["found"] for row in rows}


def test_what_was_in_step_is_kept_only_for_the_same_account(home: TraktHome):
    home.connect("ada", "ben")
    rate_here(home)
    home.connect("ada")
    assert in_step(home) == {"ada": 3, "ben": 3}
    home.accounts.connect("ada", home.grant("somebody else"))
    assert in_step(home) == {"ada": 0, "ben": 3}
    assert home.look("ada") == "somebody else"


def test_an_interrupted_connection_must_be_made_again(home: TraktHome):
    home.connect("ada")
    home.state.add_fault(FaultRule("trakt", status=500))
    with pytest.raises(ServiceUnavailable):
        home.accounts.connect("ada", home.grant("somebody else"))
    home.state.clear_faults()
    assert home.states() == {"ada": "reconnect"}
    with pytest.raises(ReconnectNeeded, match="not completed"):
        home.look("ada")


def test_disconnecting_revokes_the_tokens_and_keeps_the_ratings(home: TraktHome):
    home.connect("ada", "ben")
    rate_here(home)
    ratings = home.rows("SELECT * FROM ratings")
    tokens = [session.access_token for session in home.state.trakt.sessions_of(home.state.trakt.account("ada"))]
    assert home.accounts.disconnect("ada") is None
    assert not any(home.state.trakt.is_valid(home.state.trakt.session(token)) for token in tokens)
    assert in_step(home) == {"ben": 3}
    assert home.rows("SELECT * FROM ratings") == ratings
    with pytest.raises(ServiceNotConfigured):
        home.look("ada")
    with pytest.raises(ServiceNotConfigured):
        home.accounts.disconnect("ada")
    home.state.add_fault(FaultRule("trakt_auth", status=500))
    assert "trakt.tv/settings/apps" in (home.accounts.disconnect("ben") or "")
    assert home.states() == {}


# Secrets


def test_no_secret_is_in_a_log_an_error_or_the_database(home: TraktHome, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.DEBUG)
    home.connect("ada", "ben")
    said: list[str] = []
    troubles: list[Callable[[], Any]] = [
        lambda: home.state.add_fault(FaultRule("trakt_auth", status=500)),
        lambda: home.state.add_fault(FaultRule("trakt", status=429, retry_after=3600)),
        lambda: home.state.add_fault(FaultRule("trakt", status=422)),
        lambda: home.state.add_fault(FaultRule("trakt_auth", kind="malformed_json", times=1)),
        lambda: home.state.trakt_account("ada", trouble="locked"),
        lambda: home.state.trakt_set(edge="banned"),
        lambda: home.state.trakt_set(app="deleted", edge=None),
    ]
    for cause in troubles:
        home.connect("ada")
        home.wait(LIFE * 1.05)
        cause()
        try:
            home.look("ada")
        except ServiceError as error:
            said += [str(error), repr(error), repr(error.__context__), repr(error.__cause__)]
            said += [str(vars(error)), error.reason if isinstance(error, UserProblem) else ""]
        home.state.clear_faults()
        home.state.trakt_set(app=None, edge=None)
        home.state.trakt_account("ada", trouble=None)
        home.clock.moment += timedelta(days=2)
        home.state.advance(2 * 86_400)
    assert len(said) >= 6 * len(troubles)
    book = home.state.trakt
    sessions = [one for user in ("ada", "ben") for one in book.sessions_of(book.account(user))]
    secrets = [token for one in sessions for token in (one.access_token, one.refresh_token)]
    secrets += [*home.settings.secret_values(), home.settings.trakt_client_id or ""]
    assert len(secrets) > 20
    stored = [str(home.rows(f"SELECT * FROM {table}")) for table in ("trakt_accounts", "facts", "services")]
    everything = "\n".join([*said, *stored, caplog.text, str(home.accounts.accounts())])
    assert not [secret for secret in secrets if secret and secret in everything]
