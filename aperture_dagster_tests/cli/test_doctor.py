"""The doctor reports each problem with its remedy, and always completes all checks."""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import dagster as dg
import pytest
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from dagster._daemon.types import DaemonHeartbeat
from pydantic import SecretStr

from aperture_dagster.cli.doctor.examine import examine
from aperture_dagster.cli.doctor.finding import Finding
from aperture_dagster.cli.doctor.installation import room_on_disk
from aperture_dagster.cli.main import main
from aperture_dagster.settings import Settings
from aperture_dagster.simulator.settings import SimulatorSettings
from aperture_dagster.simulator.world import World, WorldUser
from aperture_dagster.simulator.worlds import odd_world
from aperture_dagster_tests.databases import as_superuser
from aperture_dagster_tests.household import Household, SetClock
from aperture_dagster_tests.instances import instance_in_memory
from aperture_dagster_tests.services import Scripted

pytestmark = pytest.mark.usefixtures("isolated_dagster_instance")


def _by_name(settings: Settings, *only: str) -> dict[str, Finding]:
    return {finding.what: finding for finding in examine(settings, only or None)}


def test_a_working_system_is_reported_as_ok_and_a_refused_key_with_its_setting_and_without_its_value(
    serve: Callable[..., Any],
) -> None:
    with serve(odd_world(datetime.now(UTC))) as (_, settings):
        findings = _by_name(settings)
        wrong = {"media_server_api_key": "secret-of-the-server", "tmdb_api_key": "secret-of-tmdb"}
        keys = {name: SecretStr(key) for name, key in wrong.items()}
        refused = _by_name(settings.model_copy(update=keys), "media server", "TMDb")
        assert settings.database_url is not None
        superuser = SecretStr(as_superuser(settings.database_url.get_secret_value()))
        powerful = _by_name(settings.model_copy(update={"database_url": superuser}), "database")
    assert {findings[what].state for what in ("home", "database", "media server", "TMDb", "Seerr", "embedder")} == {
        "ok"
    }
    assert "12.0.0" in findings["media server"].message
    assert "PostgreSQL 18" in findings["database"].message
    assert "database role" not in findings
    assert powerful["database role"].state == "warning" and "superuser" in powerful["database role"].message
    assert findings["aperture up"].state == "warning"
    assert "start `aperture up`" in findings["aperture up"].message
    assert "schedules" not in findings, "nobody evaluates them"
    assert refused["media server"].state == refused["TMDb"].state == "failed"
    assert "APERTURE_MEDIA_SERVER_API_KEY" in refused["media server"].message
    assert "TMDB_API_KEY" in refused["TMDb"].message
    assert "secret-of" not in str(refused)


@pytest.mark.parametrize(
    "server",
    [
        pytest.param(
            "jellyfin", marks=pytest.mark.nightly(reason="The other server again.", instead="the same test on Emby")
        ),
        "emby",
    ],
)
def test_publishing_is_examined_up_to_what_the_media_server_sees(
    serve: Callable[..., Any], tmp_path: Path, server: Literal["jellyfin", "emby"]
) -> None:
    root, elsewhere = tmp_path / "published", tmp_path / "elsewhere"
    elsewhere.mkdir()
    root.mkdir()
    stand_ins = SimulatorSettings(media_server=server, volumes={"/srv/lists": root, "/srv/other": elsewhere})
    with serve(odd_world(datetime.now(UTC)), stand_ins=stand_ins, server=server) as (_, settings):

        def publishing(**changes: Any) -> Finding:
            return _by_name(settings.model_copy(update={"publish_root": root} | changes), "publishing")["publishing"]

        seen = {str(root): "/srv/lists"}
        assert publishing().state == "off"
        unset = publishing(publish=True, publish_root=None)
        assert unset.state == "failed" and "APERTURE_PUBLISH_ROOT" in unset.message
        missing = publishing(publish=True, publish_root=tmp_path / "missing")
        assert missing.state == "failed" and "create it" in missing.message
        root.chmod(0o755)
        found = publishing(publish=True, path_map=seen)
        assert root.stat().st_mode & 0o777 == 0o755, "the media server must be able to read it"
        assert found.state == "ok" and "/srv/lists" in found.message
        # The folder is there, but it is another one.
        wrong = publishing(publish=True, path_map={str(root): "/srv/other"})
        assert wrong.state == "failed" and "APERTURE_PATH_MAP" in wrong.message
        skipped = publishing(publish=True, path_map={str(root): "/srv/lists/@eaDir"})
        assert skipped.state == "failed" and "@eaDir" in skipped.message
        form = publishing(publish=True, path_map=seen, publish_as="strm")
        assert form.state == ("ok" if server == "emby" else "warning")
        assert ("APERTURE_PUBLISH_AS" in form.message) is (server == "jellyfin")
        assert list(root.iterdir()) == []


