"""A household of two, of whom one leaves: nothing of them is left anywhere, and nothing of the other is missing."""

from __future__ import annotations

import json
import logging
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from sqlalchemy import make_url

from aperture_dagster.catalogue.people import User
from aperture_dagster.catalogue.stored_users import read_users
from aperture_dagster.http.errors import ServiceError
from aperture_dagster.imports.uploads import owner_of, uploads_folder
from aperture_dagster.instance import forgetting
from aperture_dagster.maintenance.forgetting import NOTE, user_columns
from aperture_dagster.partitions import PARTITION_TAG
from aperture_dagster.postgres.cluster import embedded_tool
from aperture_dagster.publishing.server.retirement import Retirement
from aperture_dagster.simulator.responses import FaultRule
from aperture_dagster.simulator.world import Play, World, WorldTitle, WorldUser
from aperture_dagster.trakt.accounts import TraktAccounts
from aperture_dagster.trakt.records import parse_tokens
from aperture_dagster_tests.conftest import PROJECT
from aperture_dagster_tests.e2e.commands import run_command
from aperture_dagster_tests.e2e.publishing import READS, Publishing, publishing
from aperture_dagster_tests.e2e.rating import TRAKT
from aperture_dagster_tests.household import Household
from aperture_dagster_tests.killing import Killed, killed_at
from aperture_dagster_tests.sensors.runs import UNFINISHED, add_run
from aperture_dagster_tests.waiting import SECONDS

pytestmark = pytest.mark.e2e

STAYS, LEAVES = "Wilhelmine", "Zoë Quist"
# Those that read and make what is about users, and whether they run for users.
JOBS = {
    "sync_movies": False, "sync_series": False, "sync_watch_history": True, "sync_trakt_ratings": True,
    "generate_embeddings": False, "generate_recommendations": True, "sync_watching_libraries": True,
    "sync_libraries": True, "refresh_household_overview": False, "show_libraries": False, "sync_library_access": False,
}  # fmt: skip
BACKUP = "aperture-backup-2026-01-02.sql.gz"
# What members say on their pages, and what only long use leaves.
CHOICES = (
    "INSERT INTO member_choices (user_id, publish, newsletter, list_name, address) VALUES "
    "(:user, true, false, :name || ' the Second', :name || '@example.org')"
)
SAID = (
    "INSERT INTO sessions SELECT nextval('sessions_session_id_seq'), :user, '', :user, false, '', now(), now(), now()",
    "INSERT INTO departures VALUES (:user, 3, now(), 3)",
    "INSERT INTO newsletters (user_id, week, begun_at) VALUES (:user, '2026-01-05', now())",
    "INSERT INTO api_keys (name, digest, user_id) VALUES ('panel of ' || :name, :name, :user)",
    "INSERT INTO more_like_this SELECT :user, work_id, 'Film', now() FROM works LIMIT 1",
    "INSERT INTO for_later SELECT :user, work_id, 'Film', false, now() FROM works LIMIT 1",
    "INSERT INTO watched_together SELECT :user, work_id, 'Film', now() FROM works LIMIT 1",
    "INSERT INTO evenings (user_id, digest, works, places, created_at, ends_at) "
    "VALUES (:user, md5(:user), '{}', 2, now(), now() + interval '1 hour')",
    "INSERT INTO evening_people SELECT evening_id, :user FROM evenings",
    "INSERT INTO history_imports (user_id, source, file_name, imported_at, shares_ratings) "
    "SELECT :user, 'imdb', :name, now(), false",
    "INSERT INTO seen_elsewhere (user_id, import_id, work_id, title, times, is_liked) SELECT user_id, import_id, "
    "(SELECT min(work_id) FROM works), 'Film', 1, false FROM history_imports WHERE user_id = :user",
    "INSERT INTO dismissals SELECT :user, work_id, media_type, 1, NULL, NULL, 'Film', now() FROM works LIMIT 1",
    "INSERT INTO seerr_requests SELECT :user, work_id, media_type, 1, 'Film', 1, 'sending', NULL, now(), NULL, NULL "
    "FROM works LIMIT 1",
    "INSERT INTO discovery_candidates SELECT :user, media_type, 1, work_id, 1, '{}', '{}', now(), now() FROM works "
    "LIMIT 1 ON CONFLICT DO NOTHING",
    "INSERT INTO past_picks SELECT :user, work_id, now(), now() FROM works LIMIT 1",
    "INSERT INTO rating_changes (user_id, source, work_id, item_id, rating, rated_at) "
    "SELECT :user, 'own', work_id, 0, 7, now() FROM works LIMIT 1",
    "INSERT INTO ratings (user_id, source, work_id, item_id, rating, rated_at) "
    "SELECT :user, 'own', work_id, 0, 7, now() FROM works LIMIT 1 ON CONFLICT DO NOTHING",
    "INSERT INTO rating_outbox (user_id, work_id, rating, rated_at, queued_at, due_at) "
    "SELECT :user, work_id, 7, now(), now(), now() FROM works LIMIT 1 ON CONFLICT DO NOTHING",
    "INSERT INTO trakt_ratings (user_id, work_id, media_type, rating, rated_at) "
    "SELECT :user, work_id, media_type, 7, now() FROM works LIMIT 1 ON CONFLICT DO NOTHING",
    "INSERT INTO rating_removals SELECT :user, work_id, 'here', 3, now(), NULL, NULL FROM works LIMIT 1",
    "INSERT INTO trakt_recommendations VALUES (:user, 'movie', '[]', now()) ON CONFLICT DO NOTHING",
)


