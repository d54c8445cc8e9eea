# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules in the form of `nft -j` -> chains that can be evaluated for a packet.

A condition that is not implemented here is unknown: it may hold or not for any packet.
"""

from __future__ import annotations

import functools
import ipaddress
from typing import (
    Any,
    Callable,
    Dict,
    FrozenSet,
    Iterable,
    List,
    Mapping,
    Optional,
    Sequence,
    Tuple,
    Union,
)

from ..declaration.section import Address, Subnet
from .rule_evaluation import (
    ACCEPT,
    CONTINUE,
    DROP,
    GOTO,
    JUMP,
    RETURN,
    Chain,
    Known,
    Packet,
    Rule,
    SomeAddress,
    SomePort,
    Table,
    Translation,
    Verdict,
)

# Family and name of a table
TableName = Tuple[str, str]
Expression = Any
Sets = Mapping[str, Sequence[Any]]

# The priority at which connections are tracked (NF_IP_PRI_CONNTRACK).
_TRACKING = -200
# The value of a field that the packet does not have, such as the IPv6 source of an IPv4 packet.
_ABSENT = object()

_META = {
    "iif": "in",
    "iifname": "in",
    "oif": "out",
    "oifname": "out",
    "ibrname": "in bridge",
    "obrname": "out bridge",
    "nfproto": "family",
    "l4proto": "protocol",
    "pkttype": "packet type",
    "mark": "mark",
}
_IP_FIELDS = {"saddr": "source", "daddr": "destination", "protocol": "protocol", "nexthdr": "protocol"}
_PORTS = {"sport": "source port", "dport": "destination port"}
_IP_FAMILIES = {"ip": "ipv4", "ip6": "ipv6"}
_TYPES = {
    ("daddr",): "destination type",
    ("saddr",): "source type",
    ("daddr", "iif"): "destination type on in",
}
_CONNECTION = {
    ("state", ""): "state",
    ("direction", ""): "direction",
    ("daddr", "original"): "original destination",
    ("proto-dst", "original"): "original destination port",
    ("saddr", "original"): "original source",
}
_ICMP = {"icmp": "icmp", "icmpv6": "ipv6-icmp"}
_PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp", 58: "ipv6-icmp", 132: "sctp", "icmpv6": "ipv6-icmp"}

# Statements that end the evaluation of a chain. Those of NAT accept the packet.
_VERDICTS = {
    **dict.fromkeys(("accept", "queue", "dnat", "snat", "masquerade", "redirect", "tproxy"), ACCEPT),
    **dict.fromkeys(("drop", "reject"), DROP),
    "return": RETURN,
    "continue": CONTINUE,
    "jump": JUMP,
    "goto": GOTO,
}
_MARK = {"meta": {"key": "mark"}}
_NAT = ("dnat", "snat", "masquerade", "redirect", "tproxy")
# Statements after which every packet continues with the next rule.
_NON_VERDICTS = frozenset(
    "counter log mangle notrack ct_helper ct_timeout ct_expectation set map dup flow secmark last comment".split()
)


class TcpFlags(FrozenSet[str]):
    """The flags of a TCP segment."""


def tables_of(objects: Iterable[Mapping[str, Any]]) -> Dict[TableName, Table]:
    """The tables of a listing. A rule's label is its `text` if it has one, else its handle."""
    sets: Dict[TableName, Dict[str, Sequence[Any]]] = {}
    chains: Dict[TableName, Dict[str, Mapping[str, Any]]] = {}
    rules: Dict[Tuple[str, str, str], List[Rule]] = {}
    for each in objects:
        for kind, thing in each.items():
            if kind in ("set", "map"):
                sets.setdefault((thing["family"], thing["table"]), {})[thing["name"]] = thing.get("elem", ())
            elif kind == "chain":
                chains.setdefault((thing["family"], thing["table"]), {})[thing["name"]] = thing
            elif kind == "rule":
                table = thing["family"], thing["table"]
                own = rules.setdefault((*table, thing["chain"]), [])
                own.append(_rule(thing, sets.setdefault(table, {})))
    return {
        table: Table([_chain(thing, rules.get((*table, name), ())) for name, thing in own.items()])
        for table, own in chains.items()
    }


