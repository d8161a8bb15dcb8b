"""Write the templates in ``deploy/nas`` from ``deploy/compose.yaml``: ``make nas``. A test compares them.

Each runs the released image with the same settings, folders and rights; a NAS takes them in other forms.
"""

from __future__ import annotations

import copy
import re
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as xml

import yaml

PROJECT = Path(__file__).resolve().parents[1]
HEAD = "# Written by `make nas` from deploy/compose.yaml. docs/nas.md says where it goes.\n"
VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")
SETTINGS = {
    "APERTURE_MEDIA_SERVER_URL": ("http://192.168.1.10:8096", "Address of Jellyfin or Emby. Not localhost."),
    "APERTURE_MEDIA_SERVER_API_KEY": ("", "A key of the media server, made in its dashboard."),
    "APERTURE_TIMEZONE": ("Europe/Berlin", "Time zone of the schedules."),
    "TMDB_API_KEY": ("", "A key of TMDb, which may be empty."),
}
"""The lines of ``.env.example`` that have to be filled in: an example and an explanation each."""
MAY_BE_EMPTY = ("TMDB_API_KEY", "APERTURE_UI_TRUSTED_PROXIES")
TITLE = "Personal recommendations for Jellyfin and Emby, as libraries and lists on the media server."


def read_service(project: Path = PROJECT) -> dict[str, Any]:
    """Return the service of ``deploy/compose.yaml``."""
    return yaml.safe_load((project / "deploy" / "compose.yaml").read_text(encoding="utf-8"))["services"]["aperture"]


def filled(value: Any, given: dict[str, str]) -> Any:
    """Return a value of the file with variables replaced by what is given, or else by their defaults."""
    if isinstance(value, list):
        return [filled(one, given) for one in value]
    return VARIABLE.sub(lambda one: given.get(one[1], one[2] or ""), value) if isinstance(value, str) else value


def stack(service: dict[str, Any], given: dict[str, str], **changes: Any) -> str:
    """Return a file of Compose with what is given in place of variables; a change to None leaves a key out."""
    one = {key: filled(value, given) for key, value in copy.deepcopy(service).items()} | changes
    one = {key: value for key, value in one.items() if value is not None}
    document = {"name": "aperture", "services": {"aperture": one}}
    return HEAD + yaml.safe_dump(document, sort_keys=False, width=120)


def synology(service: dict[str, Any]) -> str:
    """A project of Container Manager, whose folder has ``.env`` beside this."""
    folders = {"HOME_FOLDER": "/volume1/docker/aperture/home", "BACKUPS_FOLDER": "/volume2/backups/aperture"}
    published = {"APERTURE_PUBLISH_ROOT": "/volume1/docker/aperture-published"}
    # Container Manager shows the lines of its own driver only.
    account = {"PUID": "1026", "PGID": "100"}
    # Nor does its Compose know files that may be missing.
    return stack(service, folders | published | account, logging=None, env_file=".env")


def portainer(service: dict[str, Any]) -> str:
    """A stack, whose variables Portainer keeps in ``stack.env``."""
    return HEAD + yaml.safe_dump(
        {
            "services": {"aperture": copy.deepcopy(service) | {"env_file": "stack.env"}},
            "volumes": {"home": None, "backups": None, "published": None},
        },
        sort_keys=False,
        width=120,
    )


def truenas(service: dict[str, Any]) -> str:
    """A custom app, which has its settings in the file itself."""
    folders = {"HOME_FOLDER": "/mnt/tank/aperture", "BACKUPS_FOLDER": "/mnt/tank/backups/aperture"}
    folders["APERTURE_PUBLISH_ROOT"] = "/mnt/tank/aperture-published"
    environment = {name: example for name, (example, _) in SETTINGS.items()}
    environment |= {name: filled(value, {}) for name, value in service["environment"].items()}
    environment["APERTURE_PUBLISH_ROOT"] = folders["APERTURE_PUBLISH_ROOT"]
    account = {"PUID": "568", "PGID": "568"}
    return stack(service, folders | account, env_file=None, environment=environment)


def unraid(service: dict[str, Any]) -> str:
    """A template of Unraid's Docker page."""
    root = xml.Element("Container", version="2")
    rights = ["--user 99:100", "--read-only", f"--tmpfs {service['tmpfs']}", "--stop-timeout 30"]
    rights += [f"--cap-drop {one}" for one in service["cap_drop"]]
    rights += [f"--security-opt {one}" for one in service["security_opt"]]
    # The port is open to the network, and the program has to know: the host's address is that of others, too.
    rights += ["--env APERTURE_UI_HOST=0.0.0.0"]
    rights += [f"--ulimit {name}={most}" for name, most in service["ulimits"].items()]
    facts = {
        "Name": "aperture", "Repository": filled(service["image"], {}),
        "Network": "bridge", "Shell": "sh", "Privileged": "false",
        "Overview": TITLE, "Category": "MediaApp:Other", "WebUI": "http://[IP]:[PORT:3000]/",
        "ExtraParams": " ".join(rights),
    }  # fmt: skip
    for name, text in facts.items():
        xml.SubElement(root, name).text = text
    folders = {"HOME_FOLDER": "/mnt/cache/appdata/aperture", "BACKUPS_FOLDER": "/mnt/user/backups/aperture"}
    folders["APERTURE_PUBLISH_ROOT"] = "/mnt/user/aperture-published"
    for volume in filled(service["volumes"], folders):
        source, _, target = volume.partition(":")
        _add(root, f"Folder {target}", target, source, kind="Path", mode="rw")
    (port,) = (one.rpartition(":")[2] for one in service["ports"])
    _add(root, "UI", port, "3000", kind="Port", mode="tcp")
    for name, (example, about) in SETTINGS.items():
        _add(root, about, name, example, kind="Variable", mode="", mask="KEY" in name)
    about = "Network or address of a reverse proxy, such as 172.18.0.0/16. Empty if there is none."
    _add(root, about, "APERTURE_UI_TRUSTED_PROXIES", "", kind="Variable", mode="")
    published = folders["APERTURE_PUBLISH_ROOT"]
    _add(root, "Folder for published libraries", "APERTURE_PUBLISH_ROOT", published, kind="Variable", mode="")
    xml.indent(root)
    return f'<?xml version="1.0"?>\n{xml.tostring(root, encoding="unicode")}\n'


def _add(root: xml.Element, name: str, target: str, value: str, *, kind: str, mode: str, mask: bool = False) -> None:
    given = {"Name": name, "Target": target, "Default": value, "Mode": mode, "Type": kind, "Display": "always"}
    given |= {"Required": "false" if target in MAY_BE_EMPTY else "true", "Mask": str(mask).lower()}
    xml.SubElement(root, "Config", given).text = value


TEMPLATES = {"unraid.xml": unraid, "portainer.yaml": portainer, "truenas.yaml": truenas, "synology.yaml": synology}


def main() -> int:
    """Write every template; return 0."""
    folder = PROJECT / "deploy" / "nas"
    folder.mkdir(exist_ok=True)
    for name, make in TEMPLATES.items():
        (folder / name).write_text(make(read_service()), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
