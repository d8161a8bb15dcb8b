"""Connecting to Trakt and disconnecting, keys, copies of the database, and no secret anywhere."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from pydantic import SecretStr

from aperture_dagster.http.errors import ServiceBusy, ServiceError, ServiceUnavailable
from aperture_dagster.postgres.connection import close_engine, product_database_url
from aperture_dagster.simulator.responses import FaultRule
from aperture_dagster.trakt.errors import AccountShared, NotConnected, ReconnectNeeded, UserProblem
from aperture_dagster.trakt.pushing import TraktOutbox
from aperture_dagster_tests.databases import run_statements
from aperture_dagster_tests.interleaving import Side, stop_at
from aperture_dagster_tests.trakt.rated_home import RatedHome
from aperture_dagster_tests.trakt.trakt_home import LIFE, TraktHome
from aperture_dagster_tests.waiting import SECONDS

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
    # Nor is what was left of an account that was deleted.
    home.do("DELETE FROM trakt_accounts")
    home.connect("ben")
    assert in_step(home) == {"ben": 0}


def test_another_account_waits_for_a_sync_and_inherits_nothing_from_it(home: TraktHome):
    home.connect("ada")
    rated = RatedHome(home)
    for number in range(1, 5):
        rated.rate("ada", f"movie:{number}", 8)
    rated.sync()
    before = rated.here()
    rated.rate_on_trakt("ada", "movie:9", 4)

    def change() -> None:
        home.accounts.disconnect("ada")
        home.accounts.connect("ada", home.grant("somebody else"))

    with stop_at(TraktOutbox, "push") as stop:
        syncing = Side(rated.sync)
        stop.wait_for(syncing)
        with pytest.raises(ServiceBusy):
            home.accounts.disconnect("ada", patience_seconds=0)
        changing = Side(change)
        stop.go_on()
        syncing.result(SECONDS)
        changing.result(SECONDS)
    assert in_step(home) == {"ada": 0}
    report = rated.sync()
    assert report.removed_here == 0 and rated.here().keys() == before.keys() | {"movie:9"}


def test_a_session_that_was_opened_before_does_not_use_the_former_account(home: TraktHome):
    home.connect("ada")
    with home.accounts.open("ada") as client:
        home.wait(1)
        home.accounts.connect("ada", home.grant("somebody else"))
        home.state.reset_counters()
        with pytest.raises(NotConnected, match="ada has connected again or disconnected"):
            client.last_activities()
    with home.accounts.open("ada") as client:
        home.wait(1)
        home.accounts.disconnect("ada")
        home.state.reset_counters()
        with pytest.raises(NotConnected):
            client.last_activities()
    assert home.count() == 0


def test_an_account_of_another_user_is_refused(home: TraktHome):
    home.accounts.connect("ben", home.grant("Family"))
    home.connect("ada")
    stored = home.rows("SELECT * FROM trakt_accounts")
    tokens = home.grant("family")
    with pytest.raises(AccountShared, match="family on Trakt is already used by ben;"):
        home.accounts.connect("ada", tokens)
    assert home.rows("SELECT * FROM trakt_accounts") == stored
    assert not home.state.trakt.is_valid(home.state.trakt.sessions_of(home.state.trakt.account("family"))[-1])
    assert (home.look("ada"), home.look("ben").casefold()) == ("ada", "family")
    home.do("UPDATE users SET removed_at = now() WHERE user_id = 'ben'")
    home.accounts.connect("ada", home.grant("family"))


def test_the_recommendations_of_an_account_leave_with_it(home: TraktHome):
    home.connect("ada", "ben")
    for user, media_type in (("ada", "movie"), ("ada", "series"), ("ben", "movie")):
        home.do(f"INSERT INTO trakt_recommendations VALUES ('{user}', '{media_type}', '[]', now())")
    users = "SELECT user_id FROM trakt_recommendations ORDER BY 1"
    home.connect("ada")
    assert [row["user_id"] for row in home.rows(users)] == ["ada", "ada", "ben"]
    home.accounts.connect("ada", home.grant("somebody else"))
    assert [row["user_id"] for row in home.rows(users)] == ["ben"]
    home.accounts.disconnect("ben")
    assert not home.rows(users)


def test_a_connection_that_fails_leaves_the_earlier_one(home: TraktHome):
    home.connect("ada")
    home.state.add_fault(FaultRule("trakt", status=500))
    with pytest.raises(ServiceUnavailable):
        home.accounts.connect("ada", home.grant("somebody else"))
    home.state.clear_faults()
    assert home.states() == {"ada": "connected"} and home.look("ada") == "ada"


def test_disconnecting_revokes_the_tokens_and_keeps_the_ratings(home: TraktHome):
    home.connect("ada", "ben")
    rate_here(home)
    ratings = home.rows("SELECT * FROM ratings")
    sessions = home.state.trakt.sessions_of(home.state.trakt.account("ada"))
    assert home.accounts.disconnect("ada") is None
    assert sessions and not any(home.state.trakt.is_valid(session) for session in sessions)
    assert in_step(home) == {"ben": 3}
    assert home.rows("SELECT * FROM ratings") == ratings
    with pytest.raises(NotConnected):
        home.look("ada")
    with pytest.raises(NotConnected):
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
