"""What a household has in the end, in its database, on its media server, on Trakt and on Seerr, and how two compare."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from datetime import date
from typing import Any
from zoneinfo import ZoneInfo

from aperture_dagster_tests.chaos import VOLATILE_FACTS, DemoHome, tables
from aperture_dagster_tests.processes import all_gone, processes_of
from days.house import TIMEZONE, House

NOT_COMPARED = {
    "changes": "only one of the homes was disturbed, and repeated what it did",
    "computations": "versions of rows with ids, which differ; that they are those of today is looked at in both homes",
    "first_places": "since when titles have been on lists depends on the nights on which these were made",
    "past_picks": "which titles leave a list in between depends on the nights on which it was made",
    "item_files": "a memory of what was read for titles that were on a list once",
    "rating_changes": "a log of looks; what they led to is in ratings, trakt_ratings and on the server",
    "alert_problems": "only one of the homes had problems",
    "alerts_told": "only one of the homes had problems",
    "works": "titles of past suggestions stay for weeks; those of the library are in titles",
    "discovery_pool": "the same",
    "discovery_vectors": "the same",
    "discovery_lists": "the same",
    "trakt_recommendations": "Trakt recommends what it does on the day of the last look",
}
# The first is compared on Seerr, but for who asked; see compare().
ASKED, SUGGESTED = "table seerr_requests", "table discovery_candidates"
# What was made for somebody who has left stays as it was on that day, which is the last that a home had come to.
OF_USERS = (
    "recommendations", "discovery_candidates", "taste_profiles", "taste_weights", "shows_you_watch", "watch_state",
    "plays",
)  # fmt: skip
# Only one of the homes had an outage, or was refused by Trakt for an hour; what was asked about titles of past
# suggestions stays as long as they do; and a copy that is published no more may have been on the list of a night that
# one of the homes slept through, so that only the other one read its state. What it told is in the log of plays.
PAST_COPIES = """
    SELECT item_id FROM item_versions v WHERE is_published
    AND NOT EXISTS (SELECT 1 FROM published_copies p WHERE p.server_item_id = v.server_item_id)"""
WHERE = {
    "facts": f"{VOLATILE_FACTS} AND name NOT IN ('outage', 'trakt_pause')", "fetches": "source <> 'tmdb_discovery'",
    "watch_state": f"item_id NOT IN ({PAST_COPIES})",
}  # fmt: skip
# Ranks, by place in a row, and the score of suggestions: a title tires with each night on a list, and of those at the
# top of a list, one a day begins to rest; one home slept through a night. What the rank is made from is compared. Nor
# are the favourites named beside a recommendation: they are others than those of the title above it.
TIRED = {
    SUGGESTED: (2, 4), "table recommendations": (2, 7), "table published": (1,), "table published_lists": (4,),
}  # fmt: skip
RESTING = "AI Picks"
# Beyond those of tests/chaos.py: times, tokens, words about failures, and the server's own ids of lists: playlists of
# the same name are numbered in the order in which they were made.
VOLATILE = {
    "access_token", "refresh_token", "issued_at", "expires_at", "connected_at", "installation_id", "activities",
    "detail", "queued_at", "server_list_id",
}  # fmt: skip
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e-?\d+)?")
# What belongs to a home itself: the port of its stand-ins, its folder, and the mark of its backups.
_OWN = re.compile(r"127\.0\.0\.1:\d+|/(?:disturbed|twin)\b|(?<=\"owner\": \")[0-9a-f]{32}")
# Titles are added at full hours, and the clocks of stand-ins run on from there: by less than a second.
_SECONDS = re.compile(r"(?<=\d\d \d\d:\d\d):\d\d(?:\.\d+)?")
# Homes that work at slightly different times weigh plays a little differently, and weights are stored with five digits.
# Two homes that were disturbed in different ways for two days ended with the same numbers to the last digit.
TOLERANCE = 0.001
EXAMPLES, WIDEST = 4, 600


def database_of(house: House, since: date) -> dict[str, Any]:
    """Return the rows of all tables, with names instead of ids; of Top Picks, those of the calm days."""
    with DemoHome(house.home).databases() as (product, _):
        found: dict[str, Any] = {
            table: [tuple(_OWN.sub("own", one) if isinstance(one, str) else one for one in row) for row in rows]
            for table, rows in tables(
                product, volatile=VOLATILE, leave_out=NOT_COMPARED, where=WHERE | {"top_picks": f"day >= '{since}'"}
            ).items()
        }
        found["titles"] = [
            tuple(_SECONDS.sub("", one) if isinstance(one, str) else one for one in row) for row in found["titles"]
        ]
        left = {user for (user,) in product.execute("SELECT user_id FROM users WHERE removed_at IS NOT NULL")}
        for name in OF_USERS:
            found[name] = [row for row in found[name] if not left.intersection(row)]
        found = {f"table {name}": sorted(rows, key=str) for name, rows in found.items()}
    return found


def server_of(house: House) -> dict[str, Any]:
    """Return what the media server shows: libraries, their items, collections and playlists, and who sees what."""
    state = house.state
    with state.lock:
        names = {library.item_id: library.name for library in state.catalogue.libraries}
        items: dict[str, list[str]] = {name: [] for name in names.values()}
        for kind in ("Movie", "Series", "Episode"):
            for item in sorted(state.catalogue.items(kind), key=lambda one: (one.sort_name or one.name, one.name)):
                items.setdefault(item.library.name, []).append(f"{kind} {item.name}")
        lists = {
            f"{kind} {item.name}": [member.item.name for member in state.lists.members_of(item)]
            for kind in ("BoxSet", "Playlist")
            for item in state.catalogue.items(kind)
        }
        people = {}
        for user in state.users.values():
            own = [(item, one) for slot, one in user.data.items() if (item := state.catalogue.at(slot)) is not None]
            people[user.name] = {
                "everything": user.policy.enable_all_folders,
                "libraries": sorted(names.get(one, "?") for one in user.policy.enabled_folders),
                "hidden": sorted(names.get(one, "?") for one in user.configuration.get("MyMediaExcludes", ())),
                "watched": sorted((item.library.name, item.name) for item, one in own if one.played),
                "ratings": sorted((item.name, one.rating) for item, one in own if one.rating is not None),
            }
    for titles in (own for shown in (items, lists) for name, own in shown.items() if RESTING in name):
        titles.sort()
    return {"libraries on the server": items, "lists on the server": lists, "users on the server": people}


def services_of(house: House) -> dict[str, Any]:
    """Return the accounts on Trakt, and the suggestions of earlier days that nobody has requested on Seerr.

    Which night a title is requested in, and for whom, depends on the nights through which a home slept.
    """
    state, today = house.state, house.now.astimezone(ZoneInfo(TIMEZONE)).date()
    statement = (
        "SELECT w.media_type || ':' || w.tmdb_id FROM discovery_candidates JOIN works w USING (work_id) "
        "JOIN present_users USING (user_id) WHERE listed_since < %s"
    )
    with DemoHome(house.home).databases() as (product, _):
        suggested = {key for (key,) in product.execute(statement, [today])}
    rated = {name: state.trakt_ratings(name) for name in state.trakt.accounts}
    return {
        "ratings on Trakt": {name: {key: one["rating"] for key, one in own.items()} for name, own in rated.items()},
        "not requested on Seerr": sorted(suggested - {one["key"] for one in state.seerr_requests()}),
    }


def outcome_of(house: House, since: date) -> dict[str, Any]:
    """Return everything that must be equal in both households; the home's process has ended."""
    return database_of(house, since) | server_of(house) | services_of(house)


