# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The output of `iptables-save` -> rules in the form of `nft -j`."""

from __future__ import annotations

import re
from functools import partial
from typing import Any, Callable, Dict, Iterator, List, Mapping, Tuple

from .nft_rules import Expression

# The two sides of a condition.
_Match = Tuple[Expression, Expression]

# The built-in chains, by their hooks.
_HOOKS = {
    "PREROUTING": "prerouting",
    "INPUT": "input",
    "FORWARD": "forward",
    "OUTPUT": "output",
    "POSTROUTING": "postrouting",
}
# Of a table's chains; the table raw is evaluated before connection tracking.
_PRIORITIES = {"raw": -300, "mangle": -150, "security": 50}
_NAT_PRIORITIES = {"PREROUTING": -100, "OUTPUT": -100, "INPUT": 100, "POSTROUTING": 100}
_TARGETS = {
    "ACCEPT": "accept",
    "DROP": "drop",
    "REJECT": "reject",
    "RETURN": "return",
    "QUEUE": "queue",
    "NFQUEUE": "queue",
    "DNAT": "dnat",
    "SNAT": "snat",
    "MASQUERADE": "masquerade",
    "REDIRECT": "redirect",
    "NETMAP": "dnat",
    "TPROXY": "tproxy",
}
_NAT_TARGETS = ("DNAT", "SNAT", "MASQUERADE", "REDIRECT", "NETMAP")
_TO = re.compile(r"(?:\[(?P<ip6>[0-9a-fA-F:.]+)\]|(?P<ip>[0-9.]+|[0-9a-fA-F:]*::[0-9a-fA-F:]*))?(?::(?P<port>\d+))?")
# Options that are no condition on a packet.
_WITHOUT_MEANING = ("-m", "--comment")
_OF_SOURCE_CHECK = ("--invert", "--loose", "--validmark", "--accept-local")

# The syntax of iptables-restore: double quotes group words, and within them a backslash escapes the next character.
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_WORD = re.compile(rf'(?:[^\s"]|{_QUOTED.pattern})+')
_ESCAPED = re.compile(r"\\(.)")


def split_arguments(line: str) -> List[str]:
    """The arguments in a line that iptables-save prints.

    Raises:
        ValueError: a quote is not closed. Some matches, such as `recent`, print names without quoting them.
    """
    if _WORD.sub("", line).strip():
        raise ValueError("a quote is not closed")
    found = (match[0] for match in _WORD.finditer(line))
    return [_QUOTED.sub(lambda quoted: _ESCAPED.sub(r"\1", quoted[1]), word) for word in found]


def objects_of(save: str, family: str) -> Iterator[Mapping[str, Any]]:
    """The chains and rules of a save. `family` is `ip` or `ip6`.

    Each rule keeps its `text`. A rule that cannot be parsed is marked `unread`, and may have any effect.
    """
    table = ""
    chains: List[str] = []
    for line in save.split("\n"):
        if line.startswith("*"):
            table, chains = line[1:].strip(), []
        elif line.startswith(":"):
            name, policy = line[1:].split()[:2]
            chains.append(name)
            chain = {"family": family, "table": table, "name": name}
            hook = (
                {"hook": _HOOKS[name], "policy": policy.lower(), **_kind(table, name)}
                if name in _HOOKS and policy != "-"
                else {}
            )
            yield {"chain": {**chain, **hook}}
        elif line.startswith("-A "):
            yield {"rule": {"family": family, "table": table, "text": line, **_rule(line, family, chains)}}


def _kind(table: str, chain: str) -> Dict[str, Any]:
    if table == "nat":
        return {"type": "nat", "prio": _NAT_PRIORITIES.get(chain, 0)}
    return {"type": "filter", "prio": _PRIORITIES.get(table, 0)}


