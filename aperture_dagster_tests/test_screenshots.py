"""``docs/screenshots.py``: which pictures it makes, and what it does with their files."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from PIL import Image

from aperture_dagster.build import build_definitions
from aperture_dagster.settings import Settings
from aperture_dagster_tests.conftest import PROJECT, load_script

screenshots = load_script("docs/screenshots.py")


def page_like(*, changed: int = 0) -> Image.Image:
    """Return a picture with 4,000 pixels in many colours, of which ``changed`` are inverted."""
    image = Image.new("RGB", (80, 50), "white")
    random_ = random.Random(0)
    for number in range(600):
        image.putpixel((number % 80, number // 80), tuple(random_.randrange(60) for _ in range(3)))
    for number in range(changed):
        image.putpixel((number % 80, 40 + number // 80), (0, 0, 0))
    return image


def test_every_picture_of_the_documentation_is_made_by_the_script():
    pictures = [
        *screenshots.PICTURES,
        *screenshots.SET_UP_PICTURES,
        *screenshots.MEMBER_PICTURES,
        *screenshots.CLIENT_PICTURES,
    ]
    made = {f"{picture.name}.png" for picture in pictures}
    assert {path.name for path in (PROJECT / "docs" / "images").iterdir()} <= made
    assert len(made) == len(pictures)


def test_pictures_are_of_assets_that_exist(settings: Settings):
    assets = {key.to_user_string() for key in build_definitions(settings).resolve_asset_graph().get_all_asset_keys()}
    named = {picture.asset for picture in screenshots.PICTURES if picture.asset}
    assert named <= assets


def test_a_picture_is_written_with_a_palette_and_again_only_if_more_than_a_time_has_changed(tmp_path: Path):
    path = tmp_path / "new" / "page.png"
    assert screenshots.write(page_like(), path)
    with Image.open(path) as picture:
        assert (picture.mode, picture.size) == ("P", (80, 50))
    before = path.read_bytes()
    assert not screenshots.write(page_like(), path) and not screenshots.write(page_like(changed=10), path)
    assert path.read_bytes() == before
    assert screenshots.write(page_like(changed=200), path)
    with Image.open(path) as picture:
        assert picture.convert("RGB").getpixel((0, 40)) == (0, 0, 0)


def test_the_demo_of_the_pictures_ignores_the_operators_settings(monkeypatch: pytest.MonkeyPatch):
    for name in ("APERTURE_RECOMMENDATIONS_PER_LIST", "APERTURE_TIMEZONE", "aperture_home", "DAGSTER_HOME"):
        monkeypatch.setenv(name, "Europe/Berlin")
    environment = screenshots.demo_environment()
    assert not {"APERTURE_RECOMMENDATIONS_PER_LIST", "aperture_home", "DAGSTER_HOME"} & environment.keys()
    assert environment["APERTURE_TIMEZONE"] == "UTC"
    assert environment["PATH"] == os.environ["PATH"]
