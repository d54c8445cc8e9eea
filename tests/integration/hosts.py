# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A throwaway host: namespaces of this machine, in which the engine runs as it would on a host of its own.

    internet 203.0.113.1 ── outside 192.0.2.1 ──┐
                                                lan ── eth0 of the host 192.0.2.10
                                neighbour .66 ──┘

The host's default route is by `outside`, which has routes to all private networks by the host. `neighbour` means
no good. Nothing of the machine changes, and all is gone with the agent, that is with the process of the tests.
"""

from __future__ import annotations

import difflib
import itertools
import json
import os
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from kernel_sandbox import CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWUTS
from probes import Agent, Answer, Probe
from runners import ENGINE, WHARF, HostConversation, Namespace, Ran, Runner

LEDGER, LOG, VERIFIED = (f"/var/lib/wharf/{name}.json" for name in ("ledger", "log", "verified"))
BACKENDS = ["nftables", "iptables", "iptables-legacy"]
PRESENT, EXACT, ABSENT = "present", "exact", "absent"
# What the runner's errors begin with, where it has had something refused.
REFUSED = "refused: "
# The codes that the command ends with, beside that of an error.
DONE, DIFFERS = 0, 2

# Of what was not given back.
MOST_LINES = 60

HOST, OUTSIDE, NEIGHBOUR, LAN = "host", "outside", "neighbour", "lan"
_ON_LAN = (HOST, OUTSIDE, NEIGHBOUR)

ADDRESSES = {
    "host": ("192.0.2.10", "2001:db8::10"),
    "second": ("192.0.2.11", "2001:db8::11"),
    "outside": ("192.0.2.1", "2001:db8::1"),
    "internet": ("203.0.113.1", "2001:db8:113::1"),
    "neighbour": ("192.0.2.66", "2001:db8::66"),
    "loopback": ("127.0.0.1", "::1"),
    "friend": ("198.51.100.130", "2001:db8:f::2"),
}

FILES = {
    "/etc/hosts": "127.0.0.1\tlocalhost\n127.0.1.1\tharbour\n",
    "/etc/hostname": "harbour\n",
    "/etc/machine-id": "0123456789abcdef0123456789abcdef\n",
    "/etc/resolv.conf": "nameserver 192.0.2.53\nnameserver 2001:db8::53\nsearch example.org\noptions timeout:3\n",
}

# What programs need of the machine's own /etc.
_KEPT_IN_ETC = "passwd group nsswitch.conf ld.so.cache ld.so.conf ld.so.conf.d alternatives iproute2 protocols services"

_PREPARE = f"""
mount -t tmpfs none /run
mkdir /run/etc
(cd /etc; cp -a {_KEPT_IN_ETC} /run/etc 2>/dev/null) || true
mount --bind /run/etc /etc 2>/dev/null
mount -t tmpfs none /var/lib
mount -t tmpfs none /usr/local/sbin
mkdir /run/netns /etc/sysctl.d
hostname harbour
"""

# As update-alternatives would, which iptables is found by; here in the namespace's own mounts.
_LEGACY = """
for each in iptables ip6tables iptables-save ip6tables-save iptables-restore ip6tables-restore; do
    ln -sf "/usr/sbin/${each%%-*}-legacy${each#"${each%%-*}"}" "/etc/alternatives/$each"
