# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a query costs, asked by a container of its resolver; and what one more name costs where there are 0, and 500."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))

import pytest
from dockerd import Dockerd
from hosts import ThrowawayHost
from real_layouts import AARDVARK, net_of, netavark_options, setting_up_by_netavark
from report import NOT_MEASURED, Measurements, Notify, Section, Table, figure, markdown
from runners import ENGINE
from traffic import NEEDED, Traffic, is_possible

MANY, TIMES = 500, 5
OPEN = 32
WIDTH = 200

# As Compose calls them. Where a network is called as a top-level domain could be, dnsmasq also reads all names again.
NETWORK = "shop_app"

# Run in the host: the last container comes; how long the layer takes, and after how long its name is answered.
_MEASURE = """
import json, os, random, socket, struct, sys, time
from engine.converge import converge
from engine.declaration.declared import Call
from engine.layers import DNSMASQ

def answered(name):
    labels = bytes([len(name)]) + name.encode() + bytes(1)
    header = struct.pack("!6H", random.randrange(65536), 0x100, 1, 0, 0, 0)
    asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    asking.settimeout(2)
    asking.sendto(header + labels + struct.pack("!2H", 1, 1), ("172.18.0.1", 53))
    return struct.unpack("!6H", asking.recv(512)[:12])[3] > 0

reading, writing = os.pipe()
asker = os.getpid()
if not os.fork():
    while not answered("newcomer"):
        time.sleep(0.001)
        if os.getppid() != asker:
            os._exit(1)
    os.write(writing, str(time.perf_counter()).encode())
    os._exit(0)
written = []
replace = os.replace
def noting(source, target):
    replace(source, target)
    if target.endswith("/newcomer"):
        written.append(time.perf_counter())
os.replace = noting
began = time.perf_counter()
converge(Call(**json.load(sys.stdin)), [DNSMASQ])
took = time.perf_counter() - began
print(json.dumps([float(os.read(reading, 99)) - written[0], took]))
"""


def declaration(count: int) -> dict[str, Any]:
    """Their sandboxes are never there: this is about names."""
    names = [*(f"c{number}" for number in range(count)), "newcomer"]
    containers = {name: {"networks": [NETWORK], "x-wharf": {"sandbox": f"path:/run/nobody/{name}"}} for name in names}
    return {"networks": {NETWORK: {}}, "containers": containers}


def measure(count: int, times: int) -> tuple[float, float]:
    """In milliseconds: from the written file to the answer, and the whole call of the layer."""
    words = declaration(count)
    without = {**words, "containers": {name: each for name, each in words["containers"].items() if name != "newcomer"}}
    measured = []
    with ThrowawayHost.started() as host:
        for _time in range(times):
            host.apply(without, "exact")
            command = [*host.enter(), *ENGINE, "-c", _MEASURE]
            ran = subprocess.run(command, input=json.dumps(words), capture_output=True, text=True, check=True)
            measured.append(json.loads(ran.stdout))
        host.apply({}, "absent")
    seen, whole = (statistics.median(column) * 1000 for column in zip(*measured, strict=True))
    return seen, whole


# Queries


@dataclass(frozen=True)
class Resolver:
    """Whom the container `asker` of a host asks."""

    host: ThrowawayHost
    asker: str
    address: str


ASKED, ASKER = "db1", "web"


@contextmanager
def _ours() -> Iterator[Resolver]:
    with ThrowawayHost.started() as host:
        host.apply(
            {"networks": {"app": {}}, "containers": {ASKED: {"networks": ["app"]}, ASKER: {"networks": ["app"]}}}
        )
        nameserver, *_others = [line for line in _resolv_conf(host).splitlines() if line.startswith("nameserver")]
        yield Resolver(host, ASKER, nameserver.split()[1])
        host.apply({}, "absent")


def _resolv_conf(host: ThrowawayHost) -> str:
    return host.run(f"ip netns exec {ASKER} cat /etc/resolv.conf")


@contextmanager
def _docker() -> Iterator[Resolver]:
    words = {"networks": {"app": {}}, "containers": {ASKED: {"networks": ["app"]}, ASKER: {"networks": ["app"]}}}
    with ThrowawayHost.started() as host, Dockerd.started(host, words) as dockerd:
        dockerd.make(words)
        yield Resolver(host, ASKER, "127.0.0.11")