def compare(disturbed: dict[str, Any], twin: dict[str, Any]) -> list[str]:
    """Name what differs between the outcomes of two homes.

    Who asks first for a title depends on the night, and it leaves the suggestions of that user alone, which are scored
    against each other: of users who asked for others in the other home, the titles are compared, without those.
    """
    homes = [dict(one) for one in (disturbed, twin)]
    mine, its = ({tuple(row[:2]) for row in home.pop(ASKED, ())} for home in homes)
    titles = {row[3] for home in homes for row in home[SUGGESTED]}
    otherwise = {(user, title) for user, title in mine ^ its if title in titles}
    users = {user for user, _ in otherwise}
    for home in homes:
        kept = (row for row in home[SUGGESTED] if (row[0], row[3]) not in otherwise)
        home[SUGGESTED] = [(*row[:2], "", row[3]) if row[0] in users else row for row in kept]
    return differences(*homes)


def differences(disturbed: dict[str, Any], twin: dict[str, Any]) -> list[str]:
    """Name what differs, with both values."""
    found = []
    for part in sorted(disturbed.keys() | twin.keys()):
        one, other = (_without(home.get(part), TIRED.get(part, ())) for home in (disturbed, twin))
        if one == other:
            continue
        if isinstance(one, dict) and isinstance(other, dict):
            found += differences(
                {f"{part}, {name}": value for name, value in one.items()},
                {f"{part}, {name}": value for name, value in other.items()},
            )
        elif isinstance(one, list) and isinstance(other, list):
            mine, its = Counter(map(_hashable, one)), Counter(map(_hashable, other))
            more, less = sorted((mine - its).elements(), key=str), sorted((its - mine).elements(), key=str)
            if more or less:
                more, less = _without_close(more, less)
                if not more and not less:
                    continue
            else:
                found.append(f"{part}: in another order: {str(one)[:300]} for {str(other)[:300]}")
                continue
            found.append(f"{part}: {len(one)} for {len(other)}, {len(more)} only disturbed, {len(less)} only twin")
            found += [f"    only disturbed: {row}"[:WIDEST] for row in more[:EXAMPLES]]
            found += [f"    only twin: {row}"[:WIDEST] for row in less[:EXAMPLES]]
        else:
            found.append(f"{part}: {str(one)[:300]} for {str(other)[:300]}")
    return found


