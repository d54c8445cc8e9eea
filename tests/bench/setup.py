# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Setting up, changing and removing: the engine alone, beside the kernel's floor and what else connects containers."""

from __future__ import annotations

import copy
import json
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))

import peers
from peers import FIRST_PORT, NETWORKS, PEERS, Docker, Missing, Peer
from report import NOT_MEASURED, Chart, Measurements, Notify, Section, Table, at_least, at_most, figure, markdown
from stopwatch import Ran, Stopwatch

HERE = Path(__file__).parent
RULES = "/run/bench.nft"
# As many resolvers as there are inotify instances for by default, with some left for others.
MOST_RESOLVERS = 100
LARGE, LARGE_NETWORKS, LARGE_PORTS = 4000, 200, 10_000

START, FIRST, IDLE, GONE = "start-up", "from nothing", "nothing to do", "all removed"
EMPTY, BEYOND = "networks alone, from nothing", "containers beyond the networks"
PORT, CONTAINER, MOVED, MTU = "one port published", "one container added", "one container moved", "one network's MTU"
FLOOR_NAMESPACES, FLOOR_LINKS, FLOOR_RULES, FLOOR_DELETION = "namespaces", "links", "rules", "deleting"
FLOOR_LOOK = "looking"
LINKS, RULES_PART, NAMESPACES = "engine's links", "engine's rules", "engine's namespaces"
ALL_FLOORS = "all floors"


@dataclass(frozen=True)
class Plan:
    """`sizes` of ours and of peers are numbers of containers; the last one of ours is that of changes."""

    sizes: Sequence[int]
    peer_sizes: Sequence[int]
    rounds: int
    peer_rounds: int
    large: bool


FULL = Plan((100, 300, 1000), (NETWORKS, 100, 300), rounds=3, peer_rounds=5, large=True)
QUICK = Plan((30,), (NETWORKS,), rounds=1, peer_rounds=1, large=False)


@dataclass
class Found:
    """Seconds of one number of containers; `peak` memory in MiB.

    `parts` are seconds of the engine's parts by case, as `parts.py` prints them.
    """

    containers: int
    seconds: Measurements = field(default_factory=Measurements)
    peak: Measurements = field(default_factory=Measurements)
    parts: dict[str, Measurements] = field(default_factory=dict)

    def each(self, case: str) -> float:
        """Milliseconds a container."""
        return self.seconds.median(case) / self.containers * 1000


# What is declared


def declaration(containers: int) -> dict[str, Any]:
    """Of 20 networks each container is on one, and publishes a port."""
    return {
        "networks": {f"net{n}": {"enable_ipv6": True} for n in range(NETWORKS)},
        "containers": {
            f"c{n}": {"networks": [f"net{n % NETWORKS}"], "ports": [f"{FIRST_PORT + n}:80"]} for n in range(containers)
        },
    }


def large_declaration(containers: int, networks: int, ports: int) -> dict[str, Any]:
    silent = {"x-wharf": {"dns": False}}
    each = {n: range(FIRST_PORT + n, FIRST_PORT + ports, containers) for n in range(containers)}
    return {
        "host": {"default-address-pools": [{"base": "10.0.0.0/8", "size": 24}]},
        "networks": {
            f"net{n}": {"enable_ipv6": True, **({} if n < MOST_RESOLVERS else silent)} for n in range(networks)
        },
        "containers": {
            f"c{n}": {
                "networks": [f"net{n % networks}"],
                "ports": [f"{port}:{80 + at}" for at, port in enumerate(numbers)],
            }
            for n, numbers in each.items()
        },
    }


def changes(words: Any) -> Iterator[tuple[str, Any]]:
    """Declarations, each with one change more than the one before."""
    words = copy.deepcopy(words)
    words["containers"]["c5"]["ports"].append("9000:81")
    yield PORT, words
    words["containers"]["new"] = {"networks": ["net3"], "ports": ["9001:80"]}
    yield CONTAINER, words
    words["containers"]["c7"]["networks"] = ["net8"]
    yield MOVED, words
    words["networks"]["net2"]["driver_opts"] = {"com.docker.network.driver.mtu": "1400"}
    yield MTU, words


