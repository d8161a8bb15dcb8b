"""Plays that cannot be trusted do not count, and nobody sees lists of others or half of one."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from aperture_dagster.media_server.changes import MediaServerChanges
from aperture_dagster.settings import Settings
from aperture_dagster_tests.e2e.publishing import at_night
from aperture_dagster_tests.e2e.test_publishing import ANNAS, shelf

pytestmark = pytest.mark.e2e

FILMS = ["Film 3", "Film 1", "Film 5", "Film 2", "Film 4"]


def environment(settings: Settings) -> dict[str, str]:
    """The environment of a command that works with these settings."""
    given = {name: getattr(settings, name) for name in settings.model_fields_set}
    given |= {name: value.get_secret_value() for name, value in given.items() if isinstance(value, SecretStr)}
    texts = {
        f"APERTURE_{name.upper()}": value if isinstance(value, str) else json.dumps(value, default=str).strip('"')
        for name, value in given.items()
        if value is not None
    }
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(settings.home_path),
        "PYTHONDONTWRITEBYTECODE": "1",
        **texts,
    }


# How titles are published


def test_a_play_that_cannot_be_trusted_does_not_count(household: Any, tmp_path: Path):
    """A STRM file has no length before it is played, and counts as played as soon as it is started."""
    with shelf(household, tmp_path, server="jellyfin@10.11.6", publish_as="strm") as place:
        place.publish_now()
        place.home.must("sync_watch_history", users=place.home.everyone())
        copy = place.items(ANNAS)["Film 5"]
        place.state.play_item("anna", copy.server_item_id, 0.05, datetime.now(UTC))
        catalogue = place.state.catalogue
        item = catalogue.find(copy.server_item_id) or catalogue.at_number(copy.server_item_id)
        assert place.state.user_named("anna").has_played(item)
        place.home.must("sync_watch_history", users=place.home.everyone())
        assert place.home.value("SELECT count(*) FROM plays") == 0


# What can be seen meanwhile


@pytest.mark.parametrize("server", ["jellyfin@10.10.7", *at_night("jellyfin@12.0.0")])
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
