"""What Trakt's two hosts have in common: the network in front of them, and their errors."""

from __future__ import annotations

from starlette.responses import PlainTextResponse, Response

from aperture_dagster.simulator.responses import html_page
from aperture_dagster.simulator.service import Operation, Request, StandIn
from aperture_dagster.simulator.trakt.accounts import Account

_UPGRADE = "https://trakt.tv/vip"


class TraktHost(StandIn):
    """One of the hosts."""

    def refuse(self, request: Request, operation: Operation | None) -> Response | None:
        """Refuse what does not get past the network in front of Trakt: a ban, or a request without a user agent."""
        edge = self._state.trakt.habits.edge
        if edge == "banned":
            return html_page("Error 1015: You are being rate limited", 429)
        if edge == "blocked" or not request.headers.get("user-agent", "").strip():
            return html_page("Attention Required! | Cloudflare", 403)
        return None

    def error(self, status: int) -> Response:
        """Return an error: without a body, except for those of the network in front."""
        if status >= 500:
            return html_page(f"Error {status}", status)
        if status == 403:
            return PlainTextResponse("Forbidden", 403)
        return Response(status_code=status, headers=_headers(status))

    def over_limit(self, account: Account, limit: int) -> Response:
        """Return the refusal of an account that is full."""
        headers = {
            "X-VIP-User": str(account.vip).lower(),
            "X-Account-Limit": str(limit),
            "X-Upgrade-URL": _UPGRADE,
        }
        return Response(status_code=420, headers=headers)


def _headers(status: int) -> dict[str, str] | None:
    if status == 420:
        return {"X-VIP-User": "false", "X-Account-Limit": "10000", "X-Upgrade-URL": _UPGRADE}
    if status == 423:
        return {"X-Account-Locked": "true"}
    if status == 426:
        return {"X-Upgrade-URL": _UPGRADE}
    return None