# Ours and the floor


def measure(containers: int, rounds: int, notify: Notify) -> Found:
    found, words = Found(containers), declaration(containers)
    for turn in range(rounds):
        heard = _notifying(notify, f"{containers} containers, round {turn + 1} of {rounds}")
        _measure_whole(words, changes(words), NETWORKS, found, heard)
        _measure_parts(words, found, heard)
    return found


def measure_large(notify: Notify) -> Found:
    """Once, and without what takes minutes there: the engine's parts, and all changes but one."""
    found, words = Found(LARGE), large_declaration(LARGE, LARGE_NETWORKS, LARGE_PORTS)
    _measure_whole(words, [next(changes(words))], LARGE_NETWORKS, found, _notifying(notify, f"{LARGE} containers"))
    return found


def _measure_whole(
    words: Any, then: Iterable[tuple[str, Any]], networks: int, found: Found, heard: Callable[[str, float], None]
) -> None:
    _measure_networks(words, found, heard)
    rules = _measure_engine(words, then, found, heard)
    found.seconds.add(BEYOND, found.seconds.figures[FIRST][-1] - found.seconds.figures[EMPTY][-1])
    _measure_floor(networks, rules, found, heard)


def _notifying(notify: Notify, where: str) -> Callable[[str, float], None]:
    return lambda case, seconds: notify(f"{where}: {case}: {figure(seconds)} s")


def _measure_networks(words: Any, found: Found, heard: Callable[[str, float], None]) -> None:
    with Stopwatch.started() as host:
        ran = host.engine("apply", "-", words={**words, "containers": {}})
        found.seconds.add(EMPTY, ran.seconds)
        heard(EMPTY, ran.seconds)


def _measure_engine(
    words: Any, then: Iterable[tuple[str, Any]], found: Found, heard: Callable[[str, float], None]
) -> str:
    """One life of a host, with the changes that come `then`; the rules that it has before them."""

    def note(case: str, ran: Ran, changes: bool | None = None) -> None:
        assert changes is None or ("nothing to change" not in ran.output) == changes, f"{case}: {ran.output}"
        found.seconds.add(case, ran.seconds)
        found.peak.add(case, ran.peak)
        heard(case, ran.seconds)

    with _quiet(), Stopwatch.started() as host:
        # Python keeps what it compiles.
        host.engine("--version")
        note(START, host.engine("--version"))
        note(FIRST, host.engine("apply", "-", words=words), True)
        rules = host.shell("nft list table inet wharf")
        note(IDLE, host.engine("apply", "-", words=words), False)
        for case, changed in then:
            note(case, host.engine("apply", "-", words=changed), True)
        note(GONE, host.engine("apply", "--state", "absent"), True)
    return rules


def _measure_parts(words: Any, found: Found, heard: Callable[[str, float], None]) -> None:
    cases = {FIRST: words, IDLE: words, PORT: next(changes(words))[1]}
    with _quiet(), Stopwatch.started() as host:
        for case, declared in cases.items():
            ran = host.python(HERE / "parts.py", "apply", "-", given=json.dumps(declared))
            for part, seconds in json.loads(ran.output.splitlines()[-1]).items():
                found.parts.setdefault(case, Measurements()).add(part, seconds)
    first = found.parts[FIRST].figures
    for case, parts in (
        (LINKS, ("Bridges.apply", "Endpoints.apply")),
        (RULES_PART, ("Firewall.apply",)),
        (NAMESPACES, ("Sandboxes.apply",)),
    ):
        found.seconds.add(case, sum(first[part][-1] for part in parts))
        heard(case, found.seconds.figures[case][-1])


