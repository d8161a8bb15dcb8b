"""Send each member's letter once a week, through the operator's own address for mail, or a service of the member's."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from urllib.parse import parse_qsl, quote, urlencode

from sqlalchemy import Connection

from aperture_dagster.alerts.rules import Address, Message, Notifier
from aperture_dagster.catalogue.choices import is_plain_email
from aperture_dagster.catalogue.people import User
from aperture_dagster.model.clock import Clock
from aperture_dagster.model.errors import OperatorError
from aperture_dagster.newsletter.addresses import PUBLIC, is_deliverable, mail_sender, services, unseal
from aperture_dagster.newsletter.letter import read_letter, write_letter
from aperture_dagster.postgres.database import Database
from aperture_dagster.postgres.queries import execute, read_rows, read_value
from aperture_dagster.settings import Settings
from aperture_dagster.texts.translations import texts_of

# Of the operator's address: whom it writes to, and in which form.
_REPLACED = frozenset({"to", "cc", "bcc", "format", "reply"})


class LetterNotSent(OperatorError):
    """A letter could not be sent; the next run tries again."""


@dataclass(frozen=True, slots=True)
class Subscriber:
    """A member who wants letters."""

    key: str = field(repr=False)
    address: str | None = field(repr=False)
    language: str | None


def why_no_newsletter(settings: Settings) -> str | None:
    """Return why nobody can get a newsletter; None if members can."""
    if settings.schedules.get("send_newsletters") == "off":
        return "send_newsletters is off in APERTURE_SCHEDULES."
    if mail_sender(settings) is None and not services(settings):
        return (
            "Newsletters need an address in APERTURE_ALERT_URLS: for mail, mailto:// or mailtos://, or of one of these "
            f"services, together with APERTURE_SECRET_KEY: {', '.join(PUBLIC)}."
        )
    if settings.alert_ui_url is None:
        return "Newsletters need APERTURE_ALERT_UI_URL, since each holds a link that ends them."
    return None


def mail_url(sender: str, to: str, unsubscribe: str) -> str:
    """Return the address at which apprise writes to a member, with the operator's account for mail.

    Whom the operator's address writes to is left out, so that nobody else gets a copy.
    """
    base, _, query = sender.partition("?")
    scheme, _, rest = base.partition("://")
    kept = [
        (name, value)
        for name, value in parse_qsl(query, keep_blank_values=True)
        if name.lower() not in _REPLACED and name[:1] not in ("+", " ", "-", ":")
    ]
    given = urlencode([*kept, ("to", to), ("format", "html")], quote_via=quote)
    # RFC 8058: programs for mail offer to end the letters with one click.
    link = quote(f"<{unsubscribe}>", safe="")
    one_click = quote("List-Unsubscribe=One-Click", safe="")
    return f"{scheme}://{rest.partition('/')[0]}?{given}&+List-Unsubscribe={link}&+List-Unsubscribe-Post={one_click}"


def pages_url(settings: Settings) -> str:
    """Return the address of the members' pages, which are beside the operator's UI."""
    return (settings.alert_ui_url or "").rstrip("/").removesuffix("/operate")


class Newsletters:
    """Sends letters.

    Args:
        settings: from which account, and with which links.
        database: who wants letters, and what is in them.
        clock: the time.
    """

    def __init__(self, settings: Settings, database: Database, clock: Clock) -> None:
        self._settings, self._database, self._clock = settings, database, clock
        self._notifier = Notifier(settings)

    def send(self, member: User, today: date) -> str:
        """Send a member the letter of this week, unless it was; return what was done, without titles or addresses.

        A letter is noted before it is sent. A run that is killed in between does not send it again, since it may have
        left. If sending failed, the note goes, and the next run tries again.

        Raises:
            LetterNotSent: the address is missing, or the mail server refused.
        """
        now, week = self._clock.now(), today - timedelta(days=today.weekday())
        with self._database.transaction() as connection:
            subscriber = read_subscriber(connection, member.user_id)
            if subscriber is None:
                return "not wanted"
            address = unseal(subscriber.address or "", self._settings)
            if not is_deliverable(address, self._settings):
                raise LetterNotSent(f"{member.name} wants letters, and has no address that they can be sent to.")
            _ = texts_of(subscriber.language)
            shelves = read_letter(connection, member, self._settings, now, _)
            if not shelves:
                return "nothing to tell"
            if not note_letter(connection, member.user_id, week, now=now):
                return "sent before"
        pages = pages_url(self._settings)
        link = f"{pages}/unsubscribe/{subscriber.key}"
        html = write_letter(shelves, member, _, pages=f"{pages}/", unsubscribe=link)
        # The title holds nothing of the member's, who could put a header into it.
        message = Message(_("Your week on the media server"), html, is_good=True, is_html=True)
        sender = mail_sender(self._settings)
        url = mail_url(sender, address, link) if sender is not None and is_plain_email(address) else address
        reason = self._notifier.send(Address("", "", url), message)
        if reason is not None:
            with self._database.transaction() as connection:
                forget_letter(connection, member.user_id, week)
            for secret in (address, quote(address), subscriber.key):
                reason = reason.replace(secret, "…")
            raise LetterNotSent(f"{member.name}'s letter was not sent: {reason}. The next run tries again.")
        return "sent"


def read_subscriber(connection: Connection, user_id: str) -> Subscriber | None:
    """Read how a member gets letters; None if they want none. Their own address comes before the known one."""
    statement = """
        SELECT c.unsubscribe_key AS key, coalesce(c.address, u.email) AS address, c.language
        FROM member_choices c JOIN users u USING (user_id) WHERE c.user_id = :user AND c.newsletter"""
    return next((Subscriber(**row) for row in read_rows(connection, statement, user=user_id)), None)


def note_letter(connection: Connection, user_id: str, week: date, *, now: datetime) -> bool:
    """Note that the letter of a week is being sent; False if it, or that of a later week, was. Commit before sending.

    After a clock that was ahead, nothing is sent until that week has come.
    """
    statement = """
        INSERT INTO newsletters (user_id, week, begun_at) SELECT :user, :week, :now
        WHERE NOT EXISTS (SELECT 1 FROM newsletters WHERE user_id = :user AND week > :week)
        ON CONFLICT DO NOTHING RETURNING true"""
    return bool(read_value(connection, statement, user=user_id, week=week, now=now))


def forget_letter(connection: Connection, user_id: str, week: date) -> None:
    """Take back the note of a letter that certainly did not leave."""
    execute(connection, "DELETE FROM newsletters WHERE (user_id, week) = (:user, :week)", user=user_id, week=week)


def unsubscribe(connection: Connection, key: str) -> None:
    """End the letters of whoever has this key, if anybody has."""
    statement = "UPDATE member_choices SET newsletter = false, updated_at = now() WHERE unsubscribe_key = :key"
    execute(connection, statement, key=key)
