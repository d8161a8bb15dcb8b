"""Every setting is checked, and what is wrong is said in one sentence that names it; no secret is ever shown."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from aperture_dagster.settings import (
    Settings,
    SettingsError,
    environment_names,
    host_timezone,
    load_settings,
    project_root,
    secret_names,
)

SECRET = "hush-very-secret"


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An ``aperture.toml`` of this test, and the folder for ``.env`` beside it."""
    path = tmp_path / "aperture.toml"
    monkeypatch.setenv("APERTURE_CONFIG", str(path))
    return path


def refused(**overrides: Any) -> str:
    with pytest.raises(SettingsError) as told:
        load_settings(**overrides)
    message = str(told.value)
    assert "\n" not in message
    assert SECRET not in message
    return message


def test_nothing_has_to_be_set():
    settings = load_settings()
    assert settings.media_server_url is None
    assert settings.secret_values() == []


# Where a setting comes from


def test_the_environment_wins_over_env_file_and_toml_and_each_over_the_default(
    config: Path, monkeypatch: pytest.MonkeyPatch
):
    config.write_text("http_attempts = 2\ntop_picks_per_list = 2\nstep_retries = 3\n")
    config.with_name(".env").write_text("APERTURE_HTTP_ATTEMPTS=3\nAPERTURE_TOP_PICKS_PER_LIST=3\n")
    monkeypatch.setenv("APERTURE_HTTP_ATTEMPTS", "4")
    # What the file brings into the environment goes with this test.
    monkeypatch.setattr(os, "environ", os.environ.copy())
    settings = load_settings()
    assert (settings.http_attempts, settings.top_picks_per_list, settings.step_retries) == (4, 3, 3)
    assert load_settings(http_attempts=5).http_attempts == 5


def test_an_empty_variable_is_none(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("APERTURE_MEDIA_SERVER_URL", "")
    monkeypatch.setenv("APERTURE_HTTP_ATTEMPTS", "")
    assert load_settings().http_attempts == Settings.model_fields["http_attempts"].default


def test_the_keys_of_other_services_have_their_usual_names(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TMDB_API_KEY", SECRET)
    monkeypatch.setenv("OPENAI_API_KEY", SECRET + "2")
    assert load_settings().secret_values() == [SECRET, SECRET + "2"]
    monkeypatch.delenv("TMDB_API_KEY")
    monkeypatch.setenv("APERTURE_TMDB_API_KEY", SECRET + "3")
    assert SECRET + "3" in load_settings().secret_values()


# What is wrong is named


def test_a_misspelt_variable_names_the_nearest(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("APERTURE_MEDIA_SERVER_ULR", "http://x")
    message = refused()
    assert "APERTURE_MEDIA_SERVER_ULR in the environment is not a setting" in message
    assert "APERTURE_MEDIA_SERVER_URL" in message


def test_a_misspelt_name_in_the_file_names_the_nearest_and_the_file(config: Path):
    config.write_text("libary = ['Films']\n")
    assert refused() == f"libary in {config} is not a setting. Did you mean libraries?"


def test_a_name_like_no_other_points_to_the_list(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("APERTURE_ZZZZ_QQQQ", "1")
    assert "docs/settings.md" in refused()


def test_a_misspelt_override_is_refused():
    assert "top_pick" in refused(top_pick=1)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("http_attempts", "many"), ("http_attempts", "0"), ("http_attempts", "21"), ("http_attempts", "2.5"),
        ("removal_limit", "1.5"), ("removal_limit", "-0.1"), ("diversity", "nan"), ("started_share", "5 %"),
        ("schedules_enabled", "perhaps"), ("timezone", "Mars/Olympus"), ("timezone", "Europe"), ("timezone", "../x"),
        ("media_server_url", "192.168.1.10:8096"), ("media_server_url", "ftp://x"), ("media_server_url", "http://"),
        ("tmdb_url", "x"), ("embedder", "magic"), ("tmdb_period_seconds", "0"), ("user_emails", "ann@home"),
        ("embedder_batch_size", "-1"), ("tombstone_days", "-1"),
    ],
)  # fmt: skip
def test_an_impossible_value_names_the_setting_and_its_variable(monkeypatch: pytest.MonkeyPatch, name: str, value: str):
    monkeypatch.setenv(environment_names(name)[0], value)
    message = refused()
    assert message.startswith(f"Setting {name} from the environment variable {environment_names(name)[0]}: ")


@pytest.mark.parametrize("line", ["http_attempts = 'many'", "libraries = 5", "tmdb_url = ''", "user_emails = 'x'"])
def test_an_impossible_value_in_the_file_names_the_file(config: Path, line: str):
    config.write_text(line + "\n")
    assert refused().startswith(f"Setting {line.split()[0]} from {config}: ")


def test_a_file_that_is_no_toml_is_named(config: Path):
    config.write_text("this is not toml")
    assert refused().startswith(f"{config} is not valid TOML")
    config.write_bytes(b"\xff\xfe\x00")
    assert refused().startswith(f"{config} is not valid TOML")


# Secrets


@pytest.mark.parametrize("name", secret_names())
def test_a_secret_in_the_shared_file_is_refused_and_not_repeated(config: Path, name: str):
    config.write_text(f"{name} = '{SECRET}'\n")
    message = refused()
    assert name in message
    assert environment_names(name)[0] in message


@pytest.mark.parametrize("name", ["TMDB_API_KEY", "OPENAI_API_KEY", "APERTURE_MEDIA_SERVER_API_KEY"])
def test_nor_does_its_variables_name_let_it_into_the_file(config: Path, name: str):
    config.write_text(f"{name} = '{SECRET}'\n")
    assert name in refused()


def secret_of(name: str) -> str:
    return f'{{"X-Key": "{SECRET}"}}' if name == "media_server_headers" else SECRET


def test_a_secret_shows_nowhere():
    settings = load_settings(**{name: secret_of(name) for name in secret_names()})
    assert set(settings.secret_values()) == {SECRET, secret_of("media_server_headers")}
    for told in (repr(settings), str(settings), f"{settings}", str(settings.model_dump()), settings.model_dump_json()):
        assert SECRET not in told


@pytest.mark.parametrize("value", [[SECRET], {"x": SECRET}, SECRET.encode() + b"\xff"])
@pytest.mark.parametrize("name", secret_names())
def test_a_secret_of_a_wrong_type_is_not_shown(name: str, value: Any):
    assert name in refused(**{name: value})


def test_every_key_and_database_is_a_secret():
    for name in Settings.model_fields:
        telling = name.endswith(("headers", "api_key", "database_url", "token", "secret", "password"))
        assert telling == (name in secret_names()), name


@pytest.mark.parametrize("name", secret_names())
def test_blanks_and_line_breaks_around_a_secret_are_not_part_of_it(name: str):
    value = getattr(load_settings(**{name: f" {secret_of(name)}\r\n"}), name)
    assert isinstance(value, SecretStr)
    assert value.get_secret_value() == secret_of(name)
    assert getattr(load_settings(**{name: " \n"}), name) is None


# Lists, addresses, time zones


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Films", ("Films",)),
        ("Films, TV Shows ,", ("Films", "TV Shows")),
        (" , ,", ()),
        ('["Films", "Either, Or"]', ("Films", "Either, Or")),
        ("[Anime] Shows, Films", ("[Anime] Shows", "Films")),
        ("[]", ()),
        ("Кино, فيلم, 🎬", ("Кино", "فيلم", "🎬")),
    ],
)
def test_a_list_is_written_with_commas_or_as_json(monkeypatch: pytest.MonkeyPatch, text: str, names: tuple[str, ...]):
    monkeypatch.setenv("APERTURE_LIBRARIES", text)
    assert load_settings().libraries == names


