"""Every setting is validated, an error is one sentence that names the setting, and no secret is ever shown."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from aperture_dagster.settings import (
    Settings,
    SettingsError,
    environment_names,
    groups,
    home,
    load_settings,
    misspelt_variables,
    secret_names,
)
from aperture_dagster.settings.home import host_timezone, project_root
from aperture_dagster.settings.lists import WEIGHTS, TopPicksSource
from aperture_dagster.settings.reference import descriptions, reference
from aperture_dagster_tests.conftest import PROJECT

SECRET = "hush-very-secret"


@pytest.fixture
def env(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Path of a ``.env`` in a home for this test; undoes what loading it adds to the environment."""
    monkeypatch.setattr("aperture_dagster.settings.env_file", home.env_file)
    monkeypatch.setattr(os, "environ", os.environ | {"APERTURE_HOME": str(tmp_path)})
    return tmp_path / ".env"


def error_of(**overrides: Any) -> str:
    with pytest.raises(SettingsError) as raised:
        load_settings(**overrides)
    message = str(raised.value)
    assert "\n" not in message
    assert SECRET not in message
    return message


def test_every_setting_is_optional():
    settings = load_settings()
    assert settings.media_server_url is None
    assert settings.secret_values() == []


@pytest.mark.parametrize(("written", "code"), [("de", "DE"), (" uk ", "GB"), ("GB", "GB")])
def test_a_country_is_its_code_and_the_usual_slip_is_understood(written: str, code: str):
    assert load_settings(country=written).country == code


# Sources and their precedence


def test_the_environment_overrides_the_env_file_which_overrides_defaults(env: Path):
    env.write_text("APERTURE_HTTP_ATTEMPTS=3\nAPERTURE_BACKUP_KEEP=3\n")
    os.environ["APERTURE_HTTP_ATTEMPTS"] = "4"
    settings = load_settings()
    assert (settings.http_attempts, settings.backup_keep, settings.step_retries) == (4, 3, 2)
    assert load_settings(http_attempts=5).http_attempts == 5


def test_an_env_file_that_names_another_home_is_read_with_the_one_there(env: Path, tmp_path: Path):
    (tmp_path / "other").mkdir()
    env.write_text(f"APERTURE_HOME={tmp_path / 'other'}\nAPERTURE_BACKUP_KEEP=3\n")
    (tmp_path / "other" / ".env").write_text("APERTURE_BACKUP_KEEP=4\nAPERTURE_HTTP_ATTEMPTS=4\n")
    monkey_home = os.environ.pop("APERTURE_HOME")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(home, "checkout", lambda: Path(monkey_home))
        settings = load_settings()
    assert settings.home_path == tmp_path / "other"
    assert (settings.backup_keep, settings.http_attempts) == (3, 4)


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("APERTURE_MEDIA_SERVER_URL", "")
    monkeypatch.setenv("APERTURE_HTTP_ATTEMPTS", "")
    assert load_settings().http_attempts == Settings.model_fields["http_attempts"].default