def _rule(line: str, family: str, chains: List[str]) -> Dict[str, Any]:
    try:
        words = split_arguments(line)
    except ValueError:
        return {"chain": line.split()[1], "expr": [{"unknown": line}, {"accept": None}], "unread": True}
    comment = words[words.index("--comment") + 1] if "--comment" in words[:-1] else ""
    return {"chain": words[1], "expr": list(_expression(words[2:], family, chains)), "comment": comment}


def _expression(words: List[str], family: str, chains: List[str]) -> Iterator[Expression]:
    protocol = "th"
    position, negated = 0, False
    while position < len(words):
        word = words[position]
        values: List[str] = []
        while position + 1 < len(words) and (
            word == "--comment" and not values or not re.match(r"-{1,2}[a-zA-Z]|!$", words[position + 1])
        ):
            position += 1
            values.append(words[position])
        position += 1
        if word == "!":
            negated = True
            continue
        if word in ("-j", "-g"):
            yield from _target(word, values[0], chains, words[position:])
            return
        if word == "-p":
            protocol = values[0]
        if (word, values) == ("-m", ["rpfilter"]):
            yield _source_check(words)
        elif word not in _WITHOUT_MEANING and not (word in _OF_SOURCE_CHECK and "rpfilter" in words):
            yield _condition(word, values, negated, family, protocol)
        negated = False


def _target(word: str, name: str, chains: List[str], options: List[str]) -> Iterator[Expression]:
    """The verdict of a rule. Other targets only mark or count, and the packet continues with the next rule."""
    if name in _TARGETS:
        yield {_TARGETS[name]: _to(options) if name in _NAT_TARGETS else None}
    elif name in chains:
        yield {"goto" if word == "-g" else "jump": {"target": name}}
    elif name in ("MARK", "CONNMARK"):
        yield {"mangle": {"key": {"meta": {"key": "mark"}}}}
    elif name == "NOTRACK" or (name == "CT" and "--notrack" in options):
        yield {"notrack": None}


def _to(options: List[str]) -> Dict[str, Any]:
    """What a target of NAT translates to; a range is kept as a mapping, which no address or port is."""
    given = dict(zip(options, options[1:]))
    if "--to-ports" in given:
        return {"port": int(given["--to-ports"]) if given["--to-ports"].isdigit() else {"range": given["--to-ports"]}}
    to = given.get("--to-destination") or given.get("--to-source") or ""
    found = _TO.fullmatch(to)
    if not found:
        return {"addr": {"range": to}} if to or "--to" in given else {}
    port = {"port": int(found["port"])} if found["port"] else {}
    return {"addr": found["ip6"] or found["ip"], **port} if found["ip6"] or found["ip"] else port


def _condition(word: str, values: List[str], negated: bool, family: str, protocol: str) -> Expression:
    if word not in _OPTIONS or not values:
        return {"unknown": word}
    left, right = _OPTIONS[word](" ".join(values), family, protocol)
    return {"match": {"op": "!=" if negated else "==", "left": left, "right": right}}


def _source_check(words: List[str]) -> Expression:
    """Of `-m rpfilter`, as nft has it: whether a route leads to the source by the interface that the packet came by."""
    if {*words} & {*_OF_SOURCE_CHECK} - {"--invert"}:
        return {"unknown": "rpfilter"}
    behind = {"fib": {"result": "oif", "flags": ["saddr", "iif"]}}
    return {"match": {"op": "==", "left": behind, "right": "--invert" not in words}}


def _header(field: str, value: str, family: str, _protocol: str) -> _Match:
    address, _slash, length = value.partition("/")
    # A mask that is no prefix makes a length that no address has, so that the condition is unknown.
    bits = int(length) if length.isdigit() else -1 if length else 32 if family == "ip" else 128
    return {"payload": {"protocol": family, "field": field}}, {"prefix": {"addr": address, "len": bits}}


def _interface(key: str, value: str, _family: str, _protocol: str) -> _Match:
    return {"meta": {"key": key}}, f"{value[:-1]}*" if value.endswith("+") else value


