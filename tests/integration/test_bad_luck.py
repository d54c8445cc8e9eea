# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""No room, no ledger, a kernel that refuses, two runs at once: nothing is lost, and one sentence says what to do."""

from __future__ import annotations

import copy
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from host_state import assert_same, host_state
from hosts import ABSENT, BACKENDS, EXACT, LEDGER, EngineError, ThrowawayHost
from runners import ENGINE

WORDS: dict[str, Any] = {
    "networks": {"front": {"enable_ipv6": True}, "back": {"ipam": {"config": [{"subnet": "10.99.0.0/24"}]}}},
    "containers": {
        "web": {"networks": ["front"], "ports": ["8080:80", "9000-9009:90", "100"]},
        "db": {"networks": {"back": {"ipv4_address": "10.99.0.77"}, "front": {}}},
        "side": {"network_mode": "service:web"},
        "monitor": {"network_mode": "host", "extra_hosts": ["db:192.0.2.9"]},
    },
    "docker_user": [{"action": "drop", "source": "192.0.2.66"}],
}
READ_ONLY = "Read-only file system: mount it for writing"
NO_ROOM = "No space left on device: make room for it there"
ROLLED_BACK = "all changes of this run were taken back"
# Of what found its way into the ledger, this cannot be found again: what interfaces had of their own.
NOT_FOUND_AGAIN = ("net.ipv4.conf.", "net.ipv6.conf.")


@pytest.fixture(scope="module")
def lasting_host() -> Iterator[ThrowawayHost]:
    """A host on which something once was: what lasts of that is no difference."""
    with ThrowawayHost.started() as host:
        host.apply(WORDS)
        host.apply({}, ABSENT)
        yield host


@pytest.fixture
def host(lasting_host: ThrowawayHost) -> Iterator[ThrowawayHost]:
    """What a test leaves declared goes, and then the host is as it was."""
    before = lasting_host.snapshot()
    yield lasting_host
    lasting_host.converge({}, ABSENT)
    assert_same(before, lasting_host.snapshot)


def more(words: Any) -> Any:
    """The same, with one thing more in each layer."""
    after = copy.deepcopy(words)
    after["networks"]["more"] = {}
    after["containers"]["more"] = {"networks": ["more"], "ports": ["8081:80"]}
    return after


@contextmanager
def full(host: ThrowawayHost, folder: str) -> Iterator[None]:
    """There is no room left in the folder for anything more, until the file `full` is removed from it."""
    host.run(f"mkdir -p /run/over; mount -t tmpfs -o size=128k none /run/over; cp -a {folder}/. /run/over")
    host.run(f"mount --move /run/over {folder}; dd if=/dev/zero of={folder}/full bs=1k 2>/dev/null || true")
    try:
        yield
    finally:
        host.run(f"umount {folder}")


@contextmanager
def read_only(host: ThrowawayHost, folder: str) -> Iterator[None]:
    host.run(f"mount --bind {folder} {folder}; mount -o remount,bind,ro {folder}")
    try:
        yield
    finally:
        host.run(f"umount {folder}")


