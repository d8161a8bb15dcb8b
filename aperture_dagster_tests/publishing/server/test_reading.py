"""The media server reads for hours, hangs, or is killed with us: each library appears as soon as it is complete, and
what nobody saw is looked at first thing in the next run.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from aperture_dagster.media_server import writer
from aperture_dagster.publishing.server import polling
from aperture_dagster.publishing.server.libraries import LibraryPublisher
from aperture_dagster.publishing.server.outcomes import PublishingOutcome, ScanTooLong, explain_failures
from aperture_dagster.simulator.responses import FaultRule
from aperture_dagster_tests.killing import Killed
from aperture_dagster_tests.marks import at_night
from aperture_dagster_tests.publishing.place import Place, a_place

# Scans that are refreshes of single libraries, and scans of everything; libraries that cannot be hidden are apart.
SERVERS = [*at_night("10.10.7"), "12.0.0"]
LISTS = {"ada": ["Alone", "Merged"], "bo": ["Part One", "Part Two"], "cleo": ["Two Files", "Alone"]}
# A film in 100 s.
SLOW: dict[str, Any] = {"scan_entries_per_second": 0.01}
FIRST_PAUSE = polling.FIRST_PAUSE


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> Callable[[float, float], None]:
    """A look every 40 s from the beginning, and patience for 300 s; the test may set others."""
    monkeypatch.setattr(polling, "FIRST_PAUSE", 1.0)

    def be_patient(seconds: float, poll: float) -> None:
        monkeypatch.setattr(polling, "WAIT_SECONDS", seconds)
        monkeypatch.setattr(polling, "POLL_SECONDS", poll)

    be_patient(300, 40)
    return be_patient


def lists(place: Place) -> list[Any]:
    return [place.wanted(owner, *titles) for owner, titles in LISTS.items()]


def seen_by(place: Place) -> dict[str, list[str]]:
    """What each user sees of the published libraries; nothing of it is ever incomplete, or somebody else's."""
    seen = {owner: place.views(owner) for owner in LISTS}
    for owner, names in seen.items():
        assert names in ([], [f"{owner}'s picks"])
        if names:
            assert place.shown(names[0]) == LISTS[owner]
            # They can be played from now on.
            assert set(place.ids(names[0]).values()) <= place.manifest.copies.keys()
    return seen


def watching(place: Place, look: Callable[[], None] = lambda: None) -> None:
    """Let time pass while a run waits, and look at the server at each poll."""

    def sleep(seconds: float) -> None:
        assert not place.manifest.is_locked, "others could not publish"
        look()
        place.wait(seconds)

    place.sleep = sleep


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[Place]:
    with a_place(tmp_path, **SLOW) as place:
        watching(place)
        yield place


@pytest.mark.parametrize("server", SERVERS)
def test_each_library_is_shown_as_soon_as_the_server_has_read_it_and_the_log_says_how_far_it_is(
    tmp_path: Path, server: str, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO)
    with a_place(tmp_path, server, **SLOW) as place:
        history: list[int] = []
        watching(place, lambda: history.append(sum(map(bool, seen_by(place).values()))))
        outcomes = place.publish(*lists(place))
        assert all(one.error is None for one in outcomes)
        # The first is complete after 200 s of 600, which is 5 looks; three more confirm it.
        assert [history.count(number) for number in (0, 1, 2)] == pytest.approx([8, 5, 5], abs=3)
        assert seen_by(place) == {owner: [f"{owner}'s picks"] for owner in LISTS}
        assert {one.unverified_since for one in place.manifest.libraries().values()} == {None}
    lines = [one.getMessage() for one in caplog.records if "has read" in one.getMessage()]
    assert 5 < len(lines) < 30, "the longer it takes, the rarer they are"
    assert any(
        re.fullmatch(r"The media server has read 1 of 3 libraries, 2 of 6 entries; about \d min left\.", one)
        for one in lines
    )
    assert lines[-1].startswith("The media server has read 2 of 3 libraries, 5 of 6 entries; about")


