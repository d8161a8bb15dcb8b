"""Settings as the texts that a file, the environment or a form gives: where each comes from, and what is wrong with it.

Nothing here reads the environment or a file, so several candidates can be looked at beside each other.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from aperture_dagster.settings import Settings, environment_names, sentence_about, settings_set_by

Source = Literal["default", "file", "outside"]


@dataclass(frozen=True, slots=True)
class Given:
    """The text of a setting.

    Attributes:
        text: as it was written; None for the default.
        source: ``.env``, the environment of the program, which wins, or the default.
        variable: the variable that sets it, or else the usual one.
    """

    text: str | None
    source: Source
    variable: str


class _OfTexts(Settings):
    """Settings that come from nowhere but the arguments."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return the arguments alone."""
        return (init_settings,)


def given_settings(file: Mapping[str, str], outside: Mapping[str, str]) -> dict[str, Given]:
    """Return the text of every setting by its name, as :func:`aperture_dagster.settings.load_settings` chooses it.

    Args:
        file: the variables of ``.env``.
        outside: the variables of the environment that were not copied from there.
    """
    found = {name: Given(None, "default", environment_names(name)[0]) for name in Settings.model_fields}
    sources: list[tuple[Source, Mapping[str, str]]] = [("file", file), ("outside", outside)]
    for source, variables in sources:
        for name, variable in settings_set_by(variables).items():
            found[name] = Given(variables[variable], source, variable)
    return found


def check_texts(texts: Mapping[str, str | None]) -> tuple[Settings | None, dict[str, str]]:
    """Validate settings together; return them, or what is wrong with each, in the sentences of the command line.

    Args:
        texts: by the name of the setting; None or an empty text is the default.
    """
    given: dict[str, Any] = {name: text for name, text in texts.items() if text}
    try:
        return _OfTexts(**given), {}
    except ValidationError as error:
        problems: dict[str, str] = {}
        for problem in error.errors(include_url=False):
            key = str(problem["loc"][0])
            name = next(name for name in Settings.model_fields if key in (name, *environment_names(name)))
            problems.setdefault(name, sentence_about(problem, name))
        return None, problems


def written(value: Any) -> str:
    """Return the text that stands for a value, as a file would hold it; empty for none. Never call it with a secret."""
    if isinstance(value, SecretStr):
        raise TypeError("a secret is not shown")
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, BaseModel):
        value = value.model_dump(exclude_defaults=True, mode="json")
    if isinstance(value, tuple):
        # A name may hold a comma, or begin with a bracket.
        is_plain = all("," not in one and one == one.strip() and not one.startswith("[") for one in value)
        return ", ".join(value) if is_plain else json.dumps(value, ensure_ascii=False)
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False) if value else ""
    return str(value)


def choices_of(name: str) -> tuple[str, ...]:
    """Return the texts that a setting can have, if they are few."""
    annotation = Settings.model_fields[name].annotation
    if annotation is bool:
        return ("true", "false")
    return tuple(map(str, get_args(annotation))) if get_origin(annotation) is Literal else ()
