"""A household that publishes, and what its media server shows of that."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from aperture_dagster.catalogue.servers import MediaServers
from aperture_dagster.media_server.records import PublishedItem
from aperture_dagster.media_server.writer import MediaServerWriter
from aperture_dagster.model import Clock
from aperture_dagster.popularity.stored_picks import replace_top_picks
from aperture_dagster.publishing.disk.root_folder import MARKER
from aperture_dagster.publishing.server import polling
from aperture_dagster.publishing.server.publication import Publication, PublishingResult
from aperture_dagster.settings import Settings
from aperture_dagster.simulator.server import RunningSimulator
from aperture_dagster.simulator.settings import SimulatorSettings
from aperture_dagster.simulator.world import World
from aperture_dagster.taste.lists import replace_recommendations
from aperture_dagster_tests.household import Household, materializations, metadata_of
from aperture_dagster_tests.media_server.writers import views_of
from aperture_dagster_tests.shelf import list_rows, pick_rows

ROOT_ON_SERVER = "/srv/aperture"
READS = ("sync_users", "sync_movies", "sync_series")


@dataclass
class Publishing:
    """The stand-ins and the home, with a look at what users see."""

    simulator: RunningSimulator
    home: Household
    root: Path

    @property
    def state(self) -> Any:
        """The stand-ins' state."""
        return self.simulator.state

    @contextmanager
    def writer(self) -> Iterator[MediaServerWriter]:
        """A writer to the server, to read with."""
        with MediaServers(self.home.settings, self.home.database).open_writer() as writer:
            yield writer

    def recommend(self, user: str, *titles: str, media_type: str = "movie") -> None:
        """Give a user a list, by titles in rank order."""
        with self.home.database.transaction() as connection:
            known = {
                row["title"]: row
                for row in self.home.rows(
                    "SELECT title, work_id, item_id FROM present_titles WHERE media_type = :type ORDER BY item_id DESC",
                    type=media_type,
                )
            }
            user_id = self.user_id(user)
            others = self.home.rows(
                "SELECT * FROM recommendations WHERE user_id = :user AND media_type <> :type",
                user=user_id,
                type=media_type,
            )
            rows = list_rows(user_id, (known[title] for title in titles), media_type=media_type)
            kept = [{name: value for name, value in row.items() if name != "generated_at"} for row in others]
            replace_recommendations(connection, user_id, kept + rows, today=date(2026, 5, 17))

    def pick(self, *titles: str) -> None:
        """Make today's Top Picks of films, by titles in rank order."""
        known = {row["title"]: row for row in self.home.rows("SELECT title, work_id, item_id FROM present_titles")}
        day = datetime.now(UTC).date()
        rows = pick_rows(day, (known[title] for title in titles))
        with self.home.database.transaction() as connection:
            replace_top_picks(connection, day, "movie", rows)

    @contextmanager
    def publication(self, *, without: Sequence[str] = (), dry_run: bool = False) -> Iterator[Publication]:
        """A publication without a run of Dagster; users in ``without`` do not take part."""
        settings = self.home.settings.model_copy(update={"exclude_users": tuple(without)})
        with MediaServers(settings, self.home.database).open_writer(dry_run=dry_run) as writer:
            yield Publication(settings, self.home.database, writer, Clock(), logging.getLogger("test"))

    def publish_now(self, *, without: Sequence[str] = ()) -> PublishingResult:
        """Publish recommendations without a run of Dagster; every library must succeed."""
        with self.publication(without=without) as publication:
            published = publication.publish(["recommendations"])
        errors = [one.error for one in published.outcomes if one.error is not None]
        assert not errors, errors
        return published

    def items(self, library: str, item_type: str = "Movie") -> dict[str, PublishedItem]:
        """The items of a library by name."""
        with self.writer() as writer:
            found = next(one for one in writer.libraries() if one.name == library)
            return {item.name: item for item in writer.library_items(found, item_type)}

    def raw_items(self, library: str, item_type: str) -> dict[str, dict[str, Any]]:
        """What a client may show of a library's items, by name."""
        with self.writer() as writer:
            found = next(one for one in writer.libraries() if one.name == library)
            query = {"ParentId": found.item_id, "IncludeItemTypes": item_type, "Fields": "Overview,DateCreated"}
            return {item["Name"]: item for item in writer._items(query)["Items"]}

    def owned(self) -> set[str]:
        """Every file that the manifest knows of, by its path below the root."""
        rows = self.home.rows(
            "SELECT l.folder AS list, e.folder, jsonb_object_keys(e.files) AS path FROM published_entries e "
            "JOIN published_libraries l USING (list_key)"
        )
        lists = {row["folder"] for row in self.home.rows("SELECT folder FROM published_libraries")}
        return {f"{row['list']}/{row['folder']}/{row['path']}" for row in rows} | {f"{one}/about.txt" for one in lists}

    def publish_top_picks(self) -> dict[str, Any]:
        """Publish Top Picks; return the metadata."""
        day = datetime.now(UTC).date().isoformat()
        result = self.home.must("refresh_top_picks", partition=day, assets=["top_picks_libraries"])
        return metadata_of(result, "top_picks_libraries")

    def use(self, settings: Settings) -> None:
        """Go on with other settings."""
        self.home = Household(settings, self.home.instance)

    def user_id(self, user: str) -> str:
        """The id of a user, as the database has it."""
        return self.home.value("SELECT user_id FROM users WHERE name = :name", name=user)

    def publish(self, **how: Any) -> dg.ExecuteInProcessResult:
        """Run the job that publishes recommendations, for everybody."""
        return self.home.run("sync_libraries", users=self.home.everyone(), **how)

    def must_publish(self) -> dict[str, dict[str, Any]]:
        """Publish, assert that it succeeds, and return the metadata by partition."""
        result = self.home.must("sync_libraries", users=self.home.everyone())
        return {
            one.partition or "": {name: getattr(value, "value", value) for name, value in one.metadata.items()}
            for one in materializations(result)
        }

    def changes(self) -> int:
        """How many requests that change something the media server received so far."""
        return sum(
            count
            for service in ("jellyfin", "emby")
            for operation, count in self.state.counters.requests.get(service, {}).items()
            if not operation.startswith("GET") and "ValidatePath" not in operation
        )

    def views(self, user: str) -> list[str]:
        """The names of the libraries in a user's views, without hidden ones."""
        with self.writer() as writer:
            return [name for _, name in views_of(writer, self.state.user_named(user).id, hidden=False)]

    def users(self) -> dict[str, Any]:
        """All user objects of the server, whole."""
        with self.writer() as writer:
            return copy.deepcopy(writer.user_objects())

    def libraries(self) -> dict[str, Any]:
        """All libraries of the server by name."""
        with self.writer() as writer:
            return {library.name: library for library in writer.libraries()}

    def titles(self, library: str, item_type: str = "Movie") -> list[str]:
        """The names of a library's items in the order of their sort names, as a client shows them."""
        with self.writer() as writer:
            found = next(one for one in writer.libraries() if one.name == library)
            items = writer.library_items(found, item_type)
        return [item.name for item in sorted(items, key=lambda item: item.sort_name or item.name)]

    def files(self) -> dict[str, tuple[int, int]]:
        """Every file below the root, without its marker, with its inode and time of change."""
        found = {}
        for path in self.root.rglob("*"):
            if (not path.is_dir() or path.is_symlink()) and path.name != MARKER.name:
                status = path.lstat()
                found[path.relative_to(self.root).as_posix()] = (status.st_ino, status.st_mtime_ns)
        return found