def _chain(thing: Mapping[str, Any], rules: Sequence[Rule]) -> Chain:
    devices = thing.get("dev", ())
    return Chain(
        thing["name"],
        tuple(rules),
        thing.get("hook", ""),
        thing.get("policy", ACCEPT),
        _is_early(thing),
        thing.get("prio", 0),
        thing.get("type") == "nat",
        (devices,) if isinstance(devices, str) else tuple(devices),
    )


def _is_early(thing: Mapping[str, Any]) -> bool:
    return thing.get("hook") in ("prerouting", "output") and thing.get("prio", 0) <= _TRACKING


def _rule(thing: Mapping[str, Any], sets: Sets) -> Rule:
    conditions: List[Callable[[Packet], Known]] = []
    verdicts: Callable[[Packet], Tuple[List[Verdict], bool]] = _goes_on
    for statement in thing["expr"]:
        for kind, what in statement.items():
            if kind == "match":
                conditions.append(functools.partial(_matches, what, sets))
            elif kind == "vmap":
                verdicts = functools.partial(_looked_up, what, sets)
            elif kind in _NAT:
                verdicts = functools.partial(_translated, kind, what or {}, sets)
            elif kind in _VERDICTS:
                verdicts = functools.partial(_always, [_verdict({kind: what})])
            elif kind.replace(" ", "_") not in _NON_VERDICTS:
                conditions.append(_not_known)
    set_to = [each["mangle"].get("value") for each in thing["expr"] if each.get("mangle", {}).get("key") == _MARK]
    return Rule(
        thing.get("text") or str(thing.get("handle", "")),
        tuple(conditions),
        verdicts,
        marks=bool(set_to),
        mark=set_to[-1] if set_to and isinstance(set_to[-1], int) else None,
        untracks=any("notrack" in each for each in thing["expr"]),
        comment=thing.get("comment", ""),
    )


def _goes_on(_packet: Packet) -> Tuple[List[Verdict], bool]:
    return [], False


def _always(verdicts: List[Verdict], _packet: Packet) -> Tuple[List[Verdict], bool]:
    return verdicts, True


def _not_known(_packet: Packet) -> Known:
    return None


def _verdict(statement: Mapping[str, Any], comment: str = "") -> Verdict:
    ((kind, what),) = statement.items()
    return Verdict(_VERDICTS[kind], what["target"] if kind in (JUMP, GOTO) else "", kind, by_element=comment)


def _looked_up(vmap: Mapping[str, Any], sets: Sets, packet: Packet) -> Tuple[List[Verdict], bool]:
    """The verdicts in a verdict map that the packet may get, and whether it certainly gets one of them."""
    found, surely = _mapped(vmap, sets, packet)
    return [_verdict(data, comment) for data, comment in found], surely


def _mapped(expression: Mapping[str, Any], sets: Sets, packet: Packet) -> Tuple[List[Tuple[Any, str]], bool]:
    """What a map may have for the packet, with the comments of the elements, and whether it certainly has something."""
    value = _value(expression["key"], packet)
    data = expression["data"]
    elements = sets.get(data[1:], ()) if isinstance(data, str) else data["set"]
    found: List[Tuple[Any, str]] = []
    for key, mapped in elements if value is not _ABSENT else ():
        known = _contains(key, value, sets)
        if known is not False:
            found.append((mapped, key["elem"].get("comment", "") if isinstance(key, dict) and "elem" in key else ""))
        if known:
            return found, True
    return found, False


