"""Several hosts on one machine: network namespaces, each with a raylet and an address of its own.

Every host has its own address on one bridge. All see the test's folder, as an NFS folder is seen,
or only the head does, and the others have an empty one of their own there.
"""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
_PORT = 6379
_START_SECONDS = 40.0
_RAY = Path(sys.executable).parent / "ray"


def _ip(*arguments: str) -> str:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=True)
    return done.stdout


def _can_make_hosts() -> str:
    """Why hosts cannot be made here; empty if they can."""
    if sys.platform != "linux" or not (shutil.which("ip") and shutil.which("nsenter")):
        return "needs Linux with iproute2 and util-linux"
    name = f"fr{os.getpid()}t"
    try:
        _ip("netns", "add", name)
    except subprocess.CalledProcessError as error:
        return f"network namespaces cannot be made: {error.stderr.strip()}"
    try:
        mounts = ["ip", "netns", "exec", name, "mount", "-t", "tmpfs", "none", "/mnt"]
        done = subprocess.run(mounts, capture_output=True, text=True, check=False)
        return f"folders cannot be mounted: {done.stderr.strip()}" if done.returncode else ""
    finally:
        _ip("netns", "delete", name)


@dataclass
class Hosts:
    """Hosts of one cluster; the first is the head.

    Attributes:
        folder: What the head, the drivers on it and the test see.
        shared: Whether the other hosts see it, too; else an empty one there.
    """

    folder: Path
    shared: bool
    _tag: str
    _network: str
    _temporary: Path
    _raylets: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)
    _made: set[int] = field(default_factory=set)
    _drivers: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def address(self) -> str:
        """Of the cluster."""
        return f"{self.host(0)}:{_PORT}"

    def host(self, number: int) -> str:
        """A host's own address."""
        return f"{self._network}.{number + 1}"

    def start(self, number: int, *, cpus: int = 1, package: bool = True) -> None:
        """Starts the raylet of a host, of host 0 the head, with or without the package."""
        if number not in self._made:
            self._make(number)
        role = ["--head", f"--port={_PORT}", f"--temp-dir={self._temporary}"]
        role += ["--include-dashboard=false"]
        if number:
            role = [f"--address={self.address}"]
        log = (self._temporary / f"host{number}.log").open("ab")
        self._raylets[number] = subprocess.Popen(
            self._within(
                number,
                [
                    *(str(_RAY), "start", "--block", *role),
                    f"--node-ip-address={self.host(number)}",
                    f"--num-cpus={cpus}",
                    f"--object-store-memory={150 * 2**20}",
                    f"--memory={4 * 2**30}",
                    "--disable-usage-stats",
                ],
                [] if package else _package_folders(),
            ),
            env=self._environment(),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        log.close()

    def wait_for(self, count: int) -> None:
        """Waits until the cluster has so many living nodes."""
        code = (
            "import sys, time; from ray._raylet import GcsClient\n"
            "address, count, ends = sys.argv[1], int(sys.argv[2]), time.time() + float(sys.argv[3])\n"
            "gcs, alive = GcsClient(address=address), -1\n"
            "while alive != count and time.time() < ends:\n"
            "    time.sleep(0.2)\n"
            "    alive = sum(n.state == 0 for n in gcs.get_all_node_info().values())\n"
            "sys.exit(f'{alive} nodes' if alive != count else 0)"
        )
        done = subprocess.run(
            self._within(
                0, [sys.executable, "-c", code, self.address, str(count), str(_START_SECONDS)]
            ),
            env=self._environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        logs = [path.read_text()[-1500:] for path in self._temporary.glob("host*.log")]
        assert done.returncode == 0, [done.stderr[-2000:], *logs]

    def kill(self, number: int) -> None:
        """Ends everything on a host at once, as a power cut does."""
        for process in _ip("netns", "pids", self._name(number)).split():
            try:
                os.kill(int(process), signal.SIGKILL)
            except ProcessLookupError:
                continue
        if number in self._raylets:
            self._raylets.pop(number).wait(30)

    def processes(self, number: int) -> list[int]:
        """The processes on a host."""
        return [int(each) for each in _ip("netns", "pids", self._name(number)).split()]

    def units(self, number: int) -> set[str]:
        """Names of the Ray tasks and actors that run on a host at this moment."""
        names = set()
        for process in self.processes(number):
            try:
                title = Path(f"/proc/{process}/cmdline").read_text().replace("\0", " ")
            except FileNotFoundError:  # it ended meanwhile
                continue
            if title.startswith("ray::"):
                names.add(title.removeprefix("ray::").strip())
        return names

    def driver(self, verb: str, *arguments: str, on: int = 0) -> subprocess.Popen[str]:
        """Starts a verb on a host, its records in `folder / "results"`."""
        command = [sys.executable, "-m", f"fmnist_ray.{verb}", *arguments]
        if "--address" not in arguments:
            command += ["--address", self.address]
        if on:  # where it sees what the raylet sees
            into = ["nsenter", f"--target={self._raylets[on].pid}", "--net", "--mount"]
            command = [*into, "--wd=" + str(ROOT), *command]
        else:
            command = self._within(on, command)
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=self._environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._drivers.append(process)
        return process

    def run(self, verb: str, *arguments: str, on: int = 0) -> dict[str, Any]:
        """Runs a verb to its end, and returns what it prints with `--json`."""
        process = self.driver(verb, *arguments, "--json", on=on)
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, err[-4000:]
        found: dict[str, Any] = json.loads(out.splitlines()[-1])
        return found

    def end(self) -> None:
        """Ends and removes all hosts."""
        for driver in self._drivers:
            driver.kill()
            driver.communicate()
        for number in sorted(self._made, reverse=True):
            self.kill(number)
        for number in self._made:
            _ip("netns", "delete", self._name(number))
        subprocess.run(["ip", "link", "delete", self._bridge], capture_output=True, check=False)
        shutil.rmtree(self._temporary, ignore_errors=True)

    @property
    def _bridge(self) -> str:
        return f"fr{self._tag}br"

    def _name(self, number: int) -> str:
        return f"fr{self._tag}h{number}"

    def _make(self, number: int) -> None:
        """Makes a host: a namespace with an address on the bridge."""
        name = self._name(number)
        if not self._made:
            _ip("link", "add", self._bridge, "type", "bridge")
            _ip("address", "add", f"{self._network}.254/24", "dev", self._bridge)
            _ip("link", "set", self._bridge, "up")
        _ip("netns", "add", name)
        self._made.add(number)
        outer, inner = f"{name}o", f"{name}i"
        _ip("link", "add", outer, "type", "veth", "peer", "name", inner, "netns", name)
        _ip("link", "set", outer, "master", self._bridge, "up")
        _ip("-n", name, "address", "add", f"{self.host(number)}/24", "dev", inner)
        _ip("-n", name, "link", "set", inner, "up")
        _ip("-n", name, "link", "set", "lo", "up")

    def _within(self, number: int, command: list[str], hidden: Sequence[str] = ()) -> list[str]:
        """A command as it runs on a host, with empty folders over those that it has not."""
        # Sockets and logs of a raylet are always its own.
        own = [*hidden, *([str(self._temporary)] if number else [])]
        if number and not self.shared:
            own.append(str(self.folder))
        mounts = [f"mount -t tmpfs none {shlex.quote(each)}" for each in own]
        mounts.append(f"mkdir -p {shlex.quote(str(self.folder / 'tmp'))}")
        shell = " && ".join([*mounts, 'exec "$@"'])
        return ["ip", "netns", "exec", self._name(number), "sh", "-c", shell, "sh", *command]

    def _environment(self) -> dict[str, str]:
        return os.environ | {
            "PYTHONPATH": str(ROOT),
            "TMPDIR": str(self.folder / "tmp"),
            "XDG_CACHE_HOME": str(self.folder / "cache"),
            "RAY_TMPDIR": str(self._temporary),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": "0123456789abcdef" * 2,
        }


def _package_folders() -> list[str]:
    """Where the package may be imported from: the checkout, and an installed one."""
    code = "import importlib.util as u; s = u.find_spec('fmnist_ray'); print(s.origin if s else '')"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        cwd="/",
        env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
        capture_output=True,
        text=True,
        check=True,
    )
    installed = done.stdout.strip()
    return sorted({str(ROOT / "fmnist_ray"), *([str(Path(installed).parent)] if installed else [])})


MakeHosts = Callable[..., Hosts]


@pytest.fixture
def make_hosts(tmp_path: Path) -> Iterator[MakeHosts]:
    """Makes a cluster of so many hosts of one CPU each, that share the test's folder or not."""
    why_not = _can_make_hosts()
    if why_not:
        pytest.skip(why_not)
    made: list[Hosts] = []

    def make(count: int, *, shared: bool = True) -> Hosts:
        tag = f"{os.getpid()}{'abcdefgh'[len(made)]}"
        network = f"10.{os.getpid() % 200 + 20}.{os.getpid() // 200 % 200 + len(made)}"
        # Short, since the sockets of a raylet are below it.
        temporary = Path(tempfile.mkdtemp(prefix="fr"))
        (tmp_path / "tmp").mkdir(exist_ok=True)
        hosts = Hosts(tmp_path, shared, tag, network, temporary)
        made.append(hosts)
        for number in range(count):
            hosts.start(number)
            if not number:
                hosts.wait_for(1)
        hosts.wait_for(count)
        return hosts

    try:
        yield make
    finally:
        for hosts in made:
            hosts.end()
