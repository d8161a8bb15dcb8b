"""Which titles outside the library may be suggested."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest

from aperture_dagster.catalogue.people import User
from aperture_dagster.catalogue.visibility import Visibility
from aperture_dagster.discovery.suitability import IN_CINEMAS, PoolTitle, why_for_nobody, why_forbidden
from aperture_dagster.settings import load_settings

TODAY = date(2026, 5, 17)
DAY = timedelta(days=1)
RULES: dict[str, Any] = {"country": "DE", "discovery_minimum_votes": 50, "discovery_exclude_genres": ("Sci-Fi",)}
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
        *(({"status": one}, "not released") for one in ("Canceled", "Planned")),
        *(({"media_type": "series", "status": one}, None) for one in ("Canceled", "In Production")),
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
    assert why_for_nobody(replace(FILM, **fields), load_settings(**RULES), TODAY) == why


def test_what_is_in_cinemas_may_be_suggested_where_the_operator_says_so() -> None:
    rules = load_settings(**RULES, discovery_only_available=False)
    assert why_for_nobody(replace(FILM, **released(theatrical="2026-05-01")), rules, TODAY) is None
    assert why_for_nobody(replace(FILM, **released(theatrical="2026-06-01")), rules, TODAY) == "not released"


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
        ({"keywords": ("Gore",)}, {"blocked_tags": ("gore",)}, "blocked tag"),
        ({"genres": ("Horror",)}, {"blocked_tags": ("HORROR!",)}, "blocked tag"),
        ({}, {"allowed_tags": ("family",)}, "no allowed tag"),
        ({"keywords": ("family",)}, {"allowed_tags": ("family",)}, None),
    ],
)
def test_each_rule_of_a_user_leaves_out_its_titles_and_no_others(
    fields: dict[str, Any], rules: dict[str, Any], why: str | None
) -> None:
    access = Visibility(blocked_tags=rules.get("blocked_tags", ()), allowed_tags=rules.get("allowed_tags", ()))
    user = User("1", "Ann", "Ann", False, False, rules.get("limit"), access, gone=False)
    assert why_forbidden(replace(FILM, **fields), user, "DE") == why