@contextmanager
def publishing(
    household: Callable[..., Any], world: World, tmp_path: Path, *, server: str = "jellyfin@10.11.11",
    also: Sequence[str] = (), wait_seconds: float = 20.0, **settings: Any,
) -> Iterator[Publishing]:  # fmt: skip
    """A household that publishes below ``ROOT_ON_SERVER``, which this machine sees under another path.

    Libraries of recommendations are published, and what is in ``also``; the server is waited for so many seconds.
    """
    product, _, version = server.partition("@")
    root = tmp_path / "published"
    root.mkdir(exist_ok=True)
    volumes = {ROOT_ON_SERVER: str(root), **settings.pop("volumes", {})}
    stand_ins: dict[str, Any] = {"volumes": volumes, **settings.pop("stand_ins", {})}
    stand_ins["media_server"] = product
    if version:
        stand_ins["jellyfin_version"] = version
    given = {
        "server": product,
        "publish": True,
        "publish_root": root,
        "path_map": {str(root): ROOT_ON_SERVER},
        "publish_lists": ("recommendation_libraries", *also),
        **settings,
    }
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(polling, "POLL_SECONDS", 0.02)
        patched.setattr(polling, "WAIT_SECONDS", wait_seconds)
        with household(world, stand_ins=SimulatorSettings(**stand_ins), **given) as (simulator, home):
            yield Publishing(simulator, home, root)