@pytest.mark.parametrize("server", [*SERVERS, "emby"])
def test_a_small_library_is_shown_at_once_and_a_large_one_is_looked_at_no_more_than_once_a_second(
    tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch, patience: Callable[[float, float], None]
):
    monkeypatch.setattr(polling, "FIRST_PAUSE", FIRST_PAUSE)
    patience(300, 1)
    with a_place(tmp_path, server, scan_seconds=0.1) as place:
        pauses: list[float] = []
        place.sleep = lambda seconds: (pauses.append(seconds), place.wait(seconds))
        place.publish(place.wanted("ada", "Alone", "Merged"))
        assert place.views("ada") == ["ada's picks"] and place.passed.total_seconds() < 0.5
        # One that is there already, and only loses a title.
        place.publish(place.wanted("ada", "Alone"))
        assert place.shown("ada's picks") == ["Alone"] and place.passed.total_seconds() < 1
        assert place.last is not None and place.last.refreshes == 1
        pauses.clear()
        place.state.set_scan_speed(0.02)
        place.publish(place.wanted("bo", "Part One", "Part Two"))
        assert place.views("bo") == ["bo's picks"] and 90 < sum(pauses) < 160
        assert max(pauses) == 1 and len(pauses) < sum(pauses) + 10


@pytest.mark.parametrize("titles", [["Alone"], ["Alone", "Merged", "Part One"]])
def test_a_library_that_seems_idle_before_the_server_begins_to_read_it_is_waited_for(
    tmp_path: Path, titles: list[str], monkeypatch: pytest.MonkeyPatch, patience: Callable[[float, float], None]
):
    monkeypatch.setattr(polling, "FIRST_PAUSE", FIRST_PAUSE)
    patience(300, 1)
    with a_place(tmp_path, "10.10.7", scan_gap_seconds=1.9) as place:
        watching(place)
        for wanted in (["Alone", "Merged"], titles):
            (outcome,) = place.publish(place.wanted("ada", *wanted))
            assert outcome.error is None and place.shown("ada's picks") == wanted
        # The first one is read by a scan of everything.
        assert sum(times for kind, times in place.writes().items() if "refresh" in kind) == 1


def test_the_last_entry_does_not_count_as_read_while_the_server_is_reading(
    tmp_path: Path, patience: Callable[[float, float], None], caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO)
    patience(50_000, 24_900)
    with a_place(tmp_path, scan_seconds=100_000) as place:
        watching(place)
        place.publish(place.wanted("ada", "Alone", "Merged"))
    lines = [one.getMessage() for one in caplog.records if "has read" in one.getMessage()]
    read = [line.split(", ")[1].partition(";")[0].strip(".") for line in lines]
    # At a quarter, a half, three quarters, and from then on at the end.
    assert read[:3] == ["0 of 2 entries", "0 of 2 entries", "1 of 2 entries"] and set(read[3:]) == {"1 of 2 entries"}


def test_on_a_server_that_hides_no_library_access_comes_first_and_each_is_verified_by_itself(tmp_path: Path):
    with a_place(tmp_path, "emby", **SLOW) as place:
        verified: list[int] = []

        def look() -> None:
            assert all(place.views(owner) in ([], [f"{owner}'s picks"]) for owner in LISTS)
            verified.append(sum(one.unverified_since is None for one in place.manifest.libraries().values()))

        watching(place, look)
        place.publish(*lists(place))
        assert {0, 1, 2} == set(verified) and len(place.manifest.copies) == 6


@pytest.mark.parametrize("server", ["12.0.0", *at_night("emby")])
def test_a_scan_that_goes_on_for_hours_is_waited_for(
    tmp_path: Path, server: str, patience: Callable[[float, float], None]
):
    patience(1500, 200)
    # An episode in 20 minutes. There is one series, so only its episodes show that the server makes progress.
    with a_place(tmp_path, server, scan_entries_per_second=1 / 1200) as place:
        watching(place)
        (outcome,) = place.publish(place.wanted("ada", "Show", media_type="series", most_episodes=50))
        assert place.passed.total_seconds() >= 3600 and outcome.error is None
        episodes = place.writer.library_items(place.libraries()["ada's picks"], "Episode")
        assert {one.server_item_id for one in episodes} < place.manifest.copies.keys()
        assert place.views("ada") == ["ada's picks"]


def test_somebody_elses_scan_is_waited_for_while_it_goes_on_and_costs_the_others_nothing(
    slow: Place, patience: Callable[[float, float], None]
):
    patience(300, 100)
    slow.publish(slow.wanted("ada", "Alone"))
    slow.state.set_scan_speed(None)
    slow.state.hold_scans(2000)
    slow.state.start_scan()
    before = slow.passed
    (outcome,) = slow.publish(slow.wanted("bo", "Merged"))
    assert outcome.error is None and slow.views("bo") == ["bo's picks"]
    assert (slow.passed - before).total_seconds() >= 2000


