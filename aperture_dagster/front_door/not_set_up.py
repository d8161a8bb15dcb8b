"""What a web server that runs alone serves while no media server is configured: one page, which says what to set.

`aperture up` has pages for that (:mod:`aperture_dagster.front_door.set_up`); a web server cannot start its other parts.
"""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from aperture_dagster.front_door.clients.any_origin import not_set_up_routes
from aperture_dagster.front_door.gate import texts_for
from aperture_dagster.front_door.rendering import Renderer, as_page
from aperture_dagster.front_door.single_page import single_page
from aperture_dagster.texts import Texts
from aperture_dagster.up.health import NOT_SET_UP


def not_set_up_page(prefix: str = "") -> Starlette:
    """Return an application that shows the page at every address, and needs neither a database nor Dagster."""
    renderer = Renderer(prefix)

    def page(request: Request) -> Response:
        return _page(renderer, texts_for(request))

    return single_page(renderer, page, NOT_SET_UP, prefix=prefix, routes=not_set_up_routes(prefix))


def _page(renderer: Renderer, _: Texts) -> Response:
    before = [
        _("No media server is configured yet, so nothing is running here. Set these two variables, and start again:"),
    ]
    variables = [
        (
            "APERTURE_MEDIA_SERVER_URL",
            _("The address of Jellyfin or Emby, such as http://192.168.1.10:8096. Inside a container, localhost is the "
              "container."),
        ),
        (
            "APERTURE_MEDIA_SERVER_API_KEY",
            _("A key that you make on the media server: in Jellyfin under Dashboard, API Keys; in Emby under Settings, "
              "API Keys."),
        ),
    ]  # fmt: skip
    after = [
        _("With Docker Compose, they are in the file .env beside compose.yaml; then run docker compose up --detach."),
        _("On a NAS, they are among the variables of the container or app."),
        _("Without containers, they are in the file .env in the home of the program, or in the checkout."),
        _("More is in docs/containers.md, docs/nas.md and docs/installation.md."),
    ]
    parts = {"before": before, "variables": variables, "where": _("Where they are set"), "after": after}
    return as_page(renderer.text("not_set_up.html", _, heading=_("Almost there"), **parts), 503)