def _measure_floor(networks: int, rules: str, found: Found, heard: Callable[[str, float], None]) -> None:
    with _quiet(), Stopwatch.started() as host:
        ran = host.python(HERE / "floor.py", str(found.containers), str(networks))
        took = json.loads(ran.output)
        host.run(["sh", "-c", f"cat >{RULES}"], rules)
        took[FLOOR_RULES] = host.run(["nft", "-f", RULES]).seconds
        took[ALL_FLOORS] = took[FLOOR_NAMESPACES] + took[FLOOR_LINKS] + took[FLOOR_RULES]
        for case, seconds in took.items():
            found.seconds.add(case, seconds)
            heard(f"floor, {case}", seconds)


@contextmanager
def _quiet() -> Iterator[None]:
    """Wait after the block until the kernel has removed what a host that is gone has left, which takes a while.

    It removes network stacks in the order in which they ended. One that ends now takes a link of another one with it,
    which shows when it is its turn.
    """
    yield
    with Stopwatch.started() as host:
        host.shell(_UNTIL_REMOVED)


_UNTIL_REMOVED = """
ip netns add last
ip link add dev here type veth peer name there netns last
ip netns del last
while ip link show dev here >/dev/null 2>&1; do sleep 0.1; done
"""


# Peers


@dataclass
class OfPeers:
    """Milliseconds to add and to remove a container, by peer, by the number of containers that are there."""

    missing: dict[str, str] = field(default_factory=dict)
    added: dict[int, Measurements] = field(default_factory=dict)
    removed: Measurements = field(default_factory=Measurements)
    again: dict[str, str] = field(default_factory=dict)
    memory: dict[str, float] = field(default_factory=dict)


CONNECT = "docker network connect"


def measure_peers(plan: Plan, notify: Notify) -> OfPeers:
    found = OfPeers()
    with ExitStack() as started:
        running: list[Peer] = []
        for kind in PEERS:
            try:
                running.append(started.enter_context(peers.started(kind)))
            except Missing as reason:
                found.missing[kind.name] = str(reason)
                notify(f"left out: {kind.name}: {reason}")
        there = 0
        for size in plan.peer_sizes:
            notify(f"peers: {size} containers each are being made")
            _grow(running, there, size)
            found.added[size] = _add(running, size, plan.peer_rounds, notify)
            there = size + plan.peer_rounds
        for number in reversed(range(there - plan.peer_rounds, there)):
            for peer in running:
                _note(found.removed, peer.name, peer.remove(number), f"peers: one of {there} removed", notify)
        found.memory = {peer.name: peer.memory() for peer in running}
        found.again = {peer.name: peer.again(0) for peer in running}
    return found


def _grow(running: Sequence[Peer], first: int, last: int) -> None:
    """All at once: nobody measures that."""
    failed: list[BaseException] = []

    def grow(peer: Peer) -> None:
        try:
            peer.grow(first, last)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=grow, args=[peer]) for peer in running]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]


def _add(running: Sequence[Peer], size: int, rounds: int, notify: Notify) -> Measurements:
    added = Measurements()
    for number in range(size, size + rounds):
        for peer in running:
            _note(added, peer.name, peer.add(number), f"peers: one more than {number}", notify)
            if isinstance(peer, Docker):
                _note(added, CONNECT, peer.connect(number), f"peers: one more than {number}", notify)
    return added


def _note(measured: Measurements, case: str, seconds: float, where: str, notify: Notify) -> None:
    measured.add(case, seconds * 1000)
    notify(f"{where}: {case}: {figure(seconds * 1000)} ms")


# The sections


def sections(quick: bool, notify: Notify) -> list[Section]:
    plan = QUICK if quick else FULL
    ours = {size: measure(size, plan.rounds, notify) for size in plan.sizes}
    if plan.large:
        ours[LARGE] = measure_large(notify)
    of_peers = measure_peers(plan, notify)
    return [
        _from_nothing(ours, plan),
        _beside_peers(ours, of_peers, plan),
        _changes(ours, plan),
        _memory(ours, of_peers),
        _where_time_goes(ours[plan.sizes[-1]]),
    ]


def _judged(plan: Plan, cell: str) -> str:
    """Targets are about the sizes of the full plan."""
    return "" if plan is QUICK else cell


