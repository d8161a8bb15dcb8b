"""The resources of the assets."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from types import SimpleNamespace
from typing import Any

import pytest

from aperture_dagster.catalogue.server_users import check_names, has_left
from aperture_dagster.catalogue.servers import MediaServers
from aperture_dagster.catalogue.stored_users import read_users, write_users
from aperture_dagster.enrichment.tmdb.source import TMDB
from aperture_dagster.http.errors import ServiceNotConfigured, ServiceRefused
from aperture_dagster.model import Clock
from aperture_dagster.postgres.database import Database
from aperture_dagster.settings import Settings, load_settings
from aperture_dagster.simulator.world import World
from aperture_dagster.simulator.worlds import odd_world
from aperture_dagster.worklist.services import MeteredService
from aperture_dagster_tests.services import NOW
from aperture_dagster_tests.shelf import Shelf, user_row

Serve = Callable[..., AbstractContextManager[Any]]


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({}, "APERTURE_MEDIA_SERVER_URL"),
        ({"media_server_url": "http://127.0.0.1:9"}, "APERTURE_MEDIA_SERVER_API_KEY"),
        ({"media_server_url": "http://127.0.0.1:9", "media_server_api_key": "  "}, "APERTURE_MEDIA_SERVER_API_KEY"),
    ],
)
def test_a_missing_setting_is_named(given: dict[str, Any], named: str, settings: Settings):
    with (
        pytest.raises(ServiceNotConfigured, match=named),
        MediaServers(load_settings(**given), Database(settings)).open(),
    ):
        pass


def test_without_a_key_tmdb_is_not_configured():
    for settings in (load_settings(), load_settings(tmdb_api_key="")):
        service = MeteredService(TMDB, settings, Database(settings), Clock())
        assert not service.configured
        with pytest.raises(ServiceNotConfigured, match="TMDB_API_KEY"), service.open():
            pass
    settings = load_settings(tmdb_api_key="abc")
    assert MeteredService(TMDB, settings, Database(settings), Clock()).configured


def test_a_home_belongs_to_one_server_which_may_move_to_another_address(serve: Serve):
    for _ in range(2):
        with serve(odd_world(NOW)) as (_, settings), MediaServers(settings, Database(settings)).open() as server:
            assert server.identity().server_id
    with (
        serve(World("another")) as (_, settings),
        pytest.raises(ServiceRefused, match=r"nothing was changed.*APERTURE_HOME"),
        MediaServers(settings, Database(settings)).open(),
    ):
        pass


def test_settings_that_name_users_are_compared_with_everybody_ever_seen(shelf: Shelf):
    shelf.users("alma", "ben")
    with shelf.open() as connection:
        write_users(
            connection, [user_row("ben") | {"name": "Benno"}], still_there=["ben"], key_for=lambda name, *_: name
        )
        stored = read_users(connection)
    settings = load_settings(include_users=("alma", "ben", "benni"), user_emails={"benno": "nobody"})
    problems, notes = check_names(settings, stored)
    assert notes == [
        "APERTURE_INCLUDE_USERS names 'alma', who is no longer on the server.",
        "APERTURE_INCLUDE_USERS names 'ben', who is called 'Benno' now.",
    ]
    assert "names 'benni', but no user has or had that name; did you mean 'Benno'?" in problems[0]
    assert "'nobody' of 'benno' is not an e-mail address" in problems[1]


@pytest.mark.parametrize(
    ("listed", "unreadable", "problems", "left"),
    [
        (["ben"], [], [], True),
        (["ann", "ben"], [], [], False),
        ([], [], [], False),
        (["ben"], ["ann"], ["ann has no name"], False),
        (["ben"], [], ["somebody has no id"], False),
    ],
)
def test_a_user_has_left_only_if_the_whole_list_is_there_without_them(
    listed: list[str], unreadable: list[str], problems: list[str], left: bool
):
    page: Any = SimpleNamespace(
        records=[SimpleNamespace(user_id=one) for one in listed], unreadable_ids=unreadable, problems=problems
    )
    assert has_left(page, "ann") is left