@dataclass
class Two:
    """The household, on Dagster's real storage."""

    place: Publishing
    home: Household

    @property
    def ids(self) -> dict[str, str]:
        return {row["name"]: row["user_id"] for row in self.home.rows("SELECT user_id, name FROM users")}

    def users(self) -> list[User]:
        with self.home.database.transaction() as connection:
            return read_users(connection)

    def command(self, *arguments: str, answer: str | None = None) -> Any:
        return run_command(self.home.settings, *arguments, answer=answer, columns=400)

    def rows_of(self, user_id: str) -> dict[str, list[str]]:
        """What each table holds of a user, as text."""
        found: dict[str, list[str]] = {}
        for column in user_columns():
            if column.how != "names":
                statement = f"SELECT t::text AS row FROM {column.table.name} t WHERE position(:id IN t::text) > 0"
                found[column.table.name] = sorted(row["row"] for row in self.home.rows(statement, id=user_id))
        return found

    def dump(self) -> str:
        """Both databases as text."""
        url = make_url(self.home.settings.database_url.get_secret_value())  # type: ignore[union-attr]
        texts = []
        for name in (url.database, f"{url.database}_dagster"):
            whole = url.set(drivername="postgresql", database=name).render_as_string(hide_password=False)
            done = subprocess.run(
                [embedded_tool("pg_dump"), whole], capture_output=True, text=True, check=True, timeout=SECONDS
            )
            texts.append(done.stdout)
        return "\n".join(texts)

    def upload(self, user_id: str) -> Path:
        """Leave a file in the home that a user has uploaded, and not decided about."""
        path = uploads_folder(self.home.settings.home_path) / f"{owner_of(user_id)}.{'0' * 32}" / "ratings.csv"
        path.parent.mkdir(parents=True)
        path.write_text("Const\n")
        return path

    def traces(self, *names: str) -> list[str]:
        """Where any of these texts is: in databases, in files of the home and in what is published."""
        spelled = {spelling for one in names for spelling in (one, json.dumps(one)[1:-1])}
        found = [line[:300] for line in self.dump().splitlines() if any(one in line for one in spelled)]
        for path in [*self.home.settings.home_path.rglob("*"), *self.place.root.rglob("*")]:
            content = path.read_bytes() if path.is_file() else b""
            if any(one in str(path) or one.encode() in content for one in spelled):
                found.append(str(path))
        return found


@contextmanager
def two(household: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Two]:
    films = [
        WorldTitle(f"movie:{n}", "movie", f"Film {n}", 2000 + n, tmdb_id=1000 + n, official_rating="PG")
        for n in range(1, 9)
    ]
    now = datetime.now(UTC).replace(microsecond=0)
    show = WorldTitle("series:900", "series", "Show", 2010, tmdb_id=5000, episodes_per_season=(3,), status="Continuing")
    users = [WorldUser(STAYS, is_administrator=True), WorldUser(LEAVES)]
    plays = [Play(user.name, f"movie:{n}", now - timedelta(days=n)) for user in users for n in (1, 2, 3)]
    plays += [
        Play(user.name, show.key, now - timedelta(days=3 - one), season=1, episode=one)
        for user in users
        for one in (1, 2)
    ]
    world = World("a home", [*films, show], users=users, plays=plays)
    also = ("recommendation_playlists", "shows_you_watch_libraries", "for_later_playlists")
    with publishing(household, world, tmp_path, also=also, **TRAKT) as place:
        settings = place.home.settings
        place.use(settings.model_copy(update={"trakt_url": place.simulator.trakt_url}))
        assert settings.database_url is not None
        for name, value in {
            "APERTURE_DATABASE_URL": settings.database_url.get_secret_value(),
            "APERTURE_HOME": str(settings.home_path),
            "DAGSTER_HOME": str(PROJECT),
        }.items():
            monkeypatch.setenv(name, value)
        with dg.DagsterInstance.get() as instance:
            place.home = Household(place.home.settings, instance)
            yield Two(place, place.home)