def test_while_somebody_elses_scan_hangs_nothing_is_changed_but_what_is_right_already(slow: Place):
    wanted = slow.wanted("ada", "Alone")
    slow.publish(wanted, slow.wanted("cleo", "Alone"))
    files = slow.files()
    slow.viewers[slow.key("ada")] = frozenset({slow.user("ada")})
    slow.state.stall_scan("ada's picks")
    slow.state.start_scan()
    outcomes = slow.publish(wanted, slow.wanted("bo", "Merged"), retired=[slow.key("cleo")], errors=True)
    assert [type(one.error) for one in outcomes] == [type(None), ScanTooLong, ScanTooLong]
    assert slow.files() == files and "bo's picks" not in slow.libraries() and "cleo's picks" in slow.libraries()
    assert explain_failures(outcomes) == (
        'The media server is scanning, and nothing was changed in "bo\'s picks"; the scan made no progress for 5 min. '
        "If the server hangs, restart it. The next run tries again. The same goes for cleo's picks."
    )


def test_a_library_that_hangs_costs_only_those_that_are_not_read(slow: Place):
    slow.state.stall_scan("bo's picks", after=1)
    outcomes = slow.publish(*lists(slow), errors=True)
    assert [type(one.error) for one in outcomes] == [type(None), ScanTooLong, ScanTooLong]
    assert 500 < slow.passed.total_seconds() < 800
    assert explain_failures(outcomes) == (
        'The media server did not read "bo\'s picks"; the scan made no progress for 5 min. If the server hangs, '
        "restart it. Nothing of that is shown yet, and the next run goes on from there. The same goes for cleo's "
        "picks."
    )
    assert seen_by(slow) == {"ada": ["ada's picks"], "bo": [], "cleo": []}
    # The film that was read before can be played by those who know its address.
    assert slow.ids("bo's picks").keys() == {"Part One"}
    assert set(slow.ids("bo's picks").values()) < slow.manifest.copies.keys()
    unverified = [key for key, one in slow.manifest.libraries().items() if one.unverified_since is not None]
    assert unverified == [slow.key("bo"), slow.key("cleo")]
    # The next run goes on.
    slow.state.restart_server()
    outcomes = slow.publish(*lists(slow))
    assert [one.changes for one in outcomes] == [0, 0, 0]
    assert seen_by(slow) == {owner: [f"{owner}'s picks"] for owner in LISTS}


# A run that is killed between placing and verifying


def killed_while_it_waits(place: Place, *wanted: Any) -> None:
    def kill(seconds: float) -> None:
        raise Killed

    place.sleep = kill
    with suppress(Killed):
        place.publish(*wanted)
    watching(place)


def test_what_was_placed_and_not_verified_is_verified_first_thing_in_the_next_run(tmp_path: Path):
    with a_place(tmp_path, "10.10.7", **SLOW) as place:
        killed_while_it_waits(place, *lists(place))
        assert all(one.unverified_since is not None for one in place.manifest.libraries().values())
        place.wait(1000)
        assert place.manifest.copies == {} and not any(seen_by(place).values())
        # Everything else that this run does takes long, and comes later.
        seen: list[dict[str, list[str]]] = []
        watching(place, lambda: seen.append(seen_by(place)))
        outcomes = place.publish(*lists(place), place.wanted(None, "Alone", viewers=["ada"]))
        assert [one.changes for one in outcomes] == [0, 0, 0, 1]
        assert seen[0] == {owner: [f"{owner}'s picks"] for owner in LISTS}
        assert len(place.manifest.copies) == 7 and place.last is not None and place.last.refreshes == 1


def test_the_next_run_does_not_ask_again_for_what_the_server_is_reading(slow: Place):
    killed_while_it_waits(slow, *lists(slow))
    slow.wait(150)
    seen: list[dict[str, list[str]]] = []
    watching(slow, lambda: seen.append(seen_by(slow)))
    slow.publish(*lists(slow))
    assert slow.last is not None and slow.last.refreshes == 0
    assert [sum(map(bool, one.values())) for one in seen][-1] == 2, "one after the other"
    assert seen_by(slow) == {owner: [f"{owner}'s picks"] for owner in LISTS}


