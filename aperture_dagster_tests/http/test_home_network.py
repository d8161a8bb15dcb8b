"""Home networks: self-signed certificates, reverse proxies, and proxies to the internet."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from aperture_dagster.catalogue.servers import MediaServers
from aperture_dagster.cli.doctor.examine import examine
from aperture_dagster.cli.doctor.finding import Finding
from aperture_dagster.http.errors import ServiceError, ServiceNotConfigured, ServiceRefused
from aperture_dagster.http.home_network import is_private
from aperture_dagster.postgres.database import Database
from aperture_dagster.settings import Settings, SettingsError
from aperture_dagster_tests.services import CERTIFICATES, Answer, Asked, Scripted

MakeSettings = Callable[..., Settings]
KEY = "key-of-the-server"
PASSWORD = "Basic YW5uOnNlY3JldC1vZi1hbm4="
INFO = {"Id": "5e7a", "ServerName": "Home", "Version": "10.10.7", "ProductName": "Jellyfin Server"}
CERTIFICATE = CERTIFICATES / "certificate.pem"


@pytest.fixture
def at_home(make_settings: MakeSettings) -> Callable[..., Settings]:
    return lambda url, **more: make_settings(media_server_url=url, media_server_api_key=KEY, **more)


def jellyfin(asked: Asked) -> Answer:
    """Answer what the doctor requests of a server."""
    return Answer(
        {
            "/Users": [],
            "/Library/VirtualFolders": [{"Name": "Films", "ItemId": "1", "CollectionType": "movies", "Locations": []}],
        }.get(urlsplit(asked.target).path, INFO)
    )


def identify(settings: Settings) -> str:
    with MediaServers(settings, Database(settings)).open_without_database() as server:
        return server.identity().name


def doctor(settings: Settings) -> Finding:
    return next(finding for finding in examine(settings) if finding.what == "media server")


def test_a_self_signed_certificate_is_reported_at_once_with_the_setting(scripted_tls: Scripted, at_home: Any):
    scripted_tls.say(jellyfin)
    with pytest.raises(ServiceRefused, match=r"not trusted \(self.signed certificate\).*_CA_FILE.*_VERIFY_TLS"):
        identify(at_home(scripted_tls.url))
    assert scripted_tls.asked == []
    finding = doctor(at_home(scripted_tls.url))
    assert finding.state == "failed" and "APERTURE_MEDIA_SERVER_CA_FILE" in finding.message


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"media_server_ca_file": CERTIFICATE}, f"verified with {CERTIFICATE}"),
        ({"media_server_verify_tls": False}, "not verified (APERTURE_MEDIA_SERVER_VERIFY_TLS)"),
    ],
)
def test_a_self_signed_certificate_is_accepted_if_configured(
    scripted_tls: Scripted, at_home: Any, more: dict[str, Any], told: str
):
    scripted_tls.say(jellyfin)
    settings = at_home(scripted_tls.url, **more)
    assert identify(settings) == "Home"
    finding = doctor(settings)
    assert finding.state == "ok" and told in finding.message


def test_the_environments_certificate_authority_is_used_without_proxies(
    scripted_tls: Scripted, at_home: Any, monkeypatch: pytest.MonkeyPatch
):
    """Without the environment's proxies, httpx would also ignore its SSL_CERT_FILE."""
    scripted_tls.say(jellyfin)
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    assert identify(at_home(scripted_tls.url)) == "Home"


def test_a_certificate_for_another_host_is_refused(scripted_tls: Scripted, at_home: Any):
    url = scripted_tls.url.replace("127.0.0.1", "127.0.0.2")
    with pytest.raises(ServiceError):
        identify(at_home(url, media_server_ca_file=CERTIFICATE))
    assert scripted_tls.asked == []


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_an_unusable_ca_file_is_reported(at_home: Any, tmp_path: Path, content: str | None):
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ServiceNotConfigured, match=r"APERTURE_MEDIA_SERVER_CA_FILE: .*ca\.pem cannot be used"):
        identify(at_home("https://127.0.0.1:9", media_server_ca_file=path))


def behind_a_password(asked: Asked) -> Answer:
    if asked.headers.get("cf-access-client-secret") != "secret-of-ann":
        return Answer("", 401, {"www-authenticate": 'Basic realm="home"'})
    return jellyfin(asked)


def test_headers_for_a_reverse_proxy_are_sent(scripted: Scripted, at_home: Any):
    scripted.say(behind_a_password)
    with pytest.raises(ServiceRefused, match="asks for a password: set APERTURE_MEDIA_SERVER_HEADERS"):
        identify(at_home(scripted.url))
    # The blank is what a copied value ends with.
    settings = at_home(scripted.url, media_server_headers=json.dumps({"CF-Access-Client-Secret": "secret-of-ann "}))
    assert identify(settings) == "Home"
    assert "CF-Access-Client-Secret (APERTURE_MEDIA_SERVER_HEADERS)" in doctor(settings).message
    assert "secret-of-ann" not in doctor(settings).message


def test_no_message_contains_a_header_of_the_reverse_proxy(scripted: Scripted, at_home: Any):
    settings = at_home(scripted.url, media_server_headers=json.dumps({"X-Password": "secret-of-ann"}))
    scripted.say(lambda asked: Answer({"error": f"refused {asked.headers['x-password']}"}, 403))
    with pytest.raises(ServiceRefused) as refused:
        identify(settings)
    assert "secret-of-ann" not in str(refused.value)
    assert "secret-of-ann" in settings.secret_values()
    assert "secret-of-ann" not in repr(settings)


@pytest.mark.parametrize("headers", ["X-Key: value", '{"X-Key": 7}', '{"X Key": "v"}', '{"X-Key": "a\\nb"}'])
def test_malformed_headers_are_refused_without_showing_them(make_settings: MakeSettings, headers: str):
    with pytest.raises(SettingsError, match=r"media_server_headers.*expected a JSON object") as refused:
        make_settings(media_server_headers=headers)
    assert headers not in str(refused.value)


def test_the_environments_proxy_is_not_used_for_a_media_server_at_home(
    scripted: Scripted, at_home: Any, monkeypatch: pytest.MonkeyPatch
):
    proxy = Scripted()
    try:
        proxy.say(jellyfin)
        scripted.say(jellyfin)
        for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        assert identify(at_home(scripted.url)) == "Home"
        assert scripted.asked and not proxy.asked
    finally:
        proxy.close()


@pytest.mark.parametrize(
    ("host", "private"),
    [
        ("192.168.1.10", True), ("10.0.0.2", True), ("172.20.1.1", True), ("127.0.0.1", True), ("::1", True),
        ("fd12::7", True), ("fe80::1", True), ("100.100.1.2", True), ("jellyfin", True), ("nas.local", True),
        ("media.home.arpa", True), ("localhost", True), ("8.8.8.8", False), ("2606:4700::1111", False),
        ("172.32.0.1", False), ("media.example.invalid", False),
    ],
)  # fmt: skip
def test_private_hosts_are_recognised_by_address_or_name(host: str, private: bool):
    assert is_private(host) is private
