"""``aperture trakt removals`` and ``aperture status``: what is held back is shown, and accepted or undone as shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from click.testing import CliRunner, Result

from aperture_dagster.cli.main import main
from aperture_dagster.cli.status.reading import read_status
from aperture_dagster.maintenance.status import find_wrong
from aperture_dagster_tests.instance.conftest import external
from aperture_dagster_tests.trakt.rated_home import RatedHome
from aperture_dagster_tests.trakt.trakt_home import trakt_home

__all__ = ["external"]

pytestmark = pytest.mark.usefixtures("external")

FILMS = [f"movie:{number}" for number in range(1, 4)]


@pytest.fixture
def rated(serve: Callable[..., Any]) -> Iterator[RatedHome]:
    with trakt_home(serve) as home:
        home.connect("ada", "ben")
        rated = RatedHome(home)
        for user in ("ada", "ben"):
            for key in FILMS:
                rated.rate(user, key, 8)
            rated.sync(user)
        yield rated


@pytest.fixture
def run(rated: RatedHome, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run ``aperture trakt`` with the settings of the home."""

    def running(*arguments: str, answer: str = "") -> Result:
        with monkeypatch.context() as patched:
            for name, value in {**rated.home.environment(), "COLUMNS": "400"}.items():
                patched.setenv(name, value)
            return CliRunner().invoke(main, ["trakt", *arguments], input=answer)

    return running


def lose_all(rated: RatedHome, user: str) -> None:
    for key in FILMS:
        rated.rate_on_trakt(user, key, None)
    rated.home.wait(86_400)
    assert len(rated.sync(user).held) == 3


def wrong(rated: RatedHome) -> list[str]:
    found = read_status(rated.home.settings, now=datetime.now(UTC))
    return [one.sentence for one in find_wrong(found) if one.subject == "ratings"]


def test_what_is_held_is_shown_and_accepted_with_one_command(rated: RatedHome, run: Callable[..., Result]):
    assert "No removal" in run("removals").output
    for user in ("ada", "ben"):
        lose_all(rated, user)
    shown = run("removals").output
    for user in ("ada", "ben"):
        for number in range(1, 4):
            assert any(
                line.split()[0] == user and f"Film {number}" in line and "on Trakt" in line
                for line in shown.splitlines()
                if line.strip()
            )
    state = run("status")
    assert state.exit_code == 1 and "of ben's 3 ratings" in state.output
    assert len(wrong(rated)) == 2 and "3 on Trakt" in wrong(rated)[0] and "Film 1" in wrong(rated)[0]
    refused = run("removals", "ada", "--accept", answer="n\n")
    assert refused.exit_code == 1 and "Remove 3 ratings on both sides?" in refused.output
    rated.sync()
    assert len(rated.values("ada")) == 3
    accepted = run("removals", "ada", "--accept", answer="y\n")
    assert accepted.exit_code == 0 and "removes 3 ratings" in accepted.output
    assert "accepted" in run("removals", "ada").output and len(wrong(rated)) == 1
    for user in ("ada", "ben"):
        rated.sync(user)
    assert (rated.values("ada"), len(rated.values("ben"))) == ({}, 3)
    assert "No removal" in run("removals", "ada").output


def test_what_is_held_is_undone_with_one_command(rated: RatedHome, run: Callable[..., Result]):
    lose_all(rated, "ada")
    undone = run("removals", "ada", "--undo", "--yes")
    assert undone.exit_code == 0 and "3 ratings kept" in undone.output and wrong(rated) == []
    rated.sync()
    assert rated.values() == rated.values_there() == dict.fromkeys(FILMS, 8)


def test_only_what_was_on_the_screen_is_accepted(
    rated: RatedHome, run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
):
    for key in FILMS[:2]:
        rated.rate_on_trakt("ada", key, None)
    rated.rate("ada", FILMS[2], None)
    assert len(rated.sync().held) == 3
    rated.home.wait(60)

    def meanwhile(*_: Any, **__: Any) -> bool:
        rated.rate("ada", "movie:4", 8)
        rated.sync()
        rated.rate_on_trakt("ada", "movie:4", None)
        rated.home.wait(60)
        assert len(rated.sync().held) == 4
        return True

    monkeypatch.setattr("click.confirm", meanwhile)
    assert run("removals", "ada", "--accept").exit_code == 0
    rated.sync()
    assert rated.values() == {"movie:4": 8} and rated.values_there() == {}


def test_a_decision_is_about_one_user():
    for decision in ("--accept", "--undo"):
        refused = CliRunner().invoke(main, ["trakt", "removals", decision, "--yes"])
        assert refused.exit_code == 2 and f"USER {decision}" in refused.output