def test_seerr_is_examined_and_users_without_an_account_there_are_named(serve: Callable[..., Any]) -> None:
    people = [WorldUser("ann", is_administrator=True), WorldUser("cy")]
    known = SimulatorSettings(seerr_without=("cy",))
    with serve(World("wishes", [], people), stand_ins=known, requests_per_week=2) as (server, settings):
        with instance_in_memory() as instance:
            Household(settings, instance).must("sync_users")
        found = _by_name(settings, "Seerr")["Seerr"]
        assert found.state == "warning" and "cy" in found.message and "2 a week" in found.message
        assert "ann" not in found.message
        with server.state.lock:
            server.state.seerr.add_user("Ann again", server.state.user_named("ann").id)
        doubled = _by_name(settings, "Seerr")["Seerr"].message
        assert "with several users there" in doubled and doubled.endswith("ann")
        wrong = settings.model_copy(update={"seerr_api_key": SecretStr("secret-of-seerr")})
        refused = _by_name(wrong, "Seerr")["Seerr"]
        assert refused.state == "failed" and "SEERR_API_KEY" in refused.message and "secret-of" not in refused.message
        missing = _by_name(settings.model_copy(update={"seerr_url": None}), "Seerr")["Seerr"]
        assert missing.state == "failed" and "APERTURE_SEERR_URL" in missing.message


def test_an_unreachable_database_hides_no_other_finding(make_settings: Callable[..., Settings]) -> None:
    findings = _by_name(make_settings(database_url="postgresql://somebody:pass-of-mine@127.0.0.1:9/nothing"))
    assert findings["database"].state == "failed" and "APERTURE_DATABASE_URL" in findings["database"].message
    assert findings["home"].state == findings["embedder"].state == "ok"
    assert "pass-of-mine" not in str(findings)


def test_an_unforeseen_error_is_one_finding_without_secrets(
    make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise LookupError("no answer for\nsecret-of-openai")

    monkeypatch.setattr("aperture_dagster.cli.doctor.services.Embedders.get", fail)
    findings = _by_name(make_settings(embedder_api_key="secret-of-openai"))
    assert findings["embedder"].state == "failed"
    assert findings["embedder"].message.startswith("LookupError: no answer for ")
    assert "secret-of" not in str(findings) and "\n" not in findings["embedder"].message
    assert "aperture up" in findings, "later checks still run"


def test_while_a_daemon_is_alive_schedules_that_are_switched_off_are_named(
    make_settings: Callable[..., Settings],
) -> None:
    with dg.DagsterInstance.get() as instance:
        for loop in instance.get_required_daemon_types():
            instance.add_daemon_heartbeat(DaemonHeartbeat(datetime.now(UTC).timestamp(), loop, "one", []))
    on = _by_name(make_settings(), "running")["schedules"]
    assert on.state == "ok" and "sync_movies_schedule" not in on.message
    off = _by_name(make_settings(schedules_enabled=False), "running")["schedules"]
    assert off.message.startswith("0 of ") and "sync_movies_schedule" in off.message


def test_a_half_configured_server_is_a_mistake_and_a_service_without_settings_is_off_and_names_them(
    make_settings: Callable[..., Settings],
) -> None:
    half = [{"media_server_url": "http://films.invalid"}, {"media_server_api_key": "secret-of-mine"}]
    for given, missing in zip(half, ("APERTURE_MEDIA_SERVER_API_KEY", "APERTURE_MEDIA_SERVER_URL"), strict=True):
        finding = _by_name(make_settings(**given), "media server")["media server"]
        assert finding.state == "failed" and finding.message.startswith(f"{missing} is not set")
    findings = _by_name(make_settings(), "media server", "TMDb")
    assert findings["media server"].state == findings["TMDb"].state == "off"
    assert "APERTURE_MEDIA_SERVER_URL" in findings["media server"].message
    assert "TMDB_API_KEY" in findings["TMDb"].message


def test_libraries_and_users_that_the_server_does_not_have_are_named_with_the_nearest(
    serve: Callable[..., Any],
) -> None:
    people = [WorldUser("Annabel", is_administrator=True), WorldUser("Cy")]
    named = {
        "include_users": ("annabel", "Anabel"),
        "exclude_users": ("nobody at all",),
        "user_emails": {"cy": "c@x.y"},
    }
    world = World("a home", [], people)
    with serve(world, libraries=("movies", "Moveis"), exclude_libraries=("Musik",), **named) as (_, settings):
        findings = [(one.what, one.state, one.message) for one in examine(settings, {"media server"})]
    assert ("media server", "ok") in {(what, state) for what, state, _ in findings}
    about = {what: [(state, text) for one, state, text in findings if one == what] for what in ("libraries", "users")}
    (chosen, left_out), (included, excluded) = about["libraries"], about["users"]
    assert chosen[0] == "failed" and "APERTURE_LIBRARIES names 'Moveis'" in chosen[1]
    assert chosen[1].endswith("did you mean 'Movies'?")
    assert left_out[0] == "warning" and "APERTURE_EXCLUDE_LIBRARIES names 'Musik'" in left_out[1]
    assert included[0] == "warning" and included[1].endswith("did you mean 'Annabel'?")
    assert excluded[0] == "warning" and "APERTURE_EXCLUDE_USERS names 'nobody at all'" in excluded[1]


def test_a_library_that_only_some_may_see_is_named_with_who_does_not_and_what_that_costs(
    serve: Callable[..., Any],
) -> None:
    def about_libraries(bob: WorldUser | None = None, **given: Any) -> list[tuple[str, str]]:
        world = World("a home", [], [WorldUser("Ada", is_administrator=True), bob or WorldUser("Bob")])
        with serve(world, **given) as (simulator, settings):
            simulator.state.allow_libraries("Bob", ["TV Shows"])
            found = [one for one in examine(settings, {"media server"}) if one.what == "libraries"]
        return [(one.state, one.message) for one in found]

    (hint,) = about_libraries()
    assert hint[0] == "ok" and hint[1].startswith(
        "'Movies' is hidden from Bob. Nothing of it is recommended to them. If"
    )
    assert about_libraries(libraries=("movies", "tv shows")) == [("warning", hint[1])]
    published = {"publish": True, "publish_lists": ("top_picks_libraries",)}
    (shared,) = about_libraries(**published)
    assert shared[0] == "warning" and "to them, and published Top Picks leave it out for everybody" in shared[1]
    child = WorldUser("Bob", max_parental_rating=10)
    assert about_libraries(child, libraries=("movies",), **published) == [("ok", shared[1])]
    (unseen,) = about_libraries(include_users=("Bob",))
    assert unseen[0] == "warning" and unseen[1].startswith("'Movies' is read, but nobody who takes part may see it")


def _tls(folder: Path, *, since: timedelta, left: timedelta) -> ssl.SSLContext:
    """Make a certificate that has been valid for some time, and a server's context with it."""
    now, key = datetime.now(UTC), ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a server")])
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, now - since, now + left).sign(key, SHA256())
    pem = folder / "both.pem"
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    pem.write_bytes(made.public_bytes(Encoding.PEM) + secret)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context


