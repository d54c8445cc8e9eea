# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What `nft list table` prints -> objects."""

from __future__ import annotations

import re
from typing import Dict, Iterator, List, Set, Tuple, Union

from ...rules.rules_nftables import USER_CHAIN
from ...state import (
    Chain,
    ElementMap,
    ElementSet,
    Key,
    MapElement,
    Object,
    Owner,
    SetElement,
    SetElements,
    State,
    state_of,
)

_PROTOCOLS = {"6": "tcp", "17": "udp", "132": "sctp"}


def parse_listing(listing: str) -> State:
    skeleton: List[Object] = []
    elements: Dict[Owner, List[SetElement]] = {}
    for kind, name, lines in blocks(listing):
        if kind == "chain":
            skeleton.append(_chain(name, lines))
            continue
        declaration, inside, text = " \n".join(lines).partition("elements = {")
        declared = tuple(line.strip() for line in declaration.splitlines() if line.strip())
        skeleton.append(ElementMap(name, declared) if kind == "map" else ElementSet(name, declared))
        if inside:
            for owner, element in _parse_elements(text.rstrip(" }\n")):
                elements.setdefault(owner, []).append((name, element))
    return state_of([*skeleton, *(SetElements(owner, tuple(sorted(found))) for owner, found in elements.items())])


def _chain(name: str, lines: List[str]) -> Chain:
    hooks = [line for line in lines if line.startswith("type ")]
    return Chain(name, () if name == USER_CHAIN else tuple(lines[len(hooks) :]), "".join(hooks))


def blocks(listing: str) -> Iterator[Tuple[str, str, List[str]]]:
    for match in re.finditer(r"^\t(chain|set|map) (\S+) \{\n(.*?)^\t\}$", listing, re.MULTILINE | re.DOTALL):
        yield match[1], match[2], [line.strip() for line in match[3].splitlines()]


def parse_rule_texts(listing: str) -> Dict[Tuple[str, str, str, str], str]:
    """The rules of a whole rule set that is listed with handles, by family, table, chain and handle."""
    texts: Dict[Tuple[str, str, str, str], str] = {}
    family = table = chain = ""
    for line in listing.splitlines():
        text, _hash, handle = line.strip().rpartition(" # handle ")
        if line.startswith("table "):
            family, table = text.split()[1:3]
        elif line.startswith("\tchain "):
            chain = text.split()[1]
        elif handle and line.startswith("\t\t"):
            texts[family, table, chain, handle] = text
    return texts


def user_chains_in_use(listing: str) -> Set[Key]:
    return {("chain", name) for kind, name, rules in blocks(listing) if name == USER_CHAIN and rules}


def _parse_elements(text: str) -> Iterator[Tuple[Owner, Union[str, MapElement]]]:
    """Each element's owner and text. An element without such a comment is a third-party one."""
    for element in re.split(r",\s+", text.strip()):
        match = re.fullmatch(r'(.+?) comment "((?:network|container) [^"]+)"(?: : (.+))?', element, re.DOTALL)
        if match:
            key = _with_protocol_name(match[1])
            yield Owner.parse(match[2]), MapElement(key, match[3]) if match[3] else key


def _with_protocol_name(element: str) -> str:
    """nft prints a protocol's number on a host without /etc/protocols. Only a protocol stands before another number."""
    return re.sub(r"(?<![\w.:])(6|17|132)(?= \. \d+( |$))", lambda number: _PROTOCOLS[number[1]], element)
