"""Names that a release promised are still there."""

from __future__ import annotations

import json

import pytest

from aperture_dagster_tests.promises import FILE, broken, promises

EVERY_KIND = {
    "settings": "APERTURE_MEDIA_SERVER_URL", "commands": "aperture backup create --accept-folder",
    "API": "Listed.titles", "columns": "recommendations.rank", "assets": "recommendations",
    "jobs": "generate_recommendations", "schedules": "run_daily_checks_schedule", "sensors": "members_sensor",
    "Compose": "compose.yaml $IMAGE",
}  # fmt: skip


@pytest.fixture(scope="module")
def now() -> dict[str, list[str]]:
    return promises()


def test_every_name_that_was_promised_is_still_there(now: dict[str, list[str]]):
    promised = json.loads(FILE.read_text(encoding="utf-8"))
    assert broken(promised, now) == {}, (
        "docs/stability.md promises these names. Keep them; or, before 1.0.0 is released and for a new major version, "
        "run `python -m aperture_dagster_tests.promises`."
    )


def test_a_name_of_every_kind_is_promised_and_missed_when_it_is_gone(now: dict[str, list[str]]):
    assert now.keys() == EVERY_KIND.keys()
    for kind, name in EVERY_KIND.items():
        assert name in now[kind], f"{kind}: {name}"
        without = now | {kind: [other for other in now[kind] if other != name]}
        assert broken(now, without) == {kind: [name]}
    assert broken(now, now | {"settings": [*now["settings"], "APERTURE_NEW"]}) == {}, "an addition breaks nothing"
