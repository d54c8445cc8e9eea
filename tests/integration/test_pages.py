# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How-to pages: what they declare is accepted, or leads to the error that they show; commands print what they show."""

from __future__ import annotations

import json
import re
import shutil
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible.vars.hostvars import HostVars
from ansible.vars.manager import VariableManager
from controller import CHECKOUT, Controller
from hosts import ABSENT, EXACT, HOST, LAN, LEDGER, PRESENT, EngineError, ThrowawayHost
from several_hosts import SeveralHosts
from test_boot import COMMAND
from test_lan_leases import serving
from test_leases import plug_in
from test_leases import prepare as prepare_clients
from test_tutorial import commands as commands_of
from test_verify import verify

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```\n", re.MULTILINE | re.DOTALL)
PREPARE = {
    "rates": "",
    "subnets": "",
    "ipv6": "sysctl -qw net.ipv6.conf.eth0.accept_ra=1",
    "lan": """
nsenter --net={lan} ip addr add 192.0.2.2/24 dev lan
ip link add eth1 type veth peer name wire; ip link set eth1 up; ip link set wire up
""",
}
# Where each declaration is for a host without networks. Elsewhere it changes the one before.
EACH_BY_ITSELF = {"ipv6"}
# What the DHCP server of the LAN gives out.
LEASES = ("192.0.2.200,192.0.2.250,1h", "--dhcp-host=home,192.0.2.200", "--dhcp-option=3,192.0.2.1")
# Where a page goes on with what a throwaway host cannot show: bridges with VLANs, which a scenario on VMs has.
BEYOND = "\n## VLANs of an adopted bridge\n"


@pytest.mark.parametrize("page", PREPARE)
def test_what_a_page_shows(host: ThrowawayHost, page: str) -> None:
    host.run(PREPARE[page].format(lan=host.path(LAN)))
    text = (CHECKOUT / f"docs/how-to/{page}.md").read_text(encoding="utf-8").partition(BEYOND)[0]
    with serving(host, *LEASES) if "driver: dhcp" in text else nullcontext():
        assert_shown(host, text, page in EACH_BY_ITSELF)


def assert_shown(host: ThrowawayHost, text: str, each_by_itself: bool) -> None:
    refused = ""
    for language, block in BLOCK.findall(text):
        if language == "yaml":
            if each_by_itself:
                host.apply({}, ABSENT)
            refused = declare(host, block)
        elif block.startswith("$ "):
            for command, expected in commands_of(block):
                assert_printed(host, command, expected)
        elif block.startswith("wharf_"):
            # Lines that are broken on the page only.
            assert " ".join(block.split()) == refused
            refused = ""
        elif block.startswith("✓ "):
            assert {*block.splitlines()} <= {*verify(host)["report"]}
        assert not refused or language == "yaml", refused


def declare(host: ThrowawayHost, variables: str) -> str:
    """The error, where there is one. Networks with their containers replace those of the block before."""
    words = {name.removeprefix("wharf_"): each for name, each in yaml.safe_load(variables).items()}
    try:
        host.apply(words, EXACT if len(words) > 1 else PRESENT)
    except EngineError as error:
        return str(error)
    return ""


def assert_printed(host: ThrowawayHost, command: str, expected: str) -> None:
    words = command.removeprefix("sudo ").split()
    printed = host.wharf(*words[1:]).output if words[0] == "wharf" else host.run(command)
    for line in expected.splitlines():
        # Pages leave out what is drawn around it, and what differs from run to run.
        assert re.sub(r"^[ │├└─]+|…$", "", line) in printed, f"{command}\n{printed}"


def test_the_routed_network_of_the_page_on_ipv6(host: ThrowawayHost) -> None:
    text = (CHECKOUT / "docs/how-to/ipv6.md").read_text(encoding="utf-8")
    [block] = [block for _language, block in BLOCK.findall(text) if "routed}" in block]
    [route] = re.findall(r"^ {4}(ip -6 route add .*)$", text, re.MULTILINE)
    assert declare(host, block) == ""
    host.serve("web", "80/tcp", "81/tcp")
    assert not host.probe("outside", "[2001:db8:40::2]:80/tcp", expect_open=False).is_open
    host.run(route, "outside")
    answer = host.probe("outside", "[2001:db8:40::2]:80/tcp")
    assert (answer.by, answer.sees) == ("web", "2001:db8::1")
    assert not host.probe("outside", "[2001:db8:40::2]:81/tcp", expect_open=False).is_open
    assert host.probe("outside", "192.0.2.10:8080/tcp").by == "web"


def test_the_page_on_a_lost_ledger(host: ThrowawayHost) -> None:
    text = (CHECKOUT / "docs/how-to/recover.md").read_text(encoding="utf-8")
    [declared] = [block for language, block in BLOCK.findall(text) if language == "yaml"]
    lost, recovered, refused = [block for language, block in BLOCK.findall(text) if language == "text"]
    words = yaml.safe_load(declared)
    host.write("/run/declared.yml", declared)
    host.apply(words)
    host.run(f"cp {LEDGER} /run/backup; rm {LEDGER}")
    assert_commands_print(host, lost)
    without_db = {**words, "containers": {"web": words["containers"]["web"]}}
    with pytest.raises(EngineError) as error:
        host.engine(["apply", "-", "--recover", "--json"], without_db)
    assert str(error.value) == " ".join(refused.split())
    assert_commands_print(host, recovered.replace("declared.yml", "/run/declared.yml"))
    # An older backup.
    new = {"networks": {"new": {}}}
    host.apply(new)
    host.run(f"cp /run/backup {LEDGER}")
    assert "-network: new" in host.wharf("diff").output
    with pytest.raises(EngineError, match="is not managed by wharf.network"):
        host.apply(new)
    host.run(f"truncate -s 100 {LEDGER}")
    assert "cannot be understood" in host.wharf("show").output
    assert (
        host.wharf(
            "recover", "-", given=json.dumps({**words, "networks": {**words["networks"], **new["networks"]}})
        ).code
        == 0
    )
    assert host.run("ls /var/lib/wharf/ledger.json.broken-*") != ""
    assert host.wharf("diff").code == 0


def assert_commands_print(host: ThrowawayHost, block: str) -> None:
    for command, expected in commands_of(block):
        assert_printed(host, command, expected)


def test_the_page_on_a_fleet(host: ThrowawayHost, tmp_path: Path) -> None:
    """Each host may declare what its groups and its own file say. Where these are merged, it has both."""
    text = (CHECKOUT / "docs/how-to/fleet.md").read_text(encoding="utf-8")
    plain, merging = text.split("\n## Merge")
    write_files(tmp_path / "plain", plain)
    for name in ("web1", "web2", "data1"):
        host.diff(declared_for(tmp_path / "plain", name))
    [port] = declared_for(tmp_path / "plain", "data1")["containers"]["db"]["ports"]
    assert port["x-wharf"] == {"allow_from": ["192.0.2.11", "192.0.2.12"]}
    write_files(tmp_path / "merging", plain)
    write_files(tmp_path / "merging", merging)
    merged = {name: declared_for(tmp_path / "merging", name) for name in ("web1", "web2", "data1")}
    assert {name: {*words["containers"]} for name, words in merged.items()} == {
        "web1": {"web", "canary"},
        "web2": {"web"},
        "data1": {"db"},
    }
    for words in merged.values():
        host.diff(words)


def test_the_page_on_upgrades(controller: Controller) -> None:
    text = (CHECKOUT / "docs/how-to/upgrade.md").read_text(encoding="utf-8")
    [_requirements, shown, refused] = [block for _kind, block in BLOCK.findall(text)]
    installed, upgraded = (
        replace(controller, collections=copied_as(version, controller.folder / version))
        for version in re.findall(r"^[-+]version: (.+)$", shown, re.MULTILINE)
    )
    declared = {"wharf_networks": {"app": {}}, "wharf_containers": {"web": {"networks": ["app"]}}}
    assert installed.play("wharf.network.site", variables=declared).returncode == 0
    links = controller.host.run("grep . /sys/class/net/*/ifindex")
    predicted = upgraded.play("wharf.network.site", "--check", "--diff", variables=declared)
    for part in shown.split("…"):
        assert part in predicted.output
    assert predicted.calls == [[("update", "program", COMMAND)]]
    twice = upgraded.play(["wharf.network.site", "wharf.network.site"], variables=declared)
    assert twice.calls == [*predicted.calls, []]
    assert f"+version: {controller.host.run(f'{COMMAND} --version').split()[1]}\n" in shown
    assert controller.host.run("grep . /sys/class/net/*/ifindex") == links
    controller.host.run(f"""sed -i 's/"version": 1,/"version": 2,/' {LEDGER}""")
    with pytest.raises(EngineError) as error:
        controller.host.apply({})
    assert str(error.value) == refused.strip()


def copied_as(version: str, folder: Path) -> Path:
    """Where Ansible finds this checkout as another version of the collection."""
    copy = folder / "ansible_collections/wharf/network"
    for name in ("meta", "playbooks", "plugins", "roles"):
        shutil.copytree(CHECKOUT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    path = copy / "plugins/module_utils/engine/version.py"
    text = path.read_text(encoding="utf-8")
    path.write_text(re.sub("^VERSION = .*", f'VERSION = "{version}"', text, flags=re.MULTILINE), encoding="utf-8")
    return folder


def write_files(folder: Path, text: str) -> None:
    """The blocks whose first line is the name of a file."""
    for name, block in re.findall(r"^```yaml\n# (\S+)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        (folder / name).write_text(block, encoding="utf-8")


