"""An asset declares every asset whose tables it reads: what it asks the database for is held against its lineage."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from aperture_dagster.jobs import PUBLISHED
from aperture_dagster.schema import VIEWS, metadata
from aperture_dagster.settings import load_settings
from aperture_dagster.trakt.accounts import TraktAccounts
from aperture_dagster.trakt.records import parse_tokens
from aperture_dagster_tests.e2e.publishing import Publishing, publishing
from aperture_dagster_tests.e2e.worlds import small_world
from aperture_dagster_tests.household import Household

LIBRARIES = frozenset(PUBLISHED)
LIBRARY = frozenset({"movies", "series"})
# The assets that fill each table. To declare one of them is enough, since some read films alone, or series.
FILLED_BY: dict[str, frozenset[str]] = {
    "users": frozenset({"users"}),
    **dict.fromkeys(("works", "titles", "item_versions", "item_files", "libraries", "merges"), LIBRARY),
    "episodes": frozenset({"episodes"}),
    **dict.fromkeys(("watch_state", "plays", "history_syncs"), frozenset({"watch_history"})),
    **dict.fromkeys(("ratings", "rating_changes", "rating_removals"), frozenset({"watch_history", "trakt_ratings"})),
    "trakt_ratings": frozenset({"trakt_ratings"}),
    "tmdb_metadata": frozenset({"tmdb_metadata"}),
    "omdb_ratings": frozenset({"omdb_ratings"}),
    "mdblist_scores": frozenset({"mdblist_scores"}),
    "enriched_metadata": frozenset({"enriched_metadata"}),
    "studio_logos": frozenset({"studio_logos"}),
    **dict.fromkeys(("embeddings", "embedding_models"), frozenset({"embeddings"})),
    **dict.fromkeys(("taste_profiles", "taste_weights"), frozenset({"taste_profiles"})),
    **dict.fromkeys(("recommendations", "whole_lists", "first_places", "past_picks"), frozenset({"recommendations"})),
    "top_picks": frozenset({"top_picks"}),
    "shows_you_watch": frozenset({"shows_you_watch"}),
    **dict.fromkeys(("discovery_pool", "discovery_vectors"), frozenset({"discovery_pool"})),
    "discovery_lists": frozenset({"discovery_pool"}),
    "trakt_recommendations": frozenset({"trakt_recommendations"}),
    "discovery_candidates": frozenset({"discovery_candidates"}),
    "seerr_requests": frozenset({"seerr_requests"}),
    "newsletters": frozenset({"newsletters"}),
    **dict.fromkeys(("ai_prices", "ai_offered_models"), frozenset({"ai_pricing"})),
    **dict.fromkeys(
        ("published_access", "published_copies", "published_entries", "published_libraries", "published_lists"),
        LIBRARIES,
    ),
    "library_lists": frozenset({"library_access"}),
}
# What members say, and what this installation remembers of services, work lists, computations, steps and alerts.
OF_NO_ASSET = {
    "facts", "rating_outbox", "services", "quota", "fetches", "computations", "alert_problems", "alerts_told",
    "api_keys", "sessions", "departures", "member_choices", "more_like_this", "for_later", "dismissals",
    "trakt_accounts", "step_progress", "changes",
    "watched_together", "evenings", "evening_people", "evening_voters", "evening_votes",
    "history_imports", "seen_elsewhere",
}  # fmt: skip
# Views of which some tables lend no more than an id or a name.
VIEWS_READ = {
    # Ids that TMDb added. No source waits for another, or one that fails would keep the others from their work.
    "work_ids": {"works"},
    "work_names": {"works"},
    "hidden_works": {"dismissals", "member_choices"},
}
# Items share their ids, so a film looks at the episodes when the server gives it a new one.
IDS_OF_ITEMS = {("movies", "episodes"), ("series", "episodes")}
# They look at everything, and nothing follows from them.
WITHOUT_LINEAGE = {"database_backup", "housekeeping"}


class Reads:
    """The tables and views that statements read, as they are sent."""

    def __init__(self) -> None:
        self.found: set[str] = set()

    def note(self, *event: Any) -> None:
        """Note what a statement reads."""
        statement = re.sub(r"DELETE FROM", "DELETE", event[2])
        self.found |= set(re.findall(r'\b(?:FROM|JOIN)\s+"?([a-z_]+)"?', statement))

    @contextmanager
    def noted(self) -> Iterator[set[str]]:
        """Collect what is read meanwhile."""
        self.found = set()
        event.listen(Engine, "before_cursor_execute", self.note)
        try:
            yield self.found
        finally:
            event.remove(Engine, "before_cursor_execute", self.note)


def tables_of(read: str) -> set[str]:
    """Return the tables behind a table or a view; none for anything else."""
    if read in metadata.tables:
        return {read}
    if read in VIEWS_READ:
        return VIEWS_READ[read]
    behind = re.findall(r"\b(?:FROM|JOIN)\s+([a-z_]+)", VIEWS.get(read, ""))
    return {table for one in behind if one != read for table in tables_of(one)}


def test_every_table_is_filled_by_an_asset_or_is_none_of_theirs():
    assert set(FILLED_BY) | OF_NO_ASSET == set(metadata.tables)
    assert not set(FILLED_BY) & OF_NO_ASSET


@pytest.mark.nightly(
    reason="Every job once, and every asset once more by itself.",
    instead="e2e/test_lineage.py::test_every_table_is_filled_by_an_asset_or_is_none_of_theirs",
)
def test_an_asset_declares_every_asset_whose_tables_it_reads(household: Callable[..., Any], tmp_path: Path):
    undeclared: defaultdict[str, set[str]] = defaultdict(set)
    read_anything = set()
    also = ("top_picks_libraries", "shows_you_watch_libraries", "for_later_playlists")
    with publishing(household, small_world(), tmp_path, also=also) as place:
        home = connect_everything(place)
        home.cycle()
        graph = home.definitions.resolve_asset_graph()
        jobs = [
            job
            for job in home.definitions.get_repository_def().get_all_jobs()
            if not job.name.startswith("__") and job.name not in ("first_list", "follow_plays")
        ]
        for key in graph.toposorted_asset_keys:
            name = key.to_user_string()
            if not graph.get(key).is_materializable or name in WITHOUT_LINEAGE:
                continue
            job = next(job for job in jobs if key in job.asset_layer.selected_asset_keys)
            with Reads().noted() as read:
                home.run(job.name, assets=[name], **_partitions(home, graph.get(key)))
            declared = {parent.to_user_string() for parent in graph.get(key).parent_keys}
            tables = {table for one in read for table in tables_of(one)} - OF_NO_ASSET
            read_anything |= {name} if tables else set()
            for table in tables:
                filled_by = FILLED_BY[table]
                # What follows from it and is looked at all the same, such as requests that were sent, or its own
                # libraries, would make a circle.
                is_circle = any(follows(graph, one, name) for one in filled_by)
                if not (filled_by & {name, *declared} or is_circle or (name, table) in IDS_OF_ITEMS):
                    undeclared[name].add(table)
    assert not undeclared, "".join(f"\n{name}: {', '.join(sorted(tables))}" for name, tables in undeclared.items())
    # The statements were seen.
    assert {"recommendations", "enriched_metadata"} <= read_anything


def connect_everything(place: Publishing) -> Household:
    """Turn on what is off by default, requests and Trakt, which a user connects; return the household."""
    stand_ins = place.state.settings
    given = place.home.settings.model_dump(exclude_unset=True) | {
        "trakt_url": place.simulator.trakt_url,
        "trakt_client_id": stand_ins.trakt_client_id,
        "trakt_client_secret": stand_ins.trakt_client_secret,
        "secret_key": "a key with which tokens are encrypted",
        "requests_per_week": 2,
    }
    home = Household(load_settings(**given), place.home.instance)
    home.must("sync_users")
    user = home.rows("SELECT user_id, name FROM users ORDER BY name LIMIT 1")[0]
    tokens = parse_tokens(place.state.trakt_connect(user["name"]), home.clock.now())
    TraktAccounts(home.settings, home.database, home.clock).connect(user["user_id"], tokens)
    return home


def follows(graph: Any, key: str, from_key: str) -> bool:
    """Tell whether an asset is made from another, directly or not."""
    ancestors = graph.get_ancestor_asset_keys(dg.AssetKey(key))
    return dg.AssetKey(from_key) in ancestors


def _partitions(home: Any, node: Any) -> dict[str, Any]:
    if node.partitions_def is None:
        return {}
    if isinstance(node.partitions_def, dg.DynamicPartitionsDefinition):
        return {"users": home.everyone()}
    return {"partition": node.partitions_def.get_last_partition_key()}


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_leads_to_tables(view: str):
    assert tables_of(view)