done
"""

_QUIET_SYSCTLS = "net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0"

# How the host starts out, whatever the machine passes on to new namespaces: as lax as kernels are by themselves.
_HOST_SYSCTLS = (
    "net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0 net.ipv6.conf.default.forwarding=0 "
    "net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0"
)


class EngineError(Exception):
    """The engine refused, with these words."""


@dataclass(frozen=True)
class Results:
    """What one run of the engine did, or would do.

    `changes` are `(LAYER, ACTION, KIND, NAME)`, and for an update the fields. `published` has the chosen ports of the
    host, by container.
    """

    changes: list[tuple[str, ...]]
    warnings: set[str]
    pending: list[str]
    published: dict[str, int]

    @classmethod
    def parse(cls, document: str) -> Results:
        words = json.loads(document)
        changes = [
            (c["layer"], c["action"], c["kind"], c["name"], *([",".join(c["fields"])] if c["fields"] else []))
            for c in words["changes"]
        ]
        published = {each["container"]: each["host_port"] for each in words["published"]}
        return cls(changes, set(words["warnings"]), words["pending"], published)


@dataclass(frozen=True)
class Refusal:
    """What was refused, empty if the run did not do so many things; what the engine says, and whether it failed."""

    what: str
    said: str
    failed: bool


@dataclass
class ThrowawayHost:
    """Places are named `host`, `outside`, `neighbour`, by the name of a named namespace, or by any path of one."""

    agent: Agent
    _rooted: bool
    backend: str
    _runner: Runner = field(init=False)
    # How to get where the engine runs, if that is not the host itself.
    _entered: list[str] = field(default_factory=list)
    _paths: dict[str, str] = field(default_factory=dict)

    @classmethod
    @contextmanager
    def started(
        cls,
        bridge_nf: int = 1,
        backend: str = BACKENDS[0],
        user_namespace: bool = False,
        beside: ThrowawayHost | None = None,
    ) -> Iterator[ThrowawayHost]:
        """`bridge_nf`: whether bridged packets of the host pass through its IP rules.

        `user_namespace`: the host has one of its own also where root runs the tests, with limits of its own.
        `backend` is one of `BACKENDS`, and what is declared where the words say nothing of it. With `iptables-legacy`
        the host's iptables is that. `beside` is another host, in whose user namespace this one is, too.
        """
        rooted = os.geteuid() == 0 and not user_namespace
        if backend == "iptables-legacy" and not rooted:
            pytest.skip("the older iptables needs root, which alone may read which tables it has")
        user = [] if rooted else ["--user", "--map-root-user"]
        if beside and not rooted:
            user = ["nsenter", "-t", str(beside.agent.pid), "--user", "--preserve-credentials", "unshare"]
        own = ["--net", "--uts", "--mount", "--propagation", "private"]
        host = cls(_agent([*([] if beside and not rooted else ["unshare"]), *user, *own]), rooted, backend)
        try:
            host._build(bridge_nf)
            host._runner = Runner(HostConversation([*host._namespaces()]))
            yield host
            host._runner.close()
        finally:
            host.agent.close()

    def _build(self, bridge_nf: int) -> None:
        for place in (OUTSIDE, NEIGHBOUR, LAN):
            self._paths[place] = self.agent.call("new_place")
        lines = [
            _PREPARE,
            _LEGACY if self.backend == "iptables-legacy" else "",
            *(f"printf %s {shlex.quote(content)} > {path}" for path, content in FILES.items()),
            f"sysctl -qw {_HOST_SYSCTLS}",
            f"[ ! -d /proc/sys/net/bridge ] || sysctl -qw {_bridge_nf(bridge_nf)}",
            *(f"nsenter --net={self.path(place)} sysctl -qw {_QUIET_SYSCTLS}" for place in (LAN, *_ON_LAN)),
            self._linked(LAN, *self._plugs()),
            self._linked(HOST, *_addressed("host", "second"), *_default_route("outside")),
            self._linked(OUTSIDE, *_addressed("outside", "internet"), *_ROUTES_BY_HOST),
            self._linked(NEIGHBOUR, *_addressed("neighbour"), *_default_route("outside"), *_ROUTES_BY_HOST),
        ]
        self.run("\n".join(lines))

    def _linked(self, place: str, *commands: str) -> str:
        """The commands of `ip` in a place, by one process."""
        return "\n".join([f"nsenter --net={self.path(place)} ip -batch - <<END", *commands, "END"])

    def _plugs(self) -> Iterator[str]:
        yield from ("link add lan type bridge mcast_snooping 0", "link set lan up")
        for place in _ON_LAN:
            yield f"link add to-{place} type veth peer name eth0 netns {self.path(place)}"
            yield f"link set to-{place} master lan up"

    @contextmanager
    def engine_among(self, processes: int) -> Iterator[None]:
        """Run the engine where it sees a process, and those beside it, by the numbers that they have there."""
        usual = self._runner, self._entered
        self._entered = ["nsenter", "-t", str(processes), "--mount", "--pid", "--net", "--"]
        self._runner = Runner.by_command(self._entered)
        try:
            yield
        finally:
            self._runner.close()
            self._runner, self._entered = usual

    def _namespaces(self) -> Iterator[Namespace]:
        own = f"/proc/{self.agent.pid}/ns"
        if not self._rooted:
            yield f"{own}/user", CLONE_NEWUSER
        yield f"{own}/mnt", CLONE_NEWNS
        yield f"{own}/uts", CLONE_NEWUTS
        yield self.path(HOST), CLONE_NEWNET

    def engine_command(self, *arguments: str, by: Sequence[str] = ()) -> list[str]:
        """A command that runs the engine by itself, where it is run otherwise; `by` another command, that runs it."""
        return [*(self._entered or self.enter()), *by, *ENGINE, *arguments]

    def observed(self) -> Any:
        """What the module network_info says."""
        return json.loads(
            self.python("import json; from engine.observation import observe; print(json.dumps(observe()))")
        )

    # Commands and files

    def path(self, place: str) -> str:
        """A path to the place's network namespace, as seen from everywhere."""
        if place == HOST:
            return self.agent.own_place
        if place in self._paths:
            return self._paths[place]
        if place.startswith("/proc/"):
            return place
        return f"/proc/{self.agent.pid}/root{place if place.startswith('/') else f'/run/netns/{place}'}"

    def name_place(self, name: str, path: str) -> None:
        self._paths[name] = path

    def enter(self, place: str = HOST) -> list[str]:
        """The beginning of a command that runs in a place, with the host's files."""
        user = [] if self._rooted else ["--user", "--preserve-credentials"]
        return ["nsenter", "-t", str(self.agent.pid), *user, "--mount", "--uts", f"--net={self.path(place)}", "--"]

    def run(self, script: str, place: str = HOST) -> str:
        command = [*self.enter(place), "sh", "-ec", script]
        environment = {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin", "LC_ALL": "C.UTF-8"}
        try:
            return subprocess.run(
                command, check=True, capture_output=True, text=True, env=environment, timeout=30
            ).stdout
        except subprocess.CalledProcessError as error:
            error.add_note(error.stderr)
            raise

    def start(self, place: str = HOST, *arguments: str) -> subprocess.Popen[str]:
        """A process that sits in a place until its standard input is closed."""
        return subprocess.Popen([*self.enter(place), *arguments, "cat"], stdin=subprocess.PIPE, text=True)

    def json(self, command: str, place: str = HOST) -> Any:
        return json.loads(self.run(command, place) or "[]")

    def write(self, path: str, content: str) -> None:
        command = [*self.enter(), "sh", "-c", f"cat > {path}"]
        subprocess.run(command, input=content, text=True, check=True)

    def read(self, path: str) -> str:
        return self.run(f"cat {path}")

    def sysctl(self, name: str, place: str = HOST) -> str:
        return self.run(f"cat /proc/sys/{name.translate(str.maketrans('./', '/.'))}", place).strip()

    # The engine

    def apply(self, words: Any, state: str = PRESENT, scope: Iterable[str] = ()) -> Results:
        """
        Raises:
            EngineError: it refused.
        """
        return self._converge("apply", words, state, scope)

    def diff(self, words: Any, state: str = PRESENT, scope: Iterable[str] = ()) -> Results:
        """
        Raises:
            EngineError: it refused.
        """
        return self._converge("diff", words, state, scope)

    def _given(self, words: Any, state: str) -> tuple[list[str], Any]:
        """Arguments and words: those of a whole host where they are exact, and everything where no words are absent."""
        if state == ABSENT:
            return [*(["-"] if words else []), "--state", state], words
        if state == EXACT:
            words = {"networks": {}, "containers": {}, **words}
        if self.backend != BACKENDS[0]:
            words = {**words, "host": {"firewall-backend": "iptables", **words.get("host", {})}}
        return ["-", "--state", state], words

    def _converge(self, command: str, words: Any, state: str, scope: Iterable[str]) -> Results:
        arguments, given = self._given(words, state)
        scopes = [option for each in scope for option in ("--scope", each)]
        return Results.parse(self.engine([command, *arguments, "--json", *scopes], given))

    def engine(self, arguments: list[str], words: Any = None) -> str:
        """What the engine prints.

        Raises:
            EngineError: it refused.
        """
        ran = self._runner.run(arguments, json.dumps(words))
        if ran.code not in (DONE, DIFFERS):
            raise EngineError(ran.errors.strip())
        return ran.output

    def wharf(self, *arguments: str, given: str = "") -> Ran:
        """The command, as an admin has it."""
        return self._runner.run(arguments, given, program=WHARF)

    def python(self, program: str, given: str = "") -> str:
        """What a program prints that imports the engine."""
        ran = self._runner.run([], given, program=program)
        assert ran.code == 0, ran.errors
        return ran.output

    def refused(self, number: int, words: Any, state: str = PRESENT, options: Sequence[str] = ()) -> Refusal:
        """Apply, but have the `number`th thing that the run does refused, if it comes to that.

        Raises:
            EngineError: nothing was refused, and the run failed all the same.
        """
        arguments, given = self._given(words, state)
        ran = self._runner.run(["apply", *arguments, *options], json.dumps(given), -number)
        is_refused = ran.errors.startswith(REFUSED)
        refused, _newline, said = ran.errors.partition("\n") if is_refused else ("", "", ran.errors)
        if ran.code and not refused:
            raise EngineError(said.strip())
        return Refusal(refused.removeprefix(REFUSED), said.strip(), bool(ran.code))

    def is_killed(self, fatal: int, words: Any, state: str = PRESENT, options: Sequence[str] = ()) -> bool:
        """Apply, but kill the run before the `fatal`th thing that it does, if it comes to that."""
        arguments, given = self._given(words, state)
        return self.dies(fatal, ["apply", *arguments, *options], json.dumps(given))

    def dies(self, fatal: int, arguments: Sequence[str], given: str = "") -> bool:
        """
        Raises:
            EngineError: the run failed of itself.
        """
        ran = self._runner.run(arguments, given, fatal)
        if ran.code > 0:
            raise EngineError(ran.errors.strip())
        return bool(ran.code)

    def converge(self, words: Any, state: str = PRESENT, scope: Iterable[str] = ()) -> list[tuple[str, ...]]:
        """Apply; and see that check mode predicts it exactly, and that then nothing is left to do."""
        predicted = self.diff(words, state, scope)
        made = self.apply(words, state, scope)
        assert predicted.changes == made.changes
        if self.backend != BACKENDS[0]:
            assert [warning for warning in predicted.warnings | made.warnings if _OWN_CHAIN.search(warning)] == []
        assert self.apply(words, state, scope).changes == []
        return made.changes

    @contextmanager
    def declared(self, words: Any) -> Iterator[None]:
        """Converge, run the block, and let all go again: then everything must be as it was."""
        before = self.snapshot()
        self.converge(words)
        yield
        self.agent.call("stop_all")
        self.converge({}, ABSENT)
        different = differences(before, self.snapshot())
        if different:
            pytest.fail(f"not given back as it was:\n{different}")

    def ledger(self) -> Any:
        return json.loads(self.read(LEDGER))

    def address(self, container: str, network: str, version: int = 4) -> str:
        return str(self.ledger()["allotted"]["endpoints"][f"{container}/{network}"][f"ipv{version}"])

    # Everything that must be given back

    def snapshot(self) -> dict[str, Any]:
        files = self.agent.call("read_files", folders=_FOLDERS)
        if LEDGER in files:
            # What was done, and seen, and not what stands; beside no ledger they must not be.
            files = {path: content for path, content in files.items() if path not in (LOG, VERIFIED)}
        links = self._ip("-d", "link")
        addresses = self._settled_addresses()
        return {
            "ruleset": self.rules(),
            "daemons": self.agent.call("daemons"),
            **{f"link {each['ifname']}": _lasting(each) for each in links},
            **{f"address {each['ifname']}": _lasting(each) for each in addresses},
            **{what: _lasting(self._ip(*what.split())) for what in _ROUTING},
            **files,
            **self._sysctls(),
        }

    def _settled_addresses(self) -> Any:
        """Once the kernel knows that nobody else has those of links that are up: only then are there routes to them."""
        deadline = time.monotonic() + _SETTLED_WITHIN
        while True:
            links = self._ip("addr")
            new = [
                each
                for link in links
                if "LOWER_UP" in link["flags"]
                for each in link["addr_info"]
                if "tentative" in each
            ]
            if not new or time.monotonic() > deadline:
                return links
            time.sleep(0.05)

    def _ip(self, *arguments: str) -> Any:
        return json.loads(self.agent.call("printed", place=self.path(HOST), command=["ip", "-j", *arguments]) or "[]")

    def rules(self) -> str:
        """All that nft and iptables list. The tables of iptables, once used, stay as they are without rules."""
        listed = self.run(
            "nft --stateless list ruleset; "
            "for each in iptables ip6tables; do $each-legacy-save 2>/dev/null || true; done"
        )
        comments = re.compile(r"^#.*\n", re.MULTILINE)
        return without_empty_tables(comments.sub("", re.sub(r"\[\d+:\d+\]", "[0:0]", listed)))

    def _sysctls(self) -> dict[str, str]:
        parameters: dict[str, str] = self.agent.call("read_files", folders=["/proc/sys/net/"])
        return {path: value for path, value in parameters.items() if not path.endswith(_VOLATILE)}

    # Packets

    def serve(self, place: str, *ports: str, name: str = "") -> None:
        """Listen on all addresses of a place at `PORT/PROTOCOL`, or at `ADDRESS:PORT/PROTOCOL`."""
        for port in ports:
            where, _slash, protocol = port.partition("/")
            address, _colon, number = where.rpartition(":")
            for each in [address] if address else ["0.0.0.0", "::"]:
                self.agent.call(
                    "serve", place=self.path(place), name=name or place,
                    protocol=protocol, address=each.strip("[]"), port=int(number),
                )  # fmt: skip

    def probe(self, place: str, target: str, expect_open: bool = True, source_port: int = 0) -> Answer:
        """Ask `ADDRESS:PORT/PROTOCOL`, or `ADDRESS/ping`."""
        return self.agent.probe_patiently([self._probe(place, target, source_port)], [expect_open])[0]

    def reached(self, expected: dict[tuple[str, str], bool]) -> dict[tuple[str, str], bool]:
        """Of each place and target, whether it is open; all are asked at once."""
        answers = self.agent.probe_patiently([self._probe(*way) for way in expected], list(expected.values()))
        return {way: answer.is_open for way, answer in zip(expected, answers, strict=True)}

    def _probe(self, place: str, target: str, source_port: int = 0) -> Probe:
        where, _slash, protocol = target.rpartition("/")
        address, port = (where, "0") if protocol == "ping" else where.rsplit(":", 1)
        return Probe(self.path(place), protocol, address.strip("[]"), int(port), source_port=source_port)


# In a warning, of a rule that drops what must pass.
_OWN_CHAIN = re.compile(r"in chain (?:DOCKER|WHARF)(?!-USER)")

# As iptables makes it for itself, by nft, and as iptables-legacy lists it.
_EMPTY_CHAIN = r"\tchain [A-Z]+ \{\n\t\ttype \w+ hook \w+ priority -?\w+; policy accept;\n\t\}\n\n?"
_EMPTY_TABLE = re.compile(
    rf"^table ip6? (?:raw|mangle|filter|nat) \{{\n(?:{_EMPTY_CHAIN})*\}}\n|^\*\w+\n(?::\w+ ACCEPT \S+\n)*COMMIT\n",
    re.MULTILINE,
)


def without_empty_tables(rules: str) -> str:
    return _EMPTY_TABLE.sub("", rules)


_FOLDERS = ["/etc/", "/var/lib/", "/run/netns/", "/run/wharf/", "/usr/local/sbin/"]

_VOLATILE = ("nf_conntrack_count", "/flush", "random_boot_id", "tcp_fastopen_key")

_ROUTING = ("-4 route show table all", "-6 route show table all", "-4 rule", "-6 rule")

# Seconds. Duplicates are looked for during one or two.
_SETTLED_WITHIN = 5

# What the kernel says of a link a while after its ports have changed.
_OF_CARRIER = ("NO-CARRIER", "LOWER_UP", "linkdown")

# What comes and goes by itself, or is a number that the kernel gives out.
_PASSING = ("index", "state", "life_time", "stats64", "_timer", "_learned")

_ROUTES_BY_HOST = (
    *(f"route add {each} via {ADDRESSES['host'][0]}" for each in ("172.16.0.0/12", "192.168.0.0/16", "10.0.0.0/8")),
    f"route add fc00::/7 via {ADDRESSES['host'][1]}",
)


def need_busybox() -> None:
    """Skip the test where this machine has none that could run in a container's own tree."""
    if not shutil.which("busybox"):
        pytest.skip("a static busybox is not installed here")


def _agent(prefix: list[str]) -> Agent:
    """The agent, in namespaces of its own: whatever is done in the host from now on must not befall this machine."""
    try:
        agent = Agent(prefix)
    except RuntimeError as error:
        pytest.skip(f"namespaces cannot be made here: {error}")
    for kind in ("mnt", "net", "uts"):
        if os.stat(f"/proc/{agent.pid}/ns/{kind}").st_ino == os.stat(f"/proc/self/ns/{kind}").st_ino:
            agent.close()
            raise RuntimeError(f"the throwaway host has this machine's own {kind} namespace")
    return agent


def _bridge_nf(value: int) -> str:
    return " ".join(f"net.bridge.bridge-nf-call-{each}={value}" for each in ("iptables", "ip6tables", "arptables"))


def _addressed(*names: str) -> list[str]:
    """The kernel prefers the first IPv4 address and the last IPv6 address."""
    by4 = [f"addr add {ADDRESSES[name][0]}/24 dev eth0" for name in names]
    by6 = [f"addr add {ADDRESSES[name][1]}/64 dev eth0" for name in reversed(names)]
    return ["link set lo up", "link set eth0 up", *by4, *by6]


def _default_route(name: str) -> list[str]:
    return [
        f"route add {each} via {gateway}" for each, gateway in zip(("0.0.0.0/0", "::/0"), ADDRESSES[name], strict=True)
    ]


def _lasting(thing: Any) -> Any:
    if isinstance(thing, dict):
        return {key: _lasting(value) for key, value in thing.items() if not key.endswith(_PASSING)}
    return [_lasting(each) for each in thing if each not in _OF_CARRIER] if isinstance(thing, list) else thing


def differences(before: dict[str, Any], after: dict[str, Any]) -> str:
    """What is not as it was, as text."""

    def lines(snapshot: dict[str, Any], key: str) -> list[str]:
        value = snapshot.get(key)
        return (value if isinstance(value, str) else json.dumps(value, indent=1)).splitlines()

    changed = [key for key in sorted({*before, *after}) if before.get(key) != after.get(key)]
    different = (
        line
        for key in changed
        for line in difflib.unified_diff(lines(before, key), lines(after, key), key, n=1, lineterm="")
    )
    return "\n".join(itertools.islice(different, MOST_LINES))
