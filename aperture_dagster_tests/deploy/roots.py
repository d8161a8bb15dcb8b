"""Images and containers without Docker: a copy-on-write layer on the root of this machine, in namespaces.

What an image begins with is this machine's own root, so this shows that steps and commands work together, not that they
work on the base image that the Dockerfile names.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from aperture_dagster_tests.waiting import wait_for

NAMES = ("postgres", "code", "webserver", "daemon", "media-server")
"""Names of hosts; all are this machine, in a network of its own."""


@dataclass(frozen=True)
class Root:
    """A root folder that can be changed without changing this machine's.

    Attributes:
        folder: where it is visible, in the namespaces of ``holder`` only.
        holder: process that keeps the namespaces.
    """

    folder: Path
    holder: subprocess.Popen[bytes]

    def enter(self, script: str, *words: str) -> list[str]:
        """Return the command that runs a script of the shell in the namespaces; ``words`` are its arguments."""
        where = f"/proc/{self.holder.pid}/ns"
        enter = ["nsenter", f"--mount={where}/mnt", f"--net={where}/net"]
        return [*enter, "unshare", "--mount", "sh", "-ceu", script, "sh", str(self.folder), *words]

    def run(self, words: Sequence[str], environment: Mapping[str, str], *, network: bool = False) -> None:
        """Run a program in the root, as root; with this machine's own network if asked for."""
        command = self.enter(RUN, *_assignments(environment), *words)
        if network:
            command = [one for one in command if not one.startswith("--net=")]
        subprocess.run(command, check=True)

    def command(
        self,
        words: Sequence[str],
        environment: Mapping[str, str],
        *,
        volumes: Mapping[str, Path] | None = None,
        user: str = "0:0",
    ) -> list[str]:
        """Return the command of a container: the root cannot be written, but ``volumes`` and ``/tmp`` can."""
        mounts = " && ".join(
            f'mkdir -p "$1"{folder} && mount --bind {shlex.quote(str(path))} "$1"{folder}'
            for folder, path in sorted((volumes or {}).items())
        )
        script = CONTAINER % {"mounts": mounts or "true", "user": user}
        return self.enter(script, *_assignments(environment), *words)


PREPARE = 'mount -t proc proc "$1"/proc && mount --rbind /dev "$1"/dev && mount --rbind /sys "$1"/sys'
RUN = f'{PREPARE} && root=$1 && shift && exec chroot "$root" env -i "$@"'
CONTAINER = (
    'mount --rbind "$1" "$1" && mount -o remount,ro,bind "$1" && mount -t tmpfs -o mode=1777 tmp "$1"/tmp && '
    f"{PREPARE} && %(mounts)s && "
    'root=$1 && shift && exec chroot --userspec=%(user)s --groups= "$root" env -i "$@"'
)
HOLD = (
    # The root has the rights of the upper layer, and other tests make folders that are their owner's alone.
    'umask 022 && mount -t tmpfs -o mode=755 layers "$1" && mkdir "$1"/upper "$1"/work "$1"/root && '
    'mount -t overlay overlay -o lowerdir=/,upperdir="$1"/upper,workdir="$1"/work "$1"/root && '
    'ip link set lo up && touch "$1"/ready && exec sleep infinity'
)


def _assignments(environment: Mapping[str, str]) -> list[str]:
    return [f"{name}={value}" for name, value in environment.items()]


@contextmanager
def new_root(folder: Path) -> Iterator[Root]:
    """Make a root, in an empty folder; its programs and contents are gone at the end."""
    folder.mkdir()
    holder = subprocess.Popen(
        ["unshare", "--mount", "--net", "--propagation", "private", "sh", "-ceu", HOLD, "sh", str(folder)],
        stdin=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        inside = Path(f"/proc/{holder.pid}/root") / folder.relative_to("/")
        wait_for((inside / "ready").exists, "the namespaces were not made", seconds=30, process=holder)
        root = Root(folder / "root", holder)
        hosts = f"127.0.0.1 localhost {' '.join(NAMES)}\n"
        (inside / "root" / "etc" / "hosts").write_text(hosts)
        yield root
    finally:
        holder.kill()
        holder.wait()
        folder.rmdir()


def visible(root: Root, path: str) -> Path:
    """Return a path by which this process reaches a file in a root."""
    return Path(f"/proc/{root.holder.pid}/root") / root.folder.relative_to("/") / path.lstrip("/")


def end(process: subprocess.Popen[bytes], grace: float) -> float:
    """Ask a program to end, as Docker does; return how many seconds it took.

    Raises AssertionError after ``grace`` seconds, and kills it and its children.
    """
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(grace)
    except subprocess.TimeoutExpired:
        kill(process)
        raise AssertionError(f"did not end within {grace:.0f} seconds") from None
    return time.monotonic() - began


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a program and its children, as the end of a container does."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait()


def can_make_roots() -> bool:
    """Return whether this process may make namespaces and mount layers in them."""
    programs = ("unshare", "nsenter", "ip", "chroot")
    if os.geteuid() != 0 or any(shutil.which(one) is None for one in programs):
        return False
    script = (
        "mount -t tmpfs t /mnt && cd /mnt && mkdir u w r && mount -t overlay o -o lowerdir=/,upperdir=u,workdir=w r"
    )
    command = ["unshare", "--mount", "--net", "--propagation", "private", "sh", "-c", script]
    return subprocess.run(command, capture_output=True).returncode == 0
