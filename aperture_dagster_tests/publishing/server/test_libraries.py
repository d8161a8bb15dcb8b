"""Libraries on the media server: the right titles for the right users, and nothing that others made is touched."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from aperture_dagster.media_server.changes import MediaServerChanges
from aperture_dagster.media_server.records import MediaSource
from aperture_dagster.publishing.disk.folder import FolderError, LibraryFolder
from aperture_dagster.publishing.server.libraries import LibraryPublisher
from aperture_dagster.publishing.server.outcomes import NotShown, PublishingError, PublishingOutcome
from aperture_dagster.simulator.responses import FaultRule
from aperture_dagster_tests.publishing.place import Place, a_place

# With ids at once and without, with libraries that can be hidden and without.
SERVERS = ["10.10.7", "12.0.0", "emby"]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with a_place(tmp_path) as made:
        yield made


@pytest.mark.parametrize("server", SERVERS)
def test_each_user_sees_the_own_list_in_rank_order_and_a_second_run_changes_nothing(tmp_path: Path, server: str):
    with a_place(tmp_path, server) as place:
        for name, language in (("Movies", "de"), ("TV Shows", "fr")):
            originals = place.libraries()[name]
            options = originals.options | {"PreferredMetadataLanguage": language}
            place.writer.set_library_options(originals, options)
        users, before = place.writer.user_objects(), place.libraries()
        wanted = [
            place.wanted("ada", "Part Two", "Alone", "Part One"),
            place.wanted("bo", "Two Files", "Alone"),
            place.wanted(None, "Merged"),
            place.wanted("bo", "Show", media_type="series", name="bo's shows"),
        ]
        outcomes = place.publish(*wanted)
        assert [(one.name, one.entries, one.added, one.changes, one.created) for one in outcomes] == [
            ("ada's picks", 3, 3, 3, True), ("bo's picks", 2, 2, 2, True), ("everybody's picks", 1, 1, 1, True),
            ("bo's shows", 1, 1, 1, True),
        ]  # fmt: skip
        assert sorted(one.changed for one in place.manifest.libraries().values()) == [1, 1, 2, 3]
        # A row for each entry, and one for each copy that the server shows.
        assert outcomes[0].rows_written == 6
        assert place.shown("ada's picks") == ["Part Two", "Alone", "Part One"]
        assert place.shown("bo's picks") == ["Two Files", "Alone"]
        assert place.shown("bo's shows", "Series") == ["Show"]
        languages = {name: place.writer.language_of(one)[0] for name, one in place.libraries().items()}
        assert (languages["ada's picks"], languages["bo's shows"]) == ("de", "fr"), "those of the originals"
        assert {user: sorted(place.views(user)) for user in ("ada", "bo", "cleo")} == {
            "ada": ["ada's picks", "everybody's picks"],
            "bo": ["bo's picks", "bo's shows", "everybody's picks"],
            "cleo": ["everybody's picks"],
        }
        assert {name: one for name, one in place.libraries().items() if name in before} == before
        for key, user in place.writer.user_objects().items():
            assert user["Policy"] == users[key]["Policy"]
        files, writes, refreshes = place.files(), place.writes(), place.last and place.last.refreshes
        remembered, settings = place.manifest.libraries(), place.manifest.settings_set()
        assert refreshes
        place.wait(180)
        again = place.publish(*wanted)
        assert place.writes() == writes and place.files() == files
        assert place.last is not None and place.last.refreshes == 0 and place.warnings == []
        assert not any(one.changes or one.created or one.rows_written for one in again)
        assert {key: (one.server_item_id, one.missing) for key, one in place.manifest.libraries().items()} == {
            key: (one.server_item_id, 0) for key, one in remembered.items()
        }
        assert {one.changed for one in place.manifest.libraries().values()} == {0}
        assert place.manifest.settings_set() == settings


@pytest.mark.parametrize("server", SERVERS)
def test_a_changed_list_keeps_the_items_that_stay(tmp_path: Path, server: str):
    with a_place(tmp_path, server) as place:
        alone = place.title("Alone", 1)
        rated = replace(alone, copies=(replace(alone.copies[0], official_rating="R"),))
        place.publish(place.wanted("ada", rated, "Part One", "Merged"))
        assert place.rating("ada's picks", "Alone") == "R"
        before, added = place.ids("ada's picks"), place.manifest.entries(place.key("ada"))
        place.wait(180)
        # A new library beside it, which may have no id before everything is scanned.
        outcome, _ = place.publish(place.wanted("ada", "Two Files", "Merged", "Alone"), place.wanted("bo", "Alone"))
        assert place.shown("bo's picks") == ["Alone"]
        assert place.shown("ada's picks") == ["Two Files", "Merged", "Alone"]
        assert place.rating("ada's picks", "Alone") is None, "the original lost its rating, too"
        after = place.ids("ada's picks")
        assert {name: after[name] for name in ("Merged", "Alone")} == {
            name: before[name] for name in ("Merged", "Alone")
        }
        assert (outcome.added, outcome.changed, outcome.removed, outcome.left) == (1, 2, 1, ["Part One"])
        assert outcome.ranks_before == {
            100 + place.numbers[n]: r for r, n in enumerate(["Alone", "Part One", "Merged"], 1)
        }
        assert [one.title for one in outcome.listed] == ["Two Files (2001)", "Merged (2001)", "Alone (2001)"]
        assert place.credited == [(place.key("ada"), 100 + place.numbers["Part One"])]
        assert place.titles_on_disk("ada") == ["Alone", "Merged", "Two Files"]
        entries = place.manifest.entries(place.key("ada"))
        assert {entry.state for entry in entries.values()} == {"placed"} and len(entries) == 3
        stay = entries.keys() & added.keys()
        kept = [key for key in stay if entries[key].date_added == added[key].date_added]
        assert len(stay) == 2 and len(kept) == 1, "one of them overtook the other"
        # The rows of originals by the ids of their copies.
        assert {place.manifest.copies[after[name]] for name in after} == {place.numbers[name] for name in after}


def test_an_nfo_is_not_replaced_twice_within_two_minutes(place: Place):
    place.publish(place.wanted("ada", "Alone", "Merged"))
    place.wait(10)
    (outcome,) = place.publish(place.wanted("ada", "Merged", "Alone"))
    assert (outcome.changed, outcome.waiting) == (2, 0), "they were new, so they were not replaced before"
    place.wait(10)
    (outcome,) = place.publish(place.wanted("ada", "Alone", "Merged", "Part One"))
    assert (outcome.added, outcome.changed, outcome.waiting) == (1, 0, 2)
    place.wait(180)
    (outcome,) = place.publish(place.wanted("ada", "Alone", "Merged", "Part One"))
    assert (outcome.changed, outcome.waiting) == (2, 0)
    assert place.shown("ada's picks") == ["Alone", "Merged", "Part One"]


# Who sees what


@pytest.mark.parametrize("server", ["12.0.0", "emby"])
def test_a_library_of_another_run_stays_with_its_viewers(tmp_path: Path, server: str):
    with a_place(tmp_path, server) as place:
        place.publish(place.wanted("ada", "Alone"))
        place.viewers[place.key("ada")] = frozenset({place.user("ada")})
        place.publish(place.wanted("bo", "Alone"))
        assert place.views("ada") == ["ada's picks"] and place.views("bo") == ["bo's picks"]
        # A user who no longer takes part.
        place.viewers[place.key("ada")] = frozenset()
        place.publish(place.wanted("bo", "Alone"))
        assert place.views("ada") == [] and place.views("bo") == ["bo's picks"]


def test_where_a_library_cannot_be_hidden_others_are_kept_from_it_before_it_has_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    place_files, seen = LibraryPublisher._place, []

    def looking(publisher: LibraryPublisher, work: Any) -> None:
        seen.append({user: place.views(user) for user in ("ada", "bo")})
        place_files(publisher, work)

    monkeypatch.setattr(LibraryPublisher, "_place", looking)
    with a_place(tmp_path, "emby") as place:
        place.publish(place.wanted("ada", "Alone"))
    assert seen == [{"ada": ["ada's picks"], "bo": []}]


def test_a_library_stays_hidden_if_somebody_could_not_be_kept_from_it(place: Place):
    place.state.add_fault(FaultRule("jellyfin", path_contains="/Users/Configuration", status=500))
    outcomes = place.publish(place.wanted("ada", "Alone"), errors=True)
    assert all(isinstance(one.error, Exception) for one in outcomes)
    assert place.libraries()["ada's picks"].options["Enabled"] is False
    assert [place.views(user) for user in ("ada", "bo", "cleo")] == [[], [], []]
    assert any("refused to change what they may see" in warning for warning in place.warnings)
    place.state.clear_faults()
    place.publish(place.wanted("ada", "Alone"))
    assert place.views("ada") == ["ada's picks"] and place.views("bo") == []


def test_one_refused_user_costs_nobody_else_their_library_and_a_loosened_policy_is_tightened(place: Place):
    place.state.allow_libraries("bo", ["Movies"])
    place.state.add_fault(FaultRule("jellyfin", path_contains=f"/Users/{place.user('bo')}/Policy", status=500))
    wanted = [place.wanted("ada", "Alone"), place.wanted("bo", "Merged")]
    ada, bo = place.publish(*wanted, errors=True)
    assert ada.error is None and bo.error is not None
    assert place.views("ada") == ["ada's picks"] and place.views("bo") == []
    place.state.clear_faults()
    place.publish(*wanted)
    policy = place.writer.user_objects()[place.user("bo")]["Policy"]
    adas = place.libraries()["ada's picks"].policy_id
    place.writer.set_policy(place.user("bo"), policy | {"EnabledFolders": [*policy["EnabledFolders"], adas]})
    assert "ada's picks" in place.views("bo")
    place.publish(*wanted)
    assert place.views("bo") == ["bo's picks"], "although nothing else changed"


def test_a_user_with_blocked_libraries_is_reported(place: Place):
    place.state.set_policy_fields("bo", BlockedMediaFolders=["f" * 32])
    place.publish(place.wanted("ada", "Alone"))
    (warning,) = place.warnings
    assert "bo has a list of blocked libraries" in warning


# Taking away


@pytest.mark.parametrize("server", ["10.10.7", "emby"])
def test_retired_libraries_leave_the_server_the_disk_and_users_settings(tmp_path: Path, server: str):
    with a_place(tmp_path, server) as place:
        # One has a list of libraries, the others may see all.
        place.state.allow_libraries("bo", ["Movies"])
        users, libraries = place.writer.user_objects(), place.libraries()
        place.publish(place.wanted("ada", "Alone", "Merged"), place.wanted("bo", "Merged"))
        place.publish(place.wanted("bo", "Merged"), retired=[place.key("ada"), "recommendations/unknown/movie"])
        assert place.libraries().keys() == {*libraries, "bo's picks"} and place.views("bo") == ["bo's picks"]
        numbers = {100 + place.numbers[name] for name in ("Alone", "Merged")}
        assert {work for _, work in place.credited} == numbers
        (gone,) = place.publish(retired=[place.key("bo")])
        assert (gone.list_key, gone.name, gone.retired) == (place.key("bo"), "bo's picks", True)
        assert (gone.changes, gone.entries, gone.waiting, gone.kind) == (0, 0, 0, "library")
        assert place.libraries() == libraries and place.files() == {} and list(place.root.iterdir()) == []
        assert place.writer.user_objects() == users
        assert place.manifest.libraries() == {} and place.manifest.settings_set() == set()


def test_a_library_that_leaves_is_shown_to_nobody_else_while_others_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Where libraries cannot be hidden as a whole, each user's settings hide it, until it is gone."""
    write = MediaServerChanges._write
    seen: list[tuple[str, str]] = []
    with a_place(tmp_path, "emby") as place:
        place.publish(place.wanted("ada", "Alone"), place.wanted("bo", "Merged"))
        place.wait(180)

        def watched(changes: MediaServerChanges, kind: str, *rest: Any) -> Any:
            answer = write(changes, kind, *rest)
            seen.extend((kind, user) for user in ("ada", "cleo") if "bo's picks" in place.views(user))
            return answer

        monkeypatch.setattr(MediaServerChanges, "_write", watched)
        place.publish(place.wanted("ada", "Alone", "Part One"), retired=[Place.key("bo")])
        assert seen == [] and place.libraries().keys().isdisjoint({"bo's picks"})


