# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host has that it should not, or lacks: one report, and nothing is touched."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hosts import ABSENT, DIFFERS, DONE, EngineError, ThrowawayHost, differences
from runners import ENGINE_FOLDER

WORDS: dict[str, Any] = {
    "networks": {"front": {"enable_ipv6": True}},
    "containers": {"web": {"networks": ["front"], "ports": ["8080:80"]}, "app": {"networks": ["front"]}},
}


SYSCTLS = "com.docker.network.endpoint.sysctls"


@pytest.fixture(scope="module")
def one() -> Iterator[ThrowawayHost]:
    with ThrowawayHost.started() as started:
        yield started


@contextmanager
def untouched(host: ThrowawayHost) -> Iterator[None]:
    before = host.snapshot()
    yield
    assert differences(before, host.snapshot()) == ""


@contextmanager
def instead_of_nft(host: ThrowawayHost, content: str, mode: str = "755") -> Iterator[None]:
    """Another file in the place of the machine's nft, which is /run/nft meanwhile, for this host only."""
    host.write("/run/other", content)
    program = host.run("cp $(command -v nft) /run/nft; readlink -f $(command -v nft)").strip()
    host.run(f"chmod {mode} /run/other; mount --bind /run/other {program}")
    try:
        yield
    finally:
        host.run(f"umount {program}; rm /run/other /run/nft")


def refused(host: ThrowawayHost, words: Any = None) -> list[str]:
    with pytest.raises(EngineError) as error:
        host.apply(words or WORDS)
    return str(error.value).splitlines()


def test_what_is_in_the_way_of_a_compose_file_is_named_as_in_it(one: ThrowawayHost) -> None:
    of_web = "compose.yml: services.web"
    front = {"aliases": ["web"], "x-source": f"{of_web}.networks.front"}
    words = {
        "networks": {"shop_front": {"x-source": "compose.yml: networks.front"}},
        "containers": {
            "shop-web-1": {"networks": {"shop_front": front}, "x-source": of_web},
            "shop-db-1": {
                "networks": {"shop_front": {**front, "driver_opts": {SYSCTLS: "net.ipv4.conf.IFNAME.nothing=1"}}},
                "sysctls": {"net.core.nothing": "1"},
                "x-source": "compose.yml: services.db",
            },
        },
    }
    one.run(
        "ip netns add shop-web-1; ip link add br-shop_front type veth peer name other; "
        "mkdir -p /etc/netns/shop-db-1; echo mine > /etc/netns/shop-db-1/hosts"
    )
    with untouched(one):
        assert sorted(line.partition(": ")[2].partition(": ")[0] for line in refused(one, words)) == [
            "networks.front",
            "services.db",
            "services.db.sysctls.net.core.nothing",
            "services.web",
            f"services.web.networks.front.driver_opts.{SYSCTLS}",
        ]
    one.run("ip netns del shop-web-1; ip link del br-shop_front; rm -r /etc/netns")


def test_foreign_things_in_the_way_come_in_one_report(one: ThrowawayHost) -> None:
    one.run(
        """
        nft add table inet wharf; nft add chain inet wharf mine; nft add rule inet wharf mine accept
        ip link add br-front type veth peer name other
        ip netns add web; mkdir -p /etc/netns/app; echo mine > /etc/netns/app/hosts
        """
    )
    in_the_way = ["wharf_networks.front", "table inet wharf", "wharf_containers.web", "wharf_containers.app"]
    with untouched(one):
        assert [line.partition(": ")[0] for line in refused(one)] == in_the_way
        mistaken = copy.deepcopy(WORDS)
        mistaken["networks"]["twin"] = {"ipam": {"config": [{"subnet": "192.0.2.0/24"}]}}
        mistaken["containers"] |= {
            "typo": {"prots": []},
            "lost": {"networks": ["nowhere"]},
            "far": {"networks": {"twin": {"ipv4_address": "10.0.0.1"}}},
        }
        mistaken["docker_user"] = [{"action": "drop", "container": "typo"}, {"action": "dorp"}]
        assert [line.partition(": ")[0] for line in refused(one, mistaken)] == [
            "wharf_containers.typo.prots",
            "wharf_docker_user[1].action",
            "wharf_containers.lost.networks.nowhere",
            "wharf_networks.twin.ipam.config[0]",
            "wharf_containers.far.networks.twin.ipv4_address",
            *in_the_way,
        ]
        one.apply({}, ABSENT)
    one.run("nft delete table inet wharf; ip link del br-front; ip netns del web; rm -r /etc/netns")


