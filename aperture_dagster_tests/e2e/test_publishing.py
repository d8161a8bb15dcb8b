"""Lists on the media server: the right titles, in the right order, visible to the right users and to nobody else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from aperture_dagster.simulator.faults import FaultRule
from aperture_dagster.simulator.world import World, WorldTitle, WorldUser
from aperture_dagster_tests.e2e.publishing import (
    FEW_SERVERS,
    READS,
    ROOT_ON_SERVER,
    Publishing,
    at_night,
    publishing,
)
from aperture_dagster_tests.e2e.worlds import small_world
from aperture_dagster_tests.household import failures

pytestmark = pytest.mark.e2e

ANNAS, BENS = "anna's AI Picks - Movies", "ben's AI Picks - Movies"
SHOWS = "anna's AI Picks - TV Series"


def film(number: int, title: str | None = None, **facts: Any) -> WorldTitle:
    given: dict[str, Any] = {"runtime_minutes": 100, "official_rating": "PG", "overview": f"About film {number}."}
    name = title if title is not None else f"Film {number}"
    return WorldTitle(f"movie:{number}", "movie", name, 2000 + number % 20, tmdb_id=1000 + number, **given | facts)


def series(number: int, *episodes: int, **facts: Any) -> WorldTitle:
    given: dict[str, Any] = {"episodes_per_season": episodes, "official_rating": "TV-PG", "overview": "A series."}
    return WorldTitle(
        f"series:{900 + number}", "series", f"Series {number}", 2010, tmdb_id=5000 + number, tvdb_id=7000 + number,
        **given | facts,
    )  # fmt: skip


def home_of(*titles: WorldTitle, users: tuple[str, ...] = ("anna", "ben")) -> World:
    return World("a home", list(titles), users=[WorldUser(name, is_administrator=name == "anna") for name in users])


@contextmanager
def shelf(household: Any, tmp_path: Path, *titles: WorldTitle, **how: Any) -> Iterator[Publishing]:
    """Anna and Ben with eight films and a series, of which Anna gets five and Ben three."""
    world = home_of(*(titles or [*(film(number) for number in range(1, 9)), series(1, 2, 2)]))
    with publishing(household, world, tmp_path, after=READS, **how) as place:
        if not titles:
            place.recommend("anna", "Film 3", "Film 1", "Film 5", "Film 2", "Film 4")
            place.recommend("anna", "Series 1", media_type="series")
            place.recommend("ben", "Film 6", "Film 3", "Film 7")
        yield place


@pytest.mark.parametrize(
    "server", [*at_night("jellyfin@12.0.0", "jellyfin@10.9.11", "jellyfin@10.10.7", "jellyfin@10.11.11"), "emby"]
)
def test_the_right_titles_are_shown_in_order_to_the_right_users(household: Any, tmp_path: Path, server: str):
    with shelf(household, tmp_path, server=server) as place:
        place.must_publish()
        assert place.titles(ANNAS) == ["Film 3", "Film 1", "Film 5", "Film 2", "Film 4"]
        assert place.titles(BENS) == ["Film 6", "Film 3", "Film 7"]
        assert place.titles(SHOWS, "Series") == ["Series 1"]
        assert {name for name in place.views("anna") if "AI Picks" in name} == {ANNAS, SHOWS}
        assert {name for name in place.views("ben") if "AI Picks" in name} == {BENS}
        files = place.files()
        place.state.reset_counters()
        recorded = place.must_publish()
        assert place.changes() == 0
        assert place.files() == files
        assert not any(one.get(name) for one in recorded.values() for name in ("added", "changed", "removed"))


@pytest.mark.nightly(
    reason="Two whole cycles of a household that publishes.",
    instead="e2e/test_demo_and_up.py::test_a_demo_publishes_every_list_and_sums_up_what_it_made",
)
def test_a_whole_cycle_publishes_for_each_user_and_a_second_one_changes_nothing(household: Any, tmp_path: Path):
    with publishing(household, small_world(movies=40, users=3, plays=120), tmp_path) as place:
        place.home.cycle()
        users = [row["name"] for row in place.home.rows("SELECT name FROM users ORDER BY name")]
        for user in users:
            expected = {f"{user}'s AI Picks - Movies", f"{user}'s AI Picks - TV Series"}
            assert {name for name in place.views(user) if "AI Picks" in name} == expected
            assert place.titles(f"{user}'s AI Picks - Movies") == place.home.titles_for(user)
            assert place.titles(f"{user}'s AI Picks - TV Series", "Series") == place.home.titles_for(user, "series")
        files, plays = place.files(), place.home.value("SELECT count(*) FROM plays")
        place.state.reset_counters()
        place.home.must("sync_movies")
        place.home.must("sync_watch_history", users=place.home.everyone())
        recorded = place.must_publish()
        assert place.changes() == 0
        assert place.files() == files
        assert place.home.value("SELECT count(*) FROM plays") == plays
        counts = ("added", "changed", "removed")
        assert not any(one.get(name) for one in recorded.values() for name in counts)


@pytest.mark.nightly(
    reason="A whole household that publishes, for what a publisher alone shows.",
    instead="publishing/test_publisher.py::test_each_user_sees_the_own_list_in_rank_order_and_a_second_run_changes_nothing",
)
@pytest.mark.parametrize("server", ["jellyfin@12.0.0", "emby"])
def test_nothing_is_changed_that_was_not_meant_to_change(household: Any, tmp_path: Path, server: str):
    """Whole objects of users and libraries are compared; only lists of visible and hidden libraries differ."""
    with shelf(household, tmp_path, server=server) as place:
        place.state.allow_libraries("ben", ["Movies"])
        users, libraries = place.users(), place.libraries()
        place.must_publish()
        ours = {name for name in place.libraries() if "AI Picks" in name}
        assert {name: one for name, one in place.libraries().items() if name not in ours} == libraries
        known = {one.policy_id for name, one in place.libraries().items() if name in ours}
        known |= {one.item_id for name, one in place.libraries().items() if name in ours}
        for user_id, before in users.items():
            after = place.users()[user_id]
            for part, names in (
                ("Policy", ("EnabledFolders",)),
                ("Configuration", ("MyMediaExcludes", "LatestItemsExcludes")),
            ):
                for name in names:
                    left = [one for one in after[part].get(name) or [] if one not in known]
                    assert left == (before[part].get(name) or [])
                    after[part][name] = before[part].get(name)
            assert {key: value for key, value in after.items() if key in ("Policy", "Configuration")} == {
                key: value for key, value in before.items() if key in ("Policy", "Configuration")
            }
        assert "Movies" in place.views("ben")
        assert BENS in place.views("ben") and ANNAS not in place.views("ben")


@pytest.mark.nightly(
    reason="A whole household that publishes, for what a publisher alone shows.",
    instead="publishing/test_publisher.py::test_a_changed_list_keeps_the_items_that_stay",
)
@pytest.mark.parametrize("server", FEW_SERVERS)
def test_a_list_that_changes_is_shown_as_it_is_now(household: Any, tmp_path: Path, server: str):
    with shelf(household, tmp_path, server=server) as place:
        place.must_publish()
        assert place.titles(ANNAS) == ["Film 3", "Film 1", "Film 5", "Film 2", "Film 4"]
        place.state.advance(180)
        place.recommend("anna", "Film 8", "Film 5", "Film 3", "Film 2")
        recorded = place.must_publish()
        assert place.titles(ANNAS) == ["Film 8", "Film 5", "Film 3", "Film 2"]
        assert not [path for path in place.files() if "Film 1 " in path]
        changed = [one for one in recorded.values() if one.get("added")]
        assert [(one["added"], one["removed"]) for one in changed] == [(1, 2)]


@pytest.mark.parametrize("server", [*at_night("jellyfin@10.11.11"), "emby"])
def test_options_that_somebody_changed_are_put_right_with_the_next_change(household: Any, tmp_path: Path, server: str):
    with shelf(household, tmp_path, server=server) as place:
        place.must_publish()
        before = place.libraries()[ANNAS].options
        with place.writer() as writer:
            changed = before | {"EnableRealtimeMonitor": True, "MetadataSavers": ["Nfo"]}
            writer.set_library_options(place.libraries()[ANNAS], changed)
        place.state.advance(180)
        place.recommend("anna", "Film 8", "Film 5")
        place.must_publish()
        assert place.libraries()[ANNAS].options == before


@pytest.mark.nightly(
    reason="A whole household and its runs, for what the part beneath shows alone.",
    instead="publishing/test_entries.py::test_a_series_has_each_episode_once_in_a_folder_of_its_season",
)
def test_a_series_holds_its_episodes_in_seasons(household: Any, tmp_path: Path):
    with shelf(household, tmp_path) as place:
        place.must_publish()
        assert place.titles(SHOWS, "Series") == ["Series 1"]
        assert len(place.titles(SHOWS, "Episode")) == 4


@pytest.mark.nightly(
    reason="A whole household that publishes, for what a publisher alone shows.",
    instead="publishing/test_publisher.py::test_retired_libraries_leave_the_server_the_disk_and_users_settings",
)
def test_a_user_who_leaves_takes_their_library_along(household: Any, tmp_path: Path):
    with shelf(household, tmp_path) as place:
        place.must_publish()
        (bens,) = (one.item_id for name, one in place.libraries().items() if name == BENS)
        place.state.remove_user("ben")
        place.home.must("sync_users")
        place.must_publish()
        assert BENS not in place.libraries()
        assert {path.partition("/")[0] for path in place.files()} == {
            row["folder"] for row in place.home.rows("SELECT folder FROM published_libraries")
        }
        assert not place.home.rows("SELECT 1 FROM published_libraries WHERE name = :name", name=BENS)
        (anna,) = place.users().values()
        assert bens not in str(anna)


@pytest.mark.nightly(
    reason="A whole household that publishes, for what a publisher alone shows.",
    instead="e2e/test_life_of_a_user.py::test_a_user_is_one_person_from_the_first_day_to_the_last",
)
def test_a_user_who_returns_gets_a_new_library(household: Any, tmp_path: Path):
    with shelf(household, tmp_path) as place:
        place.must_publish()
        place.state.change_user("ben", is_disabled=True)
        place.home.must("sync_users")
        place.must_publish()
        assert BENS not in place.libraries()
        place.state.change_user("ben", is_disabled=False)
        place.home.must("sync_users")
        place.must_publish()
        assert place.titles(BENS) == ["Film 6", "Film 3", "Film 7"]
        assert BENS in place.views("ben") and BENS not in place.views("anna")


@pytest.mark.nightly(
    reason="A whole household that publishes, for what a publisher alone shows.",
    instead="publishing/test_publisher.py::test_a_renamed_library_keeps_its_items",
)
@pytest.mark.parametrize("server", FEW_SERVERS)
def test_a_renamed_user_gets_a_library_of_the_new_name_with_the_same_items(household: Any, tmp_path: Path, server: str):
    with shelf(household, tmp_path, server=server) as place:
        place.must_publish()
        with place.writer() as writer:
            before = {
                item.path: item.server_item_id for item in writer.library_items(place.libraries()[ANNAS], "Movie")
            }
        place.state.rename_user("anna", "annette")
        place.home.must("sync_users")
        place.must_publish()
        renamed = "annette's AI Picks - Movies"
        assert ANNAS not in place.libraries()
        assert renamed in place.views("annette") and renamed not in place.views("ben")
        with place.writer() as writer:
            items = writer.library_items(place.libraries()[renamed], "Movie")
        assert {item.path: item.server_item_id for item in items} == before


@pytest.mark.nightly(
    reason="A whole household that publishes, for what a publisher alone shows.",
    instead="publishing/test_folder.py::test_from_links_to_strm_and_back",
)
def test_from_links_to_strm_and_back(household: Any, tmp_path: Path):
    with shelf(household, tmp_path) as place:
        place.must_publish()
        for form, suffix in (("strm", "strm"), ("symlink", "mkv")):
            settings = place.home.settings.model_copy(update={"publish_as": form})
            place.use(settings)
            place.state.advance(180)
            place.must_publish()
            suffixes = {path.rpartition(".")[2] for path in place.files()}
            assert suffixes == {"nfo", "jpg", "txt", suffix}
            assert place.titles(ANNAS) == ["Film 3", "Film 1", "Film 5", "Film 2", "Film 4"]


@pytest.mark.nightly(
    reason="A whole household that publishes, for what a publisher alone shows.",
    instead="publishing/test_lists.py::test_a_title_that_left_the_server_costs_a_list_only_itself",
)
def test_an_original_that_is_deleted_leaves_the_library(household: Any, tmp_path: Path):
    with shelf(household, tmp_path) as place:
        place.must_publish()
        place.state.remove_title("movie:5")
        place.home.must("sync_movies")
        place.state.advance(180)
        place.must_publish()
        assert place.titles(ANNAS) == ["Film 3", "Film 1", "Film 2", "Film 4"]


@pytest.mark.nightly(
    reason="A whole household that publishes, for what a publisher alone shows.",
    instead="publishing/test_publisher.py::test_while_the_originals_disk_is_away_a_library_is_left_as_it_is",
)
def test_while_the_originals_disk_is_away_nothing_is_scanned_and_everything_stays(household: Any, tmp_path: Path):
    with shelf(household, tmp_path) as place:
        place.must_publish()
        place.state.unmount_library("Movies")
        place.state.advance(180)
        place.recommend("anna", "Film 8", "Film 3")
        place.state.reset_counters()
        result = place.publish()
        assert not result.success
        assert "is the disk mounted?" in str(failures(result))
        assert place.changes() == 0
        assert place.titles(ANNAS) == ["Film 3", "Film 1", "Film 5", "Film 2", "Film 4"]
        place.state.mount_library("Movies")
        place.must_publish()
        assert place.titles(ANNAS) == ["Film 8", "Film 3"]


@pytest.mark.nightly(
    reason="A whole household that publishes, for what a publisher alone shows.",
    instead="publishing/test_publisher.py::test_a_library_that_lost_a_title_on_the_server_is_scanned_again",
)
def test_titles_that_the_server_lost_are_brought_back(household: Any, tmp_path: Path):
    with shelf(household, tmp_path) as place:
        place.must_publish()
        place.state.unmount_library("Movies")
        place.state.start_scan()
        place.state.wait_for_scans()
        assert place.titles(ANNAS) == []
        place.state.mount_library("Movies")
        place.must_publish()
        assert place.titles(ANNAS) == ["Film 3", "Film 1", "Film 5", "Film 2", "Film 4"]


@pytest.mark.nightly(
    reason="A whole household that publishes, for what a publisher alone shows.",
    instead="publishing/test_publisher.py::test_a_library_that_has_the_name_already_is_left_alone",
)
@pytest.mark.parametrize("server", ["jellyfin@10.9.11", *at_night("jellyfin@12.0.0"), "emby"])
def test_a_library_of_somebody_else_with_our_name_is_left_alone(household: Any, tmp_path: Path, server: str):
    foreign = tmp_path / "elsewhere"
    foreign.mkdir()
    (foreign / "note.txt").write_text("mine")
    with shelf(household, tmp_path, server=server, volumes={"/srv/elsewhere": str(foreign)}) as place:
        with place.writer() as writer:
            writer.create_library(ANNAS, "movie", "/srv/elsewhere", enabled=True, scan=False)
        before = place.libraries()[ANNAS]
        place.must_publish()
        after = place.libraries()
        assert after[ANNAS].locations == before.locations
        # Up to 10.10 a library has no options before the first scan.
        assert after[ANNAS].options == before.options or not before.options
        assert place.titles(f"{ANNAS} (Aperture)") == ["Film 3", "Film 1", "Film 5", "Film 2", "Film 4"]
        place.state.reset_counters()
        place.must_publish()
        assert place.changes() == 0


ODD = (
    "../../etc/passwd", "CON", ".hidden", "sample", "x" * 300, "two\nlines", "😀🎬", "[tmdbid-1]", "tt1234567",
    "trailers",
    "S01E02", "AC/DC: Live", "  ", "Ünïcödé…", "name.", "Film [imdbid=tt7654321]",
)  # fmt: skip


@pytest.mark.nightly(
    reason="A whole household that publishes, for what a publisher alone shows.",
    instead="publishing/test_names.py::test_a_film_with_any_title_is_read_as_itself",
)
@pytest.mark.parametrize("server", ["jellyfin@10.10.7", "jellyfin@12.0.0", "emby"])
def test_odd_titles_stay_in_their_folders_and_are_not_misread(household: Any, tmp_path: Path, server: str):
    titles = [film(number, title) for number, title in enumerate(ODD, start=1)]
    with shelf(household, tmp_path, *titles, server=server) as place:
        known = place.films()
        place.recommend("anna", *known)
        place.must_publish()
        assert place.titles(ANNAS) == known
        folders = {path.split("/")[1] for path in place.files() if path.count("/") > 1}
        assert len(folders) == len(known)
        assert not [path for path in tmp_path.rglob("passwd*")]
        with place.writer() as writer:
            items = writer.library_items(place.libraries()[ANNAS], "Movie")
        allowed = {f"{1000 + number}" for number in range(1, len(ODD) + 1)}
        assert {item.provider_ids["Tmdb"] for item in items if "Tmdb" in item.provider_ids} <= allowed
        assert not [item for item in items if item.provider_ids.get("Imdb")]


def test_only_titles_that_everybody_may_see_are_in_top_picks(household: Any, tmp_path: Path):
    with shelf(household, tmp_path, top_picks_libraries=True, rank_badges=True) as place:
        place.state.restrict("ben", blocked_tags=["secret"])
        place.state.add_title(film(3, tags=("secret",)))
        for job in ("sync_users", "sync_movies"):
            place.home.must(job)
        place.pick("Film 3", "Film 1", "Film 2")
        metadata = place.publish_top_picks()
        assert place.titles("Top Picks - Movies") == ["Film 1", "Film 2"]
        assert "Film 3" in metadata["skipped_titles"]
        for user in ("anna", "ben"):
            assert "Top Picks - Movies" in place.views(user)


@pytest.mark.nightly(
    reason="A whole household that publishes, for what a publisher alone shows.",
    instead="publishing/test_publisher.py::test_a_scan_without_end_is_an_error_of_its_libraries",
)
def test_a_scan_that_is_running_is_waited_for(household: Any, tmp_path: Path):
    with shelf(household, tmp_path, stand_ins={"scan_seconds": 1.5}) as place:
        place.state.start_scan()
        place.must_publish()
        assert place.titles(ANNAS) == ["Film 3", "Film 1", "Film 5", "Film 2", "Film 4"]


@pytest.mark.nightly(
    reason="A whole household that publishes, for what a publisher alone shows.",
    instead="publishing/test_publisher.py::test_a_scan_without_end_is_an_error_of_its_libraries",
)
def test_a_scan_that_takes_too_long_leaves_the_last_good_list(household: Any, tmp_path: Path):
    with shelf(household, tmp_path, publish_wait_seconds=0.3) as place:
        place.must_publish()
        files = place.files()
        place.state.advance(180)
        place.recommend("anna", "Film 8", "Film 3")
        place.state.stall_scan(ANNAS)
        place.state.start_scan()
        result = place.publish()
        assert f"nothing was changed in {ANNAS};" in next(iter(failures(result).values()))
        assert place.files() == files
        assert place.titles(ANNAS) == ["Film 3", "Film 1", "Film 5", "Film 2", "Film 4"]


@pytest.mark.nightly(
    reason="A whole household that publishes, for what a publisher alone shows.",
    instead="publishing/test_publisher.py::test_one_refused_user_costs_nobody_else_their_library",
)
def test_a_policy_that_is_refused_costs_only_that_user(household: Any, tmp_path: Path):
    with shelf(household, tmp_path) as place:
        for user in ("anna", "ben"):
            place.state.allow_libraries(user, ["Movies", "TV Shows"])
        bens_id = place.state.user_named("ben").id
        place.state.add_fault(FaultRule("jellyfin", f"/Users/{bens_id}/Policy", status=500))
        result = place.publish()
        assert "ben" in str(failures(result)) and "anna" not in str(failures(result)).partition("Also")[0]
        assert ANNAS in place.views("anna")
        assert BENS not in place.views("anna") and BENS not in place.views("ben")
        place.state.clear_faults()
        place.must_publish()
        assert BENS in place.views("ben")


def test_an_empty_list_keeps_the_last_good_one(household: Any, tmp_path: Path):
    with shelf(household, tmp_path) as place:
        place.must_publish()
        place.home.rows("DELETE FROM recommendations RETURNING 1")
        place.must_publish()
        assert place.titles(ANNAS) == ["Film 3", "Film 1", "Film 5", "Film 2", "Film 4"]


@pytest.mark.parametrize("server", ["jellyfin@10.10.7", *at_night("jellyfin@12.0.0", "emby")])
def test_a_play_on_a_published_copy_counts_once_for_the_original(household: Any, tmp_path: Path, server: str):
    with shelf(household, tmp_path, server=server, publish_as="symlink") as place:
        place.must_publish()
        place.home.must("sync_watch_history", users=place.home.everyone())
        with place.writer() as writer:
            items = writer.library_items(place.libraries()[ANNAS], "Movie")
        copy = next(item for item in items if item.name == "Film 5")
        place.state.play_item("anna", copy.server_item_id, 1.0, datetime.now(UTC))
        place.home.must("sync_watch_history", users=place.home.everyone())
        plays = place.home.rows(
            "SELECT t.title, p.completion, p.play_count FROM plays p JOIN titles t USING (item_id) "
            "JOIN users u USING (user_id) WHERE u.name = 'anna'"
        )
        assert plays == [{"title": "Film 5", "completion": 1.0, "play_count": 1}]


@pytest.mark.nightly(
    reason="Another case of the same outcome, with a household of its own.",
    instead="e2e/test_publishing.py::test_a_play_on_a_published_copy_counts_once_for_the_original",
)
def test_plays_on_a_copy_that_leaves_are_kept(household: Any, tmp_path: Path):
    with shelf(household, tmp_path) as place:
        place.must_publish()
        with place.writer() as writer:
            items = writer.library_items(place.libraries()[ANNAS], "Movie")
        copy = next(item for item in items if item.name == "Film 5")
        place.state.play_item("anna", copy.server_item_id, 1.0, datetime.now(UTC))
        place.state.advance(180)
        place.recommend("anna", "Film 1")
        place.must_publish()
        place.home.must("sync_watch_history", users=place.home.everyone())
        assert place.home.value("SELECT count(*) FROM plays") == 1


@pytest.mark.parametrize("mark", [True, *at_night(False)])
def test_the_original_is_marked_as_played_if_that_is_wanted(household: Any, tmp_path: Path, mark: bool):
    with shelf(household, tmp_path, mark_originals_played=mark) as place:
        place.must_publish()
        with place.writer() as writer:
            items = writer.library_items(place.libraries()[ANNAS], "Movie")
        copy = next(item for item in items if item.name == "Film 5")
        place.state.play_item("anna", copy.server_item_id, 1.0, datetime.now(UTC))
        place.home.must("sync_watch_history", users=place.home.everyone())
        place.must_publish()
        (original,) = place.state.catalogue.top_items("movie:5")
        assert place.state.user_named("anna").has_played(original) is mark
        place.home.must("sync_watch_history", users=place.home.everyone())
        assert place.home.value("SELECT count(*) FROM plays") == 1


def test_published_libraries_never_come_back_as_input(household: Any, tmp_path: Path):
    with shelf(household, tmp_path) as place:
        place.must_publish()
        before = place.home.rows("SELECT item_id, title, removed_at FROM titles ORDER BY item_id")
        for job in ("sync_users", "sync_movies", "sync_series"):
            place.home.must(job)
        assert place.home.rows("SELECT item_id, title, removed_at FROM titles ORDER BY item_id") == before
        versions = place.home.rows("SELECT library_ids FROM users")
        assert ROOT_ON_SERVER not in str(versions)


def test_nothing_happens_while_publishing_is_off(household: Any, tmp_path: Path):
    with shelf(household, tmp_path, publish=False) as place:
        place.state.reset_counters()
        recorded = place.must_publish()
        assert place.changes() == 0 and place.files() == {}
        assert "APERTURE_PUBLISH is off" in str(recorded)
