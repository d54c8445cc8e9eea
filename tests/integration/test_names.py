# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a container sees as its `/etc/hosts`, `/etc/hostname` and `/etc/resolv.conf`."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
from hosts import FILES, ThrowawayHost

HOSTNAME, HOSTS, RESOLV_CONF = "hostname", "hosts", "resolv.conf"

WORDS: dict[str, Any] = {
    "host": {},
    "networks": {"front": {"enable_ipv6": True}, "db": {"internal": True}},
    "containers": {
        "plain": {},
        "linking": {"links": ["plain:upstream"], "external_links": ["named:mailer"]},
        "named": {
            "hostname": "mail",
            "domainname": "example.org",
            "extra_hosts": ["registry=192.0.2.99", "box=host-gateway"],
            "dns": ["192.0.2.54", "127.0.0.1"],
            "dns_search": ["."],
            "dns_opt": ["use-vc"],
        },
        "web": {"networks": {"front": {"aliases": ["www"]}, "db": {}}},
        "pg": {"networks": {"db": {"aliases": ["postgres"]}}},
        "mon": {"network_mode": "host"},
        "extra": {"network_mode": "host", "extra_hosts": ["registry=192.0.2.99"]},
        "job": {"network_mode": "none"},
        "side": {"network_mode": "service:web"},
    },
}

IPV6_LINES = [
    "::1\tlocalhost ip6-localhost ip6-loopback",
    "fe00::\tip6-localnet",
    "ff00::\tip6-mcastprefix",
    "ff02::1\tip6-allnodes",
    "ff02::2\tip6-allrouters",
]


@pytest.fixture(scope="module")
def host() -> Iterator[ThrowawayHost]:
    with ThrowawayHost.started() as started, started.declared(WORDS):
        yield started


def seen(host: ThrowawayHost, container: str, file: str) -> list[str]:
    return host.run(f"ip netns exec {container} cat /etc/{file}").splitlines()


def names(host: ThrowawayHost, container: str) -> dict[str, set[str]]:
    """By address, what the container's `/etc/hosts` calls it."""
    found: dict[str, set[str]] = {}
    for line in seen(host, container, HOSTS):
        address, *called = line.split()
        found.setdefault(address, set()).update(called)
    return found


@pytest.mark.parametrize(
    ("container", "expected"),
    [("plain", "plain"), ("named", "mail"), ("web", "web"), ("side", "web"), ("job", "job"), ("mon", "harbour")],
)
def test_hostname(host: ThrowawayHost, container: str, expected: str) -> None:
    assert seen(host, container, HOSTNAME) == [expected]


def test_hosts_on_the_default_bridge_names_oneself_and_links(host: ThrowawayHost) -> None:
    plain, linking, named = (host.address(each, "bridge") for each in ("plain", "linking", "named"))
    assert seen(host, "plain", HOSTS) == ["127.0.0.1\tlocalhost", f"{plain}\tplain"]
    assert names(host, "linking") == {
        "127.0.0.1": {"localhost"},
        linking: {"linking"},
        plain: {"upstream", "plain"},
        named: {"mailer", "mail", "named"},
    }


def test_links_lead_to_where_their_containers_are_now(host: ThrowawayHost) -> None:
    before = host.address("plain", "bridge"), host.address("named", "bridge")
    host.converge({**WORDS, "host": {"bip": "10.250.0.1/24"}})
    after = host.address("plain", "bridge"), host.address("named", "bridge")
    assert all(address.startswith("10.250.0.") for address in after)
    known = names(host, "linking")
    assert ["upstream" in known[after[0]], "mailer" in known[after[1]]] == [True, True]
    assert not set(before) & set(known)
    host.converge(WORDS)


def test_hosts_has_the_full_name_first_and_extra_hosts(host: ThrowawayHost) -> None:
    gateway = next(iter(host.ledger()["allotted"]["networks"]["bridge"].values()))
    lines = seen(host, "named", HOSTS)
    assert f"{host.address('named', 'bridge')}\tmail.example.org mail" in lines
    assert "192.0.2.99\tregistry" in lines
    assert f"{gateway}\tbox" in lines


def test_hosts_on_user_networks_names_the_containers_on_them(host: ThrowawayHost) -> None:
    web, pg = names(host, "web"), names(host, "pg")
    assert web[host.address("web", "front")] == web[host.address("web", "front", 6)]
    assert "web" in web[host.address("web", "front")]
    assert web[host.address("pg", "db")] == {"pg", "postgres"}
    assert "web" in pg[host.address("web", "db")]
    # Those of a network that one is not on are unknown.
    assert host.address("web", "front") not in pg


