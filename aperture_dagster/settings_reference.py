"""The reference of all settings, made from themselves: ``python -m aperture_dagster.settings_reference``."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from aperture_dagster.settings import Settings, environment_names, secret_names

HEAD = """# Settings

A setting is read from the environment, then from a file `.env`, then from `aperture.toml` (both in the project's root),
then from its default. Names in `.env` are those of the environment, names in `aperture.toml` those of the first column.
Secrets are read from the environment and `.env` alone. A name that is misspelt, or a value
that is impossible, stops the program with a sentence that says which and why.

This page is made by `python -m aperture_dagster.settings_reference`; a test holds it to the program.
"""


def reference() -> str:
    """The page, in Markdown: the settings in the order and under the headings of their definition."""
    parts = [HEAD]
    for heading, names in _sections():
        parts.append(f"\n## {heading[0].upper()}{heading[1:]}\n")
        parts.append("| setting | environment | default | what for |")
        parts.append("|---|---|---|---|")
        for name in names:
            field = Settings.model_fields[name]
            environment = ", ".join(f"`{one}`" for one in environment_names(name))
            secret = " **Secret.**" if name in secret_names() else ""
            parts.append(f"| `{name}` | {environment} | {_shown(field.default)} | {field.description}{secret} |")
    return "\n".join(parts) + "\n"


def _sections() -> list[tuple[str, list[str]]]:
    """Settings under the comment lines ``# --- heading ---`` of the class."""
    source = inspect.getsource(Settings)
    tree = ast.parse(source)
    assert isinstance(tree.body[0], ast.ClassDef)
    lines = {
        node.lineno: node.target.id
        for node in tree.body[0].body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
    sections: list[tuple[str, list[str]]] = []
    for number, line in enumerate(source.splitlines(), start=1):
        if line.strip().startswith("# ---"):
            sections.append((line.strip(" #-"), []))
        elif lines.get(number) in Settings.model_fields:
            sections[-1][1].append(lines[number])
    return sections


def _shown(default: Any) -> str:
    if default is None or isinstance(default, SecretStr):
        return ""
    if isinstance(default, (tuple, dict)) or repr(default) == "PydanticUndefined":
        return ""
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


if __name__ == "__main__":
    target = Path(__file__).resolve().parents[1] / "docs" / "settings.md"
    target.write_text(reference(), encoding="utf-8")
    print(f"wrote {target}")
