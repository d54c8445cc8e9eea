# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Changes -> what `nft -f` is to do, in one transaction."""

from __future__ import annotations

from typing import Dict, Iterable, List, Optional, Sequence, Tuple, Union

from ...diff import CREATE, DELETE, Change
from ...rules.rules_nftables import TABLE
from ...state import Chain, ElementMap, ElementSet, MapElement, Object, SetElements

# By set: the text of an element, and its owner's.
Elements = Dict[str, List[Tuple[Union[str, MapElement], str]]]


def nft_script(changes: Sequence[Change]) -> str:
    """What nft is to do, in an order in which nothing is used before it is there or goes while it is used.

    The declaration of a set never changes: a set that has to be another one gets another name.
    """
    skeleton = [change for change in changes if not isinstance(change.subject, SetElements)]
    going = [change.subject for change in skeleton if change.action == DELETE]
    coming = [change.after for change in skeleton if change.after]
    emptied = [c.subject for c in skeleton if isinstance(c.subject, Chain) and c.action != CREATE]
    lines = [f"add table {TABLE}"]
    lines += [f"flush chain {TABLE} {chain.name}" for chain in emptied]
    lines += _element_lines("delete", elements_of((change.before, change.after) for change in changes))
    lines += [definition(coming)]
    lines += _element_lines("add", elements_of((change.after, change.before) for change in changes))
    lines += [f"delete {_nft_kind(thing)} {TABLE} {thing.name}" for thing in going]
    return "\n".join(lines) + "\n"


def definition(skeleton: Iterable[Object]) -> str:
    """Sets before the chains that look into them, and each chain before any rule, since rules jump."""
    things = list(skeleton)
    sets = [thing for thing in things if isinstance(thing, ElementSet)]
    chains = [thing for thing in things if isinstance(thing, Chain)]
    blocks = [_block(_nft_kind(thing), thing.name, thing.declaration) for thing in sets]
    blocks += [_block("chain", chain.name, [chain.hook] if chain.hook else []) for chain in chains]
    blocks += [_block("chain", chain.name, chain.rules) for chain in chains]
    return f"table {TABLE} {{\n{''.join(blocks)}}}\n"


def _block(kind: str, name: str, lines: Iterable[str]) -> str:
    return f"\t{kind} {name} {{\n" + "".join(f"\t\t{line}\n" for line in lines) + "\t}\n"


def _nft_kind(thing: Object) -> str:
    return "map" if isinstance(thing, ElementMap) else "set" if isinstance(thing, ElementSet) else "chain"


def elements_of(pairs: Iterable[Tuple[Optional[Object], Optional[Object]]]) -> Elements:
    """By set, the elements that the first of each pair has and the second has not, each with its owner's name."""
    found: Elements = {}
    for having, lacking in pairs:
        if isinstance(having, SetElements):
            others = set(lacking.elements) if isinstance(lacking, SetElements) else set()
            for name, element in having.elements:
                if (name, element) not in others:
                    found.setdefault(name, []).append((element, having.name))
    return found


def _element_lines(verb: str, elements: Elements) -> List[str]:
    return [
        f"{verb} element {TABLE} {name} {{ {', '.join(_commented(*element) for element in found)} }}"
        for name, found in elements.items()
    ]


def _commented(element: Union[str, MapElement], owner: str) -> str:
    if isinstance(element, MapElement):
        return f'{element.key} comment "{owner}" : {element.value}'
    return f'{element} comment "{owner}"'