def _translated(kind: str, what: Mapping[str, Any], sets: Sets, packet: Packet) -> Tuple[List[Verdict], bool]:
    """The verdicts of a statement of NAT: the packet is translated, and accepted."""
    if what.get("family", "") and packet["family"] not in (None, _IP_FAMILIES[what["family"]]):
        return [], False
    address, port = what.get("addr"), what.get("port")
    for expression in (address, port):
        if isinstance(expression, dict) and "map" in expression:
            found, surely = _mapped(expression["map"], sets, packet)
            ends = [_address_and_port(data, port) if expression is address else (address, data) for data, _of in found]
            return [_translation(kind, *end, comment) for end, (_data, comment) in zip(ends, found)], surely
    return [_translation(kind, address, port)], True


def _address_and_port(data: Any, port: Any) -> Tuple[Any, Any]:
    return tuple(data["concat"]) if isinstance(data, dict) and "concat" in data else (data, port)


def _translation(kind: str, address: Any, port: Any, comment: str = "") -> Verdict:
    known = isinstance(address, (str, type(None))) and isinstance(port, (int, type(None))) and kind != "tproxy"
    to = Translation(kind, _address(address) if address and known else None, port if known else None, known)
    return Verdict(ACCEPT, "", kind, to, comment)


def _matches(match: Mapping[str, Any], sets: Sets, packet: Packet) -> Known:
    value = _value(match["left"], packet)
    if value is _ABSENT:
        return False
    operator, right = match["op"], match["right"]
    if isinstance(value, TcpFlags):
        common = value & _flags(right)
        return bool(common) if operator == "in" else (value == _flags(right)) is (operator == "==")
    if operator in ("==", "in"):
        return _contains(right, value, sets)
    if operator == "!=":
        return _not(_contains(right, value, sets))
    if not isinstance(value, int) or not isinstance(right, int):
        return None
    return {"<": value < right, ">": value > right, "<=": value <= right, ">=": value >= right}.get(operator)


def _value(expression: Expression, packet: Packet) -> Any:
    """The packet's value of an expression: None if it is unknown."""
    if not isinstance(expression, dict):
        return None
    ((kind, what),) = expression.items()
    if kind == "meta":
        return packet[_META[what["key"]]] if what["key"] in _META else None
    if kind == "payload":
        return _header(what.get("protocol", ""), what.get("field", ""), packet)
    if kind == "ct":
        return _of_connection(what, packet)
    if kind == "fib" and what["result"] == "type":
        name = _TYPES.get(tuple(what["flags"]))
        return packet[name] if name else None
    if kind == "fib" and what["result"] == "oif" and what["flags"] == ["saddr", "iif"]:
        return packet["source is behind in"]
    if kind == "&":
        return _masked(what[0], what[1], packet)
    if kind == "concat":
        values = [_value(part, packet) for part in what]
        return _ABSENT if any(value is _ABSENT for value in values) else tuple(values)
    return None


def _flags(names: Any) -> TcpFlags:
    """`syn`, a list of flags, or the expression `{"|": […]}`."""
    if isinstance(names, dict):
        names = names.get("|", ())
    return TcpFlags([names] if isinstance(names, str) else names)


def _masked(expression: Expression, mask: Expression, packet: Packet) -> Any:
    """The bits of a value, or those of a packet's flags, that a mask has."""
    value = _value(expression, packet)
    if isinstance(value, TcpFlags):
        return TcpFlags(value & _flags(mask))
    if isinstance(value, frozenset):
        return value & _flags(mask)
    return value & mask if isinstance(value, int) and isinstance(mask, int) else value if value is _ABSENT else None


def _header(protocol: str, field: str, packet: Packet) -> Any:
    if protocol in _IP_FAMILIES:
        if packet["family"] != _IP_FAMILIES[protocol]:
            return _ABSENT
        return packet[_IP_FIELDS[field]] if field in _IP_FIELDS else None
    own = packet["protocol"]
    if protocol not in ("th", "ether", "vlan", "arp", "") and own and own != _PROTOCOLS.get(protocol, protocol):
        return _ABSENT
    if protocol in _ICMP and field == "type":
        return packet["icmp type"]
    if protocol == "tcp" and field == "flags":
        return packet["tcp flags"]
    return packet[_PORTS[field]] if field in _PORTS else None


