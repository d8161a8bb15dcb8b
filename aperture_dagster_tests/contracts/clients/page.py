"""Make ``docs/stand-ins.md``: ``python -m aperture_dagster_tests.contracts.clients.page``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from aperture_dagster_tests.contracts.clients.calls import Client, Outcome, outcomes
from aperture_dagster_tests.contracts.clients.of_media_servers import AIOJELLYFIN, EMBYCLIENT, JELLYFIN_APICLIENT
from aperture_dagster_tests.contracts.clients.of_ratings import OMDB, OPENAI, PYTRAKT, SEERR
from aperture_dagster_tests.contracts.clients.of_tmdb import THEMOVIEDB, TMDBSIMPLE

CLIENTS = (
    JELLYFIN_APICLIENT, AIOJELLYFIN, EMBYCLIENT, TMDBSIMPLE, THEMOVIEDB, OMDB, OPENAI, PYTRAKT, SEERR,
)  # fmt: skip
PAGE = Path(__file__).parents[3] / "docs" / "stand-ins.md"
_NO_ROUTE = re.compile(r"[A-Z]+ \S+")
_INTRODUCTION = """\
# Stand-ins and other clients

The demo and the tests run on stand-ins for all outside services (`aperture_dagster/simulator`). Our own clients and the
stand-ins could share a mistake. Therefore clients that other people wrote for the real services are tried on the
stand-ins, too. A stand-in refuses what it does not model with 501 and says what that is; it never ignores it. Requests
and answers for Jellyfin and TMDb are also compared with the published specifications.

A call works if the client gets an answer and can read it. The tests fail if any line of this page is no longer true;
`python -m aperture_dagster_tests.contracts.clients.page` writes it again from what happens.
"""
_NOT_TRIED = """\
## Not tried

- `jellyfin-sdk` (MPL-2.0): it requires a version of `websockets` before 12, and uvicorn, which serves the stand-ins and
  Dagster's UI, is tested with 17. Both cannot be installed in one environment.
- MDBList: there is no client for it on the package index. Its stand-in follows the published documentation.
- `trakt.py` (MIT): last released in 2021; `pytrakt` is maintained.
- `overseerr` and `seerr`: clients for the same service as `python-overseerr`; `overseerr` names no licence.
"""


def page(found: Mapping[str, Sequence[Outcome]]) -> str:
    """Return the page, given the outcomes by package."""
    rows = [
        "| client | version | licence | service | calls tried | work | not modelled | other reasons |",
        "|---|---|---|---|---:|---:|---:|---:|",
    ]
    for client in CLIENTS:
        of_client = found[client.package]
        works, gaps = sum(one.works for one in of_client), sum(bool(one.gap) for one in of_client)
        figures = " | ".join(map(str, (len(of_client), works, gaps, len(of_client) - works - gaps)))
        name = f"[{client.package}](#{client.package.lower()})"
        rows.append(f"| {name} | {version(client.package)} | {client.licence} | {client.service} | {figures} |")
    sections = [section(client, found[client.package]) for client in CLIENTS]
    return "\n".join([_INTRODUCTION, *rows, "", *sections, _NOT_TRIED])


def section(client: Client, found: Sequence[Outcome]) -> str:
    """Return what became of the calls of a client."""
    lines = [f"## {client.package}", "", f"Tried are {client.scope}.", ""]
    lines += ["These work: " + ", ".join(f"`{one.name}`" for one in found if one.works) + ".", ""]
    routes = [one for one in found if _NO_ROUTE.fullmatch(one.gap)]
    if routes:
        listed = ", ".join(f"`{one.name}`" for one in routes)
        lines += [f"The stand-in has no such route: {listed}.", ""]
    others = [(one.name, f"not modelled: {one.gap}") for one in found if one.gap and one not in routes]
    others += [(one.name, client.reasons[one.name]) for one in found if one.error]
    if others:
        lines += ["| call | why it does not work |", "|---|---|"]
        lines += [f"| `{name}` | {reason.replace('|', '/')} |" for name, reason in others]
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    """Write the page."""
    PAGE.write_text(page({client.package: outcomes(client) for client in CLIENTS}), encoding="utf-8")
    print(f"wrote {PAGE.name}")


if __name__ == "__main__":
    main()
