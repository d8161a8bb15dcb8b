"""Commands of the documentation, run as they stand there on the home of a small household."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner

from aperture_dagster.cli.main import main
from aperture_dagster_tests.e2e.test_publishing_safety import environment
from aperture_dagster_tests.test_docs import PAGES, code, text_of, words_after

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("isolated_dagster_instance")]

# In this order, with what each says.
COMMANDS = {
    "show": "",
    "show anna": "Films",
    "discover anna": "",
    "dismiss anna 'The Room'": "is not suggested to",
    "discover anna --dismissed": "The Room",
    "rate anna 'The Matrix (1999)' 9": "9",
    "rate anna 'The Matrix' --remove": "The Matrix",
    "api-key add 'Home Assistant' --user Anna": "aperture_",
    "api-key list": "Home Assistant",
    "api-key remove 'Home Assistant'": "",
    "requests": "",
    "trakt status": "TRAKT_CLIENT_ID is not set",
    "backup create": "proven",
    "backup list": "proven",
    "restore --drop-old": "No database was replaced",
    "crowd remove": "There is no table of a crowd",
    "migrate": "has the schema",
    "sign-out-everybody": "",
    "status": "aperture up",
    "status --json": '"format": 1',
    "alert test": "APERTURE_ALERT_URLS is not set",
}
FAIL = ("status", "status --json", "alert test", "trakt status", "crowd remove")
"""Nothing runs on this home, and it has neither an address, nor an app, nor a crowd."""


def test_documented_commands_do_what_the_pages_say(settled: Callable[..., Any], monkeypatch: pytest.MonkeyPatch):
    lines = (words_after("aperture", line) for page in PAGES for line in code(text_of(page)))
    documented = {shlex.join(words) for words in lines if words}
    assert COMMANDS.keys() <= documented
    with settled() as (_, home, _):
        for name, value in environment(home.settings).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("COLUMNS", "80")
        user = home.everyone()[0]
        room, matrix = home.titles_for(user)[:2]
        names = {"anna": user, "Anna": user, "The Room": room, "The Matrix": matrix, "The Matrix (1999)": matrix}
        wrong = []
        for command, says in COMMANDS.items():
            done = CliRunner().invoke(main, [names.get(word, word) for word in shlex.split(command)])
            if done.exit_code != (command in FAIL) or names.get(says, says) not in done.output:
                wrong.append(f"{command}: {done.exit_code}, {done.output} {done.exception!r}")
        assert wrong == []
        assert room not in CliRunner().invoke(main, ["show", user]).output, "what is hidden is not shown any more"