def live(home: Two) -> None:
    """A while of life: every job for both, one for each, a failure, what both said, and a log."""
    house = home.home
    house.must("sync_users")
    accounts = TraktAccounts(house.settings, house.database, house.clock)
    for name, user_id in home.ids.items():
        accounts.connect(user_id, parse_tokens(home.place.state.trakt_connect(name), house.clock.now()))
        house.rows(f"{CHOICES} RETURNING 1", user=user_id, name=name)
    for job, per_user in JOBS.items():
        house.must(job, users=house.everyone() if per_user else None)
    for name, user_id in home.ids.items():
        for statement in SAID:
            house.rows(f"{statement} RETURNING 1", user=user_id, name=name)
        house.must("sync_watch_history", users=[house.value("SELECT partition_key FROM users WHERE name = :n", n=name)])
    # What the first publication had to leave to the second.
    house.must("sync_libraries", users=house.everyone())
    house.rows("UPDATE users SET former_names = '{Zoe Miller}' WHERE name = :name RETURNING 1", name=LEAVES)
    (house.settings.home_path / "failures.log").write_text(f"{STAYS} is well.\n{LEAVES} could not be read.\n")
    (house.settings.home_path / "backups").mkdir(exist_ok=True)
    (house.settings.home_path / "backups" / BACKUP).write_bytes(b"not read")


def events(home: Household) -> int:
    """Read everything that Dagster has, as the UI would; return how many events there are."""
    count = sum(len(home.instance.all_logs(run.run_id)) for run in home.instance.get_runs())
    for key in home.instance.get_asset_keys():
        home.instance.get_latest_materialization_event(key)
        (record,) = home.instance.get_asset_records([key])
        assert record.asset_entry.last_materialization is not None
    return count


def test_who_is_disabled_on_the_server_keeps_what_the_server_needs_and_can_come_back(household: Any, tmp_path: Path):
    films = [WorldTitle(f"movie:{n}", "movie", f"Film {n}", 2000, tmdb_id=n, official_rating="PG") for n in range(1, 5)]
    users = [WorldUser(STAYS, is_administrator=True), WorldUser(LEAVES)]
    with publishing(household, World("a home", films, users=users), tmp_path, after=READS) as place:
        home = Two(place, place.home)
        for name in (STAYS, LEAVES):
            place.recommend(name, "Film 1", "Film 2")
        place.publish_now()
        place.state.change_user(LEAVES, is_disabled=True)
        gone, policies = home.ids[LEAVES], home.place.users()[home.ids[LEAVES]]["Policy"]
        assert len(home.rows_of(gone)["library_lists"]) == 1 and home.rows_of(gone)["recommendations"]
        forgetting_them = forgetting.Forgetting(
            home.home.settings, home.home.database, home.home.instance, home.home.clock, logging.getLogger("test")
        )
        user = next(one for one in home.users() if one.name == LEAVES)

        place.state.add_fault(FaultRule("jellyfin", "/Users"))
        with pytest.raises(ServiceError):
            forgetting_them.forget(user)
        assert home.rows_of(gone)["recommendations"], "whether they take part is not known"
        place.state.clear_faults()

        run = add_run(home.home.instance, "first_list", UNFINISHED[-1], **{PARTITION_TAG: user.partition_key})
        with pytest.raises(forgetting.NotNow, match="serves Zoë Quist now"):
            forgetting_them.forget(user)
        home.home.instance.report_run_canceled(run)

        done = forgetting_them.forget(user)
        assert done.placed == 1 and f"{LEAVES}'s AI Picks - Movies" not in place.libraries()
        left = {table: rows for table, rows in home.rows_of(gone).items() if rows}
        assert set(left) == {"library_lists"} and home.home.value("SELECT count(*) FROM users") == 2
        # Their own list of libraries is as before, without the one that went.
        after = home.place.users()[gone]["Policy"]
        assert len(after["EnabledFolders"]) == len(policies["EnabledFolders"]) - 1
        assert after["EnableAllFolders"] is False, "the other's libraries are kept from them still"
        place.publish_now()
        with place.publication() as publication:
            publication.unpublish()
        assert home.place.users()[gone]["Policy"]["EnableAllFolders"] is True