def test_foreign_things_in_the_way_of_a_change(one: ThrowawayHost) -> None:
    """Those of later layers are found by the first one, which would have something to do."""
    one.apply(WORDS)
    words = copy.deepcopy(WORDS)
    words["networks"]["front"]["driver_opts"] = {"com.docker.network.driver.mtu": "1400"}
    words["containers"]["web"].update(networks={"front": {"interface_name": "mine"}}, ports=["8080:80", "8081:81"])
    words["containers"]["app"]["sysctls"] = {"net.ipv4.ip_default_tll": "1"}
    words["containers"]["db"] = {"networks": ["front"]}
    one.run("ip netns add db; ip -n web link add mine type bridge")
    with untouched(one):
        assert [line.partition(": ")[0] for line in refused(one, words)] == [
            "wharf_containers.app.sysctls.net.ipv4.ip_default_tll", "wharf_containers.db",
        ]  # fmt: skip
    one.run("ip netns del db")
    # Whoever is root in web may have taken the name there: that concerns web alone.
    words["containers"]["app"].pop("sysctls")
    assert [each for each in one.apply(words).warnings if "web/front is pending: an interface mine" in each]
    one.apply({}, ABSENT)


def test_a_local_process_that_listens(one: ThrowawayHost) -> None:
    one.serve("host", "127.0.0.1:8080/tcp")
    with untouched(one):
        assert refused(one) == [
            "wharf_containers.web.ports[0]: port 8080/tcp is taken by a process of the host, which listens there: "
            "publish another one"
        ]
    one.agent.call("stop_all")


def test_a_route_that_leads_off_a_part_of_a_network(one: ThrowawayHost) -> None:
    words = {"networks": {"front": {"ipam": {"config": [{"subnet": "10.50.0.0/24"}]}}}}
    one.run("ip route add 10.50.0.128/25 via 192.0.2.1; ip route add 10.0.0.0/8 via 192.0.2.1")
    with untouched(one):
        assert refused(one, words) == [
            "wharf_networks.front.ipam.config[0]: subnet 10.50.0.0/24 overlaps 10.50.0.128/25, "
            "to which the host has a route by 192.0.2.1: choose another one"
        ]
    one.run("ip route del 10.50.0.128/25")
    one.converge(words)
    one.apply({}, ABSENT)
    one.run("ip route del 10.0.0.0/8")


def test_a_sandbox_that_is_a_namespace_of_another_kind(one: ThrowawayHost) -> None:
    """It is none that has a network stack, as long as it is not another one."""
    odd = {"web": {"x-wharf": {"sandbox": "path:/proc/self/ns/mnt"}}}
    assert {"path:/proc/self/ns/mnt", "web/bridge"} <= {*one.apply({"containers": odd}).pending}
    one.apply({}, ABSENT)


@pytest.mark.parametrize(
    ("nft", "said"),
    [
        ("exit 3", "it ended with 3"),
        ("kill -9 $$", "it ended with -9"),
        ("echo Operation not supported >&2; exit 1", "Operation not supported"),
    ],
)
def test_a_kernel_without_nftables(one: ThrowawayHost, nft: str, said: str) -> None:
    with instead_of_nft(one, f"#!/bin/sh\n{nft}\n"):
        assert refused(one)[0].startswith(f"nft: cannot list the tables of this host's kernel ({said}): ")


def test_a_kernel_without_what_the_rules_need(one: ThrowawayHost) -> None:
    script = '#!/bin/sh\n[ "$1" = -f ] && { echo "Error: fib is unknown" >&2; exit 1; }\nexec /run/nft "$@"\n'
    with untouched(one), instead_of_nft(one, script):
        assert refused(one) == [
            "nft: nft or the kernel of this host cannot load the rules (Error: fib is unknown): install nftables "
            "1.0.2 or later, or set firewall-backend of the host's settings to iptables"
        ]


def test_a_kernel_without_ipv6(one: ThrowawayHost) -> None:
    one.run("mount -t tmpfs none /proc/sys/net/ipv6")
    said = refused(one)
    one.run("umount /proc/sys/net/ipv6")
    assert said == [
        "wharf_networks.front.enable_ipv6: the kernel of this host has no IPv6: leave it out, "
        "or boot without ipv6.disable=1"
    ]


def test_a_host_without_netaddr_pyroute2_and_nft(one: ThrowawayHost) -> None:
    python = ["env", f"PYTHONPATH={ENGINE_FOLDER}", sys.executable, "-S"]
    command = [*one.enter(), *python, "-m", "engine.command", "apply", "-"]
    with instead_of_nft(one, "", "644"):
        ran = subprocess.run(command, input=json.dumps(WORDS), capture_output=True, text=True, check=False)
        assert "docker0" not in one.run("ip -br link")
    assert ran.returncode == 1
    assert [line.partition(": ")[0] for line in ran.stderr.splitlines()] == ["netaddr", "pyroute2", "nft"]


