"""What the web server signs with: files of the home, or a key of the settings, for one without a lasting home."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from aperture_dagster.files.private import FileError
from aperture_dagster.front_door.secrets import OPERATOR, ROWS, SESSIONS, read_secret, secret_file
from aperture_dagster.settings import Settings

KEY = "a key of an operator that is long enough"


def secrets_of(settings: Settings) -> list[str]:
    return [read_secret(settings, name) for name in (SESSIONS, OPERATOR, ROWS)]


def test_web_servers_with_one_key_share_their_secrets_and_others_do_not(
    make_settings: Callable[..., Settings], tmp_path: Path
):
    first, second = (make_settings(home=tmp_path / name, session_key=KEY) for name in ("first", "second"))
    assert secrets_of(first) == secrets_of(second)
    assert len(set(secrets_of(first))) == 3
    assert not set(secrets_of(first)) & set(secrets_of(make_settings(home=tmp_path / "a", session_key=KEY[::-1])))
    assert not set(secrets_of(first)) & set(secrets_of(make_settings(home=tmp_path / "without")))
    assert all(KEY not in secret and len(secret) >= 32 for secret in secrets_of(first))


def test_a_health_check_finds_the_derived_key_in_the_home(make_settings: Callable[..., Settings], tmp_path: Path):
    """It imports nothing that could derive it; and one from before the setting is replaced."""
    before = read_secret(make_settings(home=tmp_path), OPERATOR)
    settings = make_settings(home=tmp_path, session_key=KEY)
    derived = read_secret(settings, OPERATOR)
    assert derived != before and secret_file(settings, OPERATOR).read_text() == derived
    assert secret_file(settings, OPERATOR).stat().st_mode & 0o077 == 0


def test_a_key_that_somebody_could_guess_is_refused(make_settings: Callable[..., Settings], tmp_path: Path):
    with pytest.raises(FileError, match="APERTURE_SESSION_KEY is too short") as refused:
        read_secret(make_settings(home=tmp_path, session_key="guess me"), SESSIONS)
    assert "guess me" not in str(refused.value)
