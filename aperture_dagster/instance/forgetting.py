"""Forget a user everywhere: on the media server and Trakt, in both databases, and in the files of the home.

What is outside goes first, while everything is known. Then the home notes who is being forgotten
(``maintenance.forgetting``), their rows go in one transaction, and afterwards their names in what Dagster keeps, since
that may have been written until then. What is interrupted is finished by the next call, or by housekeeping.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from zoneinfo import ZoneInfo

import dagster as dg

from aperture_dagster.catalogue.departures import (
    announced_departures,
    describe_departures,
    note_announced,
    note_departures,
    read_departures,
)
from aperture_dagster.catalogue.people import User, users_named, who_takes_part
from aperture_dagster.catalogue.server_users import ids_on_server
from aperture_dagster.catalogue.servers import MediaServers
from aperture_dagster.catalogue.stored_users import read_users
from aperture_dagster.http.errors import ServiceError
from aperture_dagster.imports.uploads import delete_uploads
from aperture_dagster.instance.redact import redact_records
from aperture_dagster.instance.redact_files import redact_files
from aperture_dagster.instance.runs import UNFINISHED, partitions_of_run
from aperture_dagster.maintenance.forgetting import (
    Person,
    StillPlaced,
    count_rows,
    describe_person,
    forget_rows,
    placed_lists,
    read_note,
    write_note,
)
from aperture_dagster.model import Clock
from aperture_dagster.model.errors import OperatorError
from aperture_dagster.partitions import user_partitions
from aperture_dagster.postgres.database import Database
from aperture_dagster.publishing.server.outcomes import explain_failures
from aperture_dagster.publishing.server.publication import Publication
from aperture_dagster.settings import Settings
from aperture_dagster.trakt.accounts import TraktAccounts
from aperture_dagster.trakt.errors import NotConnected

LEASE = "forgetting"
PATIENCE_SECONDS = 60.0


class NotNow(OperatorError):
    """A user cannot be forgotten now; the message says what comes first."""


class TakesPart(NotNow):
    """A user takes part, so that everything would be read again; nothing was deleted."""


@dataclass(frozen=True, slots=True)
class Holdings:
    """What there is of a user.

    Args:
        rows: in the product's database, by table.
        placed: names of what is on the media server for them.
        is_listed: whether the media server has them, so that their name and id come back with the next sync of users.
        settings: names of the settings that name them.
    """

    rows: dict[str, int]
    placed: list[str]
    is_listed: bool
    settings: list[str]


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What went: lists on the media server, rows, records of Dagster and files. ``note``: what is left on Trakt."""

    placed: int = 0
    rows: int = 0
    records: int = 0
    files: int = 0
    note: str | None = field(default=None, kw_only=True)