@pytest.mark.parametrize("name", ["netaddr", "pyroute2"])
def test_a_host_with_a_broken_module(one: ThrowawayHost, tmp_path: Path, name: str) -> None:
    (tmp_path / f"{name}.py").write_text("raise RuntimeError('no such symbol')")
    path = f"PYTHONPATH={tmp_path}:{ENGINE_FOLDER}"
    command = [*one.enter(), "env", path, sys.executable, "-m", "engine.command", "apply", "-"]
    ran = subprocess.run(command, input=json.dumps(WORDS), capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr == f"{name}: is broken on this host: no such symbol: reinstall python3-{name}\n"
    assert "docker0" not in one.run("ip -br link")


def test_a_host_without_netaddr_keeps_and_loses_what_it_has(one: ThrowawayHost) -> None:
    script = "import sys; sys.modules['netaddr'] = None; from engine.command import main; sys.exit(main(sys.argv[1:]))"

    def run(*arguments: str, words: Any = None) -> subprocess.CompletedProcess[str]:
        command = one.engine_command("-c", script, *arguments)
        return subprocess.run(command, input=json.dumps(words), capture_output=True, text=True, check=False)

    with untouched(one):
        assert run("apply", "--state", ABSENT).returncode == DONE
    apply = one.engine_command("-m", "engine.command", "apply", "-")
    subprocess.run(apply, input=json.dumps(WORDS), capture_output=True, text=True, check=True)
    with untouched(one):
        assert run("diff", "-", words=WORDS).returncode == DONE
        assert run("apply", "-", words=WORDS).returncode == DONE
        refused = run("apply", "-", words={"networks": {"more": {}}})
        assert refused.stderr.startswith("netaddr: is needed on this host to allot subnets and addresses")
    assert run("apply", "--state", ABSENT).returncode == DONE
    assert "docker0" not in one.run("ip -br link")


@pytest.mark.parametrize("version, is_old", [("0.6.9", True), ("0.6.10", False), ("0.9", False), ("unknown", False)])
def test_a_host_with_an_older_pyroute2(one: ThrowawayHost, tmp_path: Path, version: str, is_old: bool) -> None:
    """An older one would do most of a run, and fail in the midst of it."""
    metadata = tmp_path / f"pyroute2-{version}.dist-info/METADATA"
    metadata.parent.mkdir()
    metadata.write_text(f"Metadata-Version: 2.1\nName: pyroute2\nVersion: {version}\n")
    path = f"PYTHONPATH={tmp_path}:{ENGINE_FOLDER}"
    command = [*one.enter(), "env", path, sys.executable, "-m", "engine.command", "diff", "-"]
    ran = subprocess.run(command, input=json.dumps(WORDS), capture_output=True, text=True, check=False)
    too_old = f"pyroute2: {version} on this host is too old to change bridges: pip install 'pyroute2>=0.6.10,<0.10', or"
    assert ran.stderr.startswith(too_old) is is_old
    assert ran.returncode == (1 if is_old else DIFFERS)


def test_a_network_does_not_go_while_containers_are_on_it(one: ThrowawayHost) -> None:
    one.apply(WORDS)
    with pytest.raises(
        EngineError,
        match="front: was declared by an earlier run, and cannot be removed while containers are on it: web, app: ",
    ):
        one.apply({"networks": {"front": None}}, ABSENT, ["user_networks"])
    assert one.apply(WORDS).changes == []
    one.apply({}, ABSENT)


def test_parameters_that_the_kernel_does_not_take(one: ThrowawayHost) -> None:
    option = {SYSCTLS: "net.ipv4.conf.IFNAME.log_martian=1"}
    words = {
        "networks": {"front": {}},
        "containers": {
            "web": {"networks": {"front": {"driver_opts": option}}},
            "app": {"sysctls": {"net.ipv4.ip_default_tll": 1, "net.ipv4.ip_default_ttl": 1}},
            "db": {"sysctls": {"net.ipv4.ip_default_ttl": 256}},
        },
    }
    with untouched(one), pytest.raises(EngineError) as error:
        one.apply(words)
    missing = "there is no such parameter on this host's kernel: leave it out"
    assert str(error.value).splitlines() == [
        f'wharf_containers.app.sysctls.net.ipv4.ip_default_tll: "1": {missing}',
        'wharf_containers.db.sysctls.net.ipv4.ip_default_ttl: "256": the kernel does not take this value: '
        "give another one",
        f"wharf_containers.web.networks.front.driver_opts.{SYSCTLS}: ipv4.log_martian=1 of eth0: {missing}",
    ]


def test_parameters_of_an_interface_that_are_at_odds_with_its_network(one: ThrowawayHost) -> None:
    def attached(option: str) -> Any:
        return {"driver_opts": {SYSCTLS: f"net.ipv6.conf.IFNAME.{option}"}}

    words = {
        "networks": {"front": {"enable_ipv6": True}, "back": {}},
        "containers": {
            "web": {"networks": {"front": attached("mtu=9000")}},
            "db": {"networks": {"back": attached("disable_ipv6=0")}},
        },
    }
    with untouched(one), pytest.raises(EngineError) as error:
        one.apply(words)
    assert {*str(error.value).splitlines()} == {
        f"wharf_containers.web.networks.front.driver_opts.{SYSCTLS}: ipv6.mtu=9000 of eth0: is larger than the "
        "network's MTU of 1500 bytes: give a smaller one",
        f"wharf_containers.db.networks.back.driver_opts.{SYSCTLS}: ipv6.disable_ipv6=0 of eth0: the network has no "
        "IPv6: set enable_ipv6: true on the network, or leave this out",
    }