def _row(name: str, sizes: Mapping[int, Found], cell: Callable[[Found], str], target: str = "") -> list[str]:
    return [name, *(cell(found) for found in sizes.values()), target]


def _columns(first: str, ours: Mapping[int, Found]) -> list[str]:
    return [first, *(f"{size}" for size in ours), "must be"]


def _ratio(found: Found, case: str, floor: str) -> float:
    return found.seconds.ratio(case, floor)


def _above_floors(found: Found) -> float:
    """Seconds."""
    return found.seconds.median(FIRST) - found.seconds.median(ALL_FLOORS)


def _from_nothing(ours: Mapping[int, Found], plan: Plan) -> Section:
    most = ours[plan.sizes[-1]]
    ratios, beyond = (
        {size: _ratio(found, case, ALL_FLOORS) for size, found in ours.items()} for case in (FIRST, BEYOND)
    )

    def ms(case: str) -> Callable[[Found], str]:
        return lambda found: figure(found.each(case))

    def must(cell: str) -> str:
        return _judged(plan, cell)

    def times(case: str, floor: str) -> Callable[[Found], str]:
        return lambda found: figure(_ratio(found, case, floor))

    rows = [
        _row("whole run, s", ours, lambda found: figure(found.seconds.median(FIRST))),
        _row("whole run, ms a container", ours, ms(FIRST)),
        _row("floor of namespaces, ms a container", ours, ms(FLOOR_NAMESPACES)),
        _row("engine's namespaces, ms a container", ours, ms(NAMESPACES)),
        _row("floor of links, ms a container", ours, ms(FLOOR_LINKS)),
        _row("engine's links, ms a container", ours, ms(LINKS)),
        _row(
            "… times the floor", ours, times(LINKS, FLOOR_LINKS), must(at_most(_ratio(most, LINKS, FLOOR_LINKS), 1.5))
        ),
        _row("`nft -f` of the same rules, ms a container", ours, ms(FLOOR_RULES)),
        _row("engine's rules, ms a container", ours, ms(RULES_PART)),
        _row(
            "… times `nft -f`",
            ours,
            times(RULES_PART, FLOOR_RULES),
            must(at_most(_ratio(most, RULES_PART, FLOOR_RULES), 1.5)),
        ),
        _row(
            "whole run above all floors, s",
            ours,
            lambda found: figure(_above_floors(found)),
            must(at_most(_above_floors(most), 1.0, " s")),
        ),
        _row(
            "whole run, times all floors",
            ours,
            times(FIRST, ALL_FLOORS),
            must(_spread([ratios[size] for size in plan.sizes])),
        ),
        _row(
            "containers beyond the networks, times all floors",
            ours,
            times(BEYOND, ALL_FLOORS),
            must(_spread([beyond[size] for size in plan.sizes])),
        ),
    ]
    if LARGE in ours:
        whole, rest = (of[LARGE] / of[plan.sizes[-1]] for of in (ratios, beyond))
        note = (
            f"At {LARGE} the last two ratios are {figure(whole)} and {figure(rest)} times those at {plan.sizes[-1]}: "
            f"{at_most(whole, 1.3)}, {at_most(rest, 1.3)}."
        )
    else:
        note = ""
    return Section("From nothing", _FROM_NOTHING, [Table(_columns("containers", ours), rows, note)], [_growth(ours)])


def _spread(ratios: Sequence[float]) -> str:
    return f"the same, largest by smallest {at_most(max(ratios) / min(ratios), 1.2)}"


_FROM_NOTHING = f"""
A host without networks gets {NETWORKS} networks and so many containers, each with a network namespace of its own, a
veth pair, addresses and routes of both families, files and names, and a published port. {LARGE} containers are on 200
networks (of which {MOST_RESOLVERS} have names: each resolver takes an inotify instance) and publish 10,000 ports. The
whole run is `python -m engine.command apply`, with Python's start; "beyond the networks" is what it takes more than one
that makes the networks alone, on another host.

The floor is what the kernel takes. Namespaces: one process makes, names and marks them. Links: the same bridges, veth
pairs, addresses and routes by hand-packed netlink messages (`tests/bench/floor.py`), packed before the clock starts; it
writes no kernel parameters. Rules: `nft -f` of the text that `nft list table` prints of the engine's table. "All
floors" is the sum of the three. The engine's parts are clocked inside a run of their own (`tests/bench/parts.py`).
"""


