"""Fixtures of the tests of the front door."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest

from aperture_dagster.front_door import gate as gates
from aperture_dagster.front_door import roster
from aperture_dagster.front_door.app import FrontDoor, members_pages
from aperture_dagster.front_door.gate import Gate
from aperture_dagster.front_door.house import House
from aperture_dagster.model import Clock
from aperture_dagster.postgres.database import ReadOnlyDatabase
from aperture_dagster.settings import Settings
from aperture_dagster.simulator.server import running_simulator
from aperture_dagster.simulator.settings import SimulatorSettings
from aperture_dagster.simulator.world import World, WorldUser
from aperture_dagster_tests.front_door.door import Door, operators_ui
from aperture_dagster_tests.front_door.home import Home
from aperture_dagster_tests.shelf import Shelf


@pytest.fixture
def home(shelf: Shelf) -> Home:
    return Home(shelf)


@pytest.fixture
def open_door(
    shelf: Shelf, make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Any]:
    """Return a function that opens the front door of a household."""
    # On a busy machine, an answer of the media server may take long.
    monkeypatch.setattr(roster, "PATIENCE_SECONDS", 60.0)

    @contextmanager
    def opened(
        server: str = "jellyfin",
        *,
        services: bool = False,
        plugins: tuple[str, ...] = (),
        jellyfin: str = "12.0.0",
        clock: Clock | None = None,
        **given: Any,
    ) -> Iterator[Door]:
        """The media server has ``plugins``, and is of a version of ``jellyfin``.

        With ``services``, Seerr and Trakt are there; other settings are given.

        ``clock`` is that of sessions and pages. Without it, sessions and their users are read with each request.
        """
        if clock is None:
            monkeypatch.setattr(gates, "REMEMBERED", timedelta())
        world = World("door", users=[WorldUser("Anna", is_administrator=True), WorldUser("Ben")])
        modelled = SimulatorSettings(trakt_device_interval=0, plugins=plugins, jellyfin_version=jellyfin)
        with running_simulator(world, modelled) as simulator:
            home = Home(shelf, {name: simulator.state.user_named(name).id for name in ("Anna", "Ben")})
            url = simulator.emby_url if server == "emby" else simulator.jellyfin_url
            others = {
                "seerr_url": simulator.seerr_url,
                "seerr_api_key": "demo-seerr-key",
                "trakt_url": simulator.trakt_url,
                "trakt_client_id": "demo-trakt-client-id",
                "trakt_client_secret": "demo-trakt-client-secret",
                "secret_key": "a key with which tokens are encrypted",
            }
            usual = {
                "media_server_url": url,
                "media_server_api_key": f"demo-{server}-key",
                "media_server_type": server,
                "tmdb_image_url": simulator.tmdb_images_url,
            }
            settings = make_settings(**usual | (others if services else {}) | given)
            database = ReadOnlyDatabase(settings)
            gate = Gate(settings, database, clock=clock)
            house = House(settings, database, gate)
            yield Door(home, simulator, settings, house, FrontDoor(operators_ui(), members_pages(house), gate))
            database.close()

    return opened