def test_keys_of_other_services_are_read_from_their_usual_variables_or_from_ours(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TMDB_API_KEY", SECRET)
    monkeypatch.setenv("OPENAI_API_KEY", SECRET + "2")
    assert set(load_settings().secret_values()) == {SECRET, SECRET + "2"}
    monkeypatch.delenv("TMDB_API_KEY")
    monkeypatch.setenv("APERTURE_TMDB_API_KEY", SECRET + "3")
    assert SECRET + "3" in load_settings().secret_values()
    assert SECRET + "4" in load_settings(tmdb_api_key=SECRET + "4").secret_values()


# Misspelt names and impossible values


def test_the_error_about_a_misspelt_variable_suggests_the_nearest_name(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("APERTURE_MEDIA_SERVER_ULR", "http://x")
    message = error_of()
    assert "APERTURE_MEDIA_SERVER_ULR in the environment is not a setting" in message
    assert "APERTURE_MEDIA_SERVER_URL" in message


def test_the_error_about_a_name_like_no_other_points_to_the_list(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("APERTURE_ZZZZ_QQQQ", "1")
    assert "docs/settings.md" in error_of()


# What Kubernetes sets for a Service called `aperture`, and one called `aperture-ui` with a named port.
OF_KUBERNETES = {
    "APERTURE_SERVICE_HOST": "10.0.0.1",
    "APERTURE_SERVICE_PORT": "3000",
    "APERTURE_PORT": "tcp://10.0.0.1:3000",
    "APERTURE_PORT_3000_TCP": "tcp://10.0.0.1:3000",
    "APERTURE_PORT_3000_TCP_PROTO": "tcp",
    "APERTURE_PORT_3000_TCP_PORT": "3000",
    "APERTURE_PORT_3000_TCP_ADDR": "10.0.0.1",
    "APERTURE_UI_SERVICE_HOST": "fd00::1",
    "APERTURE_UI_SERVICE_PORT": "3000",
    "APERTURE_UI_SERVICE_PORT_HTTP": "3000",
    "APERTURE_UI_PORT": "tcp://[fd00::1]:3000",
    "APERTURE_UI_PORT_3000_TCP_ADDR": "fd00::1",
    "APERTURE_DNS_PORT_53_UDP": "udp://10.0.0.2:53",
}
# What Docker sets for `--link code:aperture-code`.
OF_DOCKER = {
    "APERTURE_CODE_NAME": "/web/aperture-code",
    "APERTURE_CODE_PORT": "tcp://172.17.0.2:4000",
    "APERTURE_CODE_PORT_4000_TCP_PORT": "4000",
    "APERTURE_CODE_ENV_APERTURE_HTTP_ATTEMPTS": "many",
}


@pytest.mark.parametrize("given", [OF_KUBERNETES, OF_DOCKER])
def test_variables_of_a_service_or_a_link_of_our_name_are_no_settings(env: Path, given: dict[str, str]):
    os.environ.update(given)
    assert load_settings().ui_port == 3000
    os.environ.update(given)
    env.write_text("APERTURE_UI_PORT=4321\n")
    assert load_settings().ui_port == 4321
    os.environ["APERTURE_UI_PORT"] = "5432"
    assert load_settings().ui_port == 5432


@pytest.mark.parametrize(
    ("name", "value", "meant"),
    [
        ("APERTURE_PORT", "3000", "APERTURE_UI_PORT"), ("APERTURE_UI_PROT", "3000", "APERTURE_UI_PORT"),
        ("APERTURE_SERVICE_HOST", "jellyfin.lan:8096", ""), ("APERTURE_SERVICE_PORT", "http://x", ""),
        ("APERTURE_MEDIA_SERVER_NAME", "home", ""), ("APERTURE_ENV_FILE", "x", ""), ("APERTURE_HOST", "10.0.0.1", ""),
    ],
)  # fmt: skip
def test_what_only_resembles_a_variable_of_a_service_is_refused(env: Path, name: str, value: str, meant: str):
    os.environ[name] = value
    message = error_of()
    assert message.startswith(f"{name} in the environment is not a setting. ")
    assert meant in message
    del os.environ[name]
    env.write_text(f"{name}={value}\n")
    assert error_of().startswith(f"{name} in {env} is not a setting. ")


def test_a_misspelt_variable_without_the_prefix_is_found_unless_the_right_one_is_set():
    given = {"TMBD_API_KEY", "TRAKT_CLIENT_IDS", "OPENAI_API_KEY", "OPENAI_API_KEYS", "HOME", "AWS_API_KEY"}
    assert misspelt_variables(given) == {"TMBD_API_KEY": "TMDB_API_KEY", "TRAKT_CLIENT_IDS": "TRAKT_CLIENT_ID"}


def test_a_misspelt_override_is_error_of():
    message = error_of(backups_keep=1)
    assert message == "backups_keep given by the program is not a setting. Did you mean backup_keep?"


def test_the_error_about_a_line_or_a_value_in_the_env_file_names_the_file(env: Path):
    env.write_text(f"APERTURE_HTTP_ATTEMPTS=3\nTMDB_API_KEY '{SECRET}'\n")
    assert error_of().startswith(f"{env}, line 2: expected NAME=value")
    env.write_text("APERTURE_HTTP_ATTEMPTS=many\n")
    assert error_of().startswith(f"Setting http_attempts from APERTURE_HTTP_ATTEMPTS in {env}: ")
    # A misspelt name comes before impossible values.
    env.write_text("APERTURE_HTTP_ATEMPTS=3\n")
    assert error_of().startswith(f"APERTURE_HTTP_ATEMPTS in {env} is not a setting. Did you mean")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("http_attempts", "many"), ("http_attempts", "0"), ("discovery_other_languages", "nan"),
        ("schedules_enabled", "perhaps"), ("timezone", "Mars/Olympus"), ("timezone", "../x"),
        ("media_server_url", "192.168.1.10:8096"), ("embedder", "magic"), ("user_emails", "ann@home"),
    ],
)  # fmt: skip
def test_the_error_about_an_impossible_value_names_the_setting_and_its_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
):
    monkeypatch.setenv(environment_names(name)[0], value)
    message = error_of()
    assert message.startswith(f"Setting {name} from the environment variable {environment_names(name)[0]}: ")