@pytest.mark.parametrize("placed_by", ["an earlier run", "this run"])
def test_a_library_that_changes_while_it_is_listed_is_waited_for(
    slow: Place, monkeypatch: pytest.MonkeyPatch, placed_by: str
):
    wanted = slow.wanted("ada", "Alone", "Merged", "Part One", "Part Two")
    if placed_by == "an earlier run":
        killed_while_it_waits(slow, wanted)
        slow.wait(250)
    monkeypatch.setattr(writer, "ITEMS_PER_PAGE", 1)
    monkeypatch.setattr(writer, "ATTEMPTS_AT_LISTING", 1)
    send, pages = slow.writer._items, []

    def read_page(query: dict[str, Any]) -> Any:
        pages.append(query)
        if placed_by == "an earlier run" and query["Limit"] == 2:
            # The server reads another film between two pages.
            slow.wait(100)
        elif placed_by == "this run" and len(pages) == 2:
            # Between two pages of the first look at what it has read, it forgets everything for a moment.
            slow.state.add_fault(FaultRule("jellyfin", "/Items?", "empty_list", times=1))
        return send(query)

    monkeypatch.setattr(slow.writer, "_items", read_page)
    assert slow.publish(wanted)[0].error is None
    assert slow.views("ada") == ["ada's picks"] and len(slow.ids("ada's picks")) == 4
    assert slow.manifest.libraries()[slow.key("ada")].unverified_since is None


@pytest.mark.parametrize("media_type", ["movie", "series"])
def test_what_the_server_has_read_in_part_is_not_shown(slow: Place, media_type: str):
    titles = ["Show"] if media_type == "series" else LISTS["ada"]
    wanted = slow.wanted("ada", *titles, media_type=media_type)
    killed_while_it_waits(slow, wanted)
    slow.wait(150)
    slow.state.restart_server()
    partly = slow.writer.library_items(slow.libraries()["ada's picks"], "Movie,Episode")
    assert len(partly) == 1
    seen: list[list[str]] = []

    def look() -> None:
        seen.append(slow.views("ada"))
        assert {one.server_item_id for one in partly} <= slow.manifest.copies.keys()

    watching(slow, look)
    slow.publish(wanted)
    assert len(seen) > 3 and not any(seen)
    assert slow.views("ada") == ["ada's picks"]
    shown = slow.writer.library_items(slow.libraries()["ada's picks"], "Movie,Episode")
    assert len(shown) > 1 and {one.server_item_id for one in shown} <= slow.manifest.copies.keys()


def test_plays_on_copies_that_nobody_verified_are_credited_when_they_leave(
    slow: Place, monkeypatch: pytest.MonkeyPatch
):
    known: list[set[str]] = []
    credit = Place.credit

    def crediting(place: Place, record: Any, entries: Any, library: Any) -> None:
        known.append({one.server_item_id for one in place.writer.library_items(library, "Movie")})
        credit(place, record, entries, library)

    monkeypatch.setattr(Place, "credit", crediting)
    killed_while_it_waits(slow, slow.wanted("ada", "Alone", "Merged"), slow.wanted("bo", "Part One"))
    slow.wait(1000)
    copies = [set(slow.ids(f"{one}'s picks").values()) for one in ("ada", "bo")]
    # A title leaves a list, and a whole list goes.
    slow.publish(slow.wanted("ada", "Alone"), retired=[slow.key("bo")])
    assert known == copies and all(copies)


def test_ids_of_copies_that_are_lacking_are_recorded_although_nothing_changed(tmp_path: Path):
    with a_place(tmp_path) as place:
        wanted = [place.wanted("ada", "Alone"), place.wanted("bo", "Show", media_type="series")]
        place.publish(*wanted)
        recorded, writes = dict(place.manifest.copies), place.writes()
        place.manifest.copies.clear()
        place.publish(*wanted)
        assert place.manifest.copies == recorded and place.writes() == writes
        for library, items in (("ada's picks", "Movie"), ("bo's picks", "Episode")):
            found = place.writer.library_items(place.libraries()[library], items)
            assert found and {one.server_item_id for one in found} <= recorded.keys()


def test_a_hidden_library_that_lost_a_title_meanwhile_is_read_again_before_anybody_sees_it(slow: Place):
    wanted = slow.wanted("ada", "Alone", "Merged")
    slow.state.add_fault(FaultRule("jellyfin", path_contains="/Users/Configuration", status=500))
    slow.publish(wanted, errors=True)
    slow.state.clear_faults()
    slow.state.unmount_library("Movies")
    slow.writer.refresh_library(slow.libraries()["ada's picks"])
    slow.wait(1000)
    slow.state.mount_library("Movies")
    assert slow.shown("ada's picks") == []
    watching(slow, lambda: seen_by(slow) and None)
    slow.publish(wanted)
    assert slow.views("ada") == ["ada's picks"] and slow.shown("ada's picks") == ["Alone", "Merged"]


