"""Every setting of the product: name, type, default and one line of explanation.

To add a group, write its module and add its class to the bases of ``Settings``; ``docs/settings.md`` is generated from
that, and says where settings come from.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, get_args
from urllib.parse import unquote

from dotenv import dotenv_values
from dotenv.parser import parse_stream
from pydantic import SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from aperture_dagster.model.errors import OperatorError
from aperture_dagster.settings.home import (
    PREFIX,
    AlertSettings,
    BackupSettings,
    HomeSettings,
    HousekeepingSettings,
    RunSettings,
    UiSettings,
    default_home,
    env_file,
    secrets_in,
)
from aperture_dagster.settings.lists import (
    EmbedderSettings,
    PublishingSettings,
    RecommendationSettings,
    TopPicksSettings,
    WatchingSettings,
)
from aperture_dagster.settings.services import (
    DiscoverySettings,
    EnrichmentSettings,
    MediaServerSettings,
    PricesSettings,
    SeerrSettings,
    TraktSettings,
)
from aperture_dagster.settings.types import SettingsGroup, parse_headers

FROM_FILE = "_APERTURE_FROM_ENV_FILE"
"""The variable that names those which this process, or one that it descends from, copied from ``.env``."""


class SettingsError(OperatorError):
    """A setting is misspelt, of the wrong type or impossible; the message names it and says what is expected."""


class Settings(
    HomeSettings,
    UiSettings,
    RunSettings,
    AlertSettings,
    MediaServerSettings,
    EnrichmentSettings,
    EmbedderSettings,
    PricesSettings,
    RecommendationSettings,
    TopPicksSettings,
    WatchingSettings,
    PublishingSettings,
    DiscoverySettings,
    SeerrSettings,
    TraktSettings,
    BackupSettings,
    HousekeepingSettings,
):
    """All settings, validated. Create them with :func:`load_settings`."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        validate_default=True,
        populate_by_name=True,
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Overrides first, then the environment."""
        # Pydantic ignores variables that it does not know; as extra input they are refused like any other name.
        unknown = dict.fromkeys(unknown_variables(os.environ), "")
        return init_settings, env_settings, InitSettingsSource(settings_cls, unknown)

    @property
    def home_path(self) -> Path:
        """The folder that holds everything this machine keeps, absolute."""
        if self.home is not None:
            return self.home.expanduser().resolve()
        root = default_home()
        return (root if self.media_server_url else root / "demo").resolve()

    def secret_values(self) -> list[str]:
        """The configured secrets in clear, with passwords and tokens in addresses and headers, for redaction only."""
        values = [getattr(self, name) for name in secret_names()]
        secrets = [value.get_secret_value() for value in values if value is not None and value.get_secret_value()]
        parts = [part for one in secrets for part in [*_passwords_in(one), *(parse_headers(one) or {}).values()]]
        return secrets + parts + [part for url in self.alert_addresses for part in secrets_in(url)]


def groups() -> tuple[type[SettingsGroup], ...]:
    """The groups that make up the settings, in the order of their page."""
    return Settings.__bases__


def secret_names() -> list[str]:
    """Names of the settings that hold a secret."""
    return [name for name, field in Settings.model_fields.items() if SecretStr in get_args(field.annotation)]


def environment_names(name: str) -> list[str]:
    """The environment variables that a setting is read from, the usual one first."""
    usual = Settings.model_fields[name].validation_alias
    return [*([usual] if isinstance(usual, str) else []), PREFIX + name.upper()]


def known_variables() -> set[str]:
    """Every environment variable that is read."""
    return {variable for name in Settings.model_fields for variable in environment_names(name)}


def unknown_variables(given: Iterable[str]) -> list[str]:
    """Return the variables with our prefix that are no settings, which :func:`load_settings` refuses."""
    known = known_variables()
    return sorted({name for name in given if name.startswith(PREFIX) and name not in known})


# What Kubernetes sets in each container for every Service of its namespace, and Docker for a container that is linked,
# if it is called `aperture` or `aperture-…`.
_OF_SERVICES = (
    (re.compile(rf"{PREFIX}(\w+_)?SERVICE_HOST"), re.compile(r"[0-9a-fA-F.:]+")),
    (re.compile(rf"{PREFIX}(\w+_)?SERVICE_PORT(_\w+)?"), re.compile(r"\d+")),
    (re.compile(rf"{PREFIX}(\w+_)?PORT(_\d+_(TCP|UDP|SCTP))?"), re.compile(r"(tcp|udp|sctp)://\S+")),
    (re.compile(rf"{PREFIX}(\w+_)?PORT_\d+_(TCP|UDP|SCTP)_(PROTO|PORT|ADDR|START|END)"), None),
)
_LINKED = re.compile(rf"({PREFIX}(?:\w+_)?)NAME")
_LINK = re.compile(r"/[^/\s]+/[^/\s]+")


def variables_of_services(given: Mapping[str, str]) -> set[str]:
    """Find the variables that Kubernetes and Docker set for a Service, or a linked container, of our name.

    Both the name and the value have to look like it: ``APERTURE_UI_PORT`` is our setting, ``tcp://10.0.0.1:3000`` is
    not a value that somebody gave it.
    """
    found = {
        name
        for name, value in given.items()
        if any(of.fullmatch(name) and (is_like is None or is_like.fullmatch(value)) for of, is_like in _OF_SERVICES)
    }
    for name, value in given.items():
        linked = _LINKED.fullmatch(name)
        if linked and _LINK.fullmatch(value):
            # Docker also passes on everything that the other container was started with.
            found |= {name, *(other for other in given if other.startswith(f"{linked[1]}ENV_"))}
    return found


def misspelt_variables(given: Collection[str]) -> dict[str, str]:
    """Find variables without our prefix, which other programs may own, that look like one of ours which is not set."""
    ours = [name for name in known_variables() if not name.startswith(PREFIX) and name not in given]
    near = {name: difflib.get_close_matches(name, ours, 1, 0.85) for name in given if not name.startswith(PREFIX)}
    return {name: found[0] for name, found in near.items() if found and name not in known_variables()}


def load_settings(**overrides: Any) -> Settings:
    """Read and validate all settings; a SettingsError names the setting, its origin, and what was expected."""
    # Before `.env` is read, whose port of the UI must win over the address of a Service called `aperture-ui`.
    for name in variables_of_services(os.environ):
        del os.environ[name]
    _read_env_file()
    try:
        return Settings(**overrides)
    except ValidationError as error:
        raise SettingsError(_explain(error, overrides)) from None


def _read_env_file() -> None:
    """Copy ``.env`` into the environment, for every process; variables already set win, unless they are empty.

    It may name another home, whose ``.env`` is read, too, as a child of this process would.
    """
    read: set[Path] = set()
    copied = copied_variables()
    # Of the two names of a setting, `.env` may have one and the environment, which wins, the other.
    outside = {variable for name in settings_set_outside() for variable in environment_names(name)}
    while (path := env_file()) not in read and path.is_file():
        read.add(path)
        with path.open(encoding="utf-8") as file:
            if wrong := next((line for line in parse_stream(file) if line.error), None):
                raise SettingsError(f"{path}, line {wrong.original.line}: expected NAME=value. Nothing of it is shown.")
        for name, value in dotenv_values(path).items():
            # Compose and NAS pass on lines without a value.
            if value is not None and not os.environ.get(name) and name not in copied and name.upper() not in outside:
                os.environ[name] = value
                copied.add(name)
    if copied:
        os.environ[FROM_FILE] = " ".join(sorted(copied))


def copied_variables() -> set[str]:
    """Return the variables of the environment that were copied there from ``.env``."""
    return set(os.environ.get(FROM_FILE, "").split())


def settings_set_by(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the settings that variables set, each with the name of its variable, as it was written.

    Names in lower case count, too, and an empty variable does not. Of two variables of a setting, the usual one counts.
    """
    written = {name.upper(): name for name, value in variables.items() if value}
    found = {
        name: next((written[variable] for variable in environment_names(name) if variable in written), None)
        for name in Settings.model_fields
    }
    return {name: variable for name, variable in found.items() if variable is not None}


