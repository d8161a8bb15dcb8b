"""Rows on the home screen: what the media server gets for whom, and that it is asked to show them again."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from aperture_dagster.catalogue.servers import known_server
from aperture_dagster.cli.doctor.examine import examine
from aperture_dagster.front_door.app import members_pages
from aperture_dagster.front_door.home_rows import HomeRows
from aperture_dagster.front_door.secrets import read_secret, secret_file
from aperture_dagster.http.errors import ServiceRefused
from aperture_dagster.media_server.jellyfin.home_screen import COMPANIONS, HomeScreen, configured
from aperture_dagster.model import Clock
from aperture_dagster.publishing.server.home_rows import ROWS
from aperture_dagster.publishing.server.publication import why_not_published
from aperture_dagster.publishing.server.row_keeper import RowKeeper, first_member, reachable_address
from aperture_dagster.settings import Settings
from aperture_dagster.simulator.server import RunningSimulator
from aperture_dagster_tests.front_door.home import Home
from aperture_dagster_tests.shelf import NOW, played
from aperture_dagster_tests.webserver import free_port, serving

SECRET = "s" * 43
PLUGIN = "Home Screen Sections"
SPECIFICATION = Path(__file__).parents[1] / "contracts" / "specifications" / "jellyfin.json"


@dataclass
class Rows:
    """The rows of a household on a media server that has the plugin."""

    home: Home
    simulator: RunningSimulator
    keeper: RowKeeper
    screen: HomeScreen
    settings: Settings
    endpoint: Callable[[str], str]
    now: list[datetime]
    """The time, as the rows see it."""

    def shown(self, row: str, user: str) -> list[str]:
        """Return what the server shows a user in a row."""
        return self.screen.shown(row, self.simulator.state.user_named(user).id)

    def registrations(self) -> int:
        """Count the registrations that the server received."""
        return len(self.simulator.state.arrivals("jellyfin", "RegisterSection"))

    def examined(self) -> tuple[str, str]:
        """Return what the doctor says of rows: the state and the message."""
        (found,) = [one for one in examine(self.settings, ["publishing"]) if one.what == "home rows"]
        return found.state, found.message


@pytest.fixture
def open_rows(open_door: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that opens rows.

    ``reached``: the server reaches their address; ``saved`` and ``enabled``: somebody saved the plugin's settings, and
    turned its home screen on for everybody.
    """

    @contextmanager
    def opened(
        *plugins: str, reached: bool = True, saved: bool = True, enabled: bool = True, jellyfin: str = "10.11.11"
    ) -> Iterator[Rows]:
        how = {"http_attempts": 1, "publish": True, "publish_as": "rows", "jellyfin": jellyfin}
        with open_door(plugins=plugins or (PLUGIN, *COMPANIONS), **how) as door:
            if saved:
                door.simulator.state.save_home_settings(enabled=enabled)
            settings, database, port = door.settings, door.house.database, free_port()
            now, server_port = [NOW], port if reached else free_port()
            rows = HomeRows(settings, database, SECRET, Clock(lambda: now[0]))

            def endpoint(row_id: str) -> str:
                return f"http://127.0.0.1:{server_port}{rows.path(row_id)}"

            door.remember_server()
            keeper = RowKeeper(
                lambda: rows.answered,
                lambda: known_server(settings, database),
                endpoint,
                lambda: first_member(settings, database),
            )
            pages = members_pages(door.house, rows.route())
            with serving(pages, port), known_server(settings, database) as server:
                yield Rows(door.home, door.simulator, keeper, HomeScreen(server.transport), settings, endpoint, now)

    return opened