def test_what_somebody_put_into_a_published_folder_stays_and_is_reported(place: Place):
    place.publish(place.wanted("ada", "Alone", "Merged"))
    folder = place.root / place.manifest.libraries()[place.key("ada")].folder
    (folder / "notes.md").write_text("mine")
    alone = next(one for one in folder.iterdir() if one.name.startswith("Alone"))
    (alone / "holiday.jpg").write_text("mine")
    place.publish(retired=[place.key("ada")])
    assert {name.rpartition("/")[2] for name in place.files()} == {"notes.md", "holiday.jpg", "about.txt"}
    assert any("holds files that this product did not place" in warning for warning in place.warnings)
    assert "ada's picks" not in place.libraries()


def test_a_library_that_has_the_name_already_is_left_alone(place: Place):
    before = place.libraries()
    wanted = place.wanted("ada", "Alone", name="movies")
    for _ in range(2):
        place.publish(wanted)
        assert place.views("ada") == ["movies (Aperture)"]
    place.publish(retired=[place.key("ada")])
    assert place.libraries() == before


@pytest.mark.parametrize("server", ["12.0.0", "emby"])
def test_a_renamed_library_keeps_its_items(tmp_path: Path, server: str):
    with a_place(tmp_path, server) as place:
        place.publish(place.wanted("ada", "Alone", "Merged"))
        ids, settings = place.ids("ada's picks"), place.manifest.settings_set()
        (outcome,) = place.publish(place.wanted("ada", "Alone", "Merged", name="For Ada: now"))
        assert outcome.created and outcome.changes == 0
        assert "ada's picks" not in place.libraries() and place.ids("For Ada now") == ids
        assert place.views("ada") == ["For Ada now"] and place.views("bo") == []
        listed = {one.item_id for one in place.writer.libraries()}
        assert settings and {one for _, one, _ in place.manifest.settings_set()} <= listed


