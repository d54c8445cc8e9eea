# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Networks over several hosts, by plays: what the hosts agree on comes from the inventory, whichever a play reaches."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from controller import settings
from several_hosts import STRANGER, SeveralHosts, address

from ansible_collections.wharf.network.plugins.module_utils.engine.kernel.wireguard import is_known

NETWORK = {
    "driver": "overlay",
    "ipam": {"config": [{"subnet": "10.20.0.0/16"}]},
    "x-wharf": {"hosts": "app_servers", "slice": 24},
}
COMPOSE = """
name: shop
services:
  db:
    image: postgres
    networks: {app: {aliases: [database]}}
networks:
  app: {name: app, external: true}
"""


# How a host's packets go to the others.
FORWARDING = "ip route; ip neigh show dev vx-app; bridge fdb show dev vx-app; nft list ruleset"


@dataclass
class Play:
    returncode: int
    output: str

    @property
    def changed(self) -> dict[str, int]:
        found = re.findall(r"^(\w+) +: ok=\d+ +changed=(\d+)", self.output, re.MULTILINE)
        return {name: int(count) for name, count in found}


@dataclass
class Fleet:
    """The hosts as an inventory names them, with the variables of the group and of each host."""

    hosts: SeveralHosts
    folder: Path
    group: dict[str, Any] = field(default_factory=lambda: {"wharf_networks": {"app": NETWORK}})
    of_host: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for number, name in enumerate(self.hosts.by_name, 1):
            own = {"wharf_containers": {f"c{number}": {"networks": ["app"]}}}
            self.of_host[name] = {"wharf_overlay": {"address": address(number), "index": number}, **own}
            self.connect(name)

    def connect(self, name: str, connected: bool = True) -> None:
        enter = shlex.join(self.hosts[name].enter())
        path = self.folder / f"enter-{name}"
        path.write_text(f'#!/bin/sh\nexec {enter} /bin/sh "$@"\n' if connected else "#!/bin/sh\nexit 255\n")
        path.chmod(0o755)

    def play(self, *options: str, playbook: str = "wharf.network.site", order: int = 1) -> Play:
        connection = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        members = {
            name: {"ansible_shell_executable": str(self.folder / f"enter-{name}"), **own}
            for name, own in list(self.of_host.items())[::order]
        }
        groups = {"app_servers": {"hosts": members, "vars": self.group}}
        inventory = {"all": {"children": groups, "vars": connection}}
        (self.folder / "inventory.yml").write_text(yaml.safe_dump(inventory, sort_keys=False))
        ran = subprocess.run(
            [Path(sys.executable).parent / "ansible-playbook", "-i", "inventory.yml", playbook, *options],
            env={**os.environ, **settings(self.folder)},
            capture_output=True, text=True, check=False, cwd=self.folder,
        )  # fmt: skip
        return Play(ran.returncode, ran.stdout + ran.stderr)

    def reaches(self, number: int, name: str, expected: bool = True) -> bool:
        """Whether a host's container reaches another one by its name."""
        host = self.hosts[f"h{number}"]
        ping = (
            f"ip netns exec c{number} ping -c1 -W{2 if expected else 1} {name} >/dev/null 2>&1 && echo yes || echo no"
        )
        return host.run(ping).strip() == "yes"


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    with SeveralHosts.started(3) as hosts:
        yield Fleet(hosts, tmp_path)


def test_hosts_agree_by_the_inventory(fleet: Fleet) -> None:
    """Also where a play reaches one of them alone, where one is down, and in whichever order they are named."""
    (fleet.folder / "compose.yml").write_text(COMPOSE)
    fleet.of_host["h2"]["wharf_compose_files"] = ["compose.yml"]
    ports = [{"target": 80, "published": 8080, "x-wharf": {"ingress": True}}]
    fleet.of_host["h1"]["wharf_containers"]["c1"] = {"networks": ["app"], "ports": ports}
    fleet.connect("h3", connected=False)
    assert fleet.play("--limit", "h1").returncode == 0
    played = fleet.play()
    assert played.changed == {"h1": 0, "h2": 1, "h3": 0}, played.output
    assert fleet.reaches(1, "c2") and fleet.reaches(2, "c1")
    assert fleet.reaches(1, "database") and fleet.reaches(1, "shop-db-1.app")
    # The third one learns of the others, and they know of it already.
    fleet.connect("h3")
    played = fleet.play("--limit", "h3")
    assert played.changed == {"h3": 1}, played.output
    assert fleet.reaches(1, "c3") and fleet.reaches(3, "database")
    # A port of a container of the first one leads there from all of them.
    fleet.hosts["h1"].serve("c1", "80/tcp")
    assert {fleet.hosts.first.probe(STRANGER, f"{address(number)}:8080/tcp").by for number in (1, 2, 3)} == {"c1"}
    fleet.hosts["h1"].agent.call("stop_all")
    played = fleet.play(order=-1)
    assert played.changed == {"h1": 0, "h2": 0, "h3": 0}, played.output
    # A container more is a name more, and one that goes is one less.
    fleet.of_host["h3"]["wharf_containers"]["c4"] = {"networks": ["app"]}
    before = fleet.hosts["h1"].run(FORWARDING)
    predicted, played = fleet.play("--check"), fleet.play()
    assert predicted.changed == played.changed == {"h1": 1, "h2": 1, "h3": 1}, played.output
    assert fleet.reaches(1, "c4")
    assert fleet.hosts["h1"].run(FORWARDING) == before
    # A host that leaves the group, and is not reached any more.
    del fleet.of_host["h3"]
    assert fleet.play().changed == {"h1": 1, "h2": 1}
    assert not fleet.reaches(1, "c3", expected=False) and fleet.reaches(1, "c2")
    played = fleet.play("wharf.network.teardown", playbook="wharf.network.verify")
    assert "host h2, of network app" in played.output and played.returncode == 0, played.output
    assert "vx-app" not in fleet.hosts["h1"].run("ip link")