def _without(rows: Any, places: Sequence[int]) -> Any:
    """Leave out some cells of each row of a table, which is then sorted again."""
    if not places or rows is None:
        return rows
    return sorted(([cell for place, cell in enumerate(row) if place not in places] for row in rows), key=str)


def _hashable(row: Any) -> Any:
    return tuple(map(_hashable, row)) if isinstance(row, list | tuple) else row


def _without_close(more: list[Any], less: list[Any]) -> tuple[list[Any], list[Any]]:
    """Leave out rows that differ only in numbers with decimals, by :data:`TOLERANCE` at most."""
    alike: dict[str, list[Any]] = {}
    for row in less:
        alike.setdefault(_NUMBER.sub("", str(row)), []).append(row)
    kept = []
    for row in more:
        candidates = alike.get(_NUMBER.sub("", str(row)), [])
        close = next((other for other in candidates if _are_close(row, other)), None)
        if close is None:
            kept.append(row)
        else:
            candidates.remove(close)
    return kept, sorted((row for rows in alike.values() for row in rows), key=str)


def _are_close(row: Any, other: Any) -> bool:
    pairs = zip(_NUMBER.findall(str(row)), _NUMBER.findall(str(other)), strict=True)
    return all(mine == its or ("." in mine + its and abs(float(mine) - float(its)) <= TOLERANCE) for mine, its in pairs)


def breaches(house: House, backups: dict[str, Any], *, disturbed: bool) -> list[str]:
    """List what must not be in any household, whatever happened."""
    state, found = house.state, []
    with DemoHome(house.home).databases() as (product, dagster):
        found += [
            str(text)
            for (text,) in dagster.execute(
                "SELECT 'an unfinished run of ' || pipeline_name || ': ' || status FROM runs "
                "WHERE status NOT IN ('SUCCESS', 'FAILURE', 'CANCELED') UNION ALL "
                "SELECT 'a slot of the pool ' || concurrency_key FROM concurrency_slots "
                "WHERE run_id IS NOT NULL AND NOT deleted"
            ).fetchall()
        ]
        found += [
            f"{used} requests to {service} on {day}, allowed {limit}"
            for service, day, used, limit in product.execute(
                'SELECT service, day, used, "limit" FROM quota WHERE used > "limit"'
            )
        ]
        owned = {
            f"{row[0]}/{row[1]}/{row[2]}"
            for row in product.execute(
                "SELECT l.folder, e.folder, jsonb_object_keys(e.files) FROM published_entries e "
                "JOIN published_libraries l USING (list_key)"
            )
        }
        owned |= {f"{row[0]}/about.txt" for row in product.execute("SELECT folder FROM published_libraries")}
        known = {row[0] for row in product.execute("SELECT request_id FROM seerr_requests")}
        found += [
            f"a request on Seerr that nobody here knows of: {one['key']} for {one['user']}"
            for one in state.seerr_requests()
            if one["id"] not in known
        ]
    root = house.folder / "libraries"
    there = {str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir() or path.is_symlink()}
    there = {path for path in there if not path.startswith(".")}
    found += [f"a published file that the manifest does not know: {path}" for path in sorted(there - owned)[:EXAMPLES]]
    found += [f"a published file that is missing: {path}" for path in sorted(owned - there)[:EXAMPLES]]
    pushed = Counter(
        (one["action"], account, one["key"], one["rating"])
        for account in state.trakt.accounts
        for one in state.trakt_pushed(account)
        if not one["changed"]
    )
    if not disturbed:
        found += [f"written to Trakt without effect: {one}" for one in pushed]
        # With a clock that is a day ahead, the product believes in a new day.
        refused = {"omdb": 401, "mdblist": 429}
        found += [
            f"{count} requests to {service} were refused, although nothing was wrong with it"
            for service, status in refused.items()
            if (count := state.counters.statuses.get(service, Counter())[status])
        ]
    twice = Counter(one["key"] for one in state.seerr_requests() if one["status"] != "declined")
    found += [f"requested {count} times on Seerr: {key}" for key, count in twice.items() if count > 1]
    found += [f"{what} among the backups" for what in backups.get("left", ())]
    found += backups.get("unwell", ())
    if not disturbed:
        found += backups.get("missed", ())
    if not backups.get("days"):
        found.append("no proven backup")
    temporary = house.folder / "temporary"
    found += [f"a temporary file: {path.name}" for path in temporary.iterdir()] if temporary.exists() else []
    if not all_gone(house.folder):
        found += [f"process {one.pid}: {' '.join(one.cmdline())[:80]}" for one in processes_of(house.folder)]
    found += [f"a request that the stand-in does not model: {one}" for one in dict.fromkeys(state.counters.unmodelled)]
    return found