class TestNoRoom:
    """Whoever cannot write, touches nothing, or rolls back what was done."""

    def test_for_the_ledger(self, host: ThrowawayHost) -> None:
        nothing = host_state(host)
        with full(host, "/var/lib"):
            with pytest.raises(EngineError, match=f"ledger.json cannot be written: {NO_ROOM}; nothing was changed"):
                host.apply(WORDS)
            host.run("rm /var/lib/full")
            assert_same(nothing, lambda: host_state(host))
        host.converge(WORDS)

    def test_on_a_read_only_disk(self, host: ThrowawayHost) -> None:
        """Room would be of no help there."""
        nothing = host_state(host)
        refusal = f"/var/lib/wharf/ledger.json cannot be written: {READ_ONLY}; nothing was changed"
        with read_only(host, "/var/lib"):
            with pytest.raises(EngineError, match=f"^{refusal}$"):
                host.apply(WORDS)
            assert_same(nothing, lambda: host_state(host))

    def test_for_a_change_of_the_ledger(self, host: ThrowawayHost) -> None:
        host.converge(WORDS)
        before = host_state(host)
        with full(host, "/var/lib"):
            with pytest.raises(EngineError, match="nothing was changed"):
                host.apply(more(WORDS))
            host.run("rm /var/lib/full")
            assert_same(before, lambda: host_state(host))

    def test_for_the_key_of_this_host(self, host: ThrowawayHost) -> None:
        program = """
from engine.errors import ApplyError
from engine.resources.links import wireguard_key
try:
    wireguard_key.public_key(make=True)
except ApplyError as error:
    print(error)
"""
        with read_only(host, "/var/lib"):
            printed = host.python(program)
        assert printed == f"/var/lib/wharf/wireguard.key cannot be written: {READ_ONLY}\n"

    @pytest.mark.parametrize("place, why", [(read_only, READ_ONLY), (full, NO_ROOM)])
    def test_for_a_file(self, host: ThrowawayHost, place: Any, why: str) -> None:
        """All that was done before is rolled back, in all layers."""
        nothing = host_state(host)
        refusal = f"90-wharf.conf: {why}; {ROLLED_BACK}$"
        with place(host, "/etc/sysctl.d"), pytest.raises(EngineError, match=refusal):
            host.apply(WORDS)
        assert_same(nothing, lambda: host_state(host))
        host.converge(WORDS)

    @pytest.mark.parametrize("place, why", [(read_only, READ_ONLY), (full, NO_ROOM)])
    def test_for_the_containers_files(self, host: ThrowawayHost, place: Any, why: str) -> None:
        host.converge(WORDS)
        before = host_state(host)
        refusal = f"/etc/netns/more/hostname: {why}; {ROLLED_BACK}$"
        with place(host, "/etc/netns"), pytest.raises(EngineError, match=refusal):
            host.apply(more(WORDS))
        assert_same(before, lambda: host_state(host))

    @pytest.mark.parametrize("place, why", [(read_only, READ_ONLY), (full, NO_ROOM)])
    def test_for_the_command(self, host: ThrowawayHost, place: Any, why: str) -> None:
        host.converge(WORDS)
        before = host_state(host)
        refusal = f"^/usr/local/sbin/wharf: {why}; {ROLLED_BACK}$"
        with place(host, "/usr/local/sbin"), pytest.raises(EngineError, match=refusal):
            host.apply({**more(WORDS), "boot": {}})
        assert_same(before, lambda: host_state(host))


def test_a_pipe_in_the_place_of_a_file_is_reported_at_once(host: ThrowawayHost) -> None:
    host.run("mkdir -p /etc/netns/web; mkfifo /etc/netns/web/hosts")
    with pytest.raises(EngineError, match="netns/web/hosts cannot be read as a file: it is no file: move it away"):
        host.apply(WORDS)
    assert "br-front" not in host.run("ip -br link")
    host.run("rm -r /etc/netns")


def test_too_few_inotify_instances() -> None:
    """Each resolver needs one. It is reported before anything is touched, with what is needed and what is there."""
    limit = "user.max_inotify_instances"
    words = {"networks": {f"n{number}": {} for number in range(12)}}
    with ThrowawayHost.started(user_namespace=True) as host, host.declared({}):
        host.run(f"sysctl -qw {limit}=10")
        nothing = host_state(host)
        refused = f"12 resolvers .* can have 10 more: {limit} is 10, and has to be at least 12: "
        for run in (host.diff, host.apply):
            with pytest.raises(EngineError, match=refused):
                run(words)
            assert_same(nothing, lambda: host_state(host))
        host.run(f"sysctl -qw {limit}=13")
        host.converge(words)
        # Those that run need no more of them; nor do those that begin anew.
        host.converge({**words, "host": {"dns": ["192.0.2.99"]}})
        with pytest.raises(EngineError, match=f"2 resolvers .* can have 1 more: {limit} is 13, and has to be .* 14: "):
            host.apply({"networks": {**words["networks"], "more": {}, "evermore": {}}})
        host.converge(words, EXACT)
        # As after a boot with another limit: no network is new.
        host.run(f"sysctl -qw {limit}=11; kill $(cat /run/wharf/running/*.pid)")
        with pytest.raises(EngineError, match=f"12 resolvers .* have 11 more: {limit} is 11, and has to be .* 12: "):
            host.apply(words)
        host.run(f"sysctl -qw {limit}=12")
        host.apply(words)
        command = host.engine_command("-m", "engine.command", "follow")
        followed = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
        assert "all inotify instances (fs.inotify.max_user_instances)" in followed.stderr


