"""What a browser needs to offer the pages as an app: a manifest, and a worker that shows a page while we are away."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from aperture_dagster.front_door.house import House, Visit
from aperture_dagster.front_door.rendering import HEADERS, NO_STORE

MANIFEST, OFFLINE, WORKER = "/manifest.webmanifest", "/offline", "/worker.js"
ICONS = {"icon-192.png": "192x192", "icon-512.png": "512x512", "aperture.svg": "any"}


def routes(house: House) -> Sequence[BaseRoute]:
    """Return the routes."""
    return [house.quick(MANIFEST, manifest), house.quick(OFFLINE, offline), house.quick(WORKER, worker)]


def manifest(visit: Visit) -> Response:
    """Answer with the name, the icons and the beginning of the app, which says nothing of who asks."""
    base = visit.house.prefix
    content = {
        "name": "Aperture",
        "short_name": "Aperture",
        "id": f"{base}/",
        "start_url": f"{base}/",
        "scope": f"{base}/",
        "display": "standalone",
        "background_color": "#15141d",
        "theme_color": "#5b4fd6",
        "icons": [{"src": f"{base}/static/{name}", "sizes": sizes} for name, sizes in ICONS.items()],
    }
    headers = {**HEADERS, "cache-control": "public, max-age=3600"}
    return JSONResponse(content, headers=headers, media_type="application/manifest+json")


def offline(visit: Visit) -> Response:
    """Show what the worker keeps, to be shown while the server cannot be reached."""
    _ = visit.texts
    text = _("Aperture cannot be reached at the moment. As soon as it can, “Back” leads to your lists.")
    return visit.step(_("No connection"), text=text)


def worker(visit: Visit) -> Response:
    """Answer with the worker; browsers ask for it again, so that a new version replaces the old one."""
    return visit.house.renderer.file("worker.js", NO_STORE)
