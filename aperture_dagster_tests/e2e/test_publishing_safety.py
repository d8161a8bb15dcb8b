"""What is published is seen by nobody who may not, and is never lost or left: limits, moments in between, and roots."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from aperture_dagster.cli.doctor.examine import examine
from aperture_dagster.cli.doctor.finding import Finding
from aperture_dagster.media_server.changes import MediaServerChanges
from aperture_dagster.publishing.disk.root_folder import MARKER
from aperture_dagster_tests.e2e.commands import run_command
from aperture_dagster_tests.e2e.publishing import Publishing
from aperture_dagster_tests.e2e.test_publishing import ANNAS, BENS, film, shelf
from aperture_dagster_tests.marks import at_night

pytestmark = pytest.mark.e2e

FILMS = ["Film 3", "Film 1", "Film 5", "Film 2", "Film 4"]


@pytest.mark.parametrize("server", ["jellyfin@12.0.0", *at_night("jellyfin@10.10.7", "emby")])
def test_parental_limits_treat_a_copy_as_its_original(household: Any, tmp_path: Path, server: str):
    ratings = {1: "PG", 2: None, 3: "PG", 4: "R"}
    films = {number: film(number, official_rating=rating) for number, rating in ratings.items()}
    with shelf(household, tmp_path, *films.values(), server=server) as place:
        custom = server != "emby"
        (strict,) = place.state.catalogue.top_items("movie:3")
        strict.edits["CustomRating"] = "R" if custom else None
        place.home.must("sync_movies")
        # TMDb knows a rating of what the server has none of.
        place.home.rows(
            """INSERT INTO enriched_metadata (work_id, media_type, title, official_rating, genres, keywords, "cast",
              directors, creators, companies, networks, countries, streams, sources)
            SELECT work_id, media_type, title, 'R', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}'
            FROM titles WHERE title = 'Film 2' RETURNING 1"""
        )
        place.recommend("ben", *(one.title for one in films.values()))
        place.state.change_user("ben", max_parental_rating=12)

        def seen() -> tuple[set[str], set[str]]:
            """The films that Ben may see, and the copies of films."""
            with place.writer() as writer:
                libraries = [place.libraries()[one] for one in ("Movies", BENS)]
                items = [
                    {one.server_item_id: one.name for one in writer.library_items(each, "Movie")} for each in libraries
                ]
                originals, copies = (
                    {each[one] for one in writer.known_items(list(each), place.user_id("ben"))} for each in items
                )
            return originals, copies

        place.publish_now()
        assert seen() == (expected := {"Film 1", "Film 2", *([] if custom else ["Film 3"])}, expected)
        assert place.items(BENS)["Film 2"].official_rating is None
        # A rating changes, and another one is withdrawn.
        place.state.advance(180)
        place.state.add_title(film(1, official_rating="NC-17"))
        place.state.add_title(film(4, official_rating=None))
        place.home.must("sync_movies")
        place.publish_now()
        assert seen() == (expected := (expected | {"Film 4"}) - {"Film 1"}, expected)
        assert place.items(BENS)["Film 4"].official_rating is None
        place.state.reset_counters()
        place.publish_now()
        assert place.changes() == 0


@pytest.mark.nightly(
    reason="Everything that anybody sees is looked at before and after each request that writes.",
    instead="publishing/server/test_crashes.py::test_a_killed_run_shows_the_old_list_or_the_new_one_and_the_next_one_repairs",
)
@pytest.mark.parametrize("server", ["jellyfin@10.10.7", "jellyfin@12.0.0"])
def test_at_no_moment_does_anybody_see_lists_of_others_or_half_of_one(
    household: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: str
):
    write = MediaServerChanges._write
    seen: list[str] = []

    with shelf(household, tmp_path, server=server) as place:

        def watched(changes: MediaServerChanges, kind: str, *rest: Any) -> Any:
            if kind == "library_deleted" and ANNAS in place.views("anna"):
                assert place.titles(ANNAS) == FILMS and any("Film 3" in path for path in place.files())
            answer = write(changes, kind, *rest)
            seen.extend(f"{kind}: ben" for _ in range(ANNAS in place.views("ben")))
            if ANNAS in place.views("anna") and place.titles(ANNAS) != FILMS:
                seen.append(f"{kind}: {place.titles(ANNAS)}")
            return answer

        with monkeypatch.context() as patched:
            patched.setattr(MediaServerChanges, "_write", watched)
            place.publish_now()
            place.publish_now(without=["ben"])
            with place.publication() as publication:
                publication.unpublish()
        assert seen == []
        assert ANNAS not in place.libraries()


# Another root


def words(result: Result) -> str:
    """What a command said, on one line whatever the width of the terminal."""
    return " ".join(result.output.split())


@contextlib.contextmanager
def unmounted(place: Publishing) -> Iterator[None]:
    """Have an empty folder in the place of the root, as when its disk is not mounted."""
    aside = place.root.with_name("unmounted")
    place.root.rename(aside)
    place.root.mkdir()
    yield
    assert list(place.root.iterdir()) == []
    place.root.rmdir()
    aside.rename(place.root)


def test_without_its_marker_nothing_is_published_until_the_operator_accepts_the_root(household: Any, tmp_path: Path):
    with shelf(household, tmp_path) as place:
        settings = place.home.settings

        def doctor() -> Finding:
            return {one.what: one for one in examine(settings, ["publishing"])}["publishing"]

        assert doctor().state == "ok" and list(place.root.iterdir()) == []
        place.publish_now()
        assert doctor().state == "ok"
        titles = place.titles(ANNAS)
        place.recommend("anna", "Film 8")
        place.state.reset_counters()
        with unmounted(place):
            tables = place.home.snapshot()
            for arguments in (["publish"], ["publish", "--dry-run"]):
                refused = run_command(settings, *arguments)
                assert refused.exit_code == 1 and "has no marker (.aperture-published)" in words(refused)
                assert "Make sure that its disk or share is mounted" in words(refused)
                assert "`aperture publish --accept-root`" in words(refused)
            assert doctor().state == "failed" and "has no marker" in doctor().message
            failed = place.publish()
            assert not failed.success
            assert place.changes() == 0
            assert {name: rows for name, rows in place.home.snapshot().items() if name.startswith("published")} == {
                name: rows for name, rows in tables.items() if name.startswith("published")
            }
        assert place.titles(ANNAS) == titles
        place.state.advance(180)
        (place.root / MARKER.name).unlink()
        accepted = run_command(settings, "publish", "--accept-root")
        assert accepted.exit_code == 0, accepted.output
        assert place.titles(ANNAS) == ["Film 8"] and set(place.files()) == place.owned()
        # Whatever the settings name by now, everything is taken back from where it was placed.
        now = settings.model_copy(update={"publish": False, "publish_root": None, "path_map": {}})
        removed = run_command(now, "unpublish", "--yes")
        assert removed.exit_code == 0 and f'Library "{ANNAS}" of anna: removed' in removed.output.splitlines()
        assert list(place.root.rglob("*")) == [] and not [one for one in place.libraries() if "AI Picks" in one]