@pytest.mark.parametrize("pid_file", ["", "²"])
def test_a_resolver_whose_pid_file_leads_nowhere_is_not_taken_for_what_it_forks_off(pid_file: str) -> None:
    """A process for each connection by TCP, with the same command line; the first is found, also by a teardown."""
    words = {"networks": {"app": {}}, "containers": {"web": {"networks": ["app"]}}}
    with ThrowawayHost.started() as host, host.declared(words):
        (link,) = host.json("ip -j -4 addr show br-app")
        asking = [*host.enter("web"), "socat", "-", f"TCP:{link['addr_info'][0]['local']}:53"]
        with subprocess.Popen(asking, stdin=subprocess.PIPE) as client:
            assert client.stdin
            client.stdin.write(b"\0")
            client.stdin.flush()
            patiently(lambda: len(host.agent.call("daemons")) == 2)
            host.write("/run/wharf/running/app.pid", pid_file)
            assert host.apply(words).changes == []
            host.apply({}, ABSENT)
            client.kill()


def test_after_a_reboot_the_next_run_makes_all_of_it_again(host: ThrowawayHost) -> None:
    """The ledger and the files stay; whatever was in the kernel is gone."""
    host.converge(WORDS)
    before = host_state(host)
    host.run(
        """
        nft flush ruleset; ip -all netns del
        for each in br-front br-back docker0; do ip link del $each; done
        sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0 net.ipv6.conf.default.forwarding=0
        """
    )
    assert host.converge({}) != []
    assert_same(before, lambda: host_state(host))


def lost(host: ThrowawayHost, how: str) -> None:
    host.run({"removed": "rm -r /var/lib/wharf", "empty": f": > {LEDGER}", "cut": f"truncate -s -100 {LEDGER}"}[how])


