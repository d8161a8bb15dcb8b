"""The form of answers: which keys there are at every depth, of which types, and whether they can be absent or null."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

# Objects whose keys are data.
_MAPS = ("ProviderIds", "ImageTags", "ImageBlurHashes")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?Z")
_ID = re.compile("[0-9a-f]{32}")
ABSENT = "absent"
Shape = Mapping[str, frozenset[str]]
"""Types by place; a place that is absent from some of its objects has the type ``absent``, too."""


def shape_of(answers: Iterable[tuple[str, Any]]) -> Shape:
    """Return the form that answers have together; each has the name of its request.

    Items of a media server are objects of their own type, wherever they are: a film has other keys than a series.
    """
    types: dict[str, set[str]] = defaultdict(set)
    objects: Counter[str] = Counter()
    present: Counter[tuple[str, str]] = Counter()
    for name, answer in answers:
        for place, value in _walk(name, answer):
            types[place].add(_type_of(value))
            if isinstance(value, dict) and not _is_map(place):
                objects[place] += 1
                present.update((place, key) for key in value)
    for place, key in present:
        if present[place, key] < objects[place]:
            types[f"{place}.{key}"].add(ABSENT)
    return {place: frozenset(found) for place, found in types.items()}


def _walk(place: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and isinstance(value.get("Type"), str) and {"Id", "ServerId"} <= value.keys():
        place = value["Type"]
    yield place, value
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _walk(f"{place}.{'*' if _is_map(place) else key}", inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _walk(f"{place}[]", inner)


def _is_map(place: str) -> bool:
    return place.rpartition(".")[2] in _MAPS


def _type_of(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str():
            return "id" if _ID.fullmatch(value) else "time" if _DATE.fullmatch(value) else "text"
        case list():
            return "list"
        case _:
            return "object"


def differences(real: Shape, ours: Shape) -> Iterator[str]:
    """Name what a stand-in's answers lack or add, and what has another type or can be absent.

    What only the real answers leave out now and then is no difference: that depends on the title. Below a place that
    one side lacks, nothing is compared: an empty list says nothing about its entries.
    """
    for place in sorted(real.keys() | ours.keys()):
        above = place.removesuffix("[]") if place.endswith("[]") else place.rpartition(".")[0]
        if above and not (above in real and above in ours):
            continue
        if place not in ours and not place.endswith("[]"):
            yield f"lacks {place}"
        elif place not in real and not place.endswith("[]"):
            yield f"adds {place}"
        elif place in real and place in ours and ours[place] != real[place] and ours[place] | {ABSENT} != real[place]:
            yield f"{place} is {_words(ours[place])}, not {_words(real[place])}"


def _words(types: frozenset[str]) -> str:
    return " or ".join(sorted(types))