@pytest.mark.parametrize(
    ("list_key", "user_id", "owner"),
    [
        # On the server, a collection belongs to no user.
        ("recommendations/ada/movie", None, "ada"),
        ("shows_you_watch/ada", None, "ada"),
        ("top_picks/movie", None, None),
        ("top_picks/movie", "ada", "ada"),
    ],
)
def test_the_owner_of_a_list_is_in_its_key(list_key: str, user_id: str | None, owner: str | None):
    assert PublishingOutcome(list_key, "Picks", user_id).owner == owner


# What goes wrong


def test_while_the_originals_disk_is_away_a_library_is_left_as_it_is(place: Place):
    place.publish(place.wanted("ada", "Alone"))
    shown, files = place.shown("ada's picks"), place.files()
    place.state.add_fault(FaultRule("jellyfin", path_contains="/Environment/ValidatePath", status=404))
    (outcome,) = place.publish(place.wanted("ada", "Merged", "Part One"), errors=True)
    assert isinstance(outcome.error, PublishingError) and "is the disk mounted?" in str(outcome.error)
    assert place.files() == files
    place.state.clear_faults()
    assert place.shown("ada's picks") == shown
    place.publish(place.wanted("ada", "Merged", "Part One"))
    assert place.shown("ada's picks") == ["Merged", "Part One"]


