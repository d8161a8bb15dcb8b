"""The text by which a title is embedded: one recipe for the library, for discovery candidates and for benchmarks.

Vectors of two titles are only comparable when their texts were made alike, so whoever stores a vector stores
``RECIPE`` beside it, and embeds again when it differs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

RECIPE = "1"
"""Version of the recipe. Change it whenever the same title would give another text."""

MAX_KEYWORDS = 20
MAX_CAST = 5
MAX_STUDIOS = 3


def title_text(row: Mapping[str, Any]) -> str:
    """Return the text that stands for a title in the embedding model.

    Args:
        row: any mapping with some of ``title``, ``year``, ``tagline``, ``genres``, ``keywords``, ``directors``,
            ``creators``, ``cast``, ``networks``, ``companies``, ``countries``, ``language``, ``overview``. Lists may
            be sequences of names, of mappings with a ``name``, or a single string. What is missing is skipped.

    Returns:
        A few sentences, the most telling first (models cut long texts at the end); empty when nothing is known.
    """
    title, year = _scalar(row.get("title")), _year(row.get("year"))
    makers = _names(row.get("directors")) or _names(row.get("creators"))
    studios = _names(row.get("networks"), MAX_STUDIOS) or _names(row.get("companies"), MAX_STUDIOS)
    origin = [*_names(row.get("countries")), *_names(row.get("language"))]
    parts = [
        f"{title} ({year})" if title and year else title or year,
        _scalar(row.get("tagline")),
        ", ".join(_names(row.get("genres"))),
        ", ".join(_names(row.get("keywords"), MAX_KEYWORDS)),
        ", ".join(makers),
        ", ".join(_names(row.get("cast"), MAX_CAST)),
        ", ".join(studios),
        ", ".join(origin),
        _scalar(row.get("overview")),
    ]
    return ". ".join(part.rstrip(". ") for part in parts if part)


def _scalar(value: Any) -> str:
    """A single value as clean text; anything that means "unknown" becomes the empty string."""
    if value is None or (isinstance(value, float) and value != value):
        return ""
    text = " ".join(str(value).split())
    return "" if text.lower() in {"nan", "none", "<na>", "nat"} else text


def _year(value: Any) -> str:
    """A year without the decimals that a column with gaps gives it (1995.0)."""
    text = _scalar(value)
    return text.removesuffix(".0")


def _names(value: Any, limit: int | None = None) -> list[str]:
    """The names in a list-like value, in their order, each once."""
    if value is None or isinstance(value, float):
        return []
    entries: Iterable[Any] = [value] if isinstance(value, str | Mapping) else value
    names: dict[str, None] = {}
    for entry in entries:
        name = _scalar(entry.get("name") if isinstance(entry, Mapping) else entry)
        if name:
            names.setdefault(name)
    return list(names)[:limit]
