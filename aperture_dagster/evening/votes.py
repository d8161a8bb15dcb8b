"""Evenings with votes: opened by a member, joined with the code of a link, won by the first title that all like."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from aperture_dagster.catalogue.people import User
from aperture_dagster.catalogue.stored_users import read_users
from aperture_dagster.evening.company import Company, allowed_for
from aperture_dagster.evening.together import Pick
from aperture_dagster.members.digests import digest_of
from aperture_dagster.members.visible_titles import VisibleTitle
from aperture_dagster.postgres.queries import execute, lock_until_commit, read_rows, read_value

LIFE = timedelta(hours=6)
MOST_PLACES = 20
MOST_TITLES = 20


@dataclass(frozen=True, slots=True)
class Evening:
    """An evening that is open: who opened it, who is there, and the works that are voted on, in order."""

    evening_id: int
    host: str
    company: Company
    works: Sequence[int]
    places: int
    joined: int


@dataclass(frozen=True, slots=True)
class OpenEvening:
    """An evening that a member is at, from which the code of its link can be made again."""

    evening_id: int
    host: str
    host_name: str
    digest: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a vote is: the first title that all like, those that most like, and what a voter has not judged yet."""

    winner: int | None
    most_liked: Sequence[tuple[int, int]]
    left: Sequence[int]


def open_evening(
    connection: Connection,
    host: User,
    company: Company,
    works: Sequence[int],
    places: int,
    *,
    now: datetime,
    code_of: Callable[[int, datetime], str],
) -> str:
    """Open an evening, and return the code of its link; another one of the same host ends.

    ``code_of`` makes the code from the id of the evening and the moment at which it was opened.
    """
    execute(connection, "DELETE FROM evenings WHERE user_id = :user", user=host.user_id)
    evening = read_value(connection, "SELECT nextval(pg_get_serial_sequence('evenings', 'evening_id'))")
    code = code_of(evening, now)
    statement = """
        INSERT INTO evenings (evening_id, user_id, digest, guest_age, works, places, created_at, ends_at)
        VALUES (:evening, :user, :digest, :guest, :works, :places, :now, :ends)"""
    execute(
        connection, statement, evening=evening, user=host.user_id, digest=digest_of(code), guest=company.guest_age,
        works=list(works), places=max(1, min(places, MOST_PLACES)), now=now, ends=now + LIFE,
    )  # fmt: skip
    statement = "INSERT INTO evening_people (evening_id, user_id) VALUES (:evening, :user)"
    for user in company.people:
        execute(connection, statement, evening=evening, user=user.user_id)
    return code


def find_evening(connection: Connection, code: str, *, now: datetime) -> Evening | None:
    """Return the evening of a code; None if it has ended, or there never was one, or its host has left."""
    statement = """
        SELECT evening_id, user_id, guest_age, works, places,
        ARRAY(SELECT p.user_id FROM evening_people p WHERE p.evening_id = e.evening_id) AS people,
        (SELECT count(*) FROM evening_voters v WHERE v.evening_id = e.evening_id) AS joined
        FROM evenings e WHERE digest = :digest AND created_at <= :soon AND ends_at > :now"""
    rows = read_rows(connection, statement, digest=digest_of(code), now=now, soon=now + timedelta(hours=1))
    if not rows:
        return None
    row = rows[0]
    users = {user.user_id: user for user in read_users(connection)}
    people = [users[user_id] for user_id in row["people"] if user_id in users]
    people.sort(key=lambda user: (user.user_id != row["user_id"], user.name))
    if not people or people[0].user_id != row["user_id"] or people[0].gone or people[0].is_disabled:
        return None
    company = Company(people, row["guest_age"])
    return Evening(row["evening_id"], row["user_id"], company, row["works"], row["places"], row["joined"])