# The resolver that netavark starts ends with the shell that has started it.
_ALONE = ("setpriv", "--pdeathsig", "KILL", "unshare", "--pid", "--fork", "--kill-child", "--mount-proc")


@contextmanager
def _aardvark() -> Iterator[Resolver]:
    if not Path(AARDVARK).exists():
        pytest.skip(f"{AARDVARK} is missing")
    net = net_of("br-1", "10.88.1.0/24")
    with ThrowawayHost.started() as host:
        host.run("mkdir /run/netavark; sysctl -qw net.ipv4.ip_forward=1")
        commands = []
        for number, name in enumerate((ASKED, ASKER), 2):
            options = netavark_options(1, replace(net, container=IPv4Address(f"10.88.1.{number}")), name, dns=True)
            commands.append(setting_up_by_netavark(host, options))
        command = [*host.enter(), *_ALONE, "sh", "-ec", "\n".join([*commands, "echo ready", "cat"])]
        started = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            assert started.stdout
            assert started.stdout.readline() == "ready\n"
            yield Resolver(host, ASKER, "10.88.1.1")
        finally:
            started.communicate()


RESOLVERS: Mapping[str, Callable[[], AbstractContextManager[Resolver]]] = {
    "wharf.network (dnsmasq)": _ours,
    "Docker 26.1's own": _docker,
    "aardvark-dns": _aardvark,
}


def _queries(quick: bool, notify: Notify) -> Section:
    length, times = (200, 2) if quick else (500, 5)
    rates, waits = Measurements(), Measurements()
    missing: dict[str, str] = {}
    with ExitStack() as started, Traffic.compiled() as traffic:
        resolvers: dict[str, Resolver] = {}
        for name, start in RESOLVERS.items():
            try:
                resolvers[name] = started.enter_context(start())
            except pytest.skip.Exception as error:
                missing[name] = str(error)
        for turn in range(times):
            for name, each in resolvers.items():
                words = (each.host, each.asker, "ask", each.address, ASKED, length)
                rates.add(name, traffic.send(*words, OPEN).rate)
                waits.add(name, traffic.send(*words, 1).median * 1e6)
                measured = f"{figure(rates.figures[name][-1])} queries a second, {figure(waits.figures[name][-1])} µs"
                notify(f"names, round {turn + 1}: {name}: {measured}")
    rows = [
        [name, *(figure(each.median(name)) if name in each else NOT_MEASURED for each in (rates, waits))]
        for name in RESOLVERS
    ]
    text = (
        f"A container asks its resolver for the address of another one on its network. Queries a second with {OPEN} "
        f"open at once, and the time to an answer with one. Medians of {times} rounds of {length} ms, by turns."
    )
    note = " ".join(f"Left out: {name}: {why[:WIDTH]}." for name, why in missing.items())
    return Section("Names", text, [Table(["resolver", "queries a second", "µs to an answer"], rows, note)])


def _newcomer(quick: bool, notify: Notify) -> Section:
    times = 2 if quick else TIMES
    notify(f"names: adding one, {times} times to none and to {MANY}")
    few, many = measure(0, times), measure(MANY, times)
    rows = [
        [what, f"{one:.1f}", f"{other:.1f}", f"{other / one:.1f}"]
        for what, one, other in zip(
            ("from its file to the answer", "the whole call of the layer"), few, many, strict=True
        )
    ]
    table = Table(["ms to add one name", "to none", f"to {MANY}", "ratio"], rows)
    return Section("One more name", f"On one network, by dnsmasq. Medians of {times}.", [table])


def sections(quick: bool, notify: Notify) -> list[Section]:
    if not is_possible():
        text = f"Left out: queries are sent by a program in C, and there is no `{NEEDED}` (`apt-get install gcc`)."
        return [Section("Names", text), _newcomer(quick, notify)]
    return [_queries(quick, notify), _newcomer(quick, notify)]


def main() -> None:
    print(markdown(sections("--quick" in sys.argv, lambda line: print(line, file=sys.stderr, flush=True)), "."))


if __name__ == "__main__":
    main()