def _of_connection(what: Mapping[str, Any], packet: Packet) -> Any:
    if what["key"] == "status":
        return frozenset(["dnat"]) if packet["dnat"] else frozenset()
    name = _CONNECTION.get((what["key"].split()[-1], what.get("dir", "")))
    return packet[name] if name else None


def _contains(right: Expression, value: Any, sets: Sets) -> Known:
    """Whether a value matches the right side of a condition: a single value, or one of a set."""
    if isinstance(value, frozenset):
        return _has_status(right, value)
    if isinstance(right, str) and right.startswith("@"):
        return _any(sets.get(right[1:], ()), value, sets)
    if isinstance(right, list):
        return _any(right, value, sets)
    if isinstance(right, dict):
        ((kind, what),) = right.items()
        if kind == "set":
            return _any(what, value, sets)
        if kind == "elem":
            return _contains(what["val"], value, sets)
        if kind == "concat" and isinstance(value, tuple):
            return _all(_contains(part, own, sets) for part, own in zip(what, value))
        if kind == "prefix":
            return None if value is None and what["len"] else _within(_subnet(what["addr"], what["len"]), value)
        if kind == "range":
            return _in_range(what, value)
        return None
    return None if value is None else _is(right, value)


def _has_status(right: Expression, status: frozenset[str]) -> Known:
    """Whether a connection has a status. Only `dnat` is known of it; it may have other statuses."""
    wanted = [right] if isinstance(right, str) else right if isinstance(right, list) else []
    if "dnat" in wanted and "dnat" in status:
        return True
    return False if wanted == ["dnat"] else None


def _any(elements: Iterable[Any], value: Any, sets: Sets) -> Known:
    known: Known = False
    for element in elements:
        found = _contains(element, value, sets)
        if found:
            return True
        if found is None:
            known = None
            if value is None:
                break
    return known


def _all(found: Iterable[Known]) -> Known:
    known: Known = True
    for each in found:
        if each is False:
            return False
        known = known and each
    return known


def _not(known: Known) -> Known:
    return None if known is None else not known


def _is(right: Union[str, int], value: Any) -> Known:
    if isinstance(value, SomeAddress):
        address = _address(right)
        return None if address is None else value.is_in(ipaddress.ip_network(address))
    if isinstance(value, SomePort):
        return value.is_in(right, right) if isinstance(right, int) else None
    if isinstance(value, (ipaddress.IPv4Address, ipaddress.IPv6Address)):
        return value == _address(right)
    if isinstance(right, str) and right.endswith("*") and isinstance(value, str):
        return value.startswith(right[:-1])
    return bool(value in (right, _PROTOCOLS.get(right)))


def _within(subnet: Optional[Subnet], value: Any) -> Known:
    if subnet is None or value is None or isinstance(value, str):
        return None
    if isinstance(value, SomeAddress):
        return value.is_in(subnet)
    return value.version == subnet.version and value in subnet


def _in_range(limits: Sequence[Any], value: Any) -> Known:
    if value is None or isinstance(value, SomeAddress):
        return None
    if isinstance(value, SomePort):
        return value.is_in(*limits) if all(isinstance(each, int) for each in limits) else None
    first, last = (_address(each) if isinstance(each, str) else each for each in limits)
    try:
        return bool(first <= value <= last)
    except TypeError:
        return None


@functools.lru_cache(maxsize=4096)
def _address(text: Union[str, int]) -> Optional[Address]:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


@functools.lru_cache(maxsize=4096)
def _subnet(address: str, length: int) -> Optional[Subnet]:
    try:
        return ipaddress.ip_network((address, length), strict=False)
    except ValueError:
        return None