def test_everybody_sees_their_own_rows_of_originals_in_order(open_rows: Callable[..., Any]):
    with open_rows() as rows:
        rows.home.recommend("Anna", 2, 1, 3)
        rows.home.recommend("Ben", 3)
        rows.home.watch("Ben")
        rows.home.pick(3, 2)
        ben, at = rows.simulator.state.user_named("Ben").id, NOW - timedelta(days=100)
        again = [played(f"film-{n}", play_count=n, last_played_at=at) for n in (2, 3, 4)]
        rows.home.shelf.history(ben, *again)
        rows.keeper.look(rows.screen)
        assert (
            rows.shown("ApertureAgain", "Ben") == ["Solaris", "Up", "Heat"]
            and rows.shown("ApertureAgain", "Anna") == []
        )
        assert rows.shown("ApertureForYou", "Anna") == ["Heat", "Alien & <Co>", "Up"]
        assert rows.shown("ApertureForYou", "Ben") == ["Up"]
        assert rows.shown("ApertureShows", "Anna") == [] and rows.shown("ApertureShows", "Ben") == ["Dark"]
        assert rows.shown("AperturePicks", "Ben") == ["Up", "Heat"]
        answer = httpx.post(rows.endpoint("ApertureForYou"), json={"UserId": ben}).json()
        (item,) = answer["Items"]
        assert (answer["TotalRecordCount"], answer["StartIndex"]) == (1, 0)
        assert (item["Id"], item["Type"], item["ProductionYear"]) == ("film-3", "Movie", 2000)
        # What is recommended for the same reason.
        rows.home.recommend("Anna", 1, 2, 3)
        heat = rows.home.shelf.item("film-2")["work_id"]
        rows.home.shelf.do("UPDATE recommendations SET because = ARRAY[:work, because[1]] WHERE rank = 2", work=heat)
        rows.keeper.look(rows.screen)
        assert rows.shown("ApertureBecause", "Anna") == ["Alien & <Co>", "Up"]


def test_a_card_is_what_the_server_itself_would_answer(open_rows: Callable[..., Any]):
    with open_rows() as rows:
        ben = rows.simulator.state.user_named("Ben").id
        rows.home.recommend("Ben", 3, 2)
        rows.home.watch("Ben")
        rows.home.shelf.do("UPDATE titles SET picture_tag = 'f00' WHERE server_item_id = 'film-3'")
        up = rows.home.shelf.item("film-3")
        rows.home.shelf.do(
            "INSERT INTO watch_state (user_id, item_id, work_id, is_episode, played, play_count, position_share, "
            "favorite) VALUES (:user, :item, :work, false, true, 2, 0.25, true)",
            user=ben, item=up["item_id"], work=up["work_id"],
        )  # fmt: skip
        film, untouched = asked(rows, "ApertureForYou", ben)
        (series,) = asked(rows, "ApertureShows", ben)
        server = httpx.get(f"{rows.simulator.jellyfin_url}/System/Info/Public").json()["Id"]
        assert film == {
            "Id": "film-3", "ServerId": server, "Name": "Up", "ProductionYear": 2000, "Type": "Movie",
            "MediaType": "Video", "IsFolder": False, "LocationType": "FileSystem", "ImageTags": {"Primary": "f00"},
            "BackdropImageTags": [], "PrimaryImageAspectRatio": 2 / 3,
            "UserData": {
                "Key": "film-3", "ItemId": "film-3", "PlaybackPositionTicks": 0, "PlayedPercentage": 25.0,
                "PlayCount": 2, "IsFavorite": True, "Played": True,
            },
        }  # fmt: skip
        assert untouched["ImageTags"] == {} and untouched["UserData"]["Played"] is False
        assert (series["Type"], series["MediaType"], series["IsFolder"]) == ("Series", "Unknown", True)
        # All of it is known to the server, and of the types that it sends.
        schema = json.loads(SPECIFICATION.read_text(encoding="utf-8"))["components"]["schemas"]
        assert film.keys() <= schema["BaseItemDto"]["properties"].keys()
        assert film["UserData"].keys() <= schema["UserItemDataDto"]["properties"].keys()


def asked(rows: Rows, row: str, user_id: str) -> list[dict[str, Any]]:
    """Ask for a row as the server does."""
    return httpx.post(rows.endpoint(row), json={"UserId": user_id}).json()["Items"]


