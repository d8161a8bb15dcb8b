"""A title that TMDb has under another id now."""

from __future__ import annotations

import pytest

from aperture_dagster_tests.e2e.library import title

pytestmark = pytest.mark.e2e


def test_a_changed_tmdb_id_is_found_by_the_other_ids_of_the_title(library):
    """The title is not left as unknown for thirty days."""
    show = title(3, media_type="series", imdb_id=None, tvdb_id=33)
    without = title(2, imdb_id=None)
    with library([title(1), without, show], stand_ins={"tmdb_moved": {1: 101, 2: 102, 3: 103}}) as here:
        metadata = here.ask("tmdb")
        assert (metadata["fetched"], metadata["not_found"]) == (2, 1)
        assert here.home.rows("SELECT tmdb_id FROM tmdb_metadata ORDER BY 1") == [{"tmdb_id": 101}, {"tmdb_id": 103}]
        # The old id, the lookup by another id, and the new id.
        assert here.state.requests("tmdb") == 3 + 1 + 3
        here.state.reset_counters()
        here.move(days=31)
        assert here.ask("tmdb")["fetched"] == 2
        asked = dict(here.state.asked("tmdb"))
        assert asked == {"movie/101": 1, "tv/103": 1, "movie/2": 1}, "the new id is remembered"