def test_a_library_that_lost_a_title_on_the_server_is_scanned_again(place: Place):
    wanted = place.wanted("ada", "Alone", "Merged")
    place.publish(wanted)
    folder = place.root / place.manifest.libraries()[place.key("ada")].folder
    alone = next(one for one in folder.iterdir() if one.name.startswith("Alone"))
    aside = place.root.parent / "aside"
    alone.rename(aside)
    place.writer.refresh_library(place.libraries()["ada's picks"])
    place.state.wait_for_scans()
    assert place.shown("ada's picks") == ["Merged"]
    aside.rename(alone)
    (outcome,) = place.publish(wanted)
    assert outcome.changes == 0 and place.shown("ada's picks") == ["Alone", "Merged"]
    assert place.last is not None and place.last.refreshes == 1


def test_titles_that_the_server_does_not_show_are_counted_and_none_at_all_is_an_error(
    place: Place, caplog: pytest.LogCaptureFixture
):
    lost = place.title("Merged", 2)
    source = MediaSource("/elsewhere/Merged.mkv")
    lost = replace(lost, copies=(replace(lost.copies[0], sources=(source,)),))
    (outcome,) = place.publish(place.wanted("ada", lost), errors=True)
    assert isinstance(outcome.error, NotShown) and "shows no title of" in str(outcome.error)
    assert place.views("ada") == [] and place.manifest.libraries()[place.key("ada")].missing == 1
    assert place.libraries()["ada's picks"].options["Enabled"] is False
    (outcome,) = place.publish(place.wanted("ada", "Alone", lost))
    assert place.views("ada") == ["ada's picks"] and place.shown("ada's picks") == ["Alone"]
    assert place.manifest.libraries()[place.key("ada")].missing == 1
    assert "does not show 1 of 2 titles; the first missing one is in Merged (2001)" in caplog.text
    place.wait(180)
    place.publish(place.wanted("ada", "Alone"))
    assert place.manifest.libraries()[place.key("ada")].missing == 0


