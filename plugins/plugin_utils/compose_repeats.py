# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Removes repeated list entries: the last one counts, at the position of the first one.

The rules are those of compose-go v2 (`override/uncity.go`), which removes repeats once more after it has split port
ranges into single ports.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

_Identity = Callable[[object], object]


def drop_repeats(service: Mapping[str, object]) -> dict[str, object]:
    """The service without repeated list entries, also inside its network attachments."""
    once = _each_once(service, _SERVICE_IDENTITIES)
    if isinstance(ports := once.get("ports"), list):
        once["ports"] = _each_port_once(ports)
    if isinstance(attachments := once.get("networks"), dict):
        once["networks"] = {
            name: _each_once(raw, _ATTACHMENT_IDENTITIES) if isinstance(raw, dict) else raw
            for name, raw in attachments.items()
        }
    return once


def _each_once(raw: Mapping[str, object], identities: Mapping[str, _Identity]) -> dict[str, object]:
    return {
        key: list({identities[key](entry): entry for entry in value}.values())
        if key in identities and isinstance(value, list)
        else value
        for key, value in raw.items()
    }


def _each_port_once(ports: list[object]) -> list[object]:
    """The ports, with ranges as they are unless a part of one is repeated."""
    singles = [single for port in ports for single in _singles(port)]
    once = {_port_identity(single): single for single in singles}
    return ports if len(once) == len(singles) else list(once.values())


def _singles(port: object) -> list[object]:
    """The single ports that a range in the short form stands for; any other port as it is."""
    match = _RANGES.fullmatch(str(port))
    if not match or isinstance(port, dict):
        return [port]
    before, published, target, after = match.groups(default="")
    targets = _numbers(target)
    hosts = _numbers(published.removesuffix(":"))
    if len(targets) == 1 or (published.strip(":") and len(hosts) != len(targets)):
        return [port]
    return [
        f"{before}{f'{hosts[index]}:' if hosts else published}{number}{after}" for index, number in enumerate(targets)
    ]


def _numbers(ports: str) -> range:
    first, _dash, last = ports.partition("-")
    return range(int(first), int(last or first) + 1) if first else range(0)


def _key_of_pair(entry: object) -> str:
    return str(entry).partition("=")[0]


def _port_identity(port: object) -> tuple[str, ...]:
    """Host address, published, target and protocol, the same for a port's short and long form."""
    if isinstance(port, dict):
        defaults = {"host_ip": _ANY_ADDRESS, "published": "", "target": "", "protocol": "tcp"}
        return tuple(str(port.get(key) or default) for key, default in defaults.items())
    mapping, _slash, protocol = str(port).partition("/")
    host, _colon, target = mapping.rpartition(":")
    host_ip, _colon, published = host.rpartition(":")
    return host_ip.strip("[]") or _ANY_ADDRESS, published, target, protocol or "tcp"


_ANY_ADDRESS = "0.0.0.0"
_PORTS = "[0-9]{1,5}(?:-[0-9]{1,5})?"
_RANGES = re.compile(rf"((?:\[[^\]]*\]|[0-9.]+):)?((?:{_PORTS})?:)?({_PORTS})(/\w+)?")

_SERVICE_IDENTITIES: Mapping[str, _Identity] = {
    "dns": _key_of_pair,
    "dns_opt": _key_of_pair,
    "dns_search": _key_of_pair,
    "expose": str,
    "external_links": str,
    "links": str,
    "ports": _port_identity,
    "sysctls": _key_of_pair,
}
_ATTACHMENT_IDENTITIES: Mapping[str, _Identity] = {"aliases": str, "link_local_ips": str}