def _port(field: str, value: str, _family: str, protocol: str) -> _Match:
    return {"payload": {"protocol": protocol, "field": field}}, {"set": [_ports(part) for part in value.split(",")]}


def _ports(text: str) -> Expression:
    first, colon, last = text.partition(":")
    return {"range": [int(first or 0), int(last or 65535)]} if colon else int(first)


def _protocol(value: str, _family: str, _own: str) -> _Match:
    return {"meta": {"key": "l4proto"}}, int(value) if value.isdigit() else value


def _state(value: str, family: str, protocol: str) -> _Match:
    """`--ctstate` also takes the statuses DNAT and SNAT, which nft has under another key."""
    states = value.lower().split(",")
    key = "status" if states == ["dnat"] else "both" if {"dnat", "snat"} & {*states} else "state"
    return _words({"ct": {"key": key}}, value, family, protocol)


def _words(left: Expression, value: str, _family: str, _protocol: str) -> _Match:
    return left, value.lower().split(",")


def _original(key: str, value: str, family: str, protocol: str) -> _Match:
    """A property of the first packet of the connection, before any translation."""
    right = _ports(value) if key == "proto-dst" else _header(key, value, family, protocol)[1]
    return {"ct": {"key": key, "dir": "original"}}, right


def _mark(value: str, _family: str, _protocol: str) -> _Match:
    mark, _slash, mask = value.partition("/")
    left: Expression = {"meta": {"key": "mark"}}
    return ({"&": [left, int(mask, 0)]} if mask else left), int(mark, 0)


def _icmp_type(value: str, family: str, protocol: str) -> _Match:
    names = _ICMP_TYPES.get(family, {})
    if value == "any":
        return {"meta": {"key": "l4proto"}}, protocol
    kind = "icmp" if family == "ip" else "icmpv6"
    return {"payload": {"protocol": kind, "field": "type"}}, names.get(value.partition("/")[0], value)


def _tcp_flags(value: str, _family: str, _protocol: str) -> _Match:
    """`FIN,SYN,RST,ACK SYN`: the mask, and those of these flags that are set."""
    mask, _space, flags = value.lower().partition(" ")
    left = {"payload": {"protocol": "tcp", "field": "flags"}}
    return {"&": [left, mask.split(",")]}, [] if flags == "none" else flags.split(",")


_ICMP_TYPES = {
    "ip": {"8": "echo-request", "0": "echo-reply"},
    "ip6": {"128": "echo-request", "129": "echo-reply", "135": "nd-neighbor-solicit", "136": "nd-neighbor-advert"},
}

# Each parses the value of an option, given the family of the table, and the protocol that the rule has named.
_OPTIONS: Dict[str, Callable[[str, str, str], _Match]] = {
    "-i": partial(_interface, "iifname"),
    "-o": partial(_interface, "oifname"),
    "-s": partial(_header, "saddr"),
    "-d": partial(_header, "daddr"),
    "-p": _protocol,
    "--dport": partial(_port, "dport"),
    "--dports": partial(_port, "dport"),
    "--sport": partial(_port, "sport"),
    "--sports": partial(_port, "sport"),
    "--ctstate": _state,
    "--state": _state,
    "--ctstatus": partial(_words, {"ct": {"key": "status"}}),
    "--dst-type": partial(_words, {"fib": {"result": "type", "flags": ["daddr"]}}),
    "--src-type": partial(_words, {"fib": {"result": "type", "flags": ["saddr"]}}),
    "--ctorigsrc": partial(_original, "saddr"),
    "--ctorigdst": partial(_original, "daddr"),
    "--ctorigdstport": partial(_original, "proto-dst"),
    "--ctdir": partial(_words, {"ct": {"key": "direction"}}),
    "--mark": _mark,
    "--icmp-type": _icmp_type,
    "--icmpv6-type": _icmp_type,
    "--tcp-flags": _tcp_flags,
}