def declared_for(folder: Path, host: str) -> dict[str, Any]:
    """What the files of an inventory declare for one of its hosts, as Ansible reads them."""
    loader = DataLoader()
    loader.set_basedir(str(folder))
    inventory = InventoryManager(loader=loader, sources=str(folder / "inventory.yml"))
    manager = VariableManager(loader=loader, inventory=inventory)
    HostVars(inventory, manager, loader)
    variables = manager.get_vars(host=inventory.get_host(host))
    names = [name for name in variables if name.startswith("wharf_")]
    templar = Templar(loader, variables)
    return {name.removeprefix("wharf_"): templar.template(variables[name]) for name in names}


def test_the_page_on_several_hosts() -> None:
    """Each host applies the page's file for hosts without Ansible, with the containers of its example by inventory."""
    text = (CHECKOUT / "docs/how-to/overlay.md").read_text(encoding="utf-8")
    blocks = [block for _language, block in BLOCK.findall(text)]
    [app] = [yaml.safe_load(block)["networks"]["app"] for block in blocks if "members:" in block]
    [shown] = [block for block in blocks if block.startswith("# wharf show\n")]
    with SeveralHosts.started(2) as hosts:
        for host, (name, member) in zip(hosts.by_name.values(), app["x-wharf"]["members"].items(), strict=True):
            own = f"# host_vars/{name}.yml\nwharf_overlay: "
            [variables] = [yaml.safe_load(block) for block in blocks if block.startswith(own)]
            host.run(f"ip addr flush dev eth0; ip addr add {member['address']}/24 dev eth1")
            of_host = {**app, "x-wharf": {**app["x-wharf"], "host": name}}
            host.apply({"networks": {"app": of_host}, "containers": variables["wharf_containers"]})
        for command, expected in commands_of(re.sub(r"^# ", "$ ", shown, flags=re.MULTILINE)):
            assert_printed(hosts.first, command, expected)


