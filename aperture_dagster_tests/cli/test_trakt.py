"""``aperture trakt``: a user connects with a code, sees how the account stands, and disconnects."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from click.testing import CliRunner, Result

from aperture_dagster.cli.doctor.examine import examine
from aperture_dagster.cli.doctor.finding import Finding
from aperture_dagster.cli.main import main
from aperture_dagster.simulator.responses import FaultRule
from aperture_dagster_tests.trakt.trakt_home import TraktHome, trakt_home
from aperture_dagster_tests.waiting import SECONDS, wait_for

Run = Callable[..., Result]
QUICK = {"trakt_device_interval": 0}


@pytest.fixture
def home(serve: Callable[..., Any]) -> Iterator[TraktHome]:
    with trakt_home(serve, stand_ins=QUICK) as opened:
        yield opened


@pytest.fixture
def run(home: TraktHome, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run commands with the settings of the home; None unsets one."""
    variables = home.environment() | {"APERTURE_HTTP_ATTEMPTS": "1"}

    def running(*arguments: str, **changed: str) -> Result:
        with monkeypatch.context() as patched:
            for name, value in {**variables, **changed}.items():
                patched.setenv(name, value)
            # Wide enough for every message on one line.
            patched.setenv("COLUMNS", "400")
            return CliRunner().invoke(main, ["trakt", *arguments])

    return running


def answered(home: TraktHome, answer: Callable[[str], None]) -> threading.Thread:
    """Answer the next code that waits on Trakt's page."""

    def answering() -> None:
        def polled() -> list[str]:
            """The program has seen at least one "not yet"."""
            codes = home.state.trakt.codes.values()
            asked = {one.user_code for one in codes if one.polled_at is not None}
            return [one for one in home.state.trakt_codes() if one in asked]

        answer(wait_for(polled, "nobody polls")[-1])

    thread = threading.Thread(target=answering)
    thread.start()
    return thread


def test_a_user_connects_with_a_code_and_disconnects(
    home: TraktHome, run: Run, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
):
    caplog.set_level(logging.DEBUG)
    entered: list[str] = []

    def enter(code: str) -> None:
        entered.append(code)
        home.state.trakt_approve("ada-on-trakt", code)

    thread = answered(home, enter)
    done = run("connect", "ADA")
    thread.join(SECONDS)
    assert done.exit_code == 0, done.output
    (code,) = entered
    assert f"/activate/{code}" in done.output and f"the code {code} at" in done.output
    assert "ada is connected to the account ada-on-trakt" in done.output
    assert "personal tool" in done.output and "APERTURE_TRAKT_SYNC_ONLY=true" in done.output
    assert home.look("ada") == "ada-on-trakt"
    shown = run("status")
    assert shown.exit_code == 0, shown.output
    assert "ada-on-trakt" in shown.output and "Trakt accepts the app" in shown.output
    sessions = home.state.trakt.sessions_of(home.state.trakt.account("ada-on-trakt"))
    secrets = [token for one in sessions for token in (one.access_token, one.refresh_token)]
    secrets += [*home.settings.secret_values(), *home.state.trakt.codes]
    everything = done.output + shown.output + caplog.text + "".join(capfd.readouterr())
    assert not [secret for secret in secrets if secret in everything]
    assert code not in caplog.text
    gone = run("disconnect", "ada")
    assert gone.exit_code == 0 and "ratings are kept" in gone.output
    assert home.states() == {} and not home.state.trakt.is_valid(sessions[-1])
    again = run("disconnect", "ada")
    assert again.exit_code == 1 and "ada has not connected" in again.output


def test_a_denied_code_connects_nobody(home: TraktHome, run: Run):
    thread = answered(home, home.state.trakt_deny)
    done = run("connect", "ada")
    thread.join(SECONDS)
    assert done.exit_code == 1 and "refused on Trakt's page" in done.output
    assert home.states() == {}


def test_two_users_on_one_account_are_refused(home: TraktHome, run: Run):
    home.accounts.connect("ben", home.grant("family"))
    thread = answered(home, lambda code: home.state.trakt_approve("family", code))
    done = run("connect", "ada", APERTURE_TRAKT_SYNC_ONLY="true")
    thread.join(SECONDS)
    assert done.exit_code == 1 and "family on Trakt is already used by ben;" in done.output
    assert home.states() == {"ben": "connected"}
    assert "APERTURE_TRAKT_SYNC_ONLY is on" in done.output