def test_what_the_policies_forbid_since_the_lists_were_made_is_in_no_row(open_rows: Callable[..., Any]):
    with open_rows() as rows:
        rows.home.recommend("Ben", 2, 3)
        rows.home.pick(2, 3)
        rows.home.watch("Ben")
        rows.keeper.look(rows.screen)
        rows.home.user("Ben", max_parental_rating=13)
        assert [rows.shown(one.row_id, "Ben") for one in ROWS] == [["Up"], ["Up"], [], [], ["Up"]]
        rows.home.user("Ben", is_disabled=True)
        assert [rows.shown(one.row_id, "Ben") for one in ROWS] == [[]] * len(ROWS)


def test_rows_are_registered_once_and_again_after_the_server_restarted_and_the_doctor_says_what_they_need(
    open_rows: Callable[..., Any],
):
    with open_rows() as rows:
        state, message = rows.examined()
        assert state == "failed" and "nobody has a list" in message
        rows.home.recommend("Ben", 1, 2)
        state, message = rows.examined()
        assert state == "failed" and "Ben is empty" in message
        for _ in range(3):
            rows.keeper.look(rows.screen)
        assert rows.registrations() == len(ROWS)
        assert rows.examined() == ("ok", "the row 'Picked for you' of Ben has 2 titles")
        # The headings are the same for everybody, so they name nobody.
        assert not any(name in json.dumps(rows.simulator.state.home_rows) for name in ("Anna", "Ben", "Alien"))
        rows.simulator.state.forget_home_rows(starting=True)
        assert "is starting" in rows.examined()[1]
        rows.keeper.look(rows.screen)
        assert rows.registrations() == len(ROWS)
        rows.simulator.state.forget_home_rows()
        rows.keeper.look(rows.screen)
        assert rows.registrations() == 2 * len(ROWS) and rows.shown("ApertureForYou", "Ben") == ["Alien & <Co>", "Heat"]
        # Another server is not told the address.
        rows.home.shelf.do("""UPDATE facts SET value = '{"server_id": "other"}' WHERE name = 'media_server'""")
        with pytest.raises(ServiceRefused, match="not stored here"), rows.keeper._open():
            pass


def test_rows_are_turned_on_upright_and_in_their_order_and_nothing_else_is_changed(open_rows: Callable[..., Any]):
    with open_rows() as rows:
        rows.home.recommend("Anna", 1)
        state, ours = rows.simulator.state, [row.row_id for row in ROWS]
        of_others = {"SectionId": "NextUp", "Enabled": False, "OrderIndex": 3, "ViewMode": "Small", "Later": [1]}
        state.home_settings |= {"SectionSettings": [of_others], "JellyseerrApiKey": "secret", "Unknown": {"a": None}}
        for _ in range(3):
            rows.keeper.look(rows.screen)
        settings = state.home_settings
        assert settings["SectionSettings"][0] == of_others
        assert {name: settings[name] for name in ("Enabled", "JellyseerrApiKey", "Unknown")} == {
            "Enabled": True, "JellyseerrApiKey": "secret", "Unknown": {"a": None},
        }  # fmt: skip
        assert [
            (one["SectionId"], one["Enabled"], one["AllowUserOverride"], one["OrderIndex"], one["ViewMode"])
            for one in settings["SectionSettings"][1:]
        ] == [(row_id, True, True, place, "Portrait") for place, row_id in enumerate(ours, start=4)]
        assert all((one["LowerLimit"], one["UpperLimit"]) == (1, 1) for one in settings["SectionSettings"][1:])
        writes = len(state.arrivals("jellyfin", "/Configuration"))
        rows.keeper.look(rows.screen)
        assert len(state.arrivals("jellyfin", "/Configuration")) == writes + 1, "it is only read"
        # Whoever arranges or turns off a row has the last word.
        changed = settings["SectionSettings"][2]
        changed |= {"Enabled": False, "OrderIndex": 1, "ViewMode": "Landscape"}
        rows.keeper.look(rows.screen)
        assert state.home_settings["SectionSettings"][2] == changed