class TestLostLedger:
    """It is refused, and nothing touched; by their marks things are found again."""

    @pytest.mark.parametrize("how", ["removed", "empty", "cut"])
    def test_is_refused_and_kept(self, host: ThrowawayHost, how: str) -> None:
        host.converge(WORDS)
        lost(host, how)
        before = state_but_ledger(host)
        with pytest.raises(EngineError, match="ledger.json: (is lost|cannot be).*: restore it from a backup"):
            host.apply(WORDS)
        with pytest.raises(EngineError, match="recover"):
            host.apply({}, ABSENT)
        assert_same(before, lambda: state_but_ledger(host))
        host.engine(["recover", "-"], WORDS)
        host.run("rm -f /var/lib/wharf/ledger.json.broken-*")

    def test_is_reported_by_what_is_left_on_the_host(self, host: ThrowawayHost) -> None:
        """Also where that names neither a network nor a container."""
        host.run("mkdir -p /run/wharf/dnsmasq; touch /run/wharf/dnsmasq/front.servers")
        with pytest.raises(EngineError, match=r"exist on this host \(/run/wharf/dnsmasq/front.servers\)"):
            host.apply(WORDS)
        host.run("rm -r /run/wharf")

    @pytest.mark.parametrize("how", ["removed", "cut"])
    def test_is_made_anew(self, host: ThrowawayHost, how: str) -> None:
        """With the same declaration nothing changes, neither an address nor a port, and the ledger is what it was."""
        words = copy.deepcopy(WORDS)
        words["networks"]["back"]["name"] = "app_back"
        words["containers"]["db"]["container_name"] = "app-db-1"
        host.converge(words)
        before, ledger = state_but_ledger(host), lasting(host.ledger())
        lost(host, how)
        broken = host.run("cat /var/lib/wharf/ledger.json 2>/dev/null || true")
        host.engine(["recover", "-"], words)
        assert host.converge(words) == []
        assert_same(before, lambda: state_but_ledger(host))
        assert lasting(host.ledger()) == ledger
        assert host.run("cat /var/lib/wharf/ledger.json.broken-* 2>/dev/null || true") == broken
        host.run("rm -f /var/lib/wharf/ledger.json.broken-*")

    def test_is_made_anew_by_the_rules_of_iptables(self) -> None:
        words = {**WORDS, "host": {"firewall-backend": "iptables"}}
        with ThrowawayHost.started(backend="iptables") as host, host.declared(words):
            before, ledger = state_but_ledger(host), lasting(host.ledger())
            lost(host, "removed")
            with pytest.raises(EngineError, match="is lost"):
                host.apply({}, ABSENT)
            host.engine(["recover", "-"], words)
            assert host.converge(words) == []
            assert_same(before, lambda: state_but_ledger(host))
            assert lasting(host.ledger()) == ledger

    @pytest.mark.parametrize("backend", BACKENDS[:2])
    def test_keeps_the_ports_that_were_chosen(self, backend: str) -> None:
        """The ports before them are free now, so a new declaration would get those."""
        ports = ["9000-9009:90", "9000-9009:91", "9000-9009:90/udp"]
        words = {"host": {"firewall-backend": backend}, "containers": {"web": {"ports": ports}}}
        first = {"ports": ["9000:80", "9000:80/udp"]}
        with ThrowawayHost.started(backend=backend) as host:
            host.converge({**words, "containers": {"first": first, **words["containers"]}})
            host.converge(words, EXACT)
            before, chosen = state_but_ledger(host), host.ledger()["allotted"]["ports"]
            assert set(chosen.values()) == {9001, 9002}
            lost(host, "removed")
            host.engine(["recover", "-"], words)
            assert host.converge(words) == []
            assert_same(before, lambda: state_but_ledger(host))
            assert host.ledger()["allotted"]["ports"] == chosen

    def test_is_not_made_anew_where_there_is_one(self, host: ThrowawayHost) -> None:
        host.converge(WORDS)
        before = host_state(host)
        host.engine(["recover", "-"], {})
        assert_same(before, lambda: host_state(host))

    def test_lets_all_go_that_has_a_mark(self, host: ThrowawayHost) -> None:
        """A name of the host's own stack has none: it is known only by the declaration."""
        words = copy.deepcopy(WORDS)
        words["containers"].pop("monitor")
        host.converge(words)
        lost(host, "removed")
        before = state_but_ledger(host)
        with pytest.raises(EngineError, match=r"containers: .*not declared: db, web"):
            host.engine(["recover"])
        assert_same(before, lambda: state_but_ledger(host))
        host.engine(["apply", "--recover", "--state", ABSENT])

    def test_lets_all_chains_of_iptables_go(self, host: ThrowawayHost) -> None:
        """Also those that only some declarations have, for names and for `mss_clamp`."""
        network = {"enable_ipv6": True, "x-wharf": {"mss_clamp": True}}
        host.apply({"host": {"firewall-backend": "iptables"}, "networks": {"front": network}})
        assert "mangle" in host.rules()
        lost(host, "removed")
        host.engine(["apply", "--recover", "--state", ABSENT])
        assert "WHARF" not in host.rules()

    def test_lets_nothing_go_unasked(self, host: ThrowawayHost) -> None:
        host.converge(WORDS)
        lost(host, "removed")
        before = state_but_ledger(host)
        part = {"networks": {"front": WORDS["networks"]["front"]}, "containers": {"web": WORDS["containers"]["web"]}}
        with pytest.raises(EngineError, match=r": back: .*\n.*: db: .*\n.*: WHARF-USER: declare them too"):
            host.engine(["apply", "-", "--recover"], part)
        assert_same(before, lambda: state_but_ledger(host))
        with pytest.raises(EngineError, match="WHARF-USER: .* without them, and exact as wharf_state"):
            host.engine(["apply", "-", "--recover", "--state", EXACT], part)
        host.engine(["apply", "-", "--recover", "--state", EXACT], {**part, "docker_user": []})
        assert host.run("ls /run/netns").split() == ["monitor", "web"]
        host.run("ip netns del monitor; rm -r /etc/netns/monitor")

    def test_check_mode_adopts_as_the_run_does(self, host: ThrowawayHost) -> None:
        host.converge(WORDS)
        lost(host, "removed")
        for command in ("diff", "apply"):
            assert json.loads(host.engine([command, "-", "--recover", "--json"], WORDS))["changes"] == []

    def test_forwarding_is_what_it_was_before_us(self, host: ThrowawayHost) -> None:
        """Else the host would be a router for its neighbours from then on."""
        host.converge(WORDS)
        rules = host.run("nft list chain inet wharf forward")
        assert "not a router for others" in rules
        lost(host, "removed")
        host.run("nft flush ruleset")
        host.engine(["apply", "-", "--recover"], WORDS)
        assert host.run("nft list chain inet wharf forward") == rules


def state_but_ledger(host: ThrowawayHost) -> dict[str, Any]:
    return {key: value for key, value in host_state(host).items() if not key.startswith("/var/lib/wharf/")}


