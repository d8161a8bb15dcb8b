"""Where a title can be watched, by country, as the world gives it or as it follows from releases."""

from __future__ import annotations

from datetime import date
from typing import Any

from aperture_dagster.simulator.opinions import share
from aperture_dagster.simulator.tmdb.ids import named_id, picture_path
from aperture_dagster.simulator.tmdb.releases import HOME_TYPES, RELEASED_IN, releases
from aperture_dagster.simulator.world import Offer, WorldTitle

_FLATRATE = {"Netflix": 8, "Amazon Prime Video": 9, "Disney Plus": 337, "Apple TV+": 350, "MUBI": 11}
_SHOPS = {"Apple TV": 2, "Google Play Movies": 3, "Amazon Video": 10}
_WITH_ADS = {"Pluto TV": 300, "Tubi TV": 73}
SERVICES = _FLATRATE | _SHOPS | _WITH_ADS
"""TMDb's ids of services by name."""
_ON_FLATRATE = 0.6
_IN_SHOPS = 0.8
_ON_ADS = 0.1


def service_id(name: str) -> int:
    """Return the id of a service, or one made from the name."""
    return SERVICES.get(name) or named_id("service", name)


def offers(title: WorldTitle, today: date) -> tuple[Offer, ...]:
    """Return where a title can be watched at home by now."""
    if title.offers is not None:
        return title.offers
    return tuple(offer for country in _available_in(title, today) for offer in _in_country(title, country))


def _available_in(title: WorldTitle, today: date) -> list[str]:
    if title.media_type == "movie":
        out = {one.country for one in releases(title) if one.type in HOME_TYPES and one.day <= today.isoformat()}
        return sorted(out)
    begun = title.release_date or (f"{title.year}-01-10" if title.year else "")
    return list(RELEASED_IN) if begun and begun <= today.isoformat() else []


def _in_country(title: WorldTitle, country: str) -> list[Offer]:
    found: list[Offer] = []
    if share(title.key, f"flatrate|{country}") < _ON_FLATRATE:
        names = list(_FLATRATE)
        found.append(Offer(country, "flatrate", names[int(len(names) * share(title.key, f"service|{country}"))]))
    if share(title.key, f"shops|{country}") < _IN_SHOPS:
        kinds = ("rent", "buy") if title.media_type == "movie" else ("buy",)
        found += [Offer(country, kind, shop) for kind in kinds for shop in _SHOPS]
    if share(title.key, f"ads|{country}") < _ON_ADS:
        found.append(Offer(country, "ads", "Pluto TV" if country != "US" else "Tubi TV"))
    return found


def watch_providers(title: WorldTitle, today: date) -> dict[str, Any]:
    """Return TMDb's JSON of a title's offers, by country and kind."""
    results: dict[str, dict[str, Any]] = {}
    path = "movie" if title.media_type == "movie" else "tv"
    for offer in offers(title, today):
        link = f"https://www.themoviedb.org/{path}/{title.tmdb_id}/watch?locale={offer.country}"
        entry = results.setdefault(offer.country, {"link": link})
        entry.setdefault(offer.kind, []).append(
            {
                "logo_path": service_logo(offer.service),
                "provider_id": service_id(offer.service),
                "provider_name": offer.service,
                "display_priority": service_id(offer.service) % 100,
            }
        )
    return {"results": results}


def service_logo(name: str) -> str:
    """Return the path of a service's logo."""
    return picture_path(f"service:{name}", "logo")