def test_rows_come_back_after_the_settings_were_saved_without_them(open_rows: Callable[..., Any]):
    with open_rows() as rows:
        rows.home.recommend("Anna", 1)
        rows.keeper.look(rows.screen)
        state, ours = rows.simulator.state, {row.row_id for row in ROWS}
        anna = state.user_named("Anna").id
        assert ours <= {*rows.screen.sections(anna)}
        # The server restarts, and somebody saves the settings before the rows are registered again.
        state.forget_home_rows()
        state.save_home_settings()
        assert not ours & {*rows.screen.sections(anna)}
        rows.keeper.look(rows.screen)
        assert ours <= {*rows.screen.sections(anna)}
        # Or while they are registered but not turned on yet: at the order of all new rows, and cropped.
        state.home_settings["SectionSettings"] = []
        state.save_home_settings()
        rows.keeper.look(rows.screen)
        found = [one for one in state.home_settings["SectionSettings"] if one["SectionId"] in ours]
        assert sorted(one["OrderIndex"] for one in found) == [1, 2, 3, 4, 5]
        assert {(one["Enabled"], one["ViewMode"]) for one in found} == {(True, "Portrait")}


@pytest.mark.parametrize(
    "odd", [{}, {"SectionSettings": None}, {"SectionSettings": [None, "x", {}, {"SectionId": "A", "OrderIndex": None}]}]
)
def test_settings_of_another_form_are_completed_and_kept(odd: dict[str, Any]):
    changed = configured(odd, ["A", "B"])
    assert changed is not None
    sections = [one for one in changed["SectionSettings"] if isinstance(one, dict)]
    assert {"A", "B"} <= {one.get("SectionId") for one in sections} and configured(changed, ["A", "B"]) is None


def test_the_doctor_names_what_is_missing_in_the_order_in_which_it_has_to_be_done(open_rows: Callable[..., Any]):
    with open_rows("TMDb") as rows:
        assert rows.examined()[0] == "failed" and "does not have the plugin" in rows.examined()[1]
    with open_rows(PLUGIN, "Plugin Pages", saved=False) as rows:
        assert "install File Transformation" in rows.examined()[1]
    with open_rows(saved=False) as rows:
        rows.home.recommend("Anna", 1)
        rows.keeper.look(rows.screen)
        assert rows.registrations() == len(ROWS) and rows.examined()[0] == "failed"
        assert "save them once" in rows.examined()[1]
        rows.simulator.state.save_home_settings()
        assert rows.examined()[0] == "failed" and "Enabled by Default" in rows.examined()[1]
        rows.simulator.state.save_home_settings(enabled=True)
        assert rows.examined()[0] == "failed" and "has a row of ours" in rows.examined()[1]
        rows.keeper.look(rows.screen)
        assert rows.examined() == ("ok", "the row 'Picked for you' of Anna has 1 titles")
    with open_rows(enabled=False) as rows:
        rows.home.recommend("Anna", 1)
        rows.keeper.look(rows.screen)
        assert rows.examined()[0] == "failed" and "Enabled by Default" in rows.examined()[1]


def test_nothing_is_registered_where_it_would_leave_the_home_screen_empty(
    open_rows: Callable[..., Any], caplog: pytest.LogCaptureFixture
):
    with open_rows(jellyfin="12.0.0") as rows, caplog.at_level(logging.WARNING):
        rows.home.recommend("Anna", 1)
        rows.keeper.look(rows.screen)
        rows.keeper.look(rows.screen)
        assert rows.registrations() == 0 and rows.simulator.state.home_rows == {}
        assert caplog.text.count("whole home screen empty") == 1
        assert rows.examined()[0] == "failed" and "Jellyfin 12" in rows.examined()[1]


def test_a_server_without_the_plugin_gets_nothing(open_rows: Callable[..., Any], caplog: pytest.LogCaptureFixture):
    with open_rows("TMDb") as rows, caplog.at_level(logging.WARNING):
        rows.keeper.look(rows.screen)
        rows.keeper.look(rows.screen)
        assert caplog.text.count("does not have the plugin") == 1
        assert rows.registrations() == 0 and "install it" in rows.examined()[1]


