"""Commands with the settings of a household, in this process."""

from __future__ import annotations

import json
import os

import pytest
from click.testing import CliRunner, Result
from pydantic import SecretStr

from aperture_dagster.cli.main import main
from aperture_dagster.settings import Settings


def environment(settings: Settings) -> dict[str, str]:
    """The environment of a command that works with these settings."""
    given = {name: getattr(settings, name) for name in settings.model_fields_set}
    given |= {name: value.get_secret_value() for name, value in given.items() if isinstance(value, SecretStr)}
    texts = {
        f"APERTURE_{name.upper()}": value if isinstance(value, str) else json.dumps(value, default=str).strip('"')
        for name, value in given.items()
        if value is not None
    }
    return {"PATH": os.environ["PATH"], "HOME": str(settings.home_path), "PYTHONDONTWRITEBYTECODE": "1", **texts}


def run_command(settings: Settings, *arguments: str, answer: str | None = None, columns: int = 80) -> Result:
    """Run a command on a terminal of so many columns; ``answer`` is typed when it asks."""
    with pytest.MonkeyPatch.context() as patched:
        for name, value in (environment(settings) | {"COLUMNS": str(columns)}).items():
            patched.setenv(name, value)
        return CliRunner().invoke(main, list(arguments), input=answer)
