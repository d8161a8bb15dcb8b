"""Who is here tonight, and what suits all of them: read from the whole list of each, and asked anew who may see it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice

from sqlalchemy import Connection

from aperture_dagster.catalogue.people import User, who_takes_part
from aperture_dagster.catalogue.stored_users import read_users
from aperture_dagster.evening.together import Level, Person, Pick, for_all, ranked_together
from aperture_dagster.evening.tonight import SHOWN, facts_line
from aperture_dagster.members.visible_titles import VisibleTitle, titles_in_sight
from aperture_dagster.members.watched_together import who_joins
from aperture_dagster.settings import Settings
from aperture_dagster.shelves import LABELS, Page, Shelf, cards_of
from aperture_dagster.taste.whole_lists import facts_of, scores_of, unwanted_works
from aperture_dagster.texts import Texts, marked

NAMES = ("with", "guest", "seen")
"""Parameters of an address."""
GUEST_AGES = ("6", "12", "16")
MOST_PEOPLE = 12
CHUNK = 200
ODD = marked("Part of this address means nothing here, or names somebody who cannot be counted in, and was ignored.")
SUITS: Mapping[Level, str] = {
    "very well": marked("Suits %(names)s very well"), "well": marked("Suits %(names)s"),
    "all right": marked("All right for %(names)s"),
}  # fmt: skip
WATCHED = ("/together/watched", marked("We watched this"))


@dataclass(frozen=True, slots=True)
class Company:
    """Who is here: the one who asks first; ``guest_age``: the limit of a guest without an account."""

    people: Sequence[User]
    guest_age: int | None = None
    seen_by_some: bool = False
    is_odd: bool = False

    @property
    def limits(self) -> list[int | None]:
        """The parental limits of all."""
        return [*(person.max_parental_rating for person in self.people), self.guest_age]


@dataclass(frozen=True, slots=True)
class TogetherPage(Page):
    """What suits all; ``others`` can be counted in: their keys, names, and whether they are here."""

    company: Company | None = None
    others: Sequence[tuple[str, str, bool]] = field(default_factory=tuple)

    def here(self) -> str:
        """Return the keys of the others who are here, for the forms of the page; none has a space."""
        return " ".join(key for key, _, is_here in self.others if is_here)


def who_may_be_here(connection: Connection, viewer: User, settings: Settings, *, everybody: bool = False) -> list[User]:
    """Return the other members who let others count them in; ``everybody``: without having said so, as in a demo."""
    joining = who_joins(connection)
    people = who_takes_part(settings, read_users(connection))
    others = [one for one in people if one.user_id != viewer.user_id and (everybody or one.user_id in joining)]
    return sorted(others, key=lambda user: user.name.casefold())


def parse_company(viewer: User, others: Sequence[User], pairs: Iterable[tuple[str, str]]) -> Company:
    """Read who is here from the parameters of an address; what means nothing is left out."""
    known = {user.partition_key: user for user in others}
    here: dict[str, User] = {}
    guest, seen, is_odd = None, False, False
    for name, value in pairs:
        if name not in NAMES or not value:
            continue
        if name == "with" and value in known and len(here) < MOST_PEOPLE - 1:
            here[value] = known[value]
        elif name == "guest" and value in GUEST_AGES:
            guest = int(value)
        elif name == "seen" and value == "some":
            seen = True
        else:
            is_odd = True
    return Company([viewer, *here.values()], guest, seen, is_odd)


def together(
    connection: Connection,
    viewer: User,
    settings: Settings,
    now: datetime,
    _: Texts,
    asked: Iterable[tuple[str, str]] = (),
    *,
    everybody: bool = False,
) -> TogetherPage:
    """Return what suits a member and those whom an address counts in, with how it suits each of them."""
    others = who_may_be_here(connection, viewer, settings, everybody=everybody)
    company = parse_company(viewer, others, asked)
    shelves: list[Shelf] = []
    if len(company.people) > 1 or company.guest_age is not None:
        found = picks_for(connection, company)
        facts = facts_of(connection, [pick.work_id for picks, _visible in found.values() for pick in picks])
        for media_type, (picks, visible) in found.items():
            rows = [{**facts[pick.work_id], "suits": pick.suits} for pick in picks]
            cards = cards_of(rows, visible, lambda row: [*suits_lines(row["suits"], _), *facts_line(row, _)])
            shelves.append(Shelf(LABELS[media_type], cards, WATCHED))
        nothing = _("Nothing suits all of you. Try it without somebody, or with titles that some have seen.")
    else:
        nothing = _("Tick who is here, and see what suits all of you.")
    here = {user.user_id for user in company.people}
    return TogetherPage(
        _("Together"), nothing, [shelf for shelf in shelves if shelf.cards], [_(ODD)] * company.is_odd,
        company=company, others=[(user.partition_key, user.name, user.user_id in here) for user in others],
    )  # fmt: skip


def picks_for(
    connection: Connection, company: Company, most: int = SHOWN
) -> dict[str, tuple[list[Pick], dict[int, VisibleTitle]]]:
    """Return by media type the first picks for a company, and their titles as the first of them sees these."""
    users = [user.user_id for user in company.people]
    scores, (seen, barred) = scores_of(connection, users), unwanted_works(connection, users)
    found: dict[str, tuple[list[Pick], dict[int, VisibleTitle]]] = {}
    for media_type in LABELS:
        people = [
            Person(user.name, scores.get((user.user_id, media_type), {}), seen[user.user_id], barred[user.user_id])
            for user in company.people
        ]
        picks: list[Pick] = []
        titles: dict[int, VisibleTitle] = {}
        ranked = ranked_together(people, seen_by_some=company.seen_by_some)
        while chunk := list(islice(ranked, CHUNK)):
            allowed, visible = allowed_for(connection, company, chunk)
            picks += allowed
            titles |= visible
            if len(picks) >= most:
                break
        found[media_type] = picks[:most], titles
    return found


def allowed_for(
    connection: Connection, company: Company, picks: Sequence[Pick]
) -> tuple[list[Pick], dict[int, VisibleTitle]]:
    """Return which picks everybody may see now and nobody has hidden, and titles as the first one sees them."""
    works = [pick.work_id for pick in picks]
    sights = [titles_in_sight(connection, user, works) for user in company.people]
    ratings = {work: row["official_rating"] for work, row in facts_of(connection, works).items()}
    return for_all(picks, sights, company.limits, ratings), sights[0]


def suits_lines(suits: Mapping[str, Level], _: Texts) -> list[str]:
    """Say whom a title suits, the best first. Nothing is said of why: that is of their history."""
    of_level = [(text, [name for name, level in suits.items() if level == which]) for which, text in SUITS.items()]
    return [_(text, names=_.listed(names)) for text, names in of_level if names]
