"""What members chose on their page is how their lists are published."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aperture_dagster.catalogue.members import Choices, write_choices
from aperture_dagster_tests.e2e.test_publishing import ANNAS, BENS, shelf

pytestmark = pytest.mark.e2e


def test_the_lists_of_who_wants_none_there_leave_and_come_back_and_nobody_elses(household: Any, tmp_path: Path):
    with shelf(household, tmp_path) as place:
        place.must_publish()

        def ben(**choices: Any) -> None:
            with place.home.database.transaction() as connection:
                write_choices(connection, place.user_id("ben"), Choices(**choices))

        ben(publish=False)
        with place.publication(dry_run=True) as planned:
            retired = {one.name for one in planned.publish_all().outcomes if one.retired}
        assert retired == {BENS} and BENS in place.libraries()
        place.must_publish()
        assert BENS not in place.libraries() and place.titles(ANNAS)
        assert not any("AI Picks" in name for name in place.views("ben"))
        # One who takes it back under another name.
        ben(list_name="Benny")
        place.must_publish()
        theirs = "Benny's AI Picks - Movies"
        assert place.titles(theirs) == ["Film 6", "Film 3", "Film 7"]
        assert theirs in place.views("ben") and theirs not in place.views("anna")
        ben(list_name="anna")
        place.must_publish()
        # Names that are equal all the same do not share a library.
        assert place.titles(ANNAS) == ["Film 3", "Film 1", "Film 5", "Film 2", "Film 4"]
        assert place.titles(f"{ANNAS} (Aperture)") == ["Film 6", "Film 3", "Film 7"]
        assert f"{ANNAS} (Aperture)" not in place.views("anna")
