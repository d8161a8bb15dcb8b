"""The plan of studio pictures: empty places are filled, our own pictures are renewed, the operator's stay."""

from __future__ import annotations

import pytest

from aperture_dagster.enrichment.queries import StoredLogo
from aperture_dagster.media_server.records import ServerStudio
from aperture_dagster.publishing.pictures import plan_pictures


def logo(name: str, sha256: str = "new", shown: str | None = None, *, studio_id: int = 1) -> StoredLogo:
    return StoredLogo("company", studio_id, name, f"{name}.png", "png", sha256, shown)


@pytest.mark.parametrize(
    ("has_picture", "logos", "chosen"),
    [
        # The name counts in any case, and of two logos with one name the first.
        (False, [logo("Other"), logo("Acme", studio_id=7), logo("ACME", studio_id=8)], 7),
        # The operator chose the picture.
        (True, [logo("Acme")], None),
        (True, [logo("Acme", "new", shown="old")], 1),
        (True, [logo("Acme", "new", shown="new")], None),
        # The server lost it.
        (False, [logo("Acme", "new", shown="new")], 1),
    ],
)
def test_a_studio_gets_its_logo_unless_it_has_it_or_a_picture_of_the_operator(
    has_picture: bool, logos: list[StoredLogo], chosen: int | None
):
    studios = [ServerStudio("a", "ACME", has_picture), ServerStudio("b", "Nowhere", False)]
    planned = [(studio.server_item_id, one.studio_id) for studio, one in plan_pictures(studios, logos)]
    assert planned == ([("a", chosen)] if chosen is not None else [])
