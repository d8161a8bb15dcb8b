"""What members change on their pages: each change is a form that is sent to its path."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response

from aperture_dagster.catalogue.choices import write_choices
from aperture_dagster.catalogue.people import User
from aperture_dagster.discovery.suggestions import dismiss_title, dismissed_titles, undo_dismissal
from aperture_dagster.front_door.choices import chosen_in, offer_to
from aperture_dagster.front_door.content import find_card
from aperture_dagster.model.clock import Clock
from aperture_dagster.postgres.database import Database
from aperture_dagster.ratings.connecting import Connecting
from aperture_dagster.ratings.merge import HIGHEST, LOWEST
from aperture_dagster.ratings.outbox import rate_here
from aperture_dagster.settings import Settings
from aperture_dagster.taste.more_like_this import want_more, want_no_more
from aperture_dagster.texts.translations import Texts, marked

RATINGS = {"": None} | {str(step): step for step in range(LOWEST, HIGHEST + 1)}


@dataclass(frozen=True, slots=True)
class Asked:
    """What a member sent: for one title (0: none), and where they want to be afterwards, a path of ours.

    ``render`` makes a page for them from a template and its values, ``texts`` are in their language.
    """

    member: User
    work_id: int
    form: Mapping[str, str]
    target: str
    settings: Settings
    database: Database
    clock: Clock
    connecting: Connecting
    texts: Texts
    render: Callable[..., Response]

    @property
    def now(self) -> datetime:
        """The time."""
        return self.clock.now()

    def back(self) -> Response:
        """Lead to where they want to be."""
        return RedirectResponse(self.target, 303, {"cache-control": "no-store"})

    def title(self, connection: Connection) -> str:
        """Return what the title is called. Raises HTTPException 404 if it is none that the member could find."""
        card = find_card(connection, self.member, self.settings, self.now, self.work_id)
        if card is None:
            raise HTTPException(404)
        return card.title


def hide(connection: Connection, asked: Asked) -> None:
    """Take a title off all lists of a member."""
    user_id = asked.member.user_id
    if all(row["work_id"] != asked.work_id for row in dismissed_titles(connection, user_id)):
        dismiss_title(connection, user_id, asked.work_id, asked.title(connection), now=asked.now)


def show_again(connection: Connection, asked: Asked) -> None:
    """Take back that a title was hidden."""
    undo_dismissal(connection, asked.member.user_id, asked.work_id)


def rate(connection: Connection, asked: Asked) -> None:
    """Rate a title from 1 to 10, or take the rating back."""
    given = asked.form.get("rating", "?")
    if given not in RATINGS:
        raise HTTPException(400, marked("A rating is a whole number from 1 to 10."))
    asked.title(connection)
    rate_here(connection, asked.member.user_id, asked.work_id, RATINGS[given], now=asked.now)


def follow(connection: Connection, asked: Asked) -> None:
    """Ask for more like a title."""
    want_more(connection, asked.member.user_id, asked.work_id, asked.title(connection), now=asked.now)


def unfollow(connection: Connection, asked: Asked) -> None:
    """Take back that more like a title was asked for."""
    want_no_more(connection, asked.member.user_id, asked.work_id)


def choose(connection: Connection, asked: Asked) -> None:
    """Store what a member chose of what they are offered."""
    offer = offer_to(connection, asked.member, asked.settings)
    if offer is None:
        raise HTTPException(404)
    chosen = chosen_in(asked.form, offer, connection, str(asked.texts.locale))
    write_choices(connection, asked.member.user_id, chosen)


Change = Callable[[Connection, Asked], None]
CHANGES: Mapping[str, Change] = {
    "/not-for-me": hide,
    "/not-for-me/undo": show_again,
    "/rate": rate,
    "/more-like-this": follow,
    "/more-like-this/undo": unfollow,
    "/choices": choose,
}