@dataclass(slots=True)
class Night:
    """What housekeeping did about users who left.

    Args:
        forgotten: how many were forgotten.
        announced: who will be, said for the first time.
        soon: sentences about everybody who will be.
        notes: why somebody was not, or why the day does not count.
    """

    forgotten: int = 0
    announced: list[str] = field(default_factory=list)
    soon: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class Forgetting:
    """Forgets users.

    Args:
        settings: who takes part, and where everything is.
        database: the product's.
        instance: Dagster's.
        clock: the time.
        log: for the operator; it is told names.
    """

    def __init__(
        self, settings: Settings, database: Database, instance: dg.DagsterInstance, clock: Clock, log: logging.Logger
    ) -> None:
        self._settings, self._database, self._instance = settings, database, instance
        self._clock, self._log = clock, log

    def look(self, user: User) -> Holdings:
        """Return what there is of a user.

        Raises:
            TakesPart: they do.
            NotNow: a run serves them, or the media server's answer is not whole.
            ServiceError: whether the media server has them is not known, and matters.
        """
        with self._database.transaction() as connection:
            stored = read_users(connection)
            rows, placed = count_rows(connection, user.user_id), placed_lists(connection, user.user_id)
        is_listed = self._is_listed(user, stored, is_needed=bool(placed))
        self._refuse_runs(user)
        return Holdings(rows, placed, is_listed, self._settings_naming(user, stored))

    def forget(self, user: User) -> Forgotten:
        """Forget a user. Raises as :meth:`look`, and:

        OperatorError: what is on the media server for them could not be taken back; nothing else was deleted.
        ServiceBusy: their ratings are being synced with Trakt.
        """
        with self._exclusively():
            holdings = self.look(user)
            with self._database.transaction() as connection:
                person = describe_person(connection, self._settings, user)
            for before in self.unfinished():
                if before.user_id == user.user_id:
                    # Some of it may be gone from the database since.
                    person = replace(person, names=tuple(dict.fromkeys([*person.names, *before.names])))
            if holdings.placed:
                self._take_back(user)
            note = self._leave_trakt(user)
            write_note(self._settings.home_path, [*self._unfinished(without=user.user_id), person])
            try:
                with self._database.transaction() as connection:
                    rows = forget_rows(connection, person, is_listed=holdings.is_listed)
            except StillPlaced as error:
                write_note(self._settings.home_path, self._unfinished(without=user.user_id))
                raise NotNow(f"A run has published {', '.join(error.names)} meanwhile: repeat this.") from None
            done = self._redact(person)
        return replace(done, placed=len(holdings.placed), rows=rows, note=note)

    def unfinished(self) -> list[Person]:
        """Return who was being forgotten when something interrupted that: their rows may be gone already."""
        return read_note(self._settings.home_path)

    def finish(self, person: Person) -> Forgotten:
        """Finish what was interrupted; somebody who has come back since is left alone. Raises as :meth:`forget`."""
        with self._database.transaction() as connection:
            user = next((user for user in read_users(connection) if user.user_id == person.user_id), None)
        try:
            if user is not None:
                return self.forget(user)
        except TakesPart:
            write_note(self._settings.home_path, self._unfinished(without=person.user_id))
            return Forgotten()
        with self._exclusively():
            return self._redact(person)

    def look_after_departures(self) -> Night:
        """Finish what was interrupted, count a day for those who left, and forget those whose time has come.

        It is said two weeks before. What prevents it once is tried again the next time.
        """
        night, keep = Night(), self._settings.forget_after_days
        for person in self.unfinished():
            self._try(night, lambda person=person: self.finish(person))
        if keep == 0 or self._settings.media_server_url is None:
            return night
        try:
            with MediaServers(self._settings, self._database).open() as server:
                there = ids_on_server(server.users())
        except ServiceError as error:
            night.notes.append(f"Today does not count for users who left: {error}")
            return night
        if not there:
            night.notes.append("Today does not count for users who left: the server's list of users was not whole.")
            return night
        today = self._clock.now().astimezone(ZoneInfo(self._settings.schedule_timezone)).date()
        with self._database.transaction() as connection:
            note_departures(connection, there, today=today)
            new = [departure for departure in read_departures(connection) if departure.is_to_be_announced(keep)]
            note_announced(connection, new)
            due = {departure.user_id for departure, left in announced_departures(connection, keep) if left == 0}
            users = [user for user in read_users(connection) if user.user_id in due]
        for user in users:
            self._try(night, lambda user=user: self._forget_quietly(user))
        with self._database.transaction() as connection:
            night.soon = describe_departures(connection, keep)
            known = {departure.user_id for departure in new}
            night.announced = [
                departure.describe(keep) for departure in read_departures(connection) if departure.user_id in known
            ]
        return night

    def _forget_quietly(self, user: User) -> Forgotten:
        if self._settings.is_quiet(self._clock.now()):
            with self._database.transaction() as connection:
                if placed_lists(connection, user.user_id):
                    raise NotNow("A user who left still has lists on the media server, and these are its quiet hours.")
        return self.forget(user)

    def _try(self, night: Night, forget: Callable[[], Forgotten]) -> None:
        try:
            done = forget()
        except (OperatorError, ServiceError) as error:
            night.notes.append(str(error))
        else:
            night.forgotten += 1
            night.notes += [done.note] if done.note is not None else []

    def _redact(self, person: Person) -> Forgotten:
        """Take the names out of what is left, and then the note away."""
        records, runs = redact_records(self._instance, person)
        files = redact_files(self._settings.home_path, person, gone=runs)
        files += delete_uploads(self._settings.home_path, person.user_id)
        write_note(self._settings.home_path, self._unfinished(without=person.user_id))
        return Forgotten(records=records, files=files)

    def _unfinished(self, *, without: str) -> list[Person]:
        return [person for person in self.unfinished() if person.user_id != without]

    @contextmanager
    def _exclusively(self) -> Iterator[None]:
        try:
            with self._database.lease(LEASE, waiting=lambda seconds: None, patience_seconds=PATIENCE_SECONDS):
                yield
        except TimeoutError:
            raise NotNow("Another process is forgetting somebody: wait until it has ended.") from None

    def _is_listed(self, user: User, stored: list[User], *, is_needed: bool) -> bool:
        """Ask the media server whether it has a user. Somebody who left, and has nothing there, need not be asked for.

        Raises:
            TakesPart: they do.
            NotNow: the server's answer is not whole.
            ServiceError: it does not answer.
        """
        try:
            with MediaServers(self._settings, self._database).open() as server:
                page = server.users()
        except ServiceError:
            if user.gone and not is_needed:
                return False
            raise
        there = ids_on_server(page)
        if not there:
            raise NotNow("The media server's list of users is empty or could not be read: who is there is not known.")
        if user.user_id not in there:
            return False
        disabled = {stored_user.user_id: stored_user.is_disabled for stored_user in page.records}
        now = [
            replace(stored_user, is_disabled=disabled.get(stored_user.user_id, stored_user.is_disabled), gone=False)
            for stored_user in stored
        ]
        if any(stored_user.user_id == user.user_id for stored_user in who_takes_part(self._settings, now)):
            raise TakesPart(
                f"{user.name} is on the media server and takes part, so everything would be read again. Delete or "
                "disable the account there, or name it in APERTURE_EXCLUDE_USERS, and repeat this."
            )
        return True

    def _refuse_runs(self, user: User) -> None:
        partitions = list(dict.fromkeys([*user_partitions(self._instance), user.partition_key]))
        for run in self._instance.get_runs(dg.RunsFilter(statuses=UNFINISHED)):
            if user.partition_key in partitions_of_run(run, partitions):
                raise NotNow(
                    f"A run of {run.job_name} serves {user.name} now ({run.run_id[:8]}): repeat this when it has ended."
                )

    def _settings_naming(self, user: User, stored: list[User]) -> list[str]:
        given = {
            "APERTURE_INCLUDE_USERS": self._settings.include_users,
            "APERTURE_EXCLUDE_USERS": self._settings.exclude_users,
            "APERTURE_USER_EMAILS": tuple(self._settings.user_emails),
        }
        return [
            setting
            for setting, names in given.items()
            if any(
                user.user_id in {stored_user.user_id for stored_user in meant}
                for meant in users_named(stored, names).values()
            )
        ]

    def _take_back(self, user: User) -> None:
        """Remove what is on the media server for a user."""
        with MediaServers(self._settings, self._database).open_writer() as writer:
            publication = Publication(self._settings, self._database, writer, self._clock, self._log)
            published = publication.unpublish(of=user.user_id)
        if failed := explain_failures(published.outcomes):
            raise NotNow(f"{failed} Nothing else of {user.name} was deleted: repeat this when that is put right.")

    def _leave_trakt(self, user: User) -> str | None:
        with suppress(NotConnected):
            return TraktAccounts(self._settings, self._database, self._clock).disconnect(user.user_id)
        return None
