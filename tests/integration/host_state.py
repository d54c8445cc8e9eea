# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All that the engine can make on a host, quickly read and without what differs each time that it is made.

A host's `snapshot` has more of the host, but nothing of what is inside of containers.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable
from typing import Any

from hosts import HOST, LEDGER, LOG, VERIFIED, ThrowawayHost, differences, without_empty_tables

_PARAMETERS = [
    "ipv[46]/conf/*/*forwarding",
    "ipv4/conf/*/*_redirects",
    "ipv4/conf/*/route_localnet",
    "ipv4/conf/*/arp_ignore",
    "ipv4/conf/*/log_martians",
    "core/somaxconn",
    "ipv6/conf/*/accept_[dr]a*",
    "ipv6/conf/*/disable_ipv6",
]

_FOLDERS = ["/etc/netns/", "/etc/sysctl.d/", "/etc/systemd/", "/run/wharf/", "/usr/local/sbin/", "/var/lib/"]

# Seconds.
_SETTLED_WITHIN = 5

# Numbers that the kernel gives out, and what takes its time to become what it will be.
_PASSING = ("link", "link_netnsid", "no", "id", "designated_port", "operstate", "state", "flags", "expires")
# What a bridge can offload depends on what its ports could once.
_OFFLOADS = ("gro_", "gso_", "tso_")
_PASSING_ENDINGS = ("index", "life_time", "stats64", "_timer", "_learned", "_id", "_ack", "_detected", "_cost")


def host_state(host: ThrowawayHost) -> dict[str, Any]:
    """What is in the kernel and in files, the ledger among them, by what it is."""
    call = host.agent.call
    ruleset = call("printed", place=host.path(HOST), command=["nft", "--stateless", "list", "ruleset"])
    files = call("read_files", folders=_FOLDERS)
    return {
        "daemons": call("daemons"),
        "ruleset": _in_order(without_empty_tables(ruleset)),
        **_stacks(host),
        **{path: _parsed(content) if path == LEDGER else content for path, content in files.items() if _lasts(path)},
    }


def assert_same(expected: dict[str, Any], look: Callable[[], dict[str, Any]], when: str = "") -> None:
    """Now, or as soon as the kernel has done what follows from it: links get a carrier, and addresses their routes."""
    deadline = time.monotonic() + _SETTLED_WITHIN
    while different := differences(expected, look()):
        if time.monotonic() > deadline:
            raise AssertionError(f"the state of the host differs {when}:\n{different}")


def _in_order(ruleset: str) -> str:
    """The kernel lists tables, sets and chains in the order in which they came, which means nothing."""
    listed = re.sub(r"elements = \{(.+?)\}", _sorted, ruleset, flags=re.DOTALL)
    tables = re.findall(r"^(table .+?\{)\n(.*?)^\}$", listed, flags=re.MULTILINE | re.DOTALL)
    return "\n".join(
        "\n\n".join([header, *sorted(block.strip("\n") for block in body.split("\n\n"))])
        for header, body in sorted(tables)
    )


def _sorted(elements: re.Match[str]) -> str:
    """The kernel lists the elements of some sets in the order in which they came."""
    return ",\n".join(sorted(element.strip() for element in elements[1].split(",")))


def _lasts(path: str) -> bool:
    """Not what says which process a service is, nor what was done before."""
    return not path.endswith((".pid", ".started")) and path not in (LOG, VERIFIED)


def _parsed(ledger: str) -> Any:
    try:
        return json.loads(ledger)
    except ValueError:
        return ledger


def _stacks(host: ThrowawayHost) -> dict[str, Any]:
    """What is in each network namespace, read once for all names that it has."""
    names = os.listdir(f"/proc/{host.agent.pid}/root/run/netns")
    seen: dict[tuple[int, int], str] = {}
    found: dict[str, Any] = {}
    for name in (HOST, *sorted(names)):
        status = os.stat(host.path(name))
        first = seen.setdefault((status.st_dev, status.st_ino), name)
        if first != name:
            found[f"{name} stack"] = f"that of {first}"
        # An ordinary file has the name while a namespace is made.
        elif status.st_dev == os.stat("/proc/self/ns/net").st_dev:
            found |= _stack(host, name)
    return found


def _stack(host: ThrowawayHost, name: str) -> dict[str, Any]:
    def read(function: str, **arguments: Any) -> Any:
        return host.agent.call(function, place=host.path(name), **arguments)

    shown = read("printed", command=["ip", "-j", "-d", "-batch", "-"], given="addr show\nroute show table all\n")
    links, routes = map(json.loads, shown.splitlines())
    return {
        **{f"{name} link {link['ifname']}": _link(link) for link in links},
        f"{name} routes": sorted(
            json.dumps(_lasting(each))
            for each in routes
            # The kernel makes and forgets those of anycast by itself, some time after an address or its link changes.
            if each["type"] != "anycast" and not _is_of_itself(each["dst"])
        ),
        **({f"{name} queues": _queues(read)} if name == HOST else {}),
        f"{name} parameters": read("read_parameters", patterns=_PARAMETERS),
    }


def _queues(read: Callable[..., Any]) -> list[str]:
    """Those of the host, which alone the engine touches."""
    filters = (f"filter show dev {link} ingress\n" for link in read("link_names"))
    # It fails where a link has no queue for filters, and goes on.
    asked = "".join(["qdisc show\n", *filters])
    queues = read("printed", command=["tc", "-force", "-batch", "-"], given=asked, may_fail=True)
    return sorted(each for each in re.sub(r"( refcnt|\tindex) \d+", "", queues).splitlines() if "noqueue" not in each)


def _link(link: Any) -> Any:
    """A port of ours has whatever MAC the kernel gave it."""
    chance = ("address",) if "/" in link.get("ifalias", "") else ()
    lasting = {key: value for key, value in _lasting(link).items() if key not in chance}
    lasting["addr_info"] = sorted(json.dumps(each) for each in lasting["addr_info"] if not _is_of_itself(each["local"]))
    return {**lasting, "up": "UP" in link["flags"]}


def _is_of_itself(address: str) -> bool:
    """What comes some time after the link has become one that carries something."""
    return address.startswith(("fe80:", "ff00:"))


def _lasting(thing: Any) -> Any:
    if isinstance(thing, dict):
        passing = {key for key in thing if key.endswith(_PASSING_ENDINGS) or key.startswith(_OFFLOADS)}
        kept = (key for key in thing if key not in passing.union(_PASSING))
        return {key: _lasting(thing[key]) for key in kept}
    return [_lasting(each) for each in thing] if isinstance(thing, list) else thing
