"""How pages are made from templates, with the files that they load and the headers that all of them have."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, Response

from aperture_dagster.model import printable, stars
from aperture_dagster.texts import LANGUAGES, Texts, marked

HERE = Path(__file__).parent
STATIC = {
    "aperture.css": "text/css; charset=utf-8",
    "aperture.js": "text/javascript; charset=utf-8",
    "aperture.svg": "image/svg+xml",
    "evening.js": "text/javascript; charset=utf-8",
    "icon-180.png": "image/png",
    "icon-192.png": "image/png",
    "icon-512.png": "image/png",
    "jobs.js": "text/javascript; charset=utf-8",
    "settings.js": "text/javascript; charset=utf-8",
    "set_up.js": "text/javascript; charset=utf-8",
    "worker.js": "text/javascript; charset=utf-8",
}
NO_STORE = {"cache-control": "private, no-store"}
# The addresses of files change with what is in them.
FOR_EVER = {"cache-control": "public, max-age=31536000, immutable"}
HEADERS = {
    "content-security-policy": "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; "
    "connect-src 'self'; manifest-src 'self'; worker-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
}
DEMO = marked("This is a demo: an invented household, and stand-ins for all services.")


class Renderer:
    """Makes pages.

    Args:
        prefix: path below which everything is served; empty, or with a leading slash.
        is_demo: every page says that it is one of a demo.
        values: what templates may use besides what each page is given.
    """

    def __init__(self, prefix: str = "", *, is_demo: bool = False, **values: Any) -> None:
        self._files = {name: (HERE / "static" / name).read_bytes() for name in STATIC}
        self._templates = Environment(
            loader=FileSystemLoader(HERE / "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
            lstrip_blocks=True,
        )  # fmt: skip
        # In the addresses of the files, so that browsers can keep them.
        version = hashlib.sha256(b"".join(self._files.values())).hexdigest()[:12]
        self._templates.globals.update(base=prefix, version=version, languages=LANGUAGES, **values)
        self._templates.globals["demo"] = DEMO if is_demo else ""
        self._templates.filters["stars"] = stars

    def text(self, template: str, _: Texts, **values: Any) -> str:
        """Return a page as text; ``notice`` is what its reader should know first."""
        return self._templates.get_template(template).render(_=_, **{"notice": "", **values})

    def file(self, name: str, keep: Mapping[str, str] = FOR_EVER) -> Response:
        """Return a file that pages load. Raises HTTPException 404 if there is none of that name.

        ``keep`` is the header that says how long it may be kept.
        """
        if name not in STATIC:
            raise HTTPException(404)
        return Response(self._files[name], 200, {**HEADERS, **keep}, STATIC[name])


def as_page(text: str, status: int = 200) -> Response:
    """Return a text as an answer that nobody else may keep.

    Names and titles are stored as they came, so what would turn the text around them is taken out here.
    """
    return HTMLResponse(printable(text), status, {**HEADERS, **NO_STORE})