def test_an_episode_that_a_killed_run_added_to_a_library_is_waited_for(slow: Place, monkeypatch: pytest.MonkeyPatch):
    def killed(*_: Any) -> None:
        raise Killed

    slow.publish(slow.wanted("ada", "Show", media_type="series", most_episodes=1))
    slow.wait(180)
    longer = slow.wanted("ada", "Show", media_type="series", most_episodes=2)
    with monkeypatch.context() as patched, suppress(Killed):
        patched.setattr(LibraryPublisher, "_ask", killed)
        slow.publish(longer)
    (outcome,) = slow.publish(longer)
    episodes = slow.writer.library_items(slow.libraries()["ada's picks"], "Episode")
    assert outcome.changes == 0 and len(episodes) == 2
    assert {one.server_item_id for one in episodes} < slow.manifest.copies.keys()


# Other runs, while one waits


def at_look(place: Place, number: int, act: Callable[[], None]) -> None:
    """Do something at one of the looks of a run that waits, of which none holds anything."""
    looks: list[None] = []

    def sleep(seconds: float) -> None:
        assert not place.manifest.is_locked, "others could not publish"
        looks.append(None)
        if len(looks) == number:
            waits, place.sleep = place.sleep, place.wait
            act()
            place.sleep = waits
        place.wait(seconds)

    place.sleep = sleep


@pytest.mark.parametrize("look", [2, *at_night(9)])
@pytest.mark.parametrize("server", SERVERS)
def test_a_list_that_another_run_changes_meanwhile_is_left_to_that_run_and_to_whoever_goes_on_with_it(
    tmp_path: Path, server: str, look: int
):
    with a_place(tmp_path, server, **SLOW) as place:
        place.viewers |= {place.key(owner): frozenset({place.user(owner)}) for owner in LISTS}
        newer, seen = place.wanted("bo", "Part Two", "Merged", "Alone"), []

        def change() -> None:
            (outcome,) = place.publish(newer, seconds=0)
            assert outcome.is_unread and outcome.error is None
            seen.append(place.manifest.entries(place.key("bo")))

        # At the second look, bo's is in the queue of the server, and at the ninth, it is being read.
        at_look(place, look, change)
        assert {one.error for one in place.publish(*lists(place), errors=True)} == {None}
        assert place.manifest.entries(place.key("bo")) == seen[0], "not what the first run wanted"
        assert place.views("bo") == [] and place.manifest.unread() == {place.key("bo")}
        assert (place.views("ada"), place.views("cleo")) == (["ada's picks"], ["cleo's picks"])
        watching(place)
        assert place.publish(newer, follows=True)[0].error is None
        assert place.views("bo") == ["bo's picks"] and place.shown("bo's picks") == ["Part Two", "Merged", "Alone"]
        assert place.views("ada") == ["ada's picks"] and not place.manifest.unread()


def test_a_library_that_another_run_takes_back_meanwhile_stays_away(slow: Place):
    at_look(slow, 7, lambda: slow.publish(retired=[slow.key("bo")]) and None)
    assert {one.error for one in slow.publish(*lists(slow), errors=True)} == {None}
    assert "bo's picks" not in slow.libraries() and slow.key("bo") not in slow.manifest.libraries()
    assert {owner: slow.views(owner) for owner in LISTS} == {
        "ada": ["ada's picks"], "bo": [], "cleo": ["cleo's picks"],
    }  # fmt: skip


def test_a_run_that_has_waited_knows_who_may_see_what_by_now(slow: Place):
    def join() -> None:
        slow.publish(slow.wanted("cleo", "Alone"))
        assert slow.views("cleo") == ["cleo's picks"]
        # As read from the database.
        slow.viewers[slow.key("cleo")] = frozenset({slow.user("cleo")})

    at_look(slow, 2, join)
    slow.publish(slow.wanted("ada", "Alone"), slow.wanted("bo", "Merged"))
    assert {owner: slow.views(owner) for owner in LISTS} == {owner: [f"{owner}'s picks"] for owner in LISTS}