@pytest.mark.parametrize("setting", ["TRAKT_CLIENT_ID", "TRAKT_CLIENT_SECRET", "APERTURE_SECRET_KEY"])
def test_without_a_setting_nothing_is_sent_and_it_is_named(home: TraktHome, run: Run, setting: str):
    for command in (["connect", "ada"], ["status"]):
        refused = run(*command, **{setting: ""})
        assert refused.exit_code == 1 and f"{setting} is not set" in refused.output
    if setting == "APERTURE_SECRET_KEY":
        assert "secrets.token_urlsafe(32)" in refused.output
    assert home.count() == 0


def test_a_user_who_left_the_media_server_gets_no_code(home: TraktHome, run: Run):
    home.do("UPDATE users SET removed_at = now() WHERE user_id = 'ada'")
    # Otherwise a code would be waited for.
    home.state.add_fault(FaultRule("trakt_auth", status=404))
    refused = run("connect", "ada")
    assert refused.exit_code == 1 and "ada is no longer on the media server" in refused.output
    assert home.state.trakt_codes() == []


def test_the_status_says_who_has_to_do_what(home: TraktHome, run: Run):
    assert "Nobody has connected" in run("status").output
    home.connect("ada", "ben")
    home.do("INSERT INTO works (work_id, media_type) VALUES (1, 'movie')")
    home.do(
        "INSERT INTO rating_outbox (user_id, work_id, rating, rated_at, queued_at, due_at) "
        "VALUES ('ben', 1, 9, now(), now(), now())"
    )
    shown = run("status", APERTURE_SECRET_KEY="another key")
    assert shown.exit_code == 1
    assert shown.output.count("connect again") == 2 and "another APERTURE_SECRET_KEY" in shown.output
    home.state.trakt_invalidate("ada")
    with pytest.raises(Exception, match="connect again"):
        home.look("ada")
    shown = run("status")
    lines = {line.split()[0]: line for line in shown.output.splitlines() if line.strip()}
    assert shown.exit_code == 1 and "connect again" in lines["ada"] and "no longer knows" in lines["ada"]
    assert "aperture trakt connect ada" in lines["ada"] and "aperture" not in lines["ben"]
    assert " connected " in lines["ben"] and " 1 " in lines["ben"]
    home.do("UPDATE users SET removed_at = now() WHERE user_id = 'ada'")
    gone = run("status")
    assert gone.exit_code == 0 and "aperture trakt disconnect ada" in gone.output
    home.do("UPDATE users SET removed_at = NULL")
    home.state.trakt_set(app="deleted")
    refused = run("status")
    assert refused.exit_code == 1 and "no user has to connect again" in refused.output
    home.state.trakt_set(app=None)
    home.state.add_fault(FaultRule("trakt", status=500))
    down = run("status", APERTURE_HTTP_RETRY_WAIT_SECONDS="0.001")
    assert down.exit_code == 1 and "answered 500" in down.output and "ben" in down.output


def test_the_doctor_examines_the_app_and_the_accounts(home: TraktHome):
    def finding() -> Finding:
        return next(examine(home.settings, ["Trakt"]))

    home.connect("ada", "ben")
    assert finding().state == "ok" and "2 users" in finding().message
    home.do("UPDATE trakt_accounts SET expires_at = now() - interval '1 hour' WHERE user_id = 'ben'")
    assert finding().state == "warning" and "ben: access ended on " in finding().message
    assert "ada" not in finding().message
    home.do("UPDATE trakt_accounts SET expires_at = now() + interval '7 days'")
    home.do("UPDATE trakt_accounts SET installation_id = 'another' WHERE user_id = 'ada'")
    assert finding().state == "warning" and "ada: another installation" in finding().message
    home.state.trakt_set(app="blocked")
    assert finding().state == "failed" and "TRAKT_CLIENT_ID" in finding().message
    settings = home.settings
    home.use(settings.model_copy(update={"secret_key": None}))
    assert finding().state == "warning" and "APERTURE_SECRET_KEY" in finding().message
    home.use(settings.model_copy(update={"trakt_client_id": None}))
    assert finding().state == "off"