def lasting(ledger: Any) -> Any:
    prior = {name: value for name, value in ledger["prior"].items() if not name.startswith(NOT_FOUND_AGAIN)}
    return {**ledger, "prior": prior}


RUN = """
import sys
sys.path.append(sys.argv[1])
from deaths import make_deadly, signal
from engine.command import main
make_deadly(int(sys.argv[2]), signal.SIGSTOP)
sys.exit(main(["apply", "-", "--json"]))
"""


class Run:
    """A run of the engine, in a process of its own."""

    def __init__(self, host: ThrowawayHost, words: Any, stops_before: int = 0) -> None:
        command = [*host.enter(), *ENGINE, "-c", RUN, str(Path(__file__).parent), str(stops_before)]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        assert self._process.stdin
        self._process.stdin.write(json.dumps(words))
        self._process.stdin.close()
        self._process.stdin = None

    def result(self) -> list[Any]:
        output, errors = self._process.communicate(timeout=60)
        assert self._process.returncode == 0, errors
        return list(json.loads(output)["changes"])

    def waits_for_the_lock(self) -> bool:
        """As the kernel lists those that wait: by an arrow, with their process."""
        locks = Path("/proc/locks").read_text().splitlines()
        return any("->" in line and f" {self._process.pid} " in line for line in locks)

    def is_stopped(self) -> bool:
        return Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"

    def kill(self, wait: bool = True) -> None:
        """`wait` for its output to end as well, which is also that of the programs it has started."""
        self._process.kill()
        self._process.communicate() if wait else self._process.wait()


def patiently(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class TestTwoAtOnce:
    """One waits for the other, and then agrees with it."""

    def test_with_the_same_declaration(self, host: ThrowawayHost) -> None:
        runs = [Run(host, WORDS) for _number in range(2)]
        made = [change["name"] for run in runs for change in run.result()]
        assert made.count("web/front") == 1
        assert made.count("br-front") == 1
        assert host.converge(WORDS) == []

    def test_with_different_ones(self, host: ThrowawayHost) -> None:
        """What both declare is there, and no address or port is given out twice."""
        others = {
            "networks": {"other": {}},
            "containers": {
                "app": {"networks": ["other"], "ports": ["9000-9009:90", "100"]},
                "peer": {"networks": ["other", "front"]},
            },
        }
        both = {**WORDS, **{kind: {**WORDS[kind], **others[kind]} for kind in others}}
        others["networks"]["front"] = WORDS["networks"]["front"]
        for run in [Run(host, WORDS), Run(host, others)]:
            run.result()
        assert host.converge(both) == []
        allotted = host.ledger()["allotted"]
        addresses = [endpoint["ipv4"] for endpoint in allotted["endpoints"].values()]
        ports = [port for name, port in allotted["ports"].items() if not name.endswith(":80/tcp")]
        assert len({*addresses}) == len(addresses) == 6
        assert len({*ports}) == len(ports) == 4

    def test_one_of_which_is_killed(self, host: ThrowawayHost) -> None:
        """Who dies holding the lock lets it go: the other, which waited, finishes what that one began."""
        first = Run(host, more(WORDS), stops_before=60)
        patiently(first.is_stopped)
        second = Run(host, WORDS)
        patiently(second.waits_for_the_lock)
        first.kill()
        second.result()
        assert host.converge(more(WORDS)) == []

    def test_a_program_that_a_killed_run_has_started_holds_the_lock_on(self, host: ThrowawayHost) -> None:
        nft = host.run("command -v nft").strip()
        host.write("/run/slow-nft", SLOW_NFT.format(nft=nft))
        host.run(f"cp {nft} /run/real-nft; chmod +x /run/slow-nft; mount --bind /run/slow-nft {nft}")
        try:
            first = Run(host, WORDS)
            patiently(lambda: host.run("ls /run").split().count("begun") == 1)
            first.kill(wait=False)
            second = Run(host, WORDS)
            patiently(second.waits_for_the_lock)
            host.run("touch /run/go-on")
            second.result()
        finally:
            host.run(f"touch /run/go-on; umount {nft}; rm /run/slow-nft /run/real-nft /run/go-on /run/begun")
        assert host.converge(WORDS) == []


SLOW_NFT = """#!/bin/sh
case "$*" in
*-f*) touch /run/begun; until [ -e /run/go-on ]; do sleep 0.05; done ;;
esac
exec /run/real-nft "$@"
"""