# Secrets


def secret_of(name: str) -> str:
    return f'{{"X-Key": "{SECRET}"}}' if name == "media_server_headers" else SECRET


def test_a_secret_is_not_in_any_text_of_the_settings():
    settings = load_settings(**{name: secret_of(name) for name in secret_names()})
    assert set(settings.secret_values()) == {SECRET, secret_of("media_server_headers")}
    for text in (repr(settings), str(settings), f"{settings}", str(settings.model_dump()), settings.model_dump_json()):
        assert SECRET not in text


@pytest.mark.parametrize("value", [[SECRET], {"x": SECRET}, SECRET.encode() + b"\xff"])
@pytest.mark.parametrize("name", secret_names())
def test_a_secret_of_a_wrong_type_is_not_shown(name: str, value: Any):
    assert name in error_of(**{name: value})


def test_every_key_and_database_is_a_secret():
    for name in Settings.model_fields:
        sounds_secret = name.endswith(("headers", "alert_urls", "_key", "database_url", "token", "secret", "password"))
        assert sounds_secret == (name in secret_names()), name


@pytest.mark.parametrize("name", secret_names())
def test_spaces_and_line_breaks_around_a_secret_are_stripped(name: str):
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


@pytest.mark.parametrize("given", ["http://host:8096", "http://host:8096/", " https://host/base/ "])
def test_a_trailing_slash_of_an_address_is_removed(given: str):
    assert load_settings(media_server_url=given).media_server_url == given.strip().rstrip("/")
    assert load_settings(media_server_url=" ").media_server_url is None


def test_an_address_with_a_default_can_be_switched_off_in_the_environment(monkeypatch: pytest.MonkeyPatch):
    for name in ("PRICES_URL", "CROWD_URL"):
        monkeypatch.setenv(f"APERTURE_{name}", "Off")
    settings = load_settings()
    assert settings.prices_url is None and settings.crowd_url is None


def test_the_scheme_of_an_address_may_be_in_capitals():
    assert load_settings(media_server_url="HTTP://Host:8096/Base").media_server_url == "http://Host:8096/Base"


def test_schedules_always_have_a_valid_time_zone(monkeypatch: pytest.MonkeyPatch):
    assert load_settings(timezone="Europe/Berlin").schedule_timezone == "Europe/Berlin"
    monkeypatch.setenv("TZ", "America/New_York")
    assert load_settings().schedule_timezone == "America/New_York"
    for odd in ("", "CET-1CEST", ":", "/etc/passwd", "Mars/Olympus", "EST"):
        monkeypatch.setenv("TZ", odd)
        assert host_timezone() == load_settings().schedule_timezone
        assert host_timezone() not in (odd, "")


# Home


def test_the_default_home_is_the_demos_until_a_media_server_is_configured():
    root = project_root() / ".aperture"
    assert load_settings().home_path == root / "demo"
    assert load_settings(media_server_url="http://x").home_path == root


def test_home_can_be_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_settings(home="~/kept").home_path == tmp_path / "kept"
    assert load_settings(home=tmp_path / "a" / ".." / "b", media_server_url="http://x").home_path == tmp_path / "b"