def open_evenings(connection: Connection, user_id: str, *, now: datetime) -> list[OpenEvening]:
    """Return the evenings that a member opened or was counted in for, their own first."""
    statement = """
        SELECT e.evening_id, e.user_id AS host, u.name AS host_name, e.digest, e.created_at
        FROM evenings e JOIN evening_people p USING (evening_id) JOIN users u ON u.user_id = e.user_id
        WHERE p.user_id = :user AND created_at <= :soon AND ends_at > :now AND u.removed_at IS NULL
        AND NOT u.is_disabled ORDER BY e.user_id <> :user, e.created_at DESC, e.evening_id"""
    rows = read_rows(connection, statement, user=user_id, now=now, soon=now + timedelta(hours=1))
    return [OpenEvening(**row) for row in rows]


def end_evening(connection: Connection, code: str, host: str) -> None:
    """End the evening of a code, with its votes, if this member opened it."""
    execute(
        connection, "DELETE FROM evenings WHERE (digest, user_id) = (:digest, :host)", digest=digest_of(code), host=host
    )


def titles_of(connection: Connection, evening: Evening) -> dict[int, VisibleTitle]:
    """Return what is voted on, in order: what all who are there may see now, and nobody has hidden meanwhile."""
    allowed, visible = allowed_for(connection, evening.company, [Pick(work, 0.0) for work in evening.works])
    return {pick.work_id: visible[pick.work_id] for pick in allowed}


def join(connection: Connection, evening: Evening, voter: str) -> bool:
    """Let a phone vote; False if all places are taken."""
    lock_until_commit(connection, f"evening:{evening.evening_id}")
    statement = """
        INSERT INTO evening_voters (evening_id, voter) SELECT :evening, :voter
        WHERE (SELECT count(*) FROM evening_voters WHERE evening_id = :evening) < :places"""
    return (
        execute(
            connection, statement, evening=evening.evening_id, voter=digest_of(voter), places=evening.places
        ).rowcount
        > 0
    )


def has_joined(connection: Connection, evening: Evening, voter: str | None) -> bool:
    """Tell whether a phone votes on an evening."""
    statement = "SELECT 1 FROM evening_voters WHERE (evening_id, voter) = (:evening, :voter)"
    return bool(read_rows(connection, statement, evening=evening.evening_id, voter=digest_of(voter or "")))


def vote(
    connection: Connection,
    evening: Evening,
    voter: str,
    work: int,
    *,
    likes: bool,
    allowed: Collection[int],
    now: datetime,
) -> None:
    """Note what a phone says of a title, unless one has won already; saying it again changes nothing."""
    lock_until_commit(connection, f"evening:{evening.evening_id}")
    if work not in allowed or standing(connection, evening, voter, allowed).winner is not None:
        return
    statement = """
        INSERT INTO evening_votes (evening_id, voter, work_id, likes, voted_at)
        SELECT evening_id, voter, :work, :likes, :now FROM evening_voters
        WHERE (evening_id, voter) = (:evening, :voter) ON CONFLICT DO NOTHING"""
    execute(connection, statement, evening=evening.evening_id, voter=digest_of(voter), work=work, likes=likes, now=now)


def standing(connection: Connection, evening: Evening, voter: str | None, allowed: Collection[int]) -> Standing:
    """Return how far the vote is."""
    statement = "SELECT voter, work_id, likes, voted_at FROM evening_votes WHERE evening_id = :evening"
    votes = read_rows(connection, statement, evening=evening.evening_id)
    winner, most_liked = count_votes(votes, evening.places, allowed)
    judged = {row["work_id"] for row in votes if row["voter"] == digest_of(voter or "")}
    return Standing(winner, most_liked, [work for work in evening.works if work in allowed and work not in judged])


def count_votes(
    votes: Sequence[dict[str, Any]], places: int, allowed: Collection[int]
) -> tuple[int | None, list[tuple[int, int]]]:
    """Return the title that all of so many voters like, the first of several, and all that anybody likes by number."""
    likes: dict[int, list[datetime]] = {}
    for row in votes:
        if row["likes"] and row["work_id"] in allowed:
            likes.setdefault(row["work_id"], []).append(row["voted_at"])
    full = [(max(moments), work) for work, moments in likes.items() if len(moments) >= places]
    ranked = sorted(((work, len(moments)) for work, moments in likes.items()), key=lambda pair: (-pair[1], pair[0]))
    return (min(full)[1] if full else None), ranked