def test_new_files_have_the_time_of_a_server_whose_clock_is_wrong(place: Place):
    place.state.skew_clock(-90 * 60)
    place.publish(place.wanted("ada", "Alone"))
    place.wait(180)
    place.publish(place.wanted("ada", "Merged", "Alone"))
    assert place.shown("ada's picks") == ["Merged", "Alone"] and place.warnings == []
    nfo = next(place.root.rglob("Merged*/movie.nfo"))
    server = place.now() + timedelta(minutes=-90)
    assert abs(nfo.stat().st_mtime - server.timestamp() + 180) < 300


def test_entries_that_no_database_knows_are_taken_over(place: Place):
    place.publish(place.wanted("ada", "Alone", "Merged"))
    ids = place.ids("ada's picks")
    place.manifest._libraries.clear()
    place.manifest._entries.clear()
    place.wait(180)
    place.publish(place.wanted("ada", "Merged", "Part One"))
    assert place.shown("ada's picks") == ["Merged", "Part One"]
    assert place.ids("ada's picks")["Merged"] == ids["Merged"]
    assert place.titles_on_disk("ada") == ["Merged", "Part One"]


def test_after_three_failures_in_a_row_the_others_are_not_tried(place: Place, monkeypatch: pytest.MonkeyPatch):
    tried: list[str] = []

    def fail(folder: LibraryFolder, *_: Any) -> Any:
        tried.append(str(folder))
        raise FolderError("the disk is full")

    monkeypatch.setattr(LibraryFolder, "place", fail)
    wanted = [
        place.wanted(owner, "Alone", media_type=kind, name=f"{owner}'s {kind}") for owner, kind in
        (("ada", "movie"), ("bo", "movie"), ("cleo", "movie"), (None, "movie"))
    ]  # fmt: skip
    outcomes = place.publish(*wanted, errors=True)
    assert len(tried) == 3 and [str(one.error) for one in outcomes] == ["the disk is full"] * 4
    assert place.views("ada") == []