def test_the_page_on_verifying(host: ThrowawayHost) -> None:
    text = (CHECKOUT / "docs/how-to/verify.md").read_text(encoding="utf-8")
    [shown] = [block for _language, block in BLOCK.findall(text) if block.startswith("✓ ")]
    web = {"networks": ["app"], "ports": ["8080:80"]}
    late = {"networks": ["app"], "x-wharf": {"sandbox": "docker:late"}}
    host.apply({"networks": {"app": {}}, "containers": {"web": web, "db": {"networks": ["app"]}, "late": late}})
    host.run(
        "nft add table inet mine; nft add chain inet mine forward '{ type filter hook forward priority 0; }'; "
        "nft add rule inet mine forward ct status dnat tcp dport 80 drop"
    )
    assert {*shown.splitlines()} <= {*verify(host)["report"]}
    assert "forbids the packet" in host.wharf("explain", "db", "192.0.2.10:8080").output


def test_the_page_on_the_log_and_metrics(host: ThrowawayHost) -> None:
    text = (CHECKOUT / "docs/how-to/log-and-metrics.md").read_text(encoding="utf-8")
    front, back = {"enable_ipv6": True}, {}
    web = {"networks": ["front", "back"], "ports": ["8080:80"]}
    host.apply({"networks": {"front": front, "back": back}, "containers": {"web": web, "db": {"networks": ["back"]}}})
    host.run("ip link set br-front mtu 1400")
    assert host.wharf("apply", "--at-boot").code == 0
    assert host.wharf("apply", "-", "--confirm", "300", given='{"networks": {"more": {}}}').code == 0
    unconfirmed = host.wharf("metrics").output
    assert host.wharf("revert").code == 0
    [(_language, shown)] = [each for each in BLOCK.findall(text) if each[1].startswith("$ sudo wharf log\n")]
    # When it was, and by whom, is another matter.
    who_and_when = re.compile(r"^\d{4}-.* UTC  |(?<=object)(s?)  .*$", re.MULTILINE)
    printed = who_and_when.sub(r"\1", host.wharf("log").output).replace("by hand  88", "play     88")
    assert printed == who_and_when.sub(r"\1", shown.partition("\n")[2])
    rows = re.findall(r"^\| (`wharf_.*?`) \|", text, re.MULTILINE)
    metrics = {name for row in rows for name in re.findall(r"`(wharf_\w+)", row)}
    assert metrics == set(re.findall(r"^# TYPE (\w+)", unconfirmed, re.MULTILINE))
    assert "\nwharf_unconfirmed 1\n" in unconfirmed


