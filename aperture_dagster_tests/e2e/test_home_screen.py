"""What the home screens of members show of published libraries, on both versions of Jellyfin."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aperture_dagster_tests.e2e.home_screen import HomeScreen
from aperture_dagster_tests.e2e.publishing import Publishing
from aperture_dagster_tests.e2e.test_publishing import ANNAS, SHOWS, film, series, shelf

pytestmark = pytest.mark.e2e
both_versions = pytest.mark.parametrize("server", ["jellyfin@10.11.11", "jellyfin@12.0.0"])


def rewritten(place: Publishing, before: dict[str, tuple[int, int]]) -> list[str]:
    """The names of the files that were there before and are others now."""
    now = place.files()
    return sorted(path.rpartition("/")[2] for path in now.keys() & before.keys() if now[path] != before[path])


@both_versions
def test_the_row_of_a_library_is_always_in_the_order_of_the_list_and_a_play_costs_no_file_more(
    household: Any, tmp_path: Path, server: str
):
    titles = [*(film(number) for number in range(1, 13)), *(series(number, 4) for number in range(1, 6))]
    with shelf(household, tmp_path, *titles, server=server) as place:
        anna = HomeScreen(place, "anna")

        def publish(films: list[int], shows: list[int]) -> None:
            place.state.advance(180)
            place.recommend("anna", *(f"Film {number}" for number in films))
            place.recommend("anna", *(f"Series {number}" for number in shows), media_type="series")
            place.publish_now()
            assert anna.row(ANNAS) == [f"Film {number}" for number in films]
            assert anna.row(SHOWS) == [f"Series {number}" for number in shows]

        publish([3, 1, 5, 2, 4, 6], [1, 2, 3, 4])
        # After a play one leaves, and a new one comes last.
        before = place.files()
        publish([1, 5, 2, 4, 6, 7], [2, 3, 4, 5])
        assert rewritten(place, before) == ["movie.nfo"] * 5 + ["tvshow.nfo"] * 3, "nothing but the ranks"
        # A new one in the middle, and one that overtakes others.
        before = place.files()
        publish([1, 8, 6, 5, 2, 4, 7], [2, 1, 3, 5, 4])
        changed = rewritten(place, before)
        assert changed.count("movie.nfo") == 5 and changed.count("tvshow.nfo") == 3
        assert len(changed) == 5 + 3 + 2, "and the dates of two episodes of the one that overtook another"
        # All at once, and restored from what the database knows.
        publish([12, 11, 10, 9, 8, 7, 6], [5, 4, 3, 2, 1])
        before = place.files()
        place.state.advance(180)
        place.publish_now()
        assert place.files() == before
