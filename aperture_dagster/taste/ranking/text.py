"""The text that is embedded for a title: one recipe for the library, for discovery candidates and for benchmarks.

Vectors are comparable only when their texts follow the same recipe. Whoever stores a vector also stores ``RECIPE``, and
embeds the title again when it differs.
"""

from collections.abc import Iterable, Mapping
from typing import Any

RECIPE = "1"
"""Version of the recipe. Change it whenever the text of the same title changes."""

TEXT_COLUMNS = (
    "title", "year", "tagline", "genres", "keywords", "directors", "creators", "cast", "networks", "companies",
    "countries", "language", "overview",
)  # fmt: skip
"""The values of a row that its text is made from."""
LISTS_OF_NAMES = (
    "genres", "keywords", "directors", "creators", "cast", "networks", "companies", "countries",
)  # fmt: skip
"""Those of them that are lists."""

MAX_KEYWORDS = 20
MAX_CAST = 5
MAX_STUDIOS = 3
_UNKNOWN = {"nan", "none", "<na>", "nat"}


def title_text(row: Mapping[str, Any]) -> str:
    """Return the text to embed: a few sentences, the most important first (models truncate long texts).

    ``row`` may hold any of the values below. Lists may be sequences of names, of mappings with a ``name``, or a single
    string. Missing values are skipped; the text is empty when nothing is known.
    """
    # pandas adds decimals to the years of a column with gaps (1995.0).
    title, year = _scalar(row.get("title")), _scalar(row.get("year")).removesuffix(".0")
    studios = _names(row.get("networks"), MAX_STUDIOS) or _names(row.get("companies"), MAX_STUDIOS)
    parts = [
        f"{title} ({year})" if title and year else title or year,
        _scalar(row.get("tagline")),
        ", ".join(_names(row.get("genres"))),
        ", ".join(_names(row.get("keywords"), MAX_KEYWORDS)),
        ", ".join(_names(row.get("directors")) or _names(row.get("creators"))),
        ", ".join(_names(row.get("cast"), MAX_CAST)),
        ", ".join(studios),
        ", ".join([*_names(row.get("countries")), *_names(row.get("language"))]),
        _scalar(row.get("overview")),
    ]
    return ". ".join(part.rstrip(". ") for part in parts if part)


def _scalar(value: Any) -> str:
    """Return a single value as clean text; any form of "unknown" becomes the empty string."""
    if type(value) is not str:
        if value is None or (isinstance(value, float) and value != value):
            return ""
        value = str(value)
    text = " ".join(value.split())
    return "" if len(text) <= 4 and text.lower() in _UNKNOWN else text


def _names(value: Any, limit: int | None = None) -> list[str]:
    """Return the distinct names in a list-like value, in order."""
    if value is None or isinstance(value, float):
        return []
    is_single = type(value) is not list and isinstance(value, str | Mapping)
    entries: Iterable[Any] = [value] if is_single else value
    names: list[str] = []
    for entry in entries:
        # Whether a text is a mapping takes longer to find out than the rest.
        name = _scalar(entry.get("name") if type(entry) is not str and isinstance(entry, Mapping) else entry)
        if name and name not in names:
            names.append(name)
            if len(names) == limit:
                break
    return names