def test_what_a_run_leaves_after_its_time_is_shown_by_the_one_that_follows_and_what_others_leave_meanwhile_joins_it(
    slow: Place,
):
    ada, bo, _ = lists(slow)
    (outcome,) = slow.publish(ada, seconds=100)
    assert outcome.is_unread and slow.views("ada") == [] and slow.passed.total_seconds() < 200
    seen: list[dict[str, list[str]]] = []

    def more() -> None:
        slow.publish(bo, seconds=0)

    at_look(slow, 2, more)
    waits = slow.sleep

    def sleep(seconds: float) -> None:
        assert waits is not None
        waits(seconds)
        seen.append(seen_by(slow))

    slow.sleep = sleep
    slow.publish(ada, bo, follows=True, first=[slow.key("ada")])
    assert [sum(map(bool, one.values())) for one in seen][-1] == 1, "one after the other"
    assert (slow.views("ada"), slow.views("bo")) == (["ada's picks"], ["bo's picks"])


@pytest.mark.parametrize("server", SERVERS)
def test_what_cannot_be_changed_during_a_scan_of_everything_is_published_by_the_run_that_follows(
    tmp_path: Path, server: str
):
    with a_place(tmp_path, server, scan_seconds=0.0) as place:
        place.publish(place.wanted("ada", "Alone"))
        place.wait(180)
        watching(place)
        place.state.hold_scans(500)
        place.state.start_scan()
        files, wanted = place.files(), [place.wanted("ada", "Alone", "Merged"), place.wanted("bo", "Merged")]
        outcomes = place.publish(*wanted, seconds=100)
        assert [(one.is_unread, one.error) for one in outcomes] == [(True, None)] * 2
        assert place.files() == files and place.views("ada") == ["ada's picks"] and place.views("bo") == []
        assert place.manifest.unread() == {place.key("ada"), place.key("bo")}
        place.publish(*wanted, follows=True)
        assert place.passed.total_seconds() > 500
        assert place.shown("ada's picks") == ["Alone", "Merged"] and place.views("bo") == ["bo's picks"]


def test_a_library_is_not_changed_while_the_server_reads_it_but_others_are(slow: Place):
    ada, bo, _ = lists(slow)
    killed_while_it_waits(slow, ada)
    files = slow.files()
    outcomes = slow.publish(slow.wanted("ada", "Merged"), bo, seconds=80)
    assert [one.is_unread for one in outcomes] == [True, True]
    assert files.items() <= slow.files().items(), "ada's are as they were"
    assert "bo's picks" in slow.libraries(), "bo's are there"
    slow.publish(slow.wanted("ada", "Merged"), bo)
    assert slow.shown("ada's picks") == ["Merged"] and slow.views("bo") == ["bo's picks"]


def test_while_another_run_places_files_one_that_waits_goes_on_waiting(slow: Place, monkeypatch: pytest.MonkeyPatch):
    """It asks for the right to publish at each look, and never stands in a queue for it."""
    exclusively, refused = slow.manifest.exclusively, []

    @contextmanager
    def busy(*, patient: bool = True) -> Iterator[bool]:
        if not patient and len(refused) < 3:
            refused.append(slow.views("ada"))
            yield False
            return
        with exclusively() as is_held:
            yield is_held

    monkeypatch.setattr(slow.manifest, "exclusively", busy)
    slow.publish(slow.wanted("ada", "Alone"))
    assert refused == [[], [], []] and slow.views("ada") == ["ada's picks"]


# Messages for the operator


def test_many_failures_are_a_sentence_for_each_cause_that_names_each_library_once():
    def failed(number: int, error: Exception) -> PublishingOutcome:
        return PublishingOutcome(f"top_picks/{number}", f"List {number:02}", None, error=error)

    outcomes = [failed(number, ScanTooLong(f"List {number:02}", "hidden", 900)) for number in range(30)]
    outcomes += [failed(number, ValueError(f"Nothing of 'List {number}' is there.")) for number in range(30, 33)]
    outcomes += [failed(40, ValueError("The disk is full.")), PublishingOutcome("top_picks/50", "List 50", None)]
    assert explain_failures(outcomes) == (
        "The media server did not read 'List 00'; the scan made no progress for 15 min. If the server hangs, restart "
        "it. Nothing of that is shown yet, and the next run goes on from there. The same goes for List 01, List 02, "
        "List 03, List 04, List 05, List 06, List 07, List 08, List 09, List 10 and 19 others. Nothing of 'List 30' is "
        "there. "
        "The same goes for List 31 and List 32. List 40: The disk is full."
    )
    assert explain_failures(outcomes[-1:]) == ""
