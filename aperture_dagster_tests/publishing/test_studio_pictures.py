"""The plan of studio pictures: empty places are filled, our own pictures are renewed, the operator's stay."""

from __future__ import annotations

from aperture_dagster.enrichment.queries import StoredLogo
from aperture_dagster.media_server.records import ServerStudio
from aperture_dagster.publishing.pictures import plan_pictures


def logo(name: str, sha256: str = "new", shown: str | None = None, *, studio_id: int = 1) -> StoredLogo:
    return StoredLogo("company", studio_id, name, f"{name}.png", "png", sha256, shown)


def planned(studios: list[ServerStudio], logos: list[StoredLogo]) -> list[tuple[str, int]]:
    return [(studio.server_item_id, one.studio_id) for studio, one in plan_pictures(studios, logos)]


def test_a_studio_without_a_picture_gets_its_logo_by_its_name_in_any_case():
    assert planned([ServerStudio("a", "ACME", False), ServerStudio("b", "Other", False)], [logo("Acme")]) == [("a", 1)]


def test_a_picture_that_the_operator_chose_stays():
    assert planned([ServerStudio("a", "Acme", True)], [logo("Acme")]) == []


def test_our_own_picture_is_replaced_when_the_logo_changed_and_left_alone_otherwise():
    has_picture = [ServerStudio("a", "Acme", True)]
    assert planned(has_picture, [logo("Acme", "new", shown="old")]) == [("a", 1)]
    assert planned(has_picture, [logo("Acme", "new", shown="new")]) == []


def test_our_own_picture_is_restored_when_the_server_lost_it():
    assert planned([ServerStudio("a", "Acme", False)], [logo("Acme", "new", shown="new")]) == [("a", 1)]


def test_of_two_logos_with_one_name_the_first_counts():
    logos = [logo("Acme", studio_id=7), logo("ACME", studio_id=8)]
    assert planned([ServerStudio("a", "Acme", False)], logos) == [("a", 7)]