def settings_set_outside() -> dict[str, str]:
    """Return the settings that a variable of the environment sets, which ``.env`` cannot change, with its name."""
    return settings_set_by(environment_outside())


def environment_outside() -> dict[str, str]:
    """Return the environment without what was copied from ``.env``, for a program that reads it anew."""
    copied = copied_variables()
    return {name: value for name, value in os.environ.items() if name not in copied and name != FROM_FILE}


def _passwords_in(address: str) -> list[str]:
    """The password in the address of a database, as written there and decoded."""
    user, separator, _ = address.partition("://")[2].rpartition("@")
    written = user.partition(":")[2] if separator else ""
    return sorted({written, unquote(written)} - {""})


def _explain(error: ValidationError, overrides: dict[str, Any]) -> str:
    problems = error.errors(include_url=False)
    # A misspelt name is often the cause of everything else.
    problem = min(problems, key=lambda one: one["type"] != "extra_forbidden")
    key, *inner = map(str, problem["loc"])
    if problem["type"] == "extra_forbidden" and not inner:
        return _explain_unknown(key, overrides)
    name = next(name for name in Settings.model_fields if key in (name, *environment_names(name)))
    variable = next((variable for variable in environment_names(name) if os.environ.get(variable)), None)
    if name in overrides:
        where = "given by the program"
    elif variable is not None and _is_copied(variable):
        where = f"from {variable} in {env_file()}"
    else:
        where = f"from the environment variable {variable or environment_names(name)[0]}"
    return f"Setting {name} {where}: {sentence_about(problem, name)}"


def sentence_about(problem: Mapping[str, Any], name: str) -> str:
    """Return what pydantic found wrong with the value of a setting, without one that could hold a secret."""
    # An address may hold a password where it should not.
    is_private = name in secret_names() or name.endswith("_url") or "://" in str(problem["input"])
    shown = "" if is_private else f" (was {problem['input']!r})"
    expected = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        known = list(getattr(Settings.model_fields[name].annotation, "model_fields", ()))
        expected, shown = f"expected {', '.join(known)}, and it is none of them", ""
    inside = "".join(f"{one}: " for one in map(str, problem["loc"][1:]) if not one.isdigit())
    return f"{inside}{expected}{shown}."


def _is_copied(variable: str) -> bool:
    """Return whether a variable of the environment was copied there from ``.env``."""
    return variable in copied_variables()


def _explain_unknown(name: str, overrides: dict[str, Any]) -> str:
    known = list(Settings.model_fields)
    where = "given by the program"
    if name not in overrides:
        known = [variable for setting in known for variable in environment_names(setting)]
        where = f"in {env_file()}" if _is_copied(name) else "in the environment"
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"Did you mean {near[0]}?" if near else "docs/settings.md lists all settings."
    return f"{name} {where} is not a setting. {hint}"
