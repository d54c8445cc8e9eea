# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All that the engine can make on a host, quickly read and without what differs each time that it is made.

A host's `snapshot` has more of the host, but nothing of what is inside of containers.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from typing import Any

from hosts import LEDGER, LOG, VERIFIED, ThrowawayHost, differences, without_empty_tables

# A stack that has several names is read once.
_READ = r"""
state() {
    printf 'addr show\nroute show table all\n' | ip -j -d -batch -
    { echo qdisc show; for each in /sys/class/net/*; do echo "filter show dev ${each##*/} ingress"; done; } |
        tc -force -batch - 2>&- | tr '\n' ';'
    echo
    cd /proc/sys/net
    grep -s "" ipv[46]/conf/*/*forwarding ipv4/conf/*/*_redirects ipv4/conf/*/route_localnet \
        ipv4/conf/*/arp_ignore ipv4/conf/*/log_martians core/somaxconn \
        ipv6/conf/*/accept_[dr]a* ipv6/conf/*/disable_ipv6 | tr '\n' ';'
    echo
}
if [ "$1" ]; then state; else
    nft --stateless list ruleset | tr '\n' '\f'; echo
    echo host; (state)
    seen=$(stat -Lc "host %i" /proc/self/ns/net)
    cd /run/netns
    for each in $(ls); do
        echo "$each"
        stack=$(stat -Lc %i "$each")
        if same=$(echo "$seen" | grep " $stack\$"); then
            echo; echo; echo; echo "stack of ${same% *}"
        else
            seen=$(echo "$seen"; echo "$each $stack")
            nsenter --net="$each" sh "$0" state || printf '\n\n\n\n'
        fi
    done
fi
"""

_FOLDERS = ["/etc/netns/", "/etc/sysctl.d/", "/etc/systemd/", "/run/wharf/", "/usr/local/sbin/", "/var/lib/"]

# Seconds.
_SETTLED_WITHIN = 5

# Numbers that the kernel gives out, and what takes its time to become what it will be.
_PASSING = ("link", "link_netnsid", "no", "id", "designated_port", "operstate", "state", "flags", "expires")
# What a bridge can offload depends on what its ports could once.
_OFFLOADS = ("gro_", "gso_", "tso_")
_PASSING_ENDINGS = ("index", "life_time", "stats64", "_timer", "_learned", "_id", "_ack", "_detected", "_cost")


def standing(host: ThrowawayHost) -> dict[str, Any]:
    """What stands in the kernel and in files, the ledger among them, by what it is."""
    host.write("/run/standing.sh", _READ)
    ruleset, *lines = host.run("sh /run/standing.sh").split("\n")[:-1]
    places = {line: lines[at + 1 : at + 5] for at, line in enumerate(lines) if at % 5 == 0}
    files = host.agent.call("read_files", folders=_FOLDERS)
    return {
        "daemons": host.agent.call("daemons"),
        "ruleset": _in_order(without_empty_tables("\n".join(ruleset.split("\f")))),
        **{key: value for place, read in places.items() for key, value in _place(place, *read).items()},
        **{path: _parsed(content) if path == LEDGER else content for path, content in files.items() if _lasts(path)},
    }


def assert_same(expected: dict[str, Any], look: Callable[[], dict[str, Any]], when: str = "") -> None:
    """Now, or as soon as the kernel has done what follows from it: links get a carrier, and addresses their routes."""
    deadline = time.monotonic() + _SETTLED_WITHIN
    while different := differences(expected, look()):
        if time.monotonic() > deadline:
            raise AssertionError(f"something else stands {when}:\n{different}")


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


def _place(place: str, links: str, *rest: str) -> dict[str, Any]:
    routes, queues, parameters = rest
    names = {f"{place} link {link['ifname']}": link for link in json.loads(links or "[]")}
    return {
        **{name: _link(link) for name, link in names.items()},
        f"{place} routes": sorted(
            json.dumps(_lasting(each))
            for each in json.loads(routes or "[]")
            # The kernel makes and forgets those of anycast by itself, some time after an address or its link changes.
            if each["type"] != "anycast" and not _is_of_itself(each["dst"])
        ),
        f"{place} queues": sorted(
            each for each in re.sub(r" refcnt \d+", "", queues).split(";") if "noqueue" not in each
        ),
        f"{place} parameters": sorted(parameters.split(";")),
    }


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
