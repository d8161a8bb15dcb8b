"""The page of a year is its member's alone, and its picture names no title."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from io import BytesIO

import pytest
from PIL import Image

from aperture_dagster.front_door.year import SIZE
from aperture_dagster.settings import Settings
from aperture_dagster_tests.front_door.browsing import Browsers, browsers
from aperture_dagster_tests.front_door.home import Home
from aperture_dagster_tests.shelf import NOW, played


@pytest.fixture
def signed_in(settings: Settings) -> Iterator[Browsers]:
    with browsers(settings) as found:
        yield found


def test_a_year_is_shown_to_its_member_without_what_they_may_not_see(home: Home, signed_in: Browsers):
    days = [NOW - timedelta(days=1), NOW]
    home.shelf.history("Anna", *(played(f"film-{n}", last_played_at=day) for n, day in zip((2, 3), days, strict=True)))
    anna, ben = signed_in("Anna"), signed_in("Ben")
    here = f"/year/{NOW.year}"
    page = anna.get(here).text
    assert "Heat" in page and "Up" in page and "2 days in a row" in page
    assert "Nothing that you watched" in ben.get(f"{here}?as=Anna").text
    home.user("Anna", max_parental_rating=13)
    page = anna.get(here).text
    assert "Heat" not in page and "Up" in page and "2 days in a row" in page
    answer = anna.get(f"{here}/picture")
    assert Image.open(BytesIO(answer.content)).size == (SIZE, SIZE) and "no-store" in answer.headers["cache-control"]
    assert ben.get(f"{here}/picture").status_code == 404
    for path in ("/year/0", "/year/99999999999999999999", "/year/3000", "/year/x", "/year/1850/picture"):
        assert anna.get(path).status_code == 404, path


def test_a_stranger_has_to_sign_in_first(home: Home, signed_in: Browsers):
    anna = signed_in("Anna")
    anna.cookies.clear()
    answer = anna.get(f"/year/{NOW.year}")
    assert answer.status_code == 303 and answer.headers["location"].startswith("/sign-in")
    assert anna.get(f"/year/{NOW.year}/picture").status_code == 404