def _growth(ours: Mapping[int, Found]) -> Chart:
    cases = {
        "from nothing": FIRST, "the floor of it": ALL_FLOORS, "nothing to do": IDLE, PORT: PORT, CONTAINER: CONTAINER,
        "all removed": GONE, "deleting the veths": FLOOR_DELETION,
    }  # fmt: skip
    series = {
        name: [(found.containers, found.seconds.median(case)) for found in ours.values() if case in found.seconds]
        for name, case in cases.items()
    }
    return Chart("runs", "How long a run takes", "containers", "seconds", series, log_x=True, log_y=True)


def _beside_peers(ours: Mapping[int, Found], of_peers: OfPeers, plan: Plan) -> Section:
    last = plan.peer_sizes[-1]
    like = min((size for size in plan.sizes if size >= last), default=plan.sizes[-1])
    own = ours[like].each(FIRST)
    sizes = sorted({*plan.peer_sizes, *plan.sizes})
    rows = [
        ["wharf, from nothing, a container", *_own_cells(ours, sizes, lambda found: found.each(FIRST)), "1", ""],
        [
            "wharf, a run that adds one container",
            *_own_cells(ours, sizes, lambda found: found.seconds.median(CONTAINER) * 1000),
            *("", ""),
        ],
    ]
    for case in of_peers.added[last].figures:
        cells = [
            figure(of_peers.added[size].median(case)) if size in of_peers.added else NOT_MEASURED for size in sizes
        ]
        times = of_peers.added[last].median(case) / own
        rows.append([case, *cells, figure(times), "" if case == CONNECT else _judged(plan, at_least(times, 50))])
    left_out = " ".join(f"Left out: {name}: {reason}." for name, reason in of_peers.missing.items())
    added = Table(
        ["ms, with so many there", *map(str, sizes), f"times wharf at {like}", "must be"],
        rows,
        f"{left_out} Peers were not measured at more than {last} containers: to make them takes minutes.".strip(),
    )
    return Section(
        "A container with one port",
        _BESIDE_PEERS,
        [added, _abilities(ours[like], of_peers)],
        [_container_chart(ours, of_peers, plan)],
    )


def _own_cells(ours: Mapping[int, Found], sizes: Sequence[int], cell: Callable[[Found], float]) -> list[str]:
    return [figure(cell(ours[size])) if size in ours else NOT_MEASURED for size in sizes]


_BESIDE_PEERS = f"""
What one more container takes that has a port published, both families, and one of {NETWORKS} networks, where so many
containers are. wharf makes all of a host in one run, so its share of that run stands beside what peers take for the
next one; below it stands a run that adds a single one, most of which is Python's start and the look at what is there.
wharf's run makes the network namespaces, too; for netavark and CNI they exist before the clock starts. Docker is
measured as `docker run` less `docker run --network none`, with `userland-proxy` off; `docker network connect` publishes
no port. All peers are measured by turns, each on a throwaway host of its own.
"""


def _abilities(found: Found, of_peers: OfPeers) -> Table:
    idle = f"{figure(found.seconds.median(IDLE))} s for all {found.containers}"
    gone = figure(found.seconds.median(GONE) / found.containers * 1000)
    live = f"{figure(found.seconds.median(PORT))} s"
    rows = [["wharf", gone, f"changes nothing, {idle}", live, f"{figure(found.seconds.median(MTU))} s"]]
    for name, said in of_peers.again.items():
        again = f"fails: {said[-90:].replace('|', ' ')}" if said else "passes"
        rows.append(
            [name, figure(of_peers.removed.median(name)), again, "cannot: make it anew", "cannot: make all anew"]
        )
    columns = [
        "",
        "removing a container, ms",
        "told again what is there",
        "a port of a live container",
        "MTU of a live network",
    ]
    return Table(columns, rows, "wharf removes all containers of a host in one run; this is the share of one.")