def test_a_server_that_does_not_reach_the_rows_is_named_without_the_secret(
    open_rows: Callable[..., Any], caplog: pytest.LogCaptureFixture
):
    with open_rows(reached=False) as rows, caplog.at_level(logging.DEBUG):
        rows.home.recommend("Anna", 1)
        rows.keeper.look(rows.screen)
        rows.keeper.look(rows.screen)
        assert caplog.text.count("does not reach http://127.0.0.1:") == 1
        assert SECRET not in caplog.text and rows.endpoint("ApertureForYou").split("/")[-2] not in caplog.text
        assert rows.examined()[0] == "failed"


def test_with_rows_nothing_is_placed_on_the_server(make_settings: Callable[..., Settings]):
    assert "rows on the home screen" in (why_not_published(make_settings(publish=True, publish_as="rows")) or "")


def test_the_address_of_a_row_opens_that_row_alone_and_is_another_one_every_day(open_rows: Callable[..., Any]):
    with open_rows() as rows:
        rows.home.recommend("Anna", 1)
        rows.keeper.look(rows.screen)
        anna, first, before = rows.simulator.state.user_named("Anna").id, rows.endpoint("ApertureForYou"), len(ROWS)
        assert httpx.post(first.replace("ApertureForYou", "AperturePicks"), json={"UserId": anna}).status_code == 404
        assert rows.registrations() == before
        for day in (1, 2):
            rows.now[0] = NOW + timedelta(days=day)
            assert rows.shown("ApertureForYou", "Anna") == ["Alien & <Co>"], "with the address of the day before"
            rows.keeper.look(rows.screen)
            rows.keeper.look(rows.screen)
            assert rows.registrations() == before + day * len(ROWS)
            assert rows.shown("ApertureForYou", "Anna") == ["Alien & <Co>"]
        assert httpx.post(first, json={"UserId": anna}).status_code == 404


def test_only_the_key_opens_a_row_and_trouble_is_an_empty_one(open_rows: Callable[..., Any]):
    with open_rows() as rows:
        rows.home.recommend("Anna", 1)
        address, anna = rows.endpoint("ApertureForYou"), rows.simulator.state.user_named("Anna").id
        key = address.split("/")[-2]
        changed = ("0" if key[0] != "0" else "1") + key[1:]
        for wrong in (*(address.replace(key, one) for one in (changed, "é", SECRET)), address + "x"):
            refused = httpx.post(wrong, json={"UserId": anna})
            # Of anything but JSON, the server would make an error.
            assert refused.status_code == 404 and refused.json()["Items"] == [], wrong
        assert httpx.get(address).status_code == 405
        empty = {"Items": [], "TotalRecordCount": 0, "StartIndex": 0}
        for body in (b"", b"[]", b"{", b'{"UserId": 1}', b'{"UserId": "nobody"}', b'{"UserId": "' + b"a" * 20_000):
            answer = httpx.post(address, content=body)
            assert (answer.status_code, answer.json()) == (200, empty), body[:20]
        rows.home.shelf.do("ALTER TABLE recommendations RENAME TO gone")
        answer = httpx.post(address, json={"UserId": anna})
        assert (answer.status_code, answer.json()) == (200, empty)


def test_a_secret_is_made_once_private_and_long(settings: Settings):
    first = read_secret(settings, "rows.secret")
    path = secret_file(settings, "rows.secret")
    assert read_secret(settings, "rows.secret") == first and len(first) >= 43
    assert path.stat().st_mode & 0o077 == 0 and [one.name for one in path.parent.iterdir()] == ["rows.secret"]


def test_the_address_is_that_of_the_interface_towards_the_server():
    assert reachable_address("http://127.0.0.1:8096", "0.0.0.0", 3000) == "http://127.0.0.1:3000"
    assert reachable_address("http://[::1]:8096", "::", 3000) == "http://[::1]:3000"
    assert reachable_address("http://10.9.8.7:8096", "192.168.1.10", 80) == "http://192.168.1.10:80"
