"""Hosts on one machine: namespaces with an address each, on a network that exists only while the test runs."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil
import pytest

from aperture_dagster_tests.conftest import PROJECT

CLONE_NEWNET = 0x40000000
SUBNET = "10.77.0"


class Host:
    """A host: processes, a network interface and a name of its own, and the same files as everybody.

    When its first process is killed, so are all others, as when a machine loses power.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        command = ["unshare", "--net", "--uts", "--pid", "--mount-proc", "--fork", "--kill-child"]
        self._holder = subprocess.Popen([*command, "sleep", "infinity"])
        deadline = time.monotonic() + 60
        while not (children := psutil.Process(self._holder.pid).children()) or children[0].name() != "sleep":
            assert time.monotonic() < deadline and self._holder.poll() is None
            time.sleep(0.02)
        self.pid = children[0].pid
        self.call("hostname", name)
        self.call("ip", "link", "set", "lo", "up")

    def command(self, *arguments: str | Path) -> list[str]:
        """Return a command line that runs a program on this host."""
        namespaces = ["--net", "--uts", "--pid", "--mount"]
        return ["nsenter", "--target", str(self.pid), *namespaces, *map(str, arguments)]

    def call(self, *arguments: str) -> None:
        """Run a program to its end."""
        subprocess.run(self.command(*arguments), check=True, capture_output=True)

    def start(self, *arguments: str | Path, environment: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
        """Start a program whose output is appended to a log."""
        with log.open("ab") as out:
            return subprocess.Popen(
                self.command(*arguments), env=dict(environment), cwd=PROJECT, stdout=out, stderr=subprocess.STDOUT
            )

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """Let this thread open its connections on this host."""
        libc = ctypes.CDLL(None, use_errno=True)
        with Path("/proc/self/ns/net").open() as outside, Path(f"/proc/{self.pid}/ns/net").open() as here:
            assert libc.setns(here.fileno(), CLONE_NEWNET) == 0
            try:
                yield
            finally:
                assert libc.setns(outside.fileno(), CLONE_NEWNET) == 0

    def kill(self) -> None:
        """Kill all processes at once."""
        self._holder.send_signal(signal.SIGKILL)
        self._holder.wait()


class Network:
    """Hosts that reach each other through a switch."""

    def __init__(self) -> None:
        self._switch = Host("switch")
        self._switch.call("ip", "link", "add", "br0", "type", "bridge")
        self._switch.call("ip", "link", "set", "br0", "up")
        self._ports = 0
        self._made = [self._switch]
        self._port_of: dict[str, str] = {}

    def connect(self, name: str, number: int) -> Host:
        """Make a host with the address ``SUBNET.number``."""
        host, self._ports = Host(name), self._ports + 1
        self._made.append(host)
        port = self._port_of[name] = f"p{self._ports}"
        # From here: process ids are those that this process sees.
        net = ["nsenter", "--target", str(self._switch.pid), "--net", "ip", "link"]
        pair = ["add", port, "type", "veth", "peer", "name", "eth0", "netns", str(host.pid)]
        for arguments in (pair, ["set", port, "master", "br0"], ["set", port, "up"]):
            subprocess.run([*net, *arguments], check=True, capture_output=True)
        host.call("ip", "address", "add", f"{SUBNET}.{number}/24", "dev", "eth0")
        host.call("ip", "link", "set", "eth0", "up")
        return host

    def cut(self, host: Host) -> None:
        """Cut a host off from all others."""
        self._switch.call("ip", "link", "set", self._port_of[host.name], "down")

    def join(self, host: Host) -> None:
        """Connect a host again that was cut off."""
        self._switch.call("ip", "link", "set", self._port_of[host.name], "up")

    def close(self) -> None:
        """Kill all hosts; their interfaces go with them."""
        for host in reversed(self._made):
            host.kill()


@functools.cache
def _makes_networks() -> bool:
    if os.geteuid() != 0 or any(shutil.which(program) is None for program in ("unshare", "nsenter", "ip")):
        return False
    namespaces = ["unshare", "--net", "--uts", "--pid", "--mount-proc", "--fork"]
    tried = [*namespaces, "ip", "link", "add", "br0", "type", "bridge"]
    return subprocess.run(tried, capture_output=True).returncode == 0


def needs_network_namespaces(test):
    """Mark a test that runs several hosts on this machine."""
    reason = "needs root, unshare, nsenter and ip, and permission to create network namespaces"
    return pytest.mark.namespaces(pytest.mark.skipif(not _makes_networks(), reason=reason)(test))
