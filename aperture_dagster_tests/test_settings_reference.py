"""The page about settings says what the program does."""

from aperture_dagster.settings import Settings
from aperture_dagster.settings_reference import reference
from aperture_dagster_tests.conftest import PROJECT


def test_the_reference_of_settings_is_the_programs_own() -> None:
    assert (PROJECT / "docs" / "settings.md").read_text(encoding="utf-8") == reference(), (
        "run: python -m aperture_dagster.settings_reference"
    )


def test_every_setting_is_in_the_reference_with_a_sentence() -> None:
    page = reference()
    for name, field in Settings.model_fields.items():
        assert f"| `{name}` |" in page
        assert field.description and field.description.endswith("."), name
