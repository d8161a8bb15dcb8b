"""What the clients of the media server get, in the format that they read. A malformed answer breaks whole pages."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

TICKS_PER_MINUTE = 600_000_000
PREVIEWED = 4
TYPES = {"movie": "Movie", "series": "Series"}
"""What clients call the media types."""


class ListedTitle(NamedTuple):
    """A title in a list of recommendations. ``based_on`` are titles of the library that the member liked."""

    item: dict[str, Any]
    similarity: float
    based_on: Sequence[dict[str, Any]]
    reason: str


def as_item(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Describe a title; clients make addresses of pictures from its id. What is not known is null."""
    rating = facts["community_rating"]
    minutes = facts["runtime_minutes"]
    return {
        "id": facts["server_item_id"],
        "name": facts["title"],
        "type": TYPES[facts["media_type"]],
        "productionYear": facts["year"],
        "runtimeTicks": minutes * TICKS_PER_MINUTE if minutes is not None else None,
        "genres": [*(facts["genres"] or ())],
        "communityRating": round(rating, 2) if rating is not None and math.isfinite(rating) else None,
        "primaryImageTag": facts["picture_tag"],
        "primaryImageThumbTag": None,
        "primaryImageLogoTag": None,
        "backdropImageTags": [],
        "seriesId": None,
        "seriesPrimaryImageTag": None,
        "parentBackdropItemId": None,
        "parentBackdropImageTags": None,
        "parentThumbItemId": None,
        "parentThumbImageTag": None,
    }


def similarity_of(score: float, best: float) -> float:
    """Return a score as a share of the best one of its list, from 0 to 1: scores have no scale of their own."""
    if not (math.isfinite(score) and math.isfinite(best)) or best <= 0:
        return 0.0
    return round(min(max(score / best, 0.0), 1.0), 4)


def ids_by_type(items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the ids of films and series, best first."""
    ids = {name: [item["id"] for item in items if item["type"] == name] for name in TYPES.values()}
    return {"movies": ids["Movie"], "series": ids["Series"], "total": len(items)}


def recommended(titles: Sequence[ListedTitle], *, with_based_on: bool, with_reasons: bool) -> list[dict[str, Any]]:
    """Return the entries of a list of recommendations. ``basedOn`` is a list in any case: clients need one."""
    return [
        {
            "item": title.item,
            "similarity": title.similarity,
            "basedOn": [*title.based_on] if with_based_on else [],
            "reason": title.reason if with_reasons else None,
        }
        for title in titles
    ]


def watchlist(
    number: int,
    name: str,
    description: str,
    items: Sequence[Mapping[str, Any]],
    *,
    user_id: str,
    made_at: str,
    with_preview: bool,
) -> dict[str, Any]:
    """Describe a list that is shown to everybody."""
    preview = [{key: item[key] for key in ("id", "name", "type", "primaryImageTag")} for item in items[:PREVIEWED]]
    return {
        "id": number,
        "serverId": 1,
        "userId": user_id,
        "name": name,
        "description": description,
        "isPublic": True,
        "isPromoted": True,
        "allowedItemType": None,
        "defaultSortOrder": "custom",
        "createdAt": made_at,
        "updatedAt": made_at,
        "itemCount": len(items),
        "previewItems": preview if with_preview else [],
    }
