"""Proxies are believed about their clients if the settings name them; whatever else is in a header changes nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from aperture_dagster.cli.doctor.examine import examine
from aperture_dagster.cli.doctor.finding import Finding
from aperture_dagster.front_door import proxies as module
from aperture_dagster.front_door.proxies import AGAIN_SECONDS, NEXT_SECONDS, Forwarding, Proxies
from aperture_dagster.front_door.server import MOST_OF_CLIENT
from aperture_dagster.front_door.throttle import RATES
from aperture_dagster.settings import Settings, SettingsError, load_settings
from aperture_dagster_tests.front_door.door import PASSWORD, Door
from aperture_dagster_tests.front_door.served import Got, Served, is_open, served
from aperture_dagster_tests.waiting import wait_for

PROXY, OTHER_PROXY, LIAR = "127.0.5.1", "127.0.5.7", "127.0.9.1"
NAME = "aperture.example.org"
Household = tuple[Door, Served]


@pytest.fixture
def household(open_door: Callable[..., Any]) -> Iterator[Household]:
    given = {"ui_trusted_proxies": ("127.0.5.0/24",), "ui_allowed_hosts": (NAME,)}
    with open_door(http_attempts=1, **given) as door, served(door.settings) as opened:
        yield door, opened


def sign_in(opened: Served, source: str, name: str, password: str, **headers: str) -> Got:
    return opened.ask("/sign-in", source, "POST", urlencode({"name": name, "password": password}), **headers)


def ask_for_code(opened: Served, source: str, **headers: str) -> int:
    return opened.ask("/sign-in/quick-connect", source, "POST", "next=/", **headers).status


def refused_from(opened: Served) -> list[str]:
    """Return the addresses in the log, of which fail2ban bans."""
    return re.findall(r"Refused a sign-in from (\S+) for", opened.process.logged())


def test_behind_a_trusted_proxy_each_client_is_one_and_locks_out_no_other(household: Household):
    _, opened = household
    for number in range(40):
        assert sign_in(opened, PROXY, f"user {number}", "x", x_forwarded_for="203.0.113.5").status == 403
    opened.left.append(opened.send("POST", "/sign-in", PROXY, "name=one&password=more", x_forwarded_for="203.0.113.5"))
    # Somebody else, on a device on which nobody has signed in before.
    got = sign_in(opened, PROXY, "Anna", PASSWORD, x_forwarded_for="203.0.113.6")
    assert got.status == 303 and got.seconds < 10
    codes = [ask_for_code(opened, PROXY, x_forwarded_for="203.0.113.5") for _ in range(RATES["codes"].free + 1)]
    assert codes == [200] * RATES["codes"].free + [429]
    assert ask_for_code(opened, PROXY, x_forwarded_for="203.0.113.6") == 200
    assert {*refused_from(opened)} == {"203.0.113.5"}
    # Its connections are those of everybody.
    held = [opened.connect(PROXY) for _ in range(MOST_OF_CLIENT + 20)]
    assert opened.ask("/health", PROXY).status == 200 and all(map(is_open, held))
    opened.left += held


BELIEVED = {
    "one client": (PROXY, "203.0.113.9", "203.0.113.9"),
    "addresses that the client made up": (PROXY, "198.51.100.1, 10.0.0.1, 203.0.113.9", "203.0.113.9"),
    "one of the proxies, made up": (PROXY, "127.0.5.3, 203.0.113.9", "203.0.113.9"),
    "two proxies": (PROXY, f"198.51.100.1, 203.0.113.9, {OTHER_PROXY}", "203.0.113.9"),
    "with a port": (PROXY, "203.0.113.9:4711", "203.0.113.9"),
    "IPv6 with a port": (PROXY, "[2001:db8::9]:4711", "2001:db8::9"),
    "IPv4 as IPv6": (PROXY, f"203.0.113.9, ::ffff:{OTHER_PROXY}", "203.0.113.9"),
    "a zone that ends the line": (PROXY, 'fe80::9%eth0 for "x', "fe80::9"),
    "no address": (PROXY, "203.0.113.9, unknown", PROXY),
    "markup": (PROXY, "<script>", PROXY),
    "nothing": (PROXY, "", PROXY),
    "a machine that no setting names": (LIAR, "203.0.113.9", LIAR),
}


def test_the_client_is_the_last_address_that_is_not_a_trusted_proxy(household: Household):
    _, opened = household
    for source, header, _ in BELIEVED.values():
        assert sign_in(opened, source, "Nobody", "x", x_forwarded_for=header).status in (403, 429)
    wait_for(lambda: len(refused_from(opened)) == len(BELIEVED), opened.process.logged)
    expected = [client for _, _, client in BELIEVED.values()]
    assert dict(zip(BELIEVED, refused_from(opened), strict=True)) == dict(zip(BELIEVED, expected, strict=True))


def test_who_makes_addresses_up_gets_no_more_attempts(household: Household):
    _, opened = household
    # A trusted proxy adds the address from which the client comes.
    ways = [(PROXY, "x_forwarded_for", ", 203.0.113.8"), (PROXY, "forwarded", ""), (OTHER_PROXY, "x_real_ip", "")]
    ways += [(f"127.0.9.{n}", one, "") for n, one in enumerate(("x_forwarded_for", "forwarded", "x_real_ip"))]
    most = RATES["codes"].free
    for source, header, end in ways:
        given = [ask_for_code(opened, source, **{header: f"198.51.100.{n}{end}"}) for n in range(most + 2)]
        assert given == [200] * most + [429] * 2, (source, header)


TOLD = {"x_forwarded_for": "203.0.113.9", "x_forwarded_proto": "https"}
OF_TRAEFIK = {"x_forwarded_port": "443", "x_forwarded_server": "4a1b", "x_real_ip": "203.0.113.9"}
SET_UPS: dict[str, tuple[str, dict[str, str]]] = {
    # As these programs send them, with what the pages of the docs configure.
    "Caddy on this machine": ("127.0.0.1", {**TOLD, "x_forwarded_host": NAME}),
    "nginx on this machine": ("127.0.0.1", TOLD),
    "Traefik in a container": (PROXY, {**TOLD, **OF_TRAEFIK, "x_forwarded_host": NAME}),
    "a proxy that says nothing": (LIAR, {"origin": f"https://{NAME}"}),
    "a proxy that nobody trusts": (LIAR, {**TOLD, "origin": f"https://{NAME}"}),
    "plain HTTP": ("127.0.0.1", {"origin": f"http://{NAME}"}),
    "plain HTTP without a browser": ("127.0.0.1", {}),
    "plain HTTP, and who claims otherwise": (LIAR, {**TOLD, "origin": f"http://{NAME}"}),
}


def test_cookies_are_sent_encrypted_only_where_pages_are(household: Household):
    _, opened = household
    for name, (source, headers) in SET_UPS.items():
        answers = [sign_in(opened, source, "Anna", PASSWORD, host=NAME, **headers)]
        assert answers[0].status == 303, name
        for path, form in (("/language", "language=de&next=/"), ("/sign-in/quick-connect", "next=/")):
            answers.append(opened.ask(path, source, "POST", form, host=NAME, **headers))
        cookies = [one for answer in answers for one in answer.headers["set-cookie"].split(", aperture_")]
        assert len(cookies) == 5, "session, device, codes twice, language"
        is_plain = name.startswith("plain")
        assert [("secure" in one.lower()) for one in cookies] == [not is_plain] * 5, (name, cookies)


def proxies_found(settings: Settings) -> list[Finding]:
    return [*examine(settings, {"proxies"})]


def test_a_proxy_that_nobody_trusts_is_said_once_in_the_log_and_by_the_doctor_until_the_setting_names_it(
    household: Household,
):
    door, opened = household
    (fine,) = proxies_found(door.settings)
    assert fine.state == "ok" and "127.0.5.0/24" in fine.message
    for number in range(30):
        opened.ask("/health", LIAR, x_forwarded_for=f"203.0.113.{number}")
        opened.ask("/health", PROXY, x_forwarded_for="203.0.113.1")
        opened.ask("/health", "127.0.9.2")
    wait_for(lambda: len(proxies_found(door.settings)) == 2, opened.process.logged)
    said = [line for line in opened.process.logged().splitlines() if "forwards requests" in line]
    assert len(said) == 1 and LIAR in said[0]
    (warning,) = (one for one in proxies_found(door.settings) if one.state == "warning")
    value = f"127.0.5.0/24, {LIAR}"
    assert f"APERTURE_UI_TRUSTED_PROXIES={value}" in warning.message and said[0].startswith(warning.message)
    followed = load_settings(home=door.settings.home, ui_trusted_proxies=value)
    assert [one.state for one in proxies_found(followed)] == ["ok"]
    # What was a proxy once is forgotten.
    (door.settings.home_path / "front-door" / module.FILE).write_text(f'{{"{LIAR}": 1000, "x": 1, "{PROXY}": null}}')
    assert [one.state for one in proxies_found(door.settings)] == ["ok"]


def test_many_clients_that_make_headers_up_fill_neither_log_nor_disk(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    now = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    proxies = Proxies(settings)
    forwarding = Forwarding(lambda *_: None, proxies)  # pyright: ignore[reportArgumentType]
    for number in range(3 * int(AGAIN_SECONDS)):
        now[0] += 1
        forwarding._note(f"10.0.{number % 250}.{number // 250}")
        forwarding._note("10.9.9.9" if number else "10.9.9.8")
    assert len(caplog.records) <= 3 * AGAIN_SECONDS / NEXT_SECONDS + 1
    wait_for(lambda: proxies.untrusted(), lambda: "nobody is remembered")
    assert len(proxies.untrusted()) <= module.MOST_REMEMBERED


@pytest.mark.parametrize("given", ["10.0.0.0/33", "10.0.0.1/24", "proxy", "*", "0.0.0.0/0", "::/0", "127.0.0.1:3000"])
def test_a_value_that_names_no_proxy_is_refused_at_the_start(given: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("APERTURE_UI_TRUSTED_PROXIES", f"127.0.5.1, {given}")
    with pytest.raises(SettingsError, match=re.escape(given)) as raised:
        load_settings()
    assert "APERTURE_UI_TRUSTED_PROXIES" in str(raised.value) and "\n" not in str(raised.value)


def test_networks_are_of_both_kinds_and_an_address_may_be_written_as_either(make_settings: Callable[..., Settings]):
    proxies = Proxies(make_settings(ui_trusted_proxies="172.20.0.0/16, 2001:db8:5::/48, 192.168.1.2"))
    trusted = [
        "127.0.0.1",
        "::1",
        "172.20.3.4",
        "::ffff:172.20.3.4",
        "2001:db8:5::1",
        "192.168.1.2",
        "::ffff:127.0.0.1",
    ]
    assert [one for one in trusted if not proxies.trusts(one)] == []
    others = ["172.21.0.1", "::ffff:172.21.0.1", "2001:db8:6::1", "192.168.1.3", "127.0.0.2", "", "testclient", "::"]
    assert [one for one in others if proxies.trusts(one)] == []


ROUTES = """Iface	Destination	Gateway 	Flags	RefCnt	Use	Metric	Mask		MTU	Window	IRTT
eth0	00000000	010011AC	0003	0	0	0	00000000	0	0	0
eth0	000011AC	00000000	0001	0	0	0	0000FFFF	0	0	0
"""
ROUTES_6 = """fd000000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 fd000000000000000000000000000001 00000400 00000001 00000000 00000003     eth0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo
"""  # noqa: E501
DEVICES = {
    # As the kernel shows them in a container with a network of its own, in one with the network of its host, and in one
    # that is a device of the local network, whose gateway is the household's router.
    "bridge": ("8", "9", "INTERFACE=eth0\nIFINDEX=8\n"),
    "host": ("4", "4", "INTERFACE=eth0\nIFINDEX=4\n"),
    "macvlan": ("8", "4", "DEVTYPE=macvlan\nINTERFACE=eth0\nIFINDEX=8\n"),
}


def kernel(folder: Path, device: str) -> tuple[Path, Path]:
    """Write what the kernel shows; return the folders of routes and devices."""
    (folder / "eth0").mkdir()
    for name, content in zip(("ifindex", "iflink", "uevent"), DEVICES[device], strict=True):
        (folder / "eth0" / name).write_text(content)
    (folder / "route").write_text(ROUTES)
    (folder / "ipv6_route").write_text(ROUTES_6)
    return folder, folder


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("published", ["127.0.0.1", "0.0.0.0"])
def test_the_host_of_a_container_is_trusted_only_if_nobody_else_can_have_its_address(
    tmp_path: Path, make_settings: Callable[..., Settings], device: str, published: str
):
    settings = make_settings(ui_trusted_proxies="gateway, 10.1.1.1", ui_host=published)
    proxies = Proxies(settings, *kernel(tmp_path, device))
    is_trusted = device == "bridge" and published == "127.0.0.1"
    for gateway in ("172.17.0.1", "fd00::1"):
        assert proxies.trusts(gateway) is is_trusted and (gateway in proxies.describe()) is is_trusted
    assert proxies.trusts("10.1.1.1") and not proxies.trusts("172.17.0.2")
    assert ("names nobody" in proxies.describe()) is not is_trusted
    # Nor by the network that it has in common with a proxy, but by its own address.
    for given, is_named in (("172.17.0.0/16", False), ("172.17.0.1, 172.17.0.0/16", True)):
        other = Proxies(make_settings(ui_trusted_proxies=given, ui_host=published), tmp_path, tmp_path)
        assert other.trusts("172.17.0.1") is (is_named or device != "bridge") and other.trusts("172.17.0.2")
        assert given.split(", ")[-1] in other.describe()
    # What is advised works.
    advice = proxies.advise("172.17.0.1")
    if device == "bridge" and published != "127.0.0.1":
        assert "APERTURE_UI_HOST=127.0.0.1" in advice and "APERTURE_UI_TRUSTED_PROXIES=gateway" in advice
    elif device == "host":
        assert "APERTURE_UI_TRUSTED_PROXIES=gateway, 10.1.1.1, 172.17.0.1 " in advice
