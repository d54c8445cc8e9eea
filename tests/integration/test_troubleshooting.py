# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/troubleshooting.md: each trouble is made on a throwaway host, and the commands print what the page says."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import yaml
from controller import CHECKOUT
from hosts import EXACT, ThrowawayHost
from test_tutorial import commands

PAGE = (CHECKOUT / "docs/troubleshooting.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.*)\n((?:(?!## ).*\n)*)", PAGE, re.MULTILINE))


def declared(text: str) -> dict[str, Any]:
    """What a section declares; nothing if it has no such block."""
    block = re.search(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return {key.removeprefix("wharf_"): each for key, each in yaml.safe_load(block[1] if block else "{}").items()}


WORDS = {**declared(SECTIONS["Diagnostic commands"]), "docker_user": []}
WEB = WORDS["containers"]["web"]


@dataclass(frozen=True)
class Trouble:
    """A script, and what is declared then, make it. The command is that of the section unless given."""

    script: str = ""
    undo: str = ""
    words: Any = None
    # Whether these are reverted.
    reverts: bool = False
    command: str = ""
    # What the command reads.
    given: Any = None


def of_web(*ports: Any, **others: Any) -> dict[str, Any]:
    return {"containers": {"web": {**WEB, "ports": [*ports], **others}}}


def chain(name: str) -> Trouble:
    """A chain of a third party that drops all packets."""
    hook = f"{{ type filter hook {name} priority 0; policy drop; }}"
    return Trouble(f"nft 'add table inet filter; add chain inet filter {name} {hook}'", "nft delete table inet filter")


def in_background(command: str) -> tuple[str, str]:
    """Scripts that start and end it."""
    return f"{command} >/dev/null 2>&1 & echo $! >/run/pid; sleep 0.2", "kill $(cat /run/pid)"


def instead_of(program: str, content: str = "") -> Trouble:
    """Another program, which has this one at /run/original, or an empty file that cannot be run."""
    made = (
        f"cp {program} /run/original; printf '{content}' > /run/instead; chmod {755 if content else 644} /run/instead"
    )
    made += f"; mount --bind /run/instead {program}"
    return Trouble(made, f"umount {program}", given={"networks": {"new": {}}})


FORWARD = chain("forward")
FORWARDS_NOT = Trouble("sysctl -qw net.ipv4.ip_forward=0")
FLUSHED = Trouble("nft flush ruleset")
PENDING = Trouble(words=declared(SECTIONS["A container is pending"]))
REBOOTED = Trouble("for each in br-front br-back docker0; do ip link del $each; done; nft flush ruleset; "
                   "for each in web db shell; do ip netns del $each; done; kill $(cat /run/wharf/running/*.pid); "
                   "rm -r /run/wharf")  # fmt: skip
QUIET = {
    "networks": {"quiet": {"driver_opts": {"com.docker.network.bridge.enable_icc": "false"}}},
    "containers": {"a": {"networks": ["quiet"]}, "b": {"networks": ["quiet"]}},
}
OLD_NFT = r'#!/bin/sh\n[ "$1" = -f ] && { echo Error >&2; exit 1; }\nexec /run/original "$@"\n'
BR0 = {"external": True, "driver_opts": {"com.docker.network.bridge.name": "br0"}}


@dataclass(frozen=True)
class Symptom:
    """What a section's block shows, if it has one; and the rows of its table, by what the command prints."""

    shown: Trouble | None = None
    rows: Mapping[str, Trouble] = field(default_factory=dict)


SYMPTOMS = {
    "A published port does not answer from another machine": Symptom(
        FORWARD,
        {
            "open: …; no service listens there now": Trouble(),
            "open: …: the packet reaches web, and the answer comes back": Trouble(
                *in_background("ip netns exec web busybox httpd -f -p 80 -h /run")
            ),
            "a third party (…) forbids the packet": FORWARD,
            "a rule of the admin forbids the packet": Trouble(
                words={"docker_user": [{"source": "192.0.2.66", "action": "drop"}]}
            ),
            "no container publishes port …": Trouble(words=of_web("80:8080")),
            "is published on … only": Trouble(words=of_web("127.0.0.1:8080:80")),
            "is for … only": Trouble(
                words=of_web({"target": 80, "published": 8080, "x-wharf": {"allow_from": ["10.0.0.0/8"]}})
            ),
            "is declared (…), but missing in the kernel": FLUSHED,
            "web is not present at …": PENDING,
        },
    ),
    "A published port does not answer on the host itself": Symptom(
        rows={
            "is published on … only": Trouble(words=of_web("192.0.2.10:8080:80")),
            "but the kernel cannot translate [::1]": Trouble(command="explain host [::1]:8080"),
        }
    ),
    "A published port does not answer from a container": Symptom(
        Trouble(),
        {
            "all networks of db are internal": Trouble(),
            "shell -> 127.0.0.1:8080/tcp: the packet reaches shell": Trouble(command="explain shell 127.0.0.1:8080"),
        },
    ),
    "A container does not reach another container": Symptom(
        Trouble(),
        {
            "network … is isolated from others": Trouble(),
            "network … is internal": Trouble(command="explain web db:5432"),
            "containers of network … may not talk to each other": Trouble(words=QUIET, command="explain a b:80"),
            "open: …; no service listens there now": Trouble(
                words=of_web("8080:80", networks=["front", "back"]), command="explain db web:80"
            ),
        },
    ),
    "A container does not resolve a name": Symptom(
        rows={
            "drops … what containers ask of the host at 53/udp": chain("input"),
            "1 object differs: dnsmasq front": Trouble("kill $(cat /run/wharf/running/front.pid)"),
        }
    ),
    "A container does not reach the internet": Symptom(
        FORWARDS_NOT,
        {
            "all networks of … are internal": Trouble(command="explain db 203.0.113.9:443"),
            "net.ipv4.ip_forward should be 1": FORWARDS_NOT,
            "a third party (…) forbids the packet": FORWARD,
            "the host has no route to …": Trouble(
                "ip route show default > /run/route; ip route del default", "ip route add $(cat /run/route)"
            ),
            "open: …, and an answer would come back": Trouble(),
        },
    ),
    "Virtual machines or VPN clients lose the network": Symptom(
        Trouble("ip link add tun0 type veth; ip addr add 10.8.0.1/24 dev tun0; ip link set tun0 up", "ip link del tun0")
    ),
    "A container is pending": Symptom(
        PENDING,
        {"its network stack docker:web is not there": PENDING, "the Docker Engine at … does not answer": PENDING},
    ),
    "The rules are gone": Symptom(FLUSHED),
    "Nothing comes back after a reboot": Symptom(REBOOTED),
    "ufw, firewalld or Docker drops packets": Symptom(
        Trouble("iptables -P FORWARD DROP", "iptables -P FORWARD ACCEPT")
    ),
    "The ledger is lost": Symptom(Trouble("mv /var/lib/wharf/ledger.json /run", "mv /run/ledger.json /var/lib/wharf")),
    "A run is refused, because something is in the way": Symptom(
        rows={
            "an interface … exists on this host that is not managed by wharf.network": Trouble(
                "ip link add br-new type bridge", "ip link del br-new", given={"networks": {"new": {}}}
            ),
            "port … is taken by a process of the host": Trouble(
                *in_background("busybox nc -l -p 8081"), given=of_web("8080:80", "8081:81")
            ),
            "overlaps …, the host's own network on eth0": Trouble(
                given={"networks": {"new": {"ipam": {"config": [{"subnet": "192.0.2.128/25"}]}}}}
            ),
            "there is no bridge … that is managed by a third party": Trouble(given={"networks": {"new": BR0}}),
        }
    ),
    "A run is refused, because a program is missing or too old": Symptom(
        rows={
            "dnsmasq: is needed on this host": instead_of("/usr/sbin/dnsmasq"),
            "dnsmasq: version … is too old": instead_of("/usr/sbin/dnsmasq", r"#!/bin/sh\necho Dnsmasq version 2.85\n"),
            "nft: is needed on this host": instead_of("/usr/sbin/nft"),
            "nft or the kernel of this host cannot load the rules": instead_of("/usr/sbin/nft", OLD_NFT),
        }
    ),
    # The process that holds the lock ends by itself.
    "A run waits for another run": Symptom(
        Trouble(
            "flock /run/wharf.lock sleep 3 >/dev/null 2>&1 & while flock -n /run/wharf.lock true; do sleep 0.05; done"
        )
    ),
    "A change has disappeared": Symptom(Trouble(words={"networks": {"more": {}}}, reverts=True)),
}

LIBRARIES = {"pyroute2": "pyroute2: is needed on this host", "netaddr": "netaddr: is needed on this host"}
# What systemd, and a playbook print.
OF_SYSTEMD = "Unit wharf.service could not be found"
OF_PLAYBOOKS = "No variable declares container networks for …: nothing is done there"


def rows(text: str) -> Iterator[str]:
    """What the first column of a table quotes as a whole."""
    yield from re.findall(r"^\| `([^`]*)` \|", text, re.MULTILINE)


def pattern(shown: str) -> str:
    return re.escape(shown).replace("…", ".*") + ("$" if shown.startswith("open: ") else "")


@contextmanager
def troubled(host: ThrowawayHost, trouble: Trouble) -> Iterator[None]:
    host.run(trouble.script)
    if trouble.reverts:
        assert host.wharf("apply", "-", "--confirm", "300", given=json.dumps(trouble.words)).code == 0
        assert host.wharf("revert").code == 0
    elif trouble.words:
        host.apply(trouble.words)
    yield
    if trouble.script or trouble.words:
        host.run(trouble.undo)
        host.apply(WORDS, EXACT)


def printed_by(host: ThrowawayHost, command: str, given: Any = None) -> str:
    ran = host.wharf(*command.split(), given=json.dumps(given))
    return ran.output + ran.errors


@pytest.mark.parametrize("section", SYMPTOMS)
def test_a_symptom(host: ThrowawayHost, section: str) -> None:
    host.apply(WORDS)
    text, symptom = SECTIONS[section], SYMPTOMS[section]
    if symptom.shown:
        [block] = re.findall(r"^```console\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
        with troubled(host, symptom.shown):
            for command, expected in commands(block):
                assert_printed(printed_by(host, command.removeprefix("sudo wharf ")), expected)
    usual = re.search(r"sudo wharf (explain [^`\n]*|show)", text)
    for shown, trouble in symptom.rows.items():
        with troubled(host, trouble):
            command = trouble.command or ("apply -" if trouble.given else usual[1] if usual else "")
            printed = printed_by(host, command, trouble.given)
        assert re.search(pattern(shown), printed, re.MULTILINE), f"{shown}\n{printed}"


def assert_printed(printed: str, expected: str) -> None:
    # When and by whom it was is another matter.
    printed = re.sub(r"^\d{4}-\S* \S* UTC", "2026-11-28 19:16:17 UTC", printed, flags=re.MULTILINE)
    for line in expected.replace("alice", "root").splitlines():
        assert re.search(f"^{pattern(line)}$", printed, re.MULTILINE), f"{line}\n{printed}"


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_library_is_missing(host: ThrowawayHost, library: str) -> None:
    program = f"import sys; sys.modules['{library}'] = None; from engine.command import main; main(['apply', '-'])"
    command = host.engine_command("-c", program)
    ran = subprocess.run(command, input=json.dumps(WORDS), capture_output=True, text=True, check=False)
    assert ran.stderr.startswith(LIBRARIES[library])


def test_each_row_and_block_is_tried() -> None:
    of_playbooks = (CHECKOUT / "playbooks/tasks/variables.yml").read_text(encoding="utf-8")
    assert re.search(pattern(OF_PLAYBOOKS), of_playbooks)
    elsewhere = {*LIBRARIES.values(), OF_SYSTEMD, OF_PLAYBOOKS}
    found = {(section, shown) for section, text in SECTIONS.items() for shown in rows(text) if shown not in elsewhere}
    assert found == {(section, shown) for section, symptom in SYMPTOMS.items() for shown in symptom.rows}
    with_blocks = {section for section, text in SECTIONS.items() if "```console" in text}
    assert with_blocks == {section for section, symptom in SYMPTOMS.items() if symptom.shown}


def test_the_contents_name_each_symptom() -> None:
    named = re.findall(r"^- \[(.*)\]\(#", PAGE, re.MULTILINE)
    assert named == [section for section in SECTIONS if section != "Diagnostic commands"]