def test_hosts_has_ipv6_lines_only_with_ipv6(host: ThrowawayHost) -> None:
    assert seen(host, "web", HOSTS)[1:6] == IPV6_LINES
    for container in ("plain", "pg", "job"):
        assert not set(IPV6_LINES) & {*seen(host, container, HOSTS)}


def test_a_shared_stack_has_its_owners_files(host: ThrowawayHost) -> None:
    for file in (HOSTNAME, HOSTS, RESOLV_CONF):
        assert seen(host, "side", file) == seen(host, "web", file)


def test_in_mode_host_the_files_are_the_hosts(host: ThrowawayHost) -> None:
    for file in (HOSTNAME, HOSTS, RESOLV_CONF):
        assert seen(host, "mon", file) == FILES[f"/etc/{file}"].splitlines()
    assert seen(host, "extra", HOSTS) == [*FILES["/etc/hosts"].splitlines(), "192.0.2.99\tregistry"]
    assert seen(host, "extra", RESOLV_CONF) == FILES["/etc/resolv.conf"].splitlines()


@pytest.mark.parametrize(
    ("container", "expected"),
    [
        # An IPv6 nameserver is of no use to a container that has no IPv6.
        ("plain", ["nameserver 192.0.2.53", "search example.org", "options timeout:3"]),
        ("job", ["nameserver 192.0.2.53", "search example.org", "options timeout:3"]),
        ("named", ["nameserver 192.0.2.54", "nameserver 127.0.0.1", "options use-vc"]),
        # On networks of their own, containers ask the gateway.
        ("web", ["nameserver 172.18.0.1", "search example.org", "options timeout:3 ndots:0"]),
    ],
)  # fmt: skip
def test_resolv_conf(host: ThrowawayHost, container: str, expected: list[str]) -> None:
    assert seen(host, container, RESOLV_CONF) == expected


def test_files_are_changed_in_place(host: ThrowawayHost) -> None:
    """A runtime bind-mounts them: a new inode would never be seen in the container."""
    inodes = "stat -c '%i %n' /etc/netns/pg/*"
    before = host.run(inodes)
    changed = copy.deepcopy(WORDS)
    changed["containers"]["pg"] |= {"hostname": "database", "dns_search": ["test"], "extra_hosts": ["a=192.0.2.98"]}
    host.converge(changed)
    assert host.run(inodes) == before
    assert seen(host, "pg", HOSTNAME) == ["database"]
    assert "192.0.2.98\ta" in seen(host, "pg", HOSTS)
    assert "search test" in seen(host, "pg", RESOLV_CONF)
    assert "database" in names(host, "web")[host.address("pg", "db")]
    host.converge(WORDS)
    assert host.run(inodes) == before


def test_a_container_on_a_running_process_sees_the_change(host: ThrowawayHost) -> None:
    """As a runtime would: the file mounted over another one."""
    host.run("touch /run/hosts-of-web; mount --bind /etc/netns/web/hosts /run/hosts-of-web")
    changed = copy.deepcopy(WORDS)
    changed["containers"]["web"]["extra_hosts"] = ["late=192.0.2.97"]
    host.converge(changed)
    assert "192.0.2.97\tlate" in host.read("/run/hosts-of-web")
    host.run("umount /run/hosts-of-web; rm /run/hosts-of-web")
    host.apply(WORDS)


@pytest.mark.parametrize(
    ("nameservers", "expected"),
    [
        (["127.0.0.1", "192.0.2.53"], ["192.0.2.53"]),
        (["127.0.0.1"], ["8.8.8.8", "8.8.4.4"]),
        (["fe80::1%eth0"], ["8.8.8.8", "8.8.4.4"]),
        ([], ["8.8.8.8", "8.8.4.4"]),
    ],
)
def test_resolv_conf_follows_the_hosts(host: ThrowawayHost, nameservers: list[str], expected: list[str]) -> None:
    host.write("/etc/resolv.conf", "".join(f"nameserver {each}\n" for each in nameservers))
    host.converge(WORDS)
    assert seen(host, "plain", RESOLV_CONF) == [f"nameserver {each}" for each in expected]
    host.write("/etc/resolv.conf", FILES["/etc/resolv.conf"])
    host.apply(WORDS)


def test_resolv_conf_has_what_systemd_resolved_asks(host: ThrowawayHost) -> None:
    host.run("mkdir -p /run/systemd/resolve; echo nameserver 192.0.2.52 > /run/systemd/resolve/resolv.conf")
    host.write("/etc/resolv.conf", "nameserver 127.0.0.53\noptions edns0\n")
    host.converge(WORDS)
    assert seen(host, "plain", RESOLV_CONF) == ["nameserver 192.0.2.52"]
    host.write("/etc/resolv.conf", FILES["/etc/resolv.conf"])
    host.run("rm -r /run/systemd")
    host.apply(WORDS)