def test_settings_are_immutable():
    with pytest.raises(ValueError, match="frozen"):
        load_settings().http_attempts = 3


def test_every_setting_has_a_description():
    found = {name: text for group in groups() for name, text in descriptions(group).items()}
    assert found.keys() == Settings.model_fields.keys()
    for name, text in found.items():
        assert text.endswith((".", ")")), name


# Top Picks


@pytest.mark.parametrize(
    ("given", "source"),
    [
        ("local", TopPicksSource(True)),
        ("tmdb:trending", TopPicksSource(False, "tmdb", "trending")),
        ("local+tmdb:popular", TopPicksSource(True, "tmdb", "popular")),
        ("mdblist:2194", TopPicksSource(False, "mdblist", "2194")),
        (
            " local+mdblist:https://mdblist.com/lists/anna/best-films/ ",
            TopPicksSource(True, "mdblist", "anna/best-films"),
        ),
    ],
)
def test_a_source_of_top_picks_is_local_a_list_or_both(given: str, source: TopPicksSource):
    assert TopPicksSource.parse(load_settings(top_picks_series={"source": given}).top_picks_series.source) == source


def test_rules_of_top_picks_are_a_json_object_of_what_differs(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("APERTURE_TOP_PICKS_MOVIES", '{"window_days": 7}')
    settings = load_settings()
    assert (settings.top_picks_movies.window_days, settings.top_picks_movies.per_list) == (7, 10)
    wrong = {
        '{"days": 7}': "days: expected source,", '{"window_days": 0}': "window_days: Input", "{": "expected JSON",
    }  # fmt: skip
    for given, problem in wrong.items():
        monkeypatch.setenv("APERTURE_TOP_PICKS_MOVIES", given)
        where = "Setting top_picks_movies from the environment variable APERTURE_TOP_PICKS_MOVIES: "
        assert error_of().startswith(where + problem)
    monkeypatch.setenv("APERTURE_TOP_PICKS_MOVIES", '{"mdblist_sort": "score.desc"}')
    assert load_settings().top_picks_movies.mdblist_sort == "score.desc"


def test_top_picks_of_films_and_series_have_names_of_their_own():
    names = load_settings(top_picks_movies={"name": " Our films "}, top_picks_series={"name": "Our series"})
    assert [one.name for one in names.top_picks_rules.values()] == ["Our films", "Our series"]
    assert "another name" in error_of(top_picks_movies={"name": "Ours"}, top_picks_series={"name": "ours"})


def test_a_profile_of_lists_may_be_adjusted_by_experts(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("APERTURE_RECOMMENDATIONS_SERIES", '{"profile": "personal", "weights": {"popularity": 0}}')
    settings = load_settings()
    assert settings.recommendations_movies.factors == {}
    assert settings.recommendations_series.factors == {"similarity": 1.5, "rating": 0.5, "popularity": 0}


# When jobs start


@pytest.mark.parametrize("time", ["30 2 * * *", "5 22  * * 0", "0 */6 * * *", "15 * * * *", "*/30 * * * *", "off"])
def test_a_job_starts_daily_weekly_or_every_so_often(time: str):
    assert load_settings(schedules={"sync_movies": time}).schedules == {"sync_movies": " ".join(time.split())}


@pytest.mark.parametrize(
    ("span", "quiet", "loud"),
    [("19:00-23:30", "19:00 23:29", "18:59 23:30 03:00"), (" 22:00 - 06:30 ", "22:00 00:00 06:29", "06:30 21:59")],
)
def test_quiet_hours_may_pass_midnight_and_follow_the_time_zone(span: str, quiet: str, loud: str):
    settings = load_settings(quiet_hours=span, timezone="Asia/Tokyo")
    for times, expected in ((quiet, True), (loud, False)):
        for moment in times.split():
            here = datetime.fromisoformat(f"2026-05-17T{moment}:00+09:00")
            assert settings.is_quiet(here.astimezone(UTC)) is expected
    assert not load_settings().is_quiet(datetime.now(UTC))


# What is published


def test_what_is_published_is_a_list_and_names_keep_their_defaults():
    lists, names = "top_picks_playlists, top_picks_libraries", {"top_picks": "{type}!"}
    settings = load_settings(publish_lists=lists, publish_names=names)
    assert settings.publish_lists == ("top_picks_playlists", "top_picks_libraries")
    assert settings.publish_names["top_picks"] == "{type}!"
    assert settings.publish_names["shows_you_watch"] == "Shows You Watch - {username}"


# What is refused

IMPOSSIBLE: list[tuple[str, Any, str]] = [
    *(
        (name, given, words)
        for name in ("media_server_url", "tmdb_url", "embedder_url")
        for given, words in (
            (f"http://ann:{SECRET}@host:8096", "without user and password"),
            (f"http://ann:a/{SECRET}@host:8096", "without user and password"),
            (f"http://host:8096/?api_key={SECRET}", "without ? or #"),
            (f"http://host:8096/#{SECRET}", "without ? or #"),
            ("http://my host:8096", "such as http://192.168.1.10:8096"),
            ("http://host:809600", "such as http://192.168.1.10:8096"),
            ("http://:8096", "such as http://192.168.1.10:8096"),
        )
    ),
    *(
        ("top_picks_movies", {"source": f"mdblist:{given}"}, "a list of MDBList by its number or as user/slug")
        for given in ("anna", "a/b/c", "../user", "a/..", "12?x=1", "anna/best films", "a/b#c", "")
    ),
    *(
        ("top_picks_movies", {"source": given}, "expected")
        for given in ("tmdb", "tmdb:best", "hybrid", "mdblist", "tmdb:popular+local")
    ),
    *(
        ("top_picks_movies", {"mdblist_sort": given}, "with .asc or .desc, such as score.desc")
        for given in ("score", "score.down", "random.asc", "asc", ".asc")
    ),
    *(
        ("recommendations_movies", given, problem)
        for given, problem in (
            ({"profile": "popular"}, "Input should be 'balanced', 'personal' or 'recent' (was 'popular')"),
            ({"weights": {"novelty": 1}}, "weights: expected weights of similarity, era,"),
            ({"weights": {"era": -1}}, "weights: era: Input should be greater than or equal to 0"),
            ({"weights": dict.fromkeys(WEIGHTS, 0)}, "weights: expected a weight above 0"),
            ({"per_list": 501}, "per_list: Input should be less than or equal to 500"),
            ({"length": 20}, "length: expected per_list, profile, diversity, weights, and it is none of them"),
        )
    ),
    *(
        ("schedules", {"sync_movies": time}, "expected for sync_movies a time of every day (30 2 * * *)")
        for time in (
            "", "never", "02:30", "60 2 * * *", "0 24 * * *", "0 2 * *", "0 2 1 * *", "0 2 * * 7", "0 2 * * 1-5",
            "*/0 * * * *",
        )
    ),
    *(
        ("quiet_hours", given, "expected two times of day, such as 19:00-23:30")
        for given in ("19:00", "19:00-19:00", "19-25", "evening", "19:00-23:00-24:00")
    ),
    ("publish_lists", "shows", "was 'shows'"),
    *(
        ("publish_names", names, problem)
        for names, problem in (
            ({"recommendations": "Picks - {type}"}, "expected {username} in the name for recommendations"),
            ({"top_picks": "Top Picks"}, "expected {type} in the name for top_picks"),
            ({"top_picks": "{type} {rank}"}, "no other placeholders"),
            ({"picks": "Picks"}, "top_picks, shows_you_watch, for_later, not for picks"),
        )
    ),
]  # fmt: skip


@pytest.mark.parametrize(("name", "given", "words"), IMPOSSIBLE)
def test_what_is_impossible_is_refused_with_what_was_expected(name: str, given: Any, words: str):
    assert words in error_of(**{name: given})


# The page of the settings


def test_the_page_is_up_to_date() -> None:
    assert (PROJECT / "docs" / "settings.md").read_text(encoding="utf-8") == reference(), (
        "run: python -m aperture_dagster.settings.reference"
    )


def test_every_setting_is_on_the_page_once() -> None:
    page = reference()
    for name in Settings.model_fields:
        assert page.count(f"| `{name}` |") == 1, name