def test_a_list_in_the_file_is_a_list(config: Path):
    config.write_text("libraries = ['Films', 'Either, Or']\ninclude_users = 'ann, bob'\n")
    settings = load_settings()
    assert settings.libraries == ("Films", "Either, Or")
    assert settings.include_users == ("ann", "bob")


def test_emails_are_a_table_in_the_file_and_json_in_the_environment(config: Path, monkeypatch: pytest.MonkeyPatch):
    config.write_text("[user_emails]\n'Ann B.' = 'ann@home.example'\n")
    assert load_settings().user_emails == {"Ann B.": "ann@home.example"}
    monkeypatch.setenv("APERTURE_USER_EMAILS", '{"Bob": "bob@home.example"}')
    assert load_settings().user_emails["Bob"] == "bob@home.example"


@pytest.mark.parametrize("given", ["http://host:8096", "http://host:8096/", " https://host/base/ "])
def test_an_address_is_taken_with_or_without_a_slash_at_its_end(given: str):
    assert load_settings(media_server_url=given).media_server_url == given.strip().rstrip("/")
    assert load_settings(media_server_url=" ").media_server_url is None


def test_the_schedules_keep_a_real_time_zone(monkeypatch: pytest.MonkeyPatch):
    assert load_settings(timezone="Europe/Berlin").schedule_timezone == "Europe/Berlin"
    monkeypatch.setenv("TZ", "America/New_York")
    assert load_settings().schedule_timezone == "America/New_York"
    for odd in ("", "CET-1CEST", ":", "/etc/passwd", "Mars/Olympus"):
        monkeypatch.setenv("TZ", odd)
        assert host_timezone() == load_settings().schedule_timezone
        assert host_timezone() not in (odd, "")


# Home


def test_home_is_the_demos_until_a_media_server_is_set():
    root = project_root() / ".aperture"
    assert load_settings().home_path == root / "demo"
    assert load_settings(media_server_url="http://x").home_path == root


def test_home_is_where_the_operator_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_settings(home="~/kept").home_path == tmp_path / "kept"
    assert load_settings(home=tmp_path / "a" / ".." / "b", media_server_url="http://x").home_path == tmp_path / "b"


def test_settings_do_not_change_under_way():
    with pytest.raises(ValueError, match="frozen"):
        load_settings().http_attempts = 3


def test_every_setting_says_what_it_is_for():
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert field.description.endswith((".", ")")), name
