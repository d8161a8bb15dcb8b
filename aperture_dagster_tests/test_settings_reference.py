"""``docs/settings.md`` describes the settings of the program."""

from aperture_dagster.settings import Settings
from aperture_dagster.settings.reference import reference
from aperture_dagster_tests.conftest import PROJECT


def test_the_page_is_up_to_date() -> None:
    assert (PROJECT / "docs" / "settings.md").read_text(encoding="utf-8") == reference(), (
        "run: python -m aperture_dagster.settings.reference"
    )


def test_every_setting_is_on_the_page_once() -> None:
    page = reference()
    for name in Settings.model_fields:
        assert page.count(f"| `{name}` |") == 1, name


def test_every_group_has_a_heading() -> None:
    headings = [line for line in reference().splitlines() if line.startswith("## ")]
    assert {"## Sources of facts about titles", "## The media server"} <= set(headings)
    assert len(headings) == len(set(headings))
