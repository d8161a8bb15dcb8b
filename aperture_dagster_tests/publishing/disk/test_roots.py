"""The folder below which libraries are published: shown by its marker to be the right one, and remembered."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aperture_dagster.publishing.disk.folder import FolderError
from aperture_dagster.publishing.disk.root_folder import MARKER, Root, RootError
from aperture_dagster.publishing.server.outcomes import PublishingOutcome
from aperture_dagster.simulator.responses import FaultRule
from aperture_dagster_tests.media_server.writers import ROOT, views_of
from aperture_dagster_tests.publishing.disk.test_planted_links import snapshot
from aperture_dagster_tests.publishing.place import Place, a_place

PICKS = "ada's picks"
OTHER = "/srv/other"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with a_place(tmp_path) as made:
        yield made


@pytest.fixture
def other(place: Place) -> Path:
    """Another folder that the server sees."""
    folder = place.root.parent / "other"
    folder.mkdir()
    place.state.add_volume(OTHER, folder)
    return folder


def state_of(place: Place) -> tuple[Any, ...]:
    """What must not change: on the server, and in the manifest."""
    memory = place.manifest
    return (place.writes(), place.libraries(), place.writer.user_objects(), list(memory.writes), memory.libraries())


def unmount(place: Place) -> None:
    """Leave an empty folder in the place of the root, as a disk that is not mounted does."""
    place.root.rename(place.root.with_name("unmounted"))
    place.root.mkdir()


def mount(place: Place) -> None:
    assert list(place.root.iterdir()) == [], "something was written into the mount point"
    place.root.rmdir()
    place.root.with_name("unmounted").rename(place.root)


def unpublish(place: Place, **options: Any) -> list[PublishingOutcome]:
    return place.publish(retired=list(place.manifest.libraries()), errors=True, **options)


# The marker


def test_while_the_root_is_not_mounted_nothing_changes_or_is_taken_back_and_afterwards_it_goes_on(place: Place):
    wanted = [place.wanted("ada", "Alone", "Merged"), place.wanted("bo", "Merged")]
    place.publish(*wanted)
    files, before = place.files(), state_of(place)
    unmount(place)
    # Whether or not something is due.
    place.wait(180)
    for lists in (wanted, [place.wanted("ada", "Part One"), place.wanted("cleo", "Alone")]):
        with pytest.raises(RootError, match=r"has no marker .*is mounted.*`aperture publish --accept-root`") as refused:
            place.publish(*lists)
        assert str(place.root) in str(refused.value)
        with pytest.raises(RootError):
            place.publish(*lists, dry_run=True)
    place.viewers = {place.key(one): frozenset({place.user(one)}) for one in ("ada", "bo")}
    for dry_run in (True, False):
        outcomes = unpublish(place, dry_run=dry_run)
        assert [(one.retired, type(one.error)) for one in outcomes] == [(False, RootError)] * 2
        assert str(place.root) in str(outcomes[0].error)
    assert state_of(place) == before
    place.root.rmdir()
    with pytest.raises(RootError, match="is not there, nor is its marker"):
        place.publish(*wanted)
    place.root.mkdir()
    mount(place)
    assert place.files() == files and state_of(place) == before
    place.publish(place.wanted("ada", "Merged", "Part One"), wanted[1])
    assert place.shown(PICKS) == ["Merged", "Part One"] and place.shown("bo's picks") == ["Merged"]
    assert [(one.retired, one.error) for one in unpublish(place)] == [(True, None)] * 2
    assert list(place.root.iterdir()) == [] and unpublish(place) == []


def test_without_its_marker_nothing_is_written_or_deleted_although_the_libraries_are_there(place: Place):
    place.publish(place.wanted("ada", "Alone", "Merged"))
    (place.root / MARKER.name).unlink()
    place.viewers = {place.key("ada"): frozenset({place.user("ada")})}
    before, files = state_of(place), snapshot(place.root)
    with pytest.raises(RootError):
        place.publish(place.wanted("ada", "Part One"))
    assert state_of(place) == before and snapshot(place.root) == files
    (outcome,) = unpublish(place)
    assert isinstance(outcome.error, RootError) and not outcome.retired
    assert state_of(place) == before and snapshot(place.root) == files


def test_a_marker_that_disappears_during_a_run_ends_what_is_written(place: Place, monkeypatch: pytest.MonkeyPatch):
    place.publish(place.wanted("ada", "Alone"))
    draw, files = place.posters.draw, place.files()

    def drawing(picture: Any) -> bytes:
        if (place.root / MARKER.name).exists():
            unmount(place)
        return draw(picture)

    monkeypatch.setattr(place.posters, "draw", drawing)
    (outcome,) = place.publish(place.wanted("ada", "Alone", "Merged", "Part One"), errors=True)
    assert isinstance(outcome.error, RootError)
    mount(place)
    assert {path.split(" ")[0] for path in place.files().keys() - files.keys()} == {
        f"{place.manifest.libraries()[place.key('ada')].folder}/Merged"
    }, "the disk that was written to is still the same one"


@pytest.mark.parametrize(
    "inside", [(".DS_Store", "lost+found", "@eaDir"), ("mine.txt",)], ids=["of the system", "mine"]
)
def test_a_new_root_is_marked_if_it_holds_nothing_of_anybody(place: Place, inside: tuple[str, ...]):
    for name in inside:
        (place.root / name).mkdir()
    if "mine.txt" in inside:
        with pytest.raises(RootError, match="is not empty, and nothing was published there before"):
            place.publish(place.wanted("ada", "Alone"))
        assert place.writes() == {} and [one.name for one in place.root.iterdir()] == ["mine.txt"]
    else:
        (outcome,) = place.publish(place.wanted("ada", "Alone"), dry_run=True, owner=None)
        assert outcome.added == 1 and place.manifest.writes == []
        assert {one.name for one in place.root.iterdir()} == set(inside), "a plan does not mark it"
    place.publish(place.wanted("ada", "Alone"), accepted="mine.txt" in inside)
    assert place.shown(PICKS) == ["Alone"] and (place.root / MARKER.name).is_file()


def test_the_root_of_another_installation_is_refused(place: Place):
    for content in ('{"owner": "they"}', "damaged", '{"owner": null}', "[]"):
        (place.root / MARKER.name).write_text(content)
        files = snapshot(place.root)
        with pytest.raises(RootError, match="belongs to another installation"):
            place.publish(place.wanted("ada", "Alone"))
        assert place.writes() == {} and snapshot(place.root) == files and place.manifest.writes == []
    place.publish(place.wanted("ada", "Alone"), accepted=True)
    with pytest.raises(RootError, match="belongs to another installation"):
        place.publish(place.wanted("ada", "Alone"), owner="they")


def test_a_link_in_the_place_of_the_marker_belongs_to_nobody(place: Place, tmp_path: Path):
    precious = tmp_path / "precious"
    precious.write_bytes(MARKER.content("us"))
    (place.root / MARKER.name).symlink_to(precious)
    with pytest.raises(RootError):
        place.publish(place.wanted("ada", "Alone"))
    place.publish(place.wanted("ada", "Alone"), accepted=True)
    assert precious.read_bytes() == MARKER.content("us")
    assert not (place.root / MARKER.name).is_symlink()


# Other settings than before


@pytest.mark.parametrize("settings", ["another root", "no root"])
def test_whatever_the_settings_name_everything_is_taken_back_where_it_was_placed(
    place: Place, other: Path, settings: str
):
    place.state.allow_libraries("bo", ["Movies"])
    users, libraries = place.writer.user_objects(), place.libraries()
    place.publish(place.wanted("ada", "Alone", "Merged"), place.wanted("bo", "Merged"))
    now = {"path": other, "on_server": OTHER} if settings == "another root" else {}
    outcomes = unpublish(place, **({"path": None, "on_server": None} | now))
    assert [(one.name, one.retired, one.error) for one in outcomes] == [(PICKS, True, None), ("bo's picks", True, None)]
    assert place.libraries() == libraries and place.writer.user_objects() == users
    assert list(place.root.iterdir()) == [] and list(other.iterdir()) == []
    assert place.manifest.libraries() == {} and place.manifest.settings_set() == set()


def test_files_in_a_folder_of_earlier_settings_that_is_gone_cost_no_list(place: Place, other: Path):
    users = place.writer.user_objects()
    place.publish(place.wanted("ada", "Alone"), place.wanted("bo", "Merged"))
    unmount(place)
    now: dict[str, Any] = {"path": other, "on_server": OTHER}
    place.publish(place.wanted("ada", "Alone"), **now)
    (warning,) = place.warnings
    assert f"Files that were published in {place.root} cannot be removed now" in warning
    assert place.views("ada") == [PICKS] and place.shown(PICKS) == ["Alone"]
    assert {one.root for one in place.manifest.libraries().values()} == {str(other), str(place.root)}
    assert [(one.retired, one.error) for one in unpublish(place, **now)] == [(True, None)] * 2
    assert len(place.warnings) == 1 and place.manifest.libraries() == {} and list(other.iterdir()) == []
    assert place.writer.user_objects() == users
    mount(place)
    # What is there is taken over by the library that is there again.
    place.publish(place.wanted("ada", "Alone"))
    assert place.titles_on_disk("ada") == ["Alone"] and place.shown(PICKS) == ["Alone"]


def test_after_the_root_changed_libraries_move_there_and_nothing_stays_behind(place: Place, other: Path):
    lists = [place.wanted("ada", "Alone", "Merged"), place.wanted("bo", "Merged"), place.wanted("cleo", "Alone")]
    place.publish(*lists)
    libraries = place.libraries()
    now = {"path": other, "on_server": OTHER}
    planned = place.publish(*lists[:2], dry_run=True, **now)
    assert [(one.name, one.added, one.retired) for one in planned] == [
        (PICKS, 2, False), ("bo's picks", 1, False), (PICKS, 0, True), ("bo's picks", 0, True),
    ]  # fmt: skip
    assert place.libraries() == libraries and list(other.iterdir()) == []
    place.viewers = {place.key(one): frozenset({place.user(one)}) for one in ("ada", "bo", "cleo")}
    place.publish(*lists[:2], **now)
    found = place.libraries()
    assert found.keys() == libraries.keys()
    assert {name: found[name].locations[0].rpartition("/")[0] for name in found if "picks" in name} == {
        PICKS: OTHER, "bo's picks": OTHER, "cleo's picks": ROOT,
    }  # fmt: skip
    assert (place.shown(PICKS), place.shown("bo's picks")) == (["Alone", "Merged"], ["Merged"])
    assert place.credited[:3], "plays on the copies were read before they went"
    # Libraries below either root are ours.
    users = (place.user(one) for one in ("ada", "bo", "cleo"))
    views = [[name for _, name in views_of(place.writer, one, hidden=False)] for one in users]
    assert [[name for name in names if "picks" in name] for names in views] == [
        [PICKS],
        ["bo's picks"],
        ["cleo's picks"],
    ]
    rest = place.manifest.libraries()[place.key("cleo")].folder
    assert {path.partition("/")[0] for path in place.files()} == {rest}
    place.publish(lists[2], **now)
    assert list(place.root.iterdir()) == [], "the marker of the earlier root is gone, too"
    # Nothing is left to do.
    before = place.writes()
    place.wait(180)
    place.publish(*lists, **now)
    assert place.writes() == before


# One library costs no other


def test_a_library_that_the_server_does_not_delete_stays_and_is_not_called_removed(place: Place):
    place.publish(place.wanted("ada", "Alone"), place.wanted("bo", "Merged"))
    place.state.add_fault(FaultRule("jellyfin", path_contains="name=ada", status=500))
    ada, bo = unpublish(place)
    assert ada.error is not None and not ada.retired and bo.retired and bo.error is None
    assert place.manifest.libraries().keys() == {place.key("ada")}
    assert PICKS in place.libraries() and place.shown(PICKS) == ["Alone"] and place.views("bo") == []
    assert place.titles_on_disk("ada") == ["Alone"]
    place.state.clear_faults()
    (ada,) = unpublish(place)
    assert ada.retired and list(place.root.iterdir()) == []


def test_what_somebody_puts_in_the_place_of_a_library_costs_no_other_one(place: Place, tmp_path: Path):
    place.publish(place.wanted("ada", "Alone"), place.wanted("bo", "Merged"))
    folder, precious = place.root / place.manifest.libraries()[place.key("ada")].folder, tmp_path / "precious"
    folder.rename(precious)
    before = snapshot(precious)
    folder.symlink_to(precious)
    place.wait(180)
    lists = [place.wanted("ada", "Alone", "Part One"), place.wanted("bo", "Alone")]
    ada, bo = place.publish(*lists, errors=True)
    assert isinstance(ada.error, FolderError) and f"{folder} is a link or a file" in str(ada.error)
    assert bo.error is None and place.shown("bo's picks") == ["Alone"] and snapshot(precious) == before
    ada, bo = unpublish(place)
    assert isinstance(ada.error, FolderError) and f"{folder} is a link or a file" in str(ada.error)
    assert bo.error is None and snapshot(precious) == before
    assert folder.is_symlink()
    folder.unlink()
    place.publish(*lists)
    assert place.shown(PICKS) == ["Alone", "Part One"]


def test_a_path_that_this_machine_does_not_have_is_never_taken_for_a_folder_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "D:\\lists").mkdir()
    root = Root(Path("D:\\lists"), "us")
    assert root.owner() is None and not root.is_unused()
    with pytest.raises(RootError), root.open():
        pass
