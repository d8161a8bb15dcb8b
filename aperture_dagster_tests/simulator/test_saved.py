"""The stand-in for the media server is after a restart what clients made of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from aperture_dagster.simulator import saved
from aperture_dagster.simulator.__main__ import make_simulator
from aperture_dagster.simulator.state import Picture
from aperture_dagster_tests.media_server.writers import household
from aperture_dagster_tests.publishing.place import Place, a_place

OF = {"world": "household", "server": ["jellyfin", 12, 0, 0]}


def lists(place: Place) -> list[Any]:
    return [
        place.wanted("ada", "Part Two", "Alone", "Part One"),
        place.wanted("bo", "Show", media_type="series", name="bo's shows"),
    ]


def seen(place: Place) -> dict[str, Any]:
    """What clients see of the lists and of each other."""
    user = place.state.user_named("ada")
    number = place.ids("ada's picks")["Alone"]
    film = place.state.catalogue.find(number) or place.state.catalogue.at_number(number)
    assert film is not None and user.of(film).played
    return {
        "libraries": place.libraries(),
        "films": (place.shown("ada's picks"), place.ids("ada's picks")),
        "episodes": place.shown("bo's shows", "Episode"),
        "views": {name: place.views(name) for name in ("ada", "bo", "cleo")},
        "policies": place.writer.user_objects(),
        "played": (film.path, user.of(film).played, user.of(film).last_played),
        "pictures": dict(place.state.pictures),
    }


@pytest.mark.parametrize("server", ["10.10.7", "12.0.0", "emby"])
def test_lists_that_were_published_before_a_restart_are_not_published_again(tmp_path: Path, server: str):
    path = tmp_path / "state.json"
    with a_place(tmp_path, server) as place:
        place.publish(*lists(place))
        place.state.play_item("ada", place.ids("ada's picks")["Alone"])
        place.state.pictures["studio", "Ghibli", "primary"] = Picture("image/png", b"\x89PNG")
        before, manifest, files = seen(place), place.manifest, place.files()
        saved.save(place.state, path, OF)
    with a_place(tmp_path, server) as again:
        assert "ada's picks" not in again.libraries()
        saved.restore(again.state, path, OF)
        assert seen(again) == before
        again.manifest = manifest
        outcomes = again.publish(*lists(again))
        assert again.writes() == {} and again.files() == files
        assert not any(one.changes or one.created for one in outcomes)
        # And once more: what was restored is kept, too.
        saved.save(again.state, path, OF)
    with a_place(tmp_path, server) as third:
        saved.restore(third.state, path, OF)
        assert seen(third) == before


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What is written of a household with a library."""
    folder = tmp_path_factory.mktemp("saved")
    with a_place(folder) as place:
        place.publish(lists(place)[0])
        saved.save(place.state, folder / "state.json", OF)
    return json.loads((folder / "state.json").read_text())


@pytest.mark.parametrize(
    "change",
    [
        {"format": saved.FORMAT + 1},
        {"of": OF | {"world": "another"}},
        {"libraries": [{"name": "ada's picks"}]},
        {"users": 3},
        None,
    ],
    ids=["another version", "another world", "a part is missing", "a part is of another type", "half a file"],
)
def test_a_file_that_cannot_be_used_is_as_good_as_none(
    tmp_path: Path, written: dict[str, Any], change: dict[str, Any] | None, capsys: pytest.CaptureFixture[str]
):
    path, whole = tmp_path / "state.json", json.dumps(written | (change or {}))
    path.write_text(whole if change is not None else whole[: len(whole) // 2])
    simulator = make_simulator(household(), None, path, OF)
    assert "ada's picks" not in [one.name for one in simulator.state.catalogue.libraries]
    assert not any(user.restored or user.configuration for user in simulator.state.users.values())
    assert str(path) in capsys.readouterr().err


def test_a_folder_that_was_deleted_meanwhile_leaves_an_empty_library(tmp_path: Path, written: dict[str, Any]):
    path = tmp_path / "state.json"
    path.write_text(json.dumps(written))
    simulator = make_simulator(household(), None, path, OF)
    (library,) = [one for one in simulator.state.catalogue.libraries if one.name == "ada's picks"]
    assert simulator.state.libraries.scanner.items_of(library) == []
