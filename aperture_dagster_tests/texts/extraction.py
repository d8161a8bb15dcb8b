"""The texts in the code and the templates, as Babel finds them."""

from __future__ import annotations

import functools
from collections.abc import Hashable
from pathlib import Path

from babel.messages.extract import extract_from_dir

from aperture_dagster_tests.conftest import PROJECT

PACKAGE = PROJECT / "aperture_dagster"
METHODS = [("**.py", "python"), ("**.html", "jinja2.ext:babel_extract")]
KEYWORDS = {"_": None, "marked": None, "plural": (1, 2)}


@functools.cache
def texts_used() -> dict[Hashable, str]:
    """Return each text, or pair of singular and plural, with the file that uses it."""
    found: dict[Hashable, str] = {}
    for file, _, text, *_ in extract_from_dir(PACKAGE, METHODS, keywords=KEYWORDS):
        found.setdefault(text, Path(file).as_posix())
    return found


if __name__ == "__main__":
    for text, file in texts_used().items():
        print(file, repr(text))