def killed(home: Two, owner: Any, name: str, step: int) -> None:
    """Forget, and be killed before a step, or right after it."""
    with killed_at([(owner, name)], step), pytest.raises(Killed):
        result = home.command("forget", LEAVES, "--yes")
        raise result.exception or AssertionError(result.output)


@pytest.mark.nightly(
    reason="A whole cycle, and every table.",
    instead="maintenance/test_forgetting.py",
)
def test_nothing_of_who_left_is_left_and_nothing_of_the_other_is_missing(
    household: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with two(household, tmp_path, monkeypatch) as home:
        live(home)
        gone, other = home.ids[LEAVES], home.ids[STAYS]
        names = (gone, LEAVES, "Zoë-Quist", "Quist", "Zoe Miller", f"{LEAVES}@example.org")
        before = home.rows_of(gone)
        assert not [table for table, rows in before.items() if not rows], "each table must hold something of them"
        assert len(home.traces(*names)) > 100

        # Nothing is deleted by mistake.
        refused = home.command("forget", LEAVES, "--yes")
        assert refused.exit_code == 1 and "takes part, so everything would be read again" in refused.output
        unknown = home.command("forget", "Zoe Quit", "--yes")
        assert unknown.exit_code == 1 and f"Did you mean {LEAVES}?" in unknown.output
        home.place.state.remove_user(LEAVES)
        shown = home.command("forget", LEAVES, answer="n\n")
        assert shown.exit_code == 1 and f"{LEAVES}'s AI Picks - Movies" not in shown.output
        assert f"{LEAVES} the Second's AI Picks - Movies" in shown.output and "5 plays" in shown.output
        assert home.rows_of(gone) == before

        uploads = {user: home.upload(user) for user in (gone, other)}
        kept = home.rows_of(other)
        libraries, files = home.place.libraries(), home.place.files()
        own = {name for name in libraries if LEAVES in name}
        assert len(own) == 2 and len({name for name in libraries if STAYS in name}) == 2

        killed(home, Retirement, "remove_files", 1)
        assert home.rows_of(gone)["plays"] == before["plays"], "outside comes first"
        killed(home, forgetting, "forget_rows", 2)
        assert home.rows_of(gone)["plays"] == before["plays"], "all rows go together"
        killed(home, forgetting, "redact_records", 1)
        assert not any(home.rows_of(gone).values()) and (home.home.settings.home_path / NOTE).exists()
        killed(home, forgetting, "redact_files", 1)
        done = home.command("forget", "zoe miller", "--yes")
        assert done.exit_code == 0 and f"{LEAVES} is forgotten" in done.output, done.output
        assert BACKUP in done.output and "After a restore of one of them, run this again" in done.output
        assert home.traces(*names) == []
        assert f"No user is called {LEAVES!r}" in home.command("forget", LEAVES).output
        assert not uploads[gone].parent.exists() and uploads[other].exists(), "a file that waits to be imported"

        # The other has all that they had, and goes on.
        assert home.rows_of(other) == kept
        assert set(libraries) - set(home.place.libraries()) == own
        after = home.place.files()
        assert after == {path: files[path] for path in after} and 0 < len(after) < len(files)
        book = home.place.state.trakt
        revoked = {name: book.sessions_of(book.accounts[name])[-1].is_access_void for name in (STAYS, LEAVES)}
        assert revoked == {STAYS: False, LEAVES: True}
        assert STAYS in (home.home.settings.home_path / "failures.log").read_text()
        assert events(home.home) > 100 and home.home.everyone() == [STAYS]
        house = home.home
        house.must("sync_users")
        house.must("sync_watch_history", users=house.everyone())
        home.place.state.reset_counters()
        house.must("sync_libraries", users=house.everyone())
        assert home.place.changes() == 0 and home.traces(*names) == []
