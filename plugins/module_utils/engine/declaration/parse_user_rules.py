# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The entries of `wharf_docker_user` -> the admin's rules, each checked by itself."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any, Iterator, Mapping, Sequence, Tuple

from ..errors import ProblemCollector
from . import section as read
from .model import InterfacePattern, Rate, UserRule
from .parse_ports import PROTOCOLS, port_range
from .places import Places
from .section import Section, whole_section, wrong

ACCEPT, DROP, REJECT, RETURN, LOG = "accept", "drop", "reject", "return", "log"
ACTIONS = (ACCEPT, DROP, REJECT, RETURN, LOG)
ICMP = "icmp"
STATES = ("new", "established", "related", "invalid", "untracked")

# A rule without any of these keys matches every connection.
_RESTRICTING = (
    "source",
    "destination",
    "in_interface",
    "out_interface",
    "protocol",
    "published_port",
    "container",
    "network",
    "state",
    "limit",
)

UNITS = ("second", "minute", "hour", "day")
# The limits of iptables: the kernel's XT_LIMIT_SCALE, and 29 characters for the prefix of log lines.
_MOST_PACKETS = 10000
_LONGEST_PREFIX = 29
_LONGEST_COMMENT = 100


def parse_user_rules(
    given: Sequence[Any],
    containers: Mapping[str, str],
    networks: Mapping[str, str],
    places: Places,
    problems: ProblemCollector,
) -> Tuple[UserRule, ...]:
    """The rules. `containers` and `networks` are the names on the host, by key."""
    rules = []
    for number, value in enumerate({} if rule is None else rule for rule in given):
        section = Section(value, places.of(value, f"docker_user[{number}]"), problems)
        rules.append(_rule(section, containers, networks, problems))
        section.finish()
    return tuple(rules)


def _rule(
    section: Section, containers: Mapping[str, str], networks: Mapping[str, str], problems: ProblemCollector
) -> UserRule:
    section.refuse_blank(*_RESTRICTING)
    section.require("action", f"must be given: one of {', '.join(ACTIONS)}")
    action = section.take("action", read.one_of(*ACTIONS), "")
    container = section.take("container", read.object_name, "")
    network = section.take("network", read.object_name, "")
    rule = UserRule(
        path=section.path,
        action=action,
        sources=section.take_all("source", _networks),
        destinations=section.take_all("destination", _networks),
        in_interface=section.take_optional("in_interface", _interface),
        out_interface=section.take_optional("out_interface", _interface),
        protocol=section.take("protocol", read.one_of(*PROTOCOLS, ICMP), ""),
        published_ports=section.take_optional("published_port", port_range),
        container=containers.get(container, container),
        network=networks.get(network, network),
        states=section.take_all("state", _states),
        limit=section.take_optional("limit", _limit),
        log=section.take("log", _log(action), "") or (_default_prefix(action) if action == LOG else ""),
        comment=section.take("comment", _text(_LONGEST_COMMENT), ""),
    )
    for key, message in _contradictions(rule):
        problems.add(f"{rule.path}.{key}", message)
    return rule


def _contradictions(rule: UserRule) -> Iterator[Tuple[str, str]]:
    if rule.published_ports and rule.protocol == ICMP:
        yield "published_port", "icmp has no ports: leave one of the two out"
    if rule.container and rule.destinations:
        yield "destination", "cannot be combined with container, which is the destination: give one of the two"
    if rule.network and rule.out_interface:
        yield "out_interface", "cannot be combined with network, which is the destination: give one of the two"
    if not versions(rule):
        yield "destination", "no packet goes from IPv4 to IPv6, or back: give source and destination of one family"


def versions(rule: UserRule) -> Tuple[int, ...]:
    """The IP families of the packets that the rule can match."""
    return tuple(
        version
        for version in (4, 6)
        if all(
            not addresses or any(each.version == version for each in addresses)
            for addresses in (rule.sources, rule.destinations)
        )
    )


def _networks(value: Any, path: str) -> Tuple[read.Subnet, ...]:
    """A list of networks, or a single one, whose problems are reported at the key itself."""
    if isinstance(value, (list, tuple)):
        if not value:
            raise wrong(path, value, "names no address, so the rule would match nothing: leave the rule out")
        return read.list_of(read.addresses)(value, path)
    return (read.addresses(value, path),)


def _interface(value: Any, path: str) -> InterfacePattern:
    """The name of a link, or as in iptables a prefix of names and `+`."""
    name = read.text(value, path)
    if name == "lo":
        raise wrong(path, value, "nothing that is forwarded comes or goes by lo")
    is_prefix = name[1:].endswith("+")
    return InterfacePattern(read.interface_name(name[:-1] if is_prefix else name, path), is_prefix)


def _states(value: Any, path: str) -> Tuple[str, ...]:
    """A list of states, or as in iptables a text with commas."""
    items = value.split(",") if isinstance(value, str) else value
    if not items:
        raise wrong(path, value, "names no state, so the rule would match nothing: leave the rule out")
    found = read.list_of(lambda item, where: read.one_of(*STATES)(str(item).strip(), where))(items, path)
    return tuple(state for state in STATES if state in found)


def _limit(value: Any, path: str) -> Rate:
    """`10/second`, or `{rate: 10/second, burst: 20}`."""
    if not isinstance(value, dict):
        return _rate(value, path)
    rule = f"must be a number of packets from 1 to {_MOST_PACKETS}"
    with whole_section(value, path) as section:
        section.require("rate", "must be given, such as 10/second")
        rate = section.take("rate", _rate, Rate(1, UNITS[0]))
        burst = section.take("burst", read.number_from(1, _MOST_PACKETS, rule), Rate.burst)
    return replace(rate, burst=burst)


def _rate(value: Any, path: str) -> Rate:
    match = re.fullmatch(r"([0-9]{1,9})/(\w+)", read.text(value, path))
    if not match or match[2] not in UNITS or not 1 <= int(match[1]) <= _MOST_PACKETS:
        units = ", ".join(f"10/{unit}" for unit in UNITS)
        raise wrong(path, value, f"must be a rate such as {units}, of at most {_MOST_PACKETS}")
    return Rate(int(match[1]), match[2])


def _log(action: str) -> read.Parser[str]:
    """A parser of true, or the prefix of log lines."""

    def parse(value: Any, path: str) -> str:
        if str(value).lower() in ("true", "false"):
            return _default_prefix(action) if read.flag(value, path) else ""
        return _text(_LONGEST_PREFIX)(value, path)

    return parse


def _default_prefix(action: str) -> str:
    return f"DOCKER-USER {action}: "


def _text(longest: int) -> read.Parser[str]:
    """A parser of texts that both nft and iptables can quote."""

    def parse(value: Any, path: str) -> str:
        found = read.one_line(value, path)
        if len(found.encode()) > longest:
            raise wrong(path, found, f"must be of at most {longest} bytes, this one has {len(found.encode())}")
        if re.search(r'["\\$`]', found):
            raise wrong(path, found, 'must have none of the characters " \\ $ `')
        return found

    return parse
