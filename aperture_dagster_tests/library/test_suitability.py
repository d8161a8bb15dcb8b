"""Which titles outside the library may be suggested."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest

from aperture_dagster.library.access import clean_tags
from aperture_dagster.library.suitability import (
    IN_CINEMAS,
    HouseholdRules,
    PoolTitle,
    UserRules,
    languages_of,
    left_out,
    why_for_nobody,
    why_not_for_user,
)

TODAY = date(2026, 5, 17)
DAY = timedelta(days=1)
RULES = HouseholdRules(
    today=TODAY, country="DE", certified_by=("DE", "US"), minimum_votes=50, excluded_genres=clean_tags(("Sci-Fi",))
)
FILM = PoolTitle(
    1, "movie", genres=("Drama",), keywords=("love",), status="Released", release_date=date(2010, 3, 1), language="en",
    votes=50, certifications={"DE": ["12"]},
)  # fmt: skip


def released(**ways: str) -> dict[str, Any]:
    """Fields of a film that came out in Germany on these dates, and a month ago elsewhere."""
    return {"release_date": TODAY - 30 * DAY, "releases": {"DE": ways, "US": {"digital": "2026-04-20"}}}


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({}, None),
        ({"is_adult": True}, "adult"),
        ({"keywords": ("Soft-Core", "softcore")}, "erotic"),
        ({"genres": ("Pink Film",)}, "erotic"),
        ({"keywords": ("adult animation", "erotic thriller")}, None),
        ({"release_date": TODAY + DAY}, "not released"),
        ({"release_date": None}, "not released"),
        *(({"status": one}, "not released") for one in ("Post Production", "Canceled", "In Production", "Planned")),
        *(({"media_type": "series", "status": one}, None) for one in ("Canceled", "Ended", "Pilot", "In Production")),
        ({"media_type": "series", "status": "Planned"}, "not released"),
        ({"media_type": "series", "status": "Canceled", "release_date": TODAY + DAY}, "not released"),
        ({"votes": 49}, "few votes"),
        ({"votes": 10, "language": "ko"}, None),
        ({"votes": 9, "language": "ko"}, "few votes"),
        ({"genres": ("Drama", "Sci Fi")}, "excluded genre"),
        # In the cinemas of the country.
        (released(theatrical="2026-05-01"), "not available at home"),
        (released(theatrical="2026-05-01", digital="2026-05-18"), "not available at home"),
        (released(theatrical="2026-05-01", digital="2026-05-17"), None),
        (released(theatrical="2026-05-01", tv="2026-05-01"), None),
        (released(theatrical="2026-06-01"), "not released"),
        (released(theatrical=(TODAY - IN_CINEMAS).isoformat()), None),
        (released(theatrical="2026-05-01") | {"providers": {"DE": {"rent": ["Shop"]}}}, None),
        (released(theatrical="2026-05-01") | {"providers": {"US": {"rent": ["Shop"]}}}, "not available at home"),
        # Nothing is known of the country.
        ({"release_date": TODAY - 30 * DAY}, "not available at home"),
        ({"release_date": TODAY - IN_CINEMAS}, None),
        ({"release_date": TODAY - 30 * DAY, "media_type": "series", "status": "Returning Series"}, None),
    ],
)
def test_each_rule_for_everybody_leaves_out_its_titles_and_no_others(fields: dict[str, Any], why: str | None) -> None:
    assert why_for_nobody(replace(FILM, **fields), RULES) == why


def test_what_is_in_cinemas_may_be_suggested_where_the_operator_says_so() -> None:
    rules = replace(RULES, only_available=False)
    assert why_for_nobody(replace(FILM, **released(theatrical="2026-05-01")), rules) is None
    assert why_for_nobody(replace(FILM, **released(theatrical="2026-06-01")), rules) == "not released"


@pytest.mark.parametrize(
    ("fields", "rules", "why"),
    [
        ({}, {"limit": 12}, None),
        ({}, {"limit": 11}, "above the parental limit"),
        ({"certifications": {"DE": ["6", "16"]}}, {"limit": 12}, "above the parental limit"),
        ({"certifications": {"US": ["R"]}}, {"limit": 12}, "above the parental limit"),
        ({"certifications": {"FR": ["TP"]}}, {"limit": 12}, "no age rating"),
        ({"certifications": None}, {"limit": 12}, "no age rating"),
        ({"certifications": None}, {}, None),
        ({}, {"limit": 0}, "above the parental limit"),
        ({"keywords": ("Gore",)}, {"blocked_tags": clean_tags(("gore",))}, "blocked tag"),
        ({"genres": ("Horror",)}, {"blocked_tags": clean_tags(("HORROR!",))}, "blocked tag"),
        ({}, {"allowed_tags": clean_tags(("family",))}, "no allowed tag"),
        ({"keywords": ("family",)}, {"allowed_tags": clean_tags(("family",))}, None),
        ({"language": "ko"}, {}, "language"),
        ({"language": "ko"}, {"languages": frozenset({"ko"})}, None),
        ({"language": None}, {}, None),
    ],
)
def test_each_rule_of_a_user_leaves_out_its_titles_and_no_others(
    fields: dict[str, Any], rules: dict[str, Any], why: str | None
) -> None:
    assert why_not_for_user(replace(FILM, **fields), UserRules(**rules), RULES.certified_by) == why


def test_languages_need_a_share_of_the_history_and_english_none() -> None:
    assert languages_of({"ko": 2, "fr": 1, "en": 7}, 0.2) == {"en", "ko"}
    assert languages_of({}, 0.1) == {"en"}
    assert languages_of({"de": 10}, 0.1) == {"en", "de"}


def test_a_title_about_which_nothing_is_known_is_left_out_and_moves_no_other():
    assert left_out([4, 1, 3, 2], {1: None, 2: "adult", 3: None}) == [True, False, False, True]