def _container_chart(ours: Mapping[int, Found], of_peers: OfPeers, plan: Plan) -> Chart:
    own = [ours[size] for size in plan.sizes]
    series = {
        "wharf, from nothing": [(found.containers, found.each(FIRST)) for found in own],
        "floor": [(found.containers, found.each(ALL_FLOORS)) for found in own],
    }
    for case in of_peers.added[plan.peer_sizes[0]].figures:
        series[case] = [(size, added.median(case)) for size, added in of_peers.added.items()]
    return Chart(
        "container", "What a container with one port takes", "containers that are there", "ms", series, True, True
    )


def _changes(ours: Mapping[int, Found], plan: Plan) -> Section:
    most = ours[plan.sizes[-1]].seconds
    beyond = most.median(IDLE) - most.median(START)
    targets = {
        IDLE: at_most(beyond, 0.15, " s above the start-up"),
        PORT: at_most(most.ratio(PORT, IDLE), 1.3, " times nothing to do"),
        CONTAINER: at_most(most.ratio(CONTAINER, IDLE), 1.3, " times nothing to do"),
        GONE: at_most(most.ratio(GONE, FLOOR_DELETION), 2, " times deleting the veths"),
    }
    floor = {
        FLOOR_LOOK: "what is there, listed by the kernel and not decoded",
        FLOOR_DELETION: "deleting as many veths by group, in one message",
    }
    rows = [
        _row(
            floor.get(case, case),
            ours,
            lambda found, case=case: figure(found.seconds.median(case)),
            _judged(plan, targets.get(case, "")),
        )
        for case in (START, FLOOR_LOOK, IDLE, PORT, CONTAINER, MOVED, MTU, GONE, FLOOR_DELETION)
    ]
    return Section("Changes, nothing to do, and removal", _CHANGES, [Table(_columns("s, containers", ours), rows)])


_CHANGES = f"""
Runs of `python -m engine.command apply` with the whole declaration, on a host that has these containers; the start-up
is that of `--version`. All is removed by `apply --state absent`: network namespaces, resolvers, files and rules.
Of {LARGE} containers only one change is measured: the others take minutes.
"""


def _memory(ours: Mapping[int, Found], of_peers: OfPeers) -> Section:
    rows = [
        [f"wharf, {case}, {size} containers", figure(found.peak.median(case))]
        for size, found in ours.items()
        for case in (FIRST, IDLE)
    ]
    rows += [[name, figure(size)] for name, size in of_peers.memory.items()]
    text = (
        "The most that one process has had in memory. wharf's ends with the run, and so do netavark's and those of "
        "CNI's plugins; dockerd stays. Not counted are the resolvers, containerd and its shims."
    )
    return Section("Memory", text, [Table(["", "MiB"], rows)])


def _where_time_goes(found: Found) -> Section:
    parts = {case: {name: of.median(name) for name in of.figures} for case, of in found.parts.items()}
    for seconds in parts.values():
        seconds[_REST] = 2 * seconds[_ALL] - sum(seconds.values())
    names = sorted(parts[FIRST], key=lambda name: -parts[FIRST][name])
    rows = [
        [f"`{name}`" if "." in name else name, *(figure(seconds.get(name, 0)) for seconds in parts.values())]
        for name in names
        if any(seconds.get(name, 0) > seconds[_ALL] / 100 for seconds in parts.values())
    ]
    text = f"The functions of the resources, of {found.containers} containers. What takes less than 1 % is left out."
    return Section("Where the time goes", text, [Table(["s", *parts], rows)])


_ALL, _REST = "all", "reading, planning, the ledger, Python's start"

if __name__ == "__main__":
    print(markdown(sections(os.environ.get("QUICK") == "1", lambda line: print(line, file=sys.stderr)), "performance"))