ENCRYPTED = {**NETWORK, "driver_opts": {"encrypted": ""}}
KEY = "/var/lib/wharf/wireguard.key"


@pytest.mark.skipif(is_known(), reason="this kernel has WireGuard")
def test_a_kernel_without_wireguard_is_reported(fleet: Fleet) -> None:
    fleet.group = {"wharf_networks": {"app": ENCRYPTED}}
    played = fleet.play("--limit", "h1,h2")
    assert (played.returncode, played.changed) == (2, {"h1": 0, "h2": 0}), played.output
    message = "wharf_networks.app: is to be encrypted, and the kernel of this host has no WireGuard"
    assert message in re.sub(r"\\n|\\", "", played.output), played.output
    assert "br-app" not in fleet.hosts["h1"].run("ip link; ls /var/lib/wharf 2>&1 || true")


@pytest.mark.skipif(not is_known(), reason="this kernel has no WireGuard")
def test_keys_travel_by_the_play(fleet: Fleet) -> None:
    """Also in batches, to and from hosts that were away, and with a new key."""
    fleet.group = {"wharf_networks": {"app": ENCRYPTED}}
    fleet.connect("h3", connected=False)
    predicted, played = fleet.play("--check"), fleet.play("-e", "wharf_serial=1")
    assert predicted.changed == played.changed == {"h1": 2, "h2": 2, "h3": 0}, played.output
    assert "nothing is sent to h3, of which no public key is known yet" in played.output, played.output
    assert fleet.reaches(1, "c2") and fleet.reaches(2, "c1")
    # One that comes later is joined once a run reaches it and the others together.
    fleet.connect("h3")
    played = fleet.play("--limit", "h3")
    assert played.changed == {"h3": 2}, played.output
    assert not fleet.reaches(3, "10.20.1.2", expected=False)
    played = fleet.play()
    assert played.changed == {"h1": 1, "h2": 1, "h3": 1}, played.output
    assert fleet.reaches(1, "c3") and fleet.reaches(3, "c2")
    # Who is not reached keeps its place.
    fleet.connect("h2", connected=False)
    assert fleet.play().changed == {"h1": 0, "h2": 0, "h3": 0}
    fleet.connect("h2")
    fleet.hosts["h2"].run(f"rm {KEY}; ip link del wg-wharf")
    predicted, played = fleet.play("--check"), fleet.play()
    assert predicted.changed == played.changed == {"h1": 1, "h2": 2, "h3": 1}, predicted.output + played.output
    assert fleet.reaches(1, "c2") and fleet.reaches(2, "c3")
    # One whose file alone is lost has its key still.
    key = fleet.hosts["h2"].read(KEY)
    fleet.hosts["h2"].run(f"rm {KEY}")
    predicted, played = fleet.play("--check"), fleet.play()
    assert predicted.changed == played.changed == {"h1": 0, "h2": 1, "h3": 0}, predicted.output + played.output
    assert fleet.hosts["h2"].read(KEY) == key
    assert fleet.play().changed == {"h1": 0, "h2": 0, "h3": 0}
    verified = fleet.play(playbook="wharf.network.verify")
    assert "host h2, of network app" in verified.output and verified.returncode == 0, verified.output
    assert fleet.play(playbook="wharf.network.teardown").returncode == 0
    left = fleet.hosts["h1"].run("ip link; ls /var/lib/wharf 2>&1 || true")
    assert "wg-wharf" not in left and "wireguard" not in left


WRONG: list[tuple[dict[str, Any], str]] = [
    (
        {"wharf_overlay": {"address": address(2), "index": 1}},
        "x-wharf.members.h2: has the same slice as h1, number 1: give one of them another wharf_overlay.index",
    ),
    ({"wharf_overlay": {"adress": address(2)}}, "wharf_overlay.adress: unknown key; did you mean address?"),
    (
        {"wharf_networks": {"app": ENCRYPTED}},
        "x-wharf.members.h2.encrypted: true: on h2 the network is encrypted, and here it is in clear text",
    ),
]


def test_what_does_not_agree_is_reported_before_anything_is_touched(fleet: Fleet) -> None:
    """On each host that the play reaches, also where it is another one that does not."""
    usual = fleet.of_host["h2"]
    for wrong, message in WRONG:
        fleet.of_host["h2"] = {**usual, **wrong}
        played = fleet.play("--limit", "h1,h2")
        assert (played.returncode, played.changed) == (2, {"h1": 0, "h2": 0}), played.output
        assert message in re.sub(r"\\n|\\", "", played.output), played.output
    assert "br-app" not in fleet.hosts["h1"].run("ip link")