@pytest.mark.parametrize(
    ("since", "left", "state"),
    [
        (timedelta(days=77), timedelta(days=13), "warning"),
        (timedelta(days=75), timedelta(days=15), "ok"),
        (timedelta(days=91), timedelta(days=-1), "warning"),
        (timedelta(hours=8), timedelta(hours=4), "ok"),
    ],
)
def test_a_certificate_is_reported_before_it_ends_and_one_that_lives_for_hours_is_not(
    make_settings: Callable[..., Settings], tmp_path: Path, since: timedelta, left: timedelta, state: str
) -> None:
    server = Scripted(_tls(tmp_path, since=since, left=left))
    settings = make_settings(media_server_url=server.url, media_server_public_url="https://127.0.0.1:1")
    (finding,) = examine(settings, {"certificates"})
    server.close()
    assert finding.state == state
    assert f"ends on {datetime.now(UTC) + left:%d %b %Y}" in finding.message
    assert ("renew it there" in finding.message) is (state == "warning")


def test_a_clock_that_is_off_and_a_zone_that_nobody_chose_are_reported(
    serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "UTC")
    with serve(odd_world(datetime.now(UTC)), timezone=None) as (_, settings):
        zone = _by_name(settings, "time zone")["time zone"]
        assert zone.state == "warning" and "set APERTURE_TIMEZONE, to UTC if it is right" in zone.message
        assert _by_name(settings.model_copy(update={"timezone": "UTC"}), "time zone")["time zone"].state == "ok"
        assert "clock" not in _by_name(settings, "media server")
        for hours in (2, -2):
            ahead = SetClock(datetime.now(UTC) + timedelta(hours=hours))
            monkeypatch.setattr("aperture_dagster.cli.doctor.examine.Clock", lambda ahead=ahead: ahead)
            clock = _by_name(settings, "media server")["clock"]
            assert clock.state == "failed" and "of the media server are 120 min apart" in clock.message


def test_what_is_wrong_comes_first_and_a_summary_last_as_text_and_as_json(
    serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(odd_world(datetime.now(UTC)), libraries=("Moveis",)) as (_, settings):
        monkeypatch.setattr("aperture_dagster.cli.homes.load_settings_of", lambda _: settings)
        text, document = (CliRunner().invoke(main, ["doctor", *more]) for more in ([], ["--json"]))
    assert text.exit_code == document.exit_code == 1
    lines = text.output.splitlines()
    assert lines[1].startswith(" ✗  libraries     APERTURE_LIBRARIES names 'Moveis'")
    marks = [line[1] for line in lines[1:-2] if line[1] != " "]
    assert marks == sorted(marks, key="✗!✓-".index) and {"✗", "!", "✓"} <= set(marks)
    assert marks.count("!") == 1
    assert lines[-1] == f"1 failed, 1 warning; {marks.count('✓')} fine, {marks.count('-')} off."
    found = json.loads(document.output)
    assert (found["format"], found["ok"]) == (1, False)
    assert [one["what"] for one in found["findings"] if one["state"] == "failed"] == ["libraries"]


@pytest.mark.parametrize(("free", "state"), [(2_000_000_000, "ok"), (999_999_999, "warning"), (99_999_999, "failed")])
def test_a_disk_that_runs_full_is_reported_before_it_is(free: int, state: str) -> None:
    finding = room_on_disk("the home", free)
    assert finding.state == state
    assert ("make room" in finding.message) is (state != "ok")