def test_the_page_on_confirmed_changes(host: ThrowawayHost) -> None:
    text = (CHECKOUT / "docs/how-to/confirm.md").read_text(encoding="utf-8")
    [declared] = [block for _language, block in BLOCK.findall(text) if block.startswith("# changed.yml\n")]
    [shown] = [block for _language, block in BLOCK.findall(text) if block.startswith("# wharf apply changed.yml ")]
    ran = host.wharf("apply", "-", "--confirm", "120", given=declared)
    assert host.wharf("revert").code == 0
    at = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC")
    assert at.sub("then", ran.output + ran.errors) == at.sub("then", shown.partition("\n")[2])


# Machines of a page that nobody has declared, or with their MAC only.
MACHINES = {"# on the machine": ("machine", "02:00:00:00:00:21"), "# on the printer": ("printer", "02:00:00:00:00:09")}


def test_the_page_on_leases(host: ThrowawayHost) -> None:
    text = (CHECKOUT / "docs/how-to/dhcp-and-pxe.md").read_text(encoding="utf-8")
    prepare_clients(host)
    host.run("mount -t tmpfs none /srv; cp -a /run/tftp /srv/tftp; mv /srv/tftp/pxe.0 /srv/tftp/pxelinux.0")
    for language, block in BLOCK.findall(text):
        if language == "yaml":
            assert declare(host, block) == ""
            for name, mac in MACHINES.values():
                if not host.run(f"ip netns list | grep -w {name} || true"):
                    plug_in(host, name, "br-lan", mac)
            continue
        for command, expected in commands_of(block):
            [place] = [name for comment, (name, _mac) in MACHINES.items() if comment in command] or [HOST]
            given = command.replace("udhcpc ", "udhcpc -s /run/report -t 10 -T 1 ").partition("  #")[0]
            assert expected in host.run(f"{given} 2>&1", place), command
            for leased in re.findall(r"^udhcpc: lease of (\S+) ", expected):
                host.run(f"ip addr replace {leased}/24 dev eth0", place)
    assert "printer/lan" in host.apply({}).pending


def test_requests_for_leases_that_a_firewall_drops_are_named(host: ThrowawayHost) -> None:
    text = (CHECKOUT / "docs/how-to/dhcp-and-pxe.md").read_text(encoding="utf-8")
    host.run("iptables -P INPUT DROP; ip6tables -P INPUT DROP")
    declare(host, next(block for language, block in BLOCK.findall(text) if language == "yaml"))
    warnings = " ".join(host.apply({}).warnings)
    assert "what containers ask of the host at 67/udp, of network lan (IPv4)" in warnings
    assert "what containers ask of the host at 547/udp, of network lan (IPv6)" in warnings
