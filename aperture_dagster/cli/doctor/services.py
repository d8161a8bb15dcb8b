"""Examine the services that need a key, the embedder, and the addresses for alerts."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from typing import Any

from aperture_dagster.alerts import Notifier
from aperture_dagster.catalogue.people import User, who_takes_part
from aperture_dagster.catalogue.stored_users import read_users
from aperture_dagster.cli.doctor.finding import Finding
from aperture_dagster.discovery.seerr import SEERR, comparable_id, why_not_configured
from aperture_dagster.enrichment.sources import TitleSource
from aperture_dagster.http.errors import QuotaSpent
from aperture_dagster.model import Clock, listed
from aperture_dagster.postgres.database import Database
from aperture_dagster.postgres.errors import DatabaseError
from aperture_dagster.settings import Settings
from aperture_dagster.taste.configured_embedder import Embedders
from aperture_dagster.taste.crowd import count_active_people, crowd_advice, table_in_use
from aperture_dagster.trakt.accounts import TraktAccounts
from aperture_dagster.worklist.services import MeteredService


def examine_title_source(
    source: TitleSource[Any], settings: Settings, database: Database, clock: Clock
) -> Iterator[Finding]:
    """Whether a source accepts the key, and how much of its quota is used."""
    service = MeteredService(source, settings, database, clock)
    if not service.configured:
        yield Finding(source.label, "off", f"{source.key_setting} is not set: {source.without_key}")
        return
    message = f"the key is accepted at {source.url(settings)}"
    try:
        _ask(service)
    except QuotaSpent as error:
        message = str(error).rstrip(".")
    if service.quota is not None:
        # That the database is down is reported already.
        with contextlib.suppress(DatabaseError):
            used, limit = service.quota.usage()
            message += f"; {used:,} of today's {limit:,} requests are used"
    yield Finding(source.label, "ok", message)


def _ask(service: MeteredService[Any]) -> Any:
    """Check a service with one request, without waiting for the run that uses it, and while the database is down."""
    with service.open_without_database() as client:
        return client.check()


def examine_seerr(settings: Settings, database: Database, clock: Clock) -> Iterator[Finding]:
    """Whether Seerr accepts the key, who has no user there, and what the job would do."""
    missing = why_not_configured(settings)
    if missing is not None:
        yield Finding("Seerr", "failed" if settings.requests_per_week else "off", missing)
        return
    version, accounts = _ask(MeteredService(SEERR, settings, database, clock))
    people: list[User] = []
    with contextlib.suppress(DatabaseError), database.transaction() as connection:
        people = who_takes_part(settings, read_users(connection))
    known = Counter(account.server_user_id for account in accounts)
    strangers = [person.name for person in people if not known[comparable_id(person.user_id)]]
    doubled = [person.name for person in people if known[comparable_id(person.user_id)] > 1]
    mode = f"{settings.requests_per_week} a week" if settings.requests_per_week else "off"
    message = f"{version}, the key is accepted, {len(accounts)} users; automatic requests: {mode}"
    if strangers:
        message += f"; without a user there, so nothing can be requested for them: {', '.join(strangers)}"
    if doubled:
        message += f"; with several users there, of which you keep one, or nothing is requested for {listed(doubled)}"
    yield Finding("Seerr", "warning" if strangers or doubled else "ok", message)


def examine_trakt(settings: Settings, database: Database, clock: Clock) -> Iterator[Finding]:
    """Whether Trakt accepts the app, and who must do something about their account."""
    accounts = TraktAccounts(settings, database, clock)
    reason = accounts.why_off()
    if reason is not None:
        yield Finding("Trakt", "off" if settings.trakt_client_id is None else "warning", reason)
        return
    accounts.check_app()
    users = [account for account in accounts.accounts() if not account.gone]
    troubled = [f"{account.name}: {account.state.reason}" for account in users if not account.works]
    # A sync renews it days before it ends.
    troubled += [
        f"{account.name}: access ended on {account.expires_at:%d %b %Y}, and sync_trakt_ratings has not run to renew it"
        for account in users
        if account.works and account.expires_at < clock.now()
    ]
    about = f"the app is accepted at {settings.trakt_url}; {len(users)} users have connected"
    advice = ["`aperture trakt status` says who has to do what"] * bool(troubled)
    yield Finding("Trakt", "warning" if troubled else "ok", "; ".join([about, *troubled, *advice]))


def examine_crowd(settings: Settings, database: Database, clock: Clock) -> Iterator[Finding]:
    """Whether the lists know what other people watched, and whether that would make them better."""
    path = table_in_use(settings)
    if path.exists():
        # pandas and numpy would slow every command down.
        from aperture_dagster.taste.crowd_table import read_table

        header = read_table(path).header
        yield Finding("crowd", "ok", f"lists know what {header.people:,} people of {header.source} watched")
        return
    with database.transaction() as connection:
        advice = crowd_advice(settings, count_active_people(connection, settings, now=clock.now()))
    yield Finding("crowd", "off", advice or "lists are made from what the household itself watches")


def examine_embedder(settings: Settings) -> Iterator[Finding]:
    """Whether the configured embedder turns a text into a vector."""
    embedder = Embedders(settings).get()
    embedding = embedder.embed(["A robot learns to love."])
    if embedding.refused:
        yield Finding("embedder", "failed", embedding.refused[0])
    else:
        yield Finding("embedder", "ok", f"{embedder.name}, {embedding.vectors.shape[1]} dimensions")


def examine_alerts(settings: Settings) -> Iterator[Finding]:
    """Where problems are reported; nothing is sent."""
    addresses = ", ".join(address.shown for address in Notifier(settings).addresses)
    if addresses:
        yield Finding("alerts", "ok", f"{addresses}; `aperture alert test` sends a message to each")
    else:
        log = settings.home_path / "failures.log"
        yield Finding("alerts", "off", f"APERTURE_ALERT_URLS is not set: problems are only logged, in {log}")
