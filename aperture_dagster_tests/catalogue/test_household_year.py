"""Simulate a household for a long time: the log of plays must be correct, whatever happens to the library."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import text

from aperture_dagster.catalogue.stored_users import write_users
from aperture_dagster.postgres.database import Database
from aperture_dagster.settings import Settings
from aperture_dagster.taste.histories import read_histories
from aperture_dagster_tests.catalogue.household import (
    DAY,
    FILMS,
    LIBRARIES,
    UHD,
    USERS,
    File,
    Home,
    Server,
    Subject,
    has_no_ids,
    name_of,
)
from aperture_dagster_tests.shelf import user_row

LOG = (
    "SELECT p.user_id, p.played_at, p.play_count, p.completion, p.is_episode, w.tmdb_id, t.title, e.season, e.number "
    "FROM plays p JOIN works w USING (work_id) LEFT JOIN episodes e USING (item_id) "
    "LEFT JOIN titles t ON t.item_id = p.item_id"
)
KNOWN = (
    "SELECT server_item_id, title, NULL::int AS season, NULL::int AS number FROM titles UNION "
    "SELECT e.server_item_id, s.title, e.season, e.number FROM episodes e "
    "JOIN titles s ON s.item_id = e.series_item_id UNION "
    "SELECT server_item_id, NULL, NULL, NULL FROM item_versions"
)
EMPTY = "TRUNCATE users, works, titles, episodes, item_versions, libraries, fetches CASCADE"

Line = tuple[str, Subject, Any, int, float]


class Year(RuleBasedStateMachine):
    """Random changes of a library and its server, while users watch and syncs run."""

    def __init__(self, database: Database, settings: Settings) -> None:
        super().__init__()
        self.database, self.settings = database, settings
        with database.transaction() as connection:
            connection.execute(text(EMPTY))
            write_users(connection, map(user_row, USERS), still_there=USERS, key_for=lambda name, *_: name)
        # The expected log, and its rows that could not be synced yet, with the played file.
        self.expected: Counter[Line] = Counter()
        self.waiting: dict[tuple[str, Subject], tuple[Line, File]] = {}

    @initialize(shares_state=st.booleans())
    def move_in(self, shares_state: bool) -> None:
        self.server = Server(shares_state)
        self.home = Home(self.database, self.settings, self.server)
        self.home.sync_catalogue()
        for user in USERS:
            self.home.read_history(user)

    # Users

    @rule(user=st.sampled_from(USERS), which=st.integers(0, 10**6), share=st.sampled_from([1.0, 1.0, 1.0, 0.4]))
    def watch(self, user: str, which: int, share: float) -> None:
        files = [
            one
            for one in self.server.files
            if one.is_available and one.subject[0] != "series" and (user, one.subject) not in self.waiting
        ]
        if not files:
            return
        file = files[which % len(files)]
        self.home.now += timedelta(hours=2)
        self.server.play(user, file, self.home.now, share)
        line = (user, file.subject, self.home.now, int(share >= 1), share)
        self.expected[line] += 1
        self.waiting[user, file.subject] = line, file
        self.home.now += timedelta(minutes=5)
        self.home.read_history(user)
        if self.known(file):
            del self.waiting[user, file.subject]

    def known(self, file: File) -> bool:
        """Return whether the catalogue has the file under its current server id."""
        current = (file.server_id, name_of(file.series or file), *(file.subject[2:] or (None, None)))
        with self.database.transaction() as connection:
            known = {tuple(row) for row in connection.execute(text(KNOWN))}
        return current in known or (file.server_id, None, None, None) in known

    # Changes of the library and the server

    @rule(which=st.integers(0, 10**6))
    def a_file_leaves(self, which: int) -> None:
        files = [one for one in self.server.files if one.present]
        if len(files) > 4:
            files[which % len(files)].present = False

    @rule(which=st.integers(0, 10**6), under_a_new_id=st.booleans())
    def a_file_returns(self, which: int, under_a_new_id: bool) -> None:
        files = [one for one in self.server.files if not one.present]
        if files:
            file = files[which % len(files)]
            file.present = True
            if under_a_new_id:
                for one in self.server.files:
                    if one is file or one.series is file:
                        one.server_id = self.server.fresh_id()

    @rule(days=st.sampled_from([1, 7, 40, 40]))
    def time_passes(self, days: int) -> None:
        self.home.now += days * DAY
        with self.database.transaction() as connection:
            for table in ("titles", "episodes"):
                connection.execute(
                    text(f"UPDATE {table} SET removed_at = removed_at - make_interval(days => :days)"), {"days": days}
                )

    @rule(which=st.integers(0, 10**6), under_a_new_id=st.booleans())
    def a_file_is_away_for_forty_days(self, which: int, under_a_new_id: bool) -> None:
        files = [one for one in self.server.files if one.is_available]
        if len(files) > 4:
            file = files[which % len(files)]
            self.full_sync()
            file.present = False
            for _ in range(2):
                self.full_sync()
                self.time_passes(40)
            file.present = True
            if under_a_new_id:
                file.server_id = self.server.fresh_id()
            self.full_sync()
            self.full_history_sync()

    @rule(library=st.sampled_from(LIBRARIES))
    def a_library_is_excluded_for_forty_days(self, library: Any) -> None:
        self.full_sync()
        self.home.excluded.add(library)
        for _ in range(2):
            self.full_sync()
            self.time_passes(40)
        self.home.excluded.clear()
        self.full_sync()
        self.full_history_sync()

    @rule(library=st.sampled_from(LIBRARIES))
    def the_operator_excludes_a_library(self, library: Any) -> None:
        self.home.excluded.add(library)

    @rule()
    def the_operator_includes_all_libraries(self) -> None:
        self.home.excluded.clear()

    @rule(every=st.sampled_from([1, 2, 3]))
    def ids_rotate(self, every: int) -> None:
        for file in self.server.files[::every]:
            file.server_id = self.server.fresh_id()

    @rule(by=st.integers(1, 5))
    def ids_are_reassigned(self, by: int) -> None:
        """Reassign ids, like an Emby server whose database was rebuilt."""
        ids = [file.server_id for file in self.server.files]
        for place, file in enumerate(self.server.files):
            file.server_id = ids[(place + by) % len(ids)]
        if self.server.groups_versions:
            # Jellyfin does not reuse ids. Without a sync, reused ids of versions could not be detected.
            self.home.excluded.clear()
            self.home.sync_catalogue()

    @rule(which=st.integers(0, 10**6), library=st.sampled_from([FILMS, UHD]))
    def a_copy_appears(self, which: int, library: Any) -> None:
        films = [one for one in self.server.files if one.subject[0] == "film" and not has_no_ids(one.subject)]
        if len(films) < 20:
            self.server.add(films[which % len(films)].subject, library)

    @rule(which=st.integers(0, 10**6), new_id=st.booleans())
    def a_film_moves_to_the_other_library(self, which: int, new_id: bool) -> None:
        films = [one for one in self.server.files if one.subject[0] == "film" and not has_no_ids(one.subject)]
        file = films[which % len(films)]
        file.library = UHD if file.library == FILMS else FILMS
        file.path = f"{file.path}-moved"
        if new_id:
            file.server_id = self.server.fresh_id()

    @precondition(lambda self: not self.server.groups_versions)
    @rule()
    def the_server_is_updated_and_groups_versions(self) -> None:
        self.server.groups_versions = True

    # Syncs

    @rule()
    def full_sync(self) -> None:
        self.home.sync_catalogue()

    @rule(
        cut=st.dictionaries(st.sampled_from(LIBRARIES), st.floats(0, 1), max_size=3),
        unreadable=st.sets(st.integers(0, 15), max_size=3),
    )
    def partial_sync(self, cut: Any, unreadable: set[int]) -> None:
        """Files that exist but were not read keep their items, even if copies of them were read."""
        files = [one for number, one in enumerate(self.server.files) if number in unreadable and one.is_available]
        self.read(cut, files)

    def read(self, cut: dict[Any, float], files: list[File]) -> None:
        before = self.items()
        self.home.sync_catalogue(cut=cut, unreadable=files)
        unread = {one.path for one in files}
        unread |= {one.path for one in self.server.files if one.is_available and one.library in self.home.excluded}
        for library, share in cut.items():
            for kind in ("film", "series", "episode"):
                listed = self.server.listed(library, kind)
                unread |= {one.path for one in listed[int(len(listed) * share) :]}
        assert {pair for pair in before if pair[0] in unread} <= self.items()

    def items(self) -> set[tuple[str, int]]:
        """Return the path and item id of every item ever seen."""
        statement = "SELECT path, item_id FROM titles UNION SELECT path, item_id FROM episodes"
        with self.database.transaction() as connection:
            return {(row.path, row.item_id) for row in connection.execute(text(statement))}

    @rule(which=st.integers(0, 10**6), how=st.sampled_from(["unreadable", "cut short", "excluded"]))
    def a_copy_appears_while_the_original_is_not_read(self, which: int, how: str) -> None:
        films = [
            one
            for one in self.server.files
            if one.is_available
            and one.subject[0] == "film"
            and not has_no_ids(one.subject)
            and len(self.server.files) < 40
        ]
        if films:
            film = films[which % len(films)]
            self.server.add(film.subject, UHD if film.library == FILMS else FILMS)
            if how == "excluded":
                self.home.excluded = {film.library}
            self.read({film.library: 0.0} if how == "cut short" else {}, [film] if how == "unreadable" else [])

    @rule()
    def full_history_sync(self) -> None:
        self.home.now += timedelta(hours=1)
        for user in USERS:
            self.home.read_history(user, full=True)
        for key, (_, played) in list(self.waiting.items()):
            copies = [
                one
                for one in self.server.files
                if one.is_available and (one.subject == played.subject if self.server.shares_state else one is played)
            ]
            if copies and all(map(self.known, copies)):
                del self.waiting[key]

    # Invariants

    def log(self) -> Counter[Line]:
        with self.database.transaction() as connection:
            rows = connection.execute(text(LOG)).all()
        lines: Counter[Line] = Counter()
        for row in rows:
            if row.is_episode:
                subject: Subject = ("episode", row.tmdb_id - 100, row.season, row.number)
            else:
                subject = ("film", int(row.title.split()[1]))
                assert row.tmdb_id in (None, 100 + subject[1])
            lines[row.user_id, subject, row.played_at, row.play_count, round(row.completion, 3)] += 1
        return lines

    @invariant()
    def the_log_has_every_synced_play_once(self) -> None:
        if not hasattr(self, "home"):
            return
        log = self.log()
        assert not log - self.expected, "the log has a play that did not happen, or one twice"
        assert self.expected - log <= Counter(line for line, _ in self.waiting.values()), (
            "a play of a known item is missing from the log"
        )

    def teardown(self) -> None:
        """Restore all files, sync everything, and compare the complete log and the histories."""
        if not hasattr(self, "home"):
            return
        for file in self.server.files:
            file.present = True
        self.home.excluded.clear()
        self.home.now += 2 * DAY
        self.home.sync_catalogue()
        for user in USERS:
            self.home.read_history(user)
        assert self.log() == self.expected
        self._check_histories()

    def _check_histories(self) -> None:
        with self.database.transaction() as connection:
            frame = read_histories(connection)
        watched: Counter[tuple[str, str]] = Counter()
        for user, subject, _, count, _ in self.expected:
            watched[user, str(subject[1]) if subject[0] == "film" else f"series {subject[1]}"] += count
        total = sum(watched.values())
        assert frame["plays"].sum() <= total
        if self.server.shares_state:
            assert frame["plays"].sum() == total
        episodes = {line[:2] for line in self.expected if line[1][0] == "episode"}
        assert frame["episodes_played"].sum() == len(episodes)


def test_the_log_of_plays_is_correct_after_random_changes_of_the_library(
    database: Database, make_settings: Callable[..., Settings]
):
    """Run a fixed, shorter simulation, or as many random ones as ``HOUSEHOLD_YEARS`` says."""
    years = os.environ.get("HOUSEHOLD_YEARS")
    run_state_machine_as_test(
        lambda: Year(database, make_settings()),
        settings=settings(
            max_examples=int(years or 1),
            stateful_step_count=40 if years else 30,
            suppress_health_check=list(HealthCheck),
        ),
    )
