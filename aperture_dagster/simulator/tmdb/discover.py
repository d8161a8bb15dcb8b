"""``/discover``: filters by id, number, date, certification and offer, and orders.

An unknown id yields an empty page, not an error. ``with_*`` lists are joined with ``,`` (all of them) or ``|`` (any);
``without_*`` drops titles with any of them. Parameters for people and certifications are for films only: of series,
the real service ignores them, which the stand-in refuses. Like any parameter without the one that it needs, they would
widen a search unnoticed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from aperture_dagster.simulator.service import Query, Unmodelled
from aperture_dagster.simulator.tmdb.ids import country_code, genre_id, named_id
from aperture_dagster.simulator.tmdb.library import TitleIndex
from aperture_dagster.simulator.tmdb.offers import offers, service_id
from aperture_dagster.simulator.tmdb.releases import ORDERS, certified, releases
from aperture_dagster.simulator.world import Offer, WorldTitle

_Traits = Callable[[WorldTitle], Iterable[str]]


def _ids(kind: str, names: Iterable[str]) -> list[str]:
    return [str(named_id(kind, name)) for name in names]


def _cast(title: WorldTitle) -> list[str]:
    return _ids("person", (member.name for member in title.cast))


def _crew(title: WorldTitle) -> list[str]:
    return _ids("person", (*title.directors, *title.writers, *title.composers, *title.cinematographers))


_TRAITS: dict[str, _Traits] = {
    "genres": lambda title: [str(genre_id(name)) for name in title.genres],
    "keywords": lambda title: _ids("keyword", title.keywords),
    "companies": lambda title: _ids("company", title.companies),
    "networks": lambda title: _ids("network", title.networks),
    "cast": _cast,
    "crew": _crew,
    "people": lambda title: [*_cast(title), *_crew(title)],
    "original_language": lambda title: [title.language or "en"],
    "origin_country": lambda title: [country_code(one) for one in title.countries],
}
_WITH = ("genres", "keywords", "companies", "original_language", "origin_country")
_WITH_OF_TYPE = {"movie": ("people", "cast", "crew"), "series": ("networks",)}
_WITHOUT = ("genres", "keywords", "companies")
_DAYS = {"movie": "primary_release_date", "series": "first_air_date"}
_CERTIFIED = ("certification", "certification.lte", "certification.gte")
_RELEASED = ("release_date.gte", "release_date.lte", "with_release_type")
_COMMON = (
    "language", "page", "sort_by", "include_adult", "vote_count.gte", "vote_count.lte", "vote_average.gte",
    "vote_average.lte", "with_runtime.gte", "with_runtime.lte", "watch_region", "with_watch_providers",
    "with_watch_monetization_types",
    *(f"with_{name}" for name in _WITH), *(f"without_{name}" for name in _WITHOUT),
)  # fmt: skip
_OF_TYPE = {"movie": ("certification_country", "region", *_CERTIFIED, *_RELEASED), "series": ()}


def parameters(media_type: str) -> tuple[str, ...]:
    """Return the names of the parameters that are modelled."""
    day = _DAYS[media_type]
    of_type = (f"with_{name}" for name in _WITH_OF_TYPE[media_type])
    return (*_COMMON, *_OF_TYPE[media_type], f"{day}.gte", f"{day}.lte", *of_type)


class Discovery:
    """``/discover`` over an index of titles. A new index needs a new object."""

    def __init__(self, index: TitleIndex) -> None:
        self._index = index
        self._with: dict[tuple[str, str], dict[str, set[str]]] = {}
        self._offers: dict[str, tuple[Offer, ...]] = {}

    def find(self, media_type: str, query: Query) -> list[WorldTitle]:
        """Return the titles that pass all filters, in the requested order. Raises Unmodelled."""
        found = self._index.popular(media_type)
        if query.get("include_adult") != "true":
            found = [title for title in found if not title.adult]
        found = self._by_traits(found, media_type, query)
        found = _by_numbers(found, query)
        found = _by_days(found, query, _DAYS[media_type])
        if media_type == "movie":
            found = _by_certification(found, query)
            found = _by_release(found, query)
        found = self._by_offers(found, query)
        return _sorted(found, query.get("sort_by") or "popularity.desc", _DAYS[media_type])

    def _by_traits(self, found: list[WorldTitle], media_type: str, query: Query) -> list[WorldTitle]:
        for name in (*_WITH, *_WITH_OF_TYPE[media_type]):
            if text := query.get(f"with_{name}"):
                wanted, needs_all = _listed(f"with_{name}", text)
                holders = [self._holders(media_type, name, value) for value in wanted]
                kept = set.intersection(*holders) if needs_all else set.union(*holders)
                found = [title for title in found if title.key in kept]
        for name in _WITHOUT:
            if text := query.get(f"without_{name}"):
                unwanted, _ = _listed(f"without_{name}", text)
                dropped = set[str]().union(*(self._holders(media_type, name, value) for value in unwanted))
                found = [title for title in found if title.key not in dropped]
        return found

    def _holders(self, media_type: str, name: str, value: str) -> set[str]:
        """Return the keys of the titles with a trait."""
        holders = self._with.get((media_type, name))
        if holders is None:
            holders = {}
            for title in self._index.popular(media_type):
                for each in _TRAITS[name](title):
                    holders.setdefault(each, set()).add(title.key)
            self._with[media_type, name] = holders
        return holders.get(value, set())

    def _by_offers(self, found: list[WorldTitle], query: Query) -> list[WorldTitle]:
        services, kinds = query.get("with_watch_providers"), query.get("with_watch_monetization_types")
        if not services and not kinds:
            return found
        region = query.get("watch_region")
        if region is None:
            raise Unmodelled("with_watch_* without watch_region")
        wanted = [int(one) if one.isdecimal() else 0 for one in _any_of("with_watch_providers", services)]
        of_kind = _any_of("with_watch_monetization_types", kinds)
        return [
            title
            for title in found
            if any(
                offer.country == region
                and (not wanted or service_id(offer.service) in wanted)
                and (not of_kind or offer.kind in of_kind)
                for offer in self._offers_of(title)
            )
        ]

    def _offers_of(self, title: WorldTitle) -> tuple[Offer, ...]:
        known = self._offers.get(title.key)
        if known is None:
            known = self._offers[title.key] = offers(title, self._index.today)
        return known


def _listed(name: str, text: str) -> tuple[list[str], bool]:
    """Return the values of a list, and whether all of them are needed."""
    if "," in text and "|" in text:
        raise Unmodelled(f"{name} with both separators")
    return [part.strip() for part in text.replace("|", ",").split(",")], "|" not in text


def _any_of(name: str, text: str | None) -> list[str]:
    if text is None:
        return []
    values, needs_all = _listed(name, text)
    if needs_all and len(values) > 1:
        raise Unmodelled(f"{name} with commas")
    return values


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise Unmodelled(f"{name}={text}") from None


def _by_numbers(found: list[WorldTitle], query: Query) -> list[WorldTitle]:
    values: dict[str, Callable[[WorldTitle], float]] = {
        "vote_count": lambda title: title.vote_count or 0,
        "vote_average": lambda title: title.vote_average or 0.0,
        "with_runtime": lambda title: title.runtime_minutes or 0,
    }
    for name, value in values.items():
        if text := query.get(f"{name}.gte"):
            least = _number(name, text)
            found = [title for title in found if value(title) >= least]
        if text := query.get(f"{name}.lte"):
            most = _number(name, text)
            found = [title for title in found if value(title) <= most]
    return found


def _by_days(found: list[WorldTitle], query: Query, name: str) -> list[WorldTitle]:
    if first := query.get(f"{name}.gte"):
        found = [title for title in found if (title.release_date or "") >= first]
    if last := query.get(f"{name}.lte"):
        found = [title for title in found if title.release_date and title.release_date <= last]
    return found


def _by_certification(found: list[WorldTitle], query: Query) -> list[WorldTitle]:
    for name in _CERTIFIED:
        text = query.get(name)
        if not text:
            continue
        country = query.get("certification_country")
        if country not in ORDERS:
            raise Unmodelled(f"{name} with certification_country={country}")
        order = ORDERS[country]
        if name == "certification":
            accepted: Sequence[str] = text.split("|")
        elif text not in order:
            accepted = ()
        else:
            place = order.index(text)
            accepted = order[: place + 1] if name.endswith("lte") else order[place:]
        found = [title for title in found if certified(title, country, accepted)]
    return found


def _by_release(found: list[WorldTitle], query: Query) -> list[WorldTitle]:
    first, last, types = (query.get(name) for name in _RELEASED)
    if first is None and last is None and types is None:
        return found
    region = query.get("region")
    accepted = [int(one) if one.isdecimal() else 0 for one in _any_of("with_release_type", types)]
    return [
        title
        for title in found
        if any(
            (region is None or release.country == region)
            and (not accepted or release.type in accepted)
            and (first or "") <= release.day <= (last or "9999")
            for release in releases(title)
        )
    ]


def _sorted(found: list[WorldTitle], order: str, day: str) -> list[WorldTitle]:
    name, _, direction = order.partition(".")
    keys: dict[str, Callable[[WorldTitle], float | str]] = {
        "popularity": lambda title: title.popularity or 0.0,
        "vote_average": lambda title: title.vote_average or 0.0,
        "vote_count": lambda title: title.vote_count or 0,
        day: lambda title: title.release_date or "",
    }
    if name not in keys or direction not in ("asc", "desc"):
        raise Unmodelled(f"sort_by={order}")
    # Of equal titles, the more popular one comes first either way.
    return sorted(found, key=keys[name], reverse=direction == "desc")
