"""A letter a week for members who want one: what is recommended, what is new, and one suggestion."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

import sqlalchemy as sa
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from sqlalchemy import Connection

from aperture_dagster.alerts import Address, Message, Notifier, is_understood
from aperture_dagster.catalogue.people import User
from aperture_dagster.members.choices import is_plain_email
from aperture_dagster.members.visible_titles import titles_in_sight
from aperture_dagster.model import Clock
from aperture_dagster.model.errors import OperatorError
from aperture_dagster.postgres.connection import Cipher, WrongKey
from aperture_dagster.postgres.database import Database
from aperture_dagster.postgres.queries import execute, read_rows, read_value
from aperture_dagster.postgres.tables import Moment, metadata
from aperture_dagster.settings import Settings
from aperture_dagster.settings.home import shown_address
from aperture_dagster.shelves import Card, Shelf, arrived, cards_of, for_you, suggestions, works_of
from aperture_dagster.taste.lists import reason_of
from aperture_dagster.texts import Texts, texts_of

# Which letters were sent.


newsletters = sa.Table(
    "newsletters",
    metadata,
    sa.Column("user_id", sa.Text, sa.ForeignKey("users.user_id"), primary_key=True),
    sa.Column("week", sa.Date, primary_key=True, comment="its Monday, in the operator's time zone"),
    sa.Column("begun_at", Moment, nullable=False, comment="noted before it is sent, so that it is never sent twice"),
    comment="Letters that were sent, or were being sent when the run ended.",
)


# Where a member's letters may go: to an e-mail address, or to a service that the operator uses for alerts, too.
#
# A member's address makes this machine send requests. So it can only be one of a service whose messages go to one
# public host, whatever is in the address, and never one that names a host, such as those of the home network.


MAIL = ("mailto", "mailtos")
PUBLIC = ("discord", "pbul", "pover", "prowl", "slack", "tgram", "wxteams")
"""Schemes of apprise that lead to Discord, Pushbullet, Pushover, Prowl, Slack, Telegram and Webex, and nowhere else."""
# What follows a question mark changes how a message is sent.
_ADDRESS = re.compile(r"(?P<scheme>[a-z]+)://[A-Za-z0-9@:/_.,#%~+-]{1,400}")
_SEALED = "sealed:"


def scheme_of(address: str) -> str:
    """Return the scheme of an address, in lower case."""
    return address.partition("://")[0].lower()


def mail_sender(settings: Settings) -> str | None:
    """Return the operator's address for mail, whose account sends; None if there is none."""
    return next((url for url in settings.alert_addresses if scheme_of(url) in MAIL), None)


def services(settings: Settings) -> list[str]:
    """Return the schemes that members may use; none without a key to encrypt what they enter with."""
    used = {scheme_of(url) for url in settings.alert_addresses}
    return [one for one in PUBLIC if one in used] if settings.secret_key is not None else []


def is_deliverable(address: str, settings: Settings) -> bool:
    """Tell whether letters can be sent to an address in clear."""
    if is_plain_email(address):
        return mail_sender(settings) is not None
    found = _ADDRESS.fullmatch(address)
    return found is not None and found["scheme"] in services(settings) and is_understood(address)


def chosen_address(given: str, stored: str | None, known: str, settings: Settings) -> tuple[bool, str | None]:
    """Return whether letters can be sent to what a member entered, and the address to store.

    None stands for the ``known`` one, which is that of the server or the operator, and may change. What is sent back as
    it was shown stays as it is ``stored``.
    """
    own = unseal(stored, settings) if stored is not None and given == shown(stored, settings) else given
    can_be_sent = is_deliverable(own or known, settings)
    return can_be_sent, _seal(own, settings) if can_be_sent and own not in ("", known) else None


def _seal(address: str, settings: Settings) -> str:
    """Return an address as it is stored: one of a service holds a secret, and is encrypted."""
    if is_plain_email(address) or settings.secret_key is None:
        return address
    return _SEALED + Cipher(settings.secret_key.get_secret_value()).encrypt(address)


def unseal(stored: str, settings: Settings) -> str:
    """Return a stored address in clear; empty if it was encrypted with another key."""
    if not stored.startswith(_SEALED):
        return stored
    try:
        key = settings.secret_key
        return Cipher(key.get_secret_value()).decrypt(stored.removeprefix(_SEALED)) if key is not None else ""
    except WrongKey:
        return ""


def shown(stored: str, settings: Settings) -> str:
    """Return a stored address as it is shown to its owner: of a service, without its secrets."""
    address = unseal(stored, settings)
    return address if is_plain_email(address) or not address else shown_address(address)


# What is in the letter of a member: only titles that they may see by now, in their language.


MOST = {"movie": 5, "series": 2}
MOST_NEW = 5
NEW_FOR = timedelta(days=7)
_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
)


def read_letter(connection: Connection, member: User, settings: Settings, now: datetime, _: Texts) -> list[Shelf]:
    """Return the shelves of a member's letter; those without titles are left out."""
    page = for_you(connection, member, settings, now, _)
    films, series = (
        [card._replace(lines=[reason_of(card.row, _)]) for card in page.listed(media_type)[:most]]
        for media_type, most in MOST.items()
    )
    came = arrived(connection, member, now, _)
    shelves = [
        came._replace(heading=_(came.heading)),
        Shelf(_("Films for you"), films),
        Shelf(_("Series for you"), series),
        Shelf(_("New in the library"), _new_titles(connection, member, now)),
        Shelf(_("Not in the library"), suggestions(connection, member, settings, now, _).listed()[:1]),
    ]
    return [shelf for shelf in shelves if shelf.cards]


def _new_titles(connection: Connection, member: User, now: datetime) -> list[Card]:
    """List what was added within a week, and that the member has not begun: what suits them best comes first."""
    statement = """
        SELECT t.work_id FROM present_titles t
        LEFT JOIN recommendations r ON (r.user_id, r.work_id) = (:user, t.work_id)
        WHERE NOT EXISTS (SELECT 1 FROM watch_state w WHERE (w.user_id, w.work_id) = (:user, t.work_id)
          AND (w.played OR w.play_count > 0 OR w.position_share > 0))
        GROUP BY t.work_id HAVING min(coalesce(t.added_at, t.first_seen_at)) >= :since
        ORDER BY min(r.rank), min(coalesce(t.added_at, t.first_seen_at)) DESC, t.work_id"""
    found = execute(connection, statement, user=member.user_id, since=now - NEW_FOR)
    rows = [{"work_id": work} for work in found.scalars()]
    return cards_of(rows, titles_in_sight(connection, member, works_of(rows)), lambda row: [])[:MOST_NEW]


def write_letter(shelves: Sequence[Shelf], member: User, _: Texts, **links: Any) -> str:
    """Write a letter as HTML. ``links``: ``pages`` of the member, and ``unsubscribe``."""
    return _TEMPLATES.get_template("letter.html").render(shelves=shelves, name=member.name, _=_, **links)


# Send each member's letter once a week, through the operator's own address for mail, or a service of the member's.


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
                # An address of a service that cannot be read, or whose service is gone, is entered again.
                why = ": it is entered again under My taste" if subscriber.address else ""
                raise LetterNotSent(f"{member.name} wants letters, and has no address that they can be sent to{why}.")
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
