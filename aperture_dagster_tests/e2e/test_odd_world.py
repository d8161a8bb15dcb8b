"""Odd titles and users in the whole graph, including partitions."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import dagster as dg
import pytest

from aperture_dagster.model.wording import UNPRINTABLE
from aperture_dagster.simulator.odd_world import ODD_TITLES, ODD_USERS, odd_world
from aperture_dagster_tests.e2e.reading import read_server
from aperture_dagster_tests.household import materializations
from aperture_dagster_tests.instance.test_markdown import RENDER, assert_text, text_of

pytestmark = pytest.mark.e2e

TAGS = {"table", "thead", "tbody", "tr", "th", "td", "p", "ol", "ul", "li", "em", "code", "pre"}
PER_USER = ("sync_watch_history", "generate_recommendations")


def test_odd_titles_and_users_are_stored_unchanged(household):
    world = odd_world(datetime.now(UTC))
    active = {user.name for user in world.users if not user.is_disabled}
    with household(world) as (_, home):
        read_server(home)
        jobs = ("sync_watch_history", "enrich_metadata", "generate_embeddings", "generate_recommendations")
        results = [home.must(job, users=home.everyone() if job in PER_USER else None) for job in jobs]
        users = {row["name"]: row for row in home.rows("SELECT * FROM users")}
        assert active < set(users), "names are not changed"
        assert {name.casefold() for name in ODD_USERS} <= {name.casefold() for name in users}

        partitions = home.everyone()
        assert sorted(partitions) == sorted(users[name]["partition_key"] for name in active)
        assert len({key.casefold() for key in partitions}) == len(partitions), "keys are distinct, ignoring case"
        for key in partitions:
            assert not set(key) & set("/\\'\"`$%?#&; \t,<>*|") and ".." not in key and key.strip("-.") == key, key
        for asset in ("watch_history", "taste_profiles", "recommendations"):
            made = {one.partition for one in materializations(results) if one.asset_key == dg.AssetKey(asset)}
            assert made == set(partitions), asset

        shown = [value for one in materializations(results) for value in one.metadata.values()]
        pages = [RENDER.render(one.md_str or "") for one in shown if isinstance(one, dg.MarkdownMetadataValue)]
        assert any("![pixel](" in text_of(page) for page in pages), "it is shown, as text"
        own = ("data:image/svg+xml,", f"{home.settings.media_server_url}/", f"{home.settings.tmdb_image_url}/")
        for page in pages:
            assert_text(page.replace("<img ", "<p "), TAGS)
            assert all(source.startswith(own) for source in re.findall(r'<img src="([^"]*)"', page)), page
            assert not UNPRINTABLE.search(page)

        stored = [row["title"] for row in home.rows("SELECT title FROM titles")]
        # Blanks at both ends are stripped, and a name of only blanks is no name.
        assert {title.strip() for title in ODD_TITLES if title.strip()} <= {title.strip() for title in stored}
        assert "Known, Not Owned" not in stored
        twins = home.rows("SELECT DISTINCT work_id FROM titles WHERE title = 'Twins'")
        copies = home.rows("SELECT DISTINCT work_id FROM titles WHERE title = 'Two Copies'")
        assert (len(twins), len(copies), stored.count("Two Copies")) == (2, 1, 2)
        assert "Two Copies" not in home.titles_for("plain"), "the other copy was watched"
        for name in active - {"child"}:
            assert home.titles_for(name), name
        assert "For Adults" not in home.titles_for("child")
        assert "Unknown Rating" not in home.titles_for("child")
