"""What the first syncs of a household read, without Dagster's runs: for tests of what comes after them."""

from __future__ import annotations

from aperture_dagster.catalogue.history.reader import HistoryRead, HistoryReader
from aperture_dagster.catalogue.people import partition_key, who_takes_part
from aperture_dagster.catalogue.server_users import ids_on_server, user_rows
from aperture_dagster.catalogue.servers import MediaServers
from aperture_dagster.catalogue.stored_users import read_users, write_users
from aperture_dagster.partitions import USERS
from aperture_dagster.publishing.copies.originals import record_states
from aperture_dagster_tests.household import Household
from aperture_dagster_tests.shelf import Shelf


def read_server(home: Household, *, histories: bool = False) -> None:
    """Read the users and the catalogue of a media server into an empty home, and if wanted all histories.

    The rows are those of the jobs. The instance gets the users' partitions, but no run and no materialization.
    """
    settings, database = home.settings, home.database
    with MediaServers(settings, database).open() as server:
        page = server.users()
        with database.transaction() as connection:
            rows = user_rows(page, settings, (), known=read_users(connection))
            write_users(connection, rows, still_there=ids_on_server(page), key_for=partition_key)
            taking_part = who_takes_part(settings, read_users(connection))
        home.instance.add_dynamic_partitions(USERS, [user.partition_key for user in taking_part])
        Shelf(database).sync(server)
    if histories:
        read_histories(home)


def read_histories(home: Household, *, full: bool = False) -> dict[str, HistoryRead]:
    """Read what is new of everybody's history, or all of it; return what was read by the name of its user."""
    with MediaServers(home.settings, home.database).open() as server:
        reader = HistoryReader(server, home.database, home.clock, record_states)
        with home.database.transaction() as connection:
            taking_part = who_takes_part(home.settings, read_users(connection))
        return {user.name: reader.read(user, full=full) for user in taking_part}
