"""Take one person's names out of texts that are about others as well: messages, tables, and JSON that holds either."""

from __future__ import annotations

import base64
import binascii
import json
import re
import zlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, cast

FORMER = "a former user"
"""Stands in sentences where a name was."""
# In objects of Dagster: what names parts of the program, which may be called like a person.
_STRUCTURE = frozenset(
    {"__class__", "path", "step_key", "job_name", "pipeline_name", "event_type_value", "run_id", "name", "label",
     "check_name", "asset_key"}
)  # fmt: skip
# Base64 of what zlib compressed, after the number of the format.
_COMPRESSED = re.compile(r"[01]eJ[A-Za-z0-9+/]+=*")


class Redactor:
    """Removes names and ids of a person.

    Args:
        names: everything by which the person is called.
        kept: names of others. Where one of these holds one of ``names``, it stays.
    """

    def __init__(self, names: Iterable[str], *, kept: Iterable[str] = ()) -> None:
        self._kept = {one for one in kept if one}
        self.names = tuple(dict.fromkeys(name for name in names if name and name not in self._kept))
        longest_first = sorted({*self.names, *self._kept}, key=len, reverse=True)
        self._pattern = re.compile(rf"(?<![\w@])(?:{'|'.join(map(re.escape, longest_first))})(?!\w)")

    @property
    def needles(self) -> tuple[str, ...]:
        """Texts of which at least one is in whatever names the person, be it plain or JSON, also JSON within JSON.

        Compressed texts are not found by them.
        """
        escaped = {max(re.split(r"\\+", json.dumps(name)[1:-1]), key=len) for name in self.names}
        found = {*self.names, *escaped}
        # Whatever holds a longer one holds the shorter one in it.
        return tuple(sorted(one for one in found if not any(other in one for other in found - {one})))

    def is_named_in(self, text: str) -> bool:
        """Tell whether a text names the person."""
        return any(found[0] not in self._kept for found in self._pattern.finditer(text))

    def text(self, text: str) -> str:
        """Return a text without the person: rows of tables that name them go, elsewhere ``FORMER`` takes their place.

        A text that is JSON stays JSON; see :meth:`value`.
        """
        if _COMPRESSED.fullmatch(text):
            return self._compressed(text)
        if text[:1] in ("{", "["):
            with suppress(ValueError):
                before = json.loads(text)
                after = self.value(before)
                return text if after == before else json.dumps(after)
        if not self.is_named_in(text):
            return text
        lines = [line for line in text.split("\n") if not (line.startswith("|") and self.is_named_in(line))]
        return self._pattern.sub(lambda found: found[0] if found[0] in self._kept else FORMER, "\n".join(lines))

    def value(self, value: Any) -> Any:
        """Return a JSON value without the person: rows, list items and keys go, in texts ``FORMER`` takes their place.

        What names the parts of the program in objects of Dagster stays.
        """
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self.value(one) for one in cast("list[Any]", value) if not self._goes(one)]
        if isinstance(value, Mapping):
            items = cast("Mapping[str, Any]", value)
            if "__class__" in items:
                return {
                    key: one if key in _STRUCTURE and isinstance(one, (str, list)) else self.value(one)
                    for key, one in items.items()
                }
            return {key: self.value(one) for key, one in items.items() if key not in self.names}
        return value

    def _goes(self, item: Any) -> bool:
        """Tell whether an item of a list is about the person: their name, or a row of a table."""
        if isinstance(item, str):
            return item in self.names
        if isinstance(item, Mapping):
            row = cast("Mapping[str, Any]", item)
            return row.get("__class__") == "TableRecord" and any(map(self.is_named_in, _texts(row)))
        return False

    def _compressed(self, text: str) -> str:
        try:
            before = zlib.decompress(base64.b64decode(text[1:])).decode()
        except (binascii.Error, zlib.error, UnicodeDecodeError):
            return text
        after = self.text(before)
        return text if after == before else text[0] + base64.b64encode(zlib.compress(after.encode())).decode()


def _texts(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for one in cast("Mapping[str, Any]", value).values():
            yield from _texts(one)
    elif isinstance(value, list):
        for one in cast("list[Any]", value):
            yield from _texts(one)
