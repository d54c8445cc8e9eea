"""The door to nftables: our one table, listed and changed as text, each change in one transaction."""

from __future__ import annotations

import hashlib
import re
import shutil
import socket
import subprocess
from contextlib import suppress
from typing import Dict, FrozenSet, Iterable, Iterator, List, MutableMapping, Sequence, Set, Tuple, Union

from . import conntrack, namespaces
from .diff import DELETE, Change
from .door import Door
from .errors import ApplyError, ConflictError
from .rules_nftables import TABLE, USER_CHAIN
from .state import Chain, ElementSet, Key, Object, Rules, State, state_of

Elements = Dict[str, List[Tuple[str, str]]]

_PROTOCOL_NUMBERS = {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP, "sctp": socket.IPPROTO_SCTP}
_HOOK = re.compile(r"type \w+ hook ")


class Nftables(Door):
    """Door to `Chain`, `ElementSet` and `Rules`.

    `canonical_texts` keeps what the kernel makes of a table's text, by the text's hash, from run to run.
    """

    def __init__(self, canonical_texts: MutableMapping[str, str]) -> None:
        self._canonical_texts = canonical_texts

    def canonical(self, desired: State) -> State:
        """The desired chains and sets as nft lists them, since nft rewrites what it is given."""
        skeleton = [thing for thing in desired.values() if not isinstance(thing, Rules)]
        text = _definition(skeleton)
        digest = hashlib.sha256(text.encode()).hexdigest()
        if skeleton and digest not in self._canonical_texts:
            self._canonical_texts.clear()
            self._canonical_texts[digest] = _listed_in_scratch(text)
        listed = _parse(self._canonical_texts[digest]) if skeleton else {}
        return {key: listed.get(key, thing) for key, thing in desired.items()}

    def observe(self, desired: State, owned: FrozenSet[Key]) -> State:
        """Our table as it is. What somebody else put into it is none of ours, nor is a DOCKER-USER chain in use."""
        ours = desired.keys() | owned
        listing = _list_table()
        kept = _user_chains_in_use(listing) - desired.keys()
        return {
            key: thing
            for key, thing in _parse(listing).items()
            if isinstance(thing, Rules) or (key in ours and key not in kept)
        }

    def apply(self, changes: Sequence[Change]) -> None:
        """One transaction for all changes: the kernel has the old rules, and then it has the new ones."""
        _run(_script(changes))
        with suppress(OSError):
            # Without connection tracking in the kernel, no flow was translated.
            conntrack.forget(_changed_ports(changes))
        if any(change.after is None and change.subject.name == USER_CHAIN for change in changes):
            _delete_empty_table()


def _changed_ports(changes: Sequence[Change]) -> Set[conntrack.PublishedPort]:
    """The ports of the host that lead somewhere else now, or nowhere."""
    changed = _elements_of([*((c.before, c.after) for c in changes), *((c.after, c.before) for c in changes)])
    keys = [
        element.partition(" : ")[0].split(" . ")[-2:]
        for name, elements in changed.items()
        if name.startswith("published")
        for element, _owner in elements
    ]
    return {(_PROTOCOL_NUMBERS[protocol], int(port)) for protocol, port in keys}


def _list_table() -> str:
    """The table's listing; empty where there is no such table."""
    listing, errors = _nft(["--stateless", "list", "table", *TABLE.split()], "")
    if errors and "No such file" not in errors:
        raise ApplyError(f"nft list table {TABLE}: {errors}")
    return listing


def _delete_empty_table() -> None:
    """Take the table away, unless somebody else has put something into it."""
    listing = _list_table()
    if listing and not list(_blocks(listing)):
        _run(f"delete table {TABLE}\n")


def _listed_in_scratch(text: str) -> str:
    with namespaces.scratch():
        _run(text)
        return _list_table()


def _run(script: str) -> None:
    _output, errors = _nft(["-f", "-"], script)
    if errors:
        raise ApplyError(f"nft refused the rules: {errors}")


def _nft(arguments: List[str], script: str) -> Tuple[str, str]:
    """What nft printed: its output, and its errors, which are empty where there were none."""
    program = shutil.which("nft", path="/usr/sbin:/usr/bin:/sbin:/bin")
    if program is None:
        raise ConflictError.at("nft", "is needed on this host for the firewall: install the package nftables")
    command = [program, *arguments]
    # There is no run_command in an engine that also runs without Ansible.
    ran = subprocess.run(  # pylint: disable=ansible-bad-function
        command, input=script, capture_output=True, text=True, check=False
    )
    return ran.stdout, (ran.stderr.strip() or f"it ended with {ran.returncode}") if ran.returncode else ""


# Writing: objects -> script


def _script(changes: Sequence[Change]) -> str:
    """What nft is to do, in an order in which nothing is used before it is there or goes while it is used."""
    skeleton = [change for change in changes if not isinstance(change.subject, Rules)]
    gone = [change.subject for change in skeleton if change.action == DELETE]
    there = [change.after for change in skeleton if change.after]
    changed_sets = [c.subject.name for c in skeleton if isinstance(c.subject, ElementSet) and c.before and c.after]
    chains = [thing for thing in there if isinstance(thing, Chain) and thing.name != USER_CHAIN]
    lines = [f"add table {TABLE}"]
    lines += [f"flush chain {TABLE} {chain.name}" for chain in chains if _was_there(chain, changes)]
    lines += [f"flush chain {TABLE} {thing.name}" for thing in gone if isinstance(thing, Chain)]
    lines += [f"delete set {TABLE} {name}" for name in changed_sets]
    lines += _element_lines("delete", _elements_of((change.before, change.after) for change in changes))
    lines += [_definition(there)]
    lines += _element_lines("add", _elements_of((change.after, change.before) for change in changes))
    lines += [f"delete {_nft_kind(thing)} {TABLE} {thing.name}" for thing in gone]
    return "\n".join(lines) + "\n"


def _was_there(chain: Chain, changes: Sequence[Change]) -> bool:
    return any(change.after is chain and change.before for change in changes)


def _definition(skeleton: Iterable[Object]) -> str:
    """Sets before the chains that look into them, and each chain before any rule, since rules jump."""
    things = list(skeleton)
    sets = [thing for thing in things if isinstance(thing, ElementSet)]
    chains = [thing for thing in things if isinstance(thing, Chain)]
    blocks = [_block(_nft_kind(thing), thing.name, thing.declaration) for thing in sets]
    blocks += [_block("chain", chain.name, _hooks(chain)) for chain in chains]
    blocks += [_block("chain", chain.name, _rules(chain)) for chain in chains]
    return f"table {TABLE} {{\n{''.join(blocks)}}}\n"


def _block(kind: str, name: str, lines: Iterable[str]) -> str:
    return f"\t{kind} {name} {{\n" + "".join(f"\t\t{line}\n" for line in lines) + "\t}\n"


def _hooks(chain: Chain) -> List[str]:
    return [line for line in chain.rules if _HOOK.match(line)]


def _rules(chain: Chain) -> List[str]:
    return [line for line in chain.rules if not _HOOK.match(line)]


def _nft_kind(thing: Object) -> str:
    if isinstance(thing, ElementSet):
        return "map" if any(" : " in line for line in thing.declaration) else "set"
    return "chain"


def _elements_of(pairs: Iterable[Tuple[Union[Object, None], Union[Object, None]]]) -> Elements:
    """By set, the elements that the first of each pair has and the second has not, each with its owner's name."""
    found: Elements = {}
    for having, lacking in pairs:
        if isinstance(having, Rules) or isinstance(lacking, Rules):
            had = having.elements if isinstance(having, Rules) else ()
            others = set(lacking.elements) if isinstance(lacking, Rules) else set()
            for name, element in had:
                if (name, element) not in others and isinstance(having, Rules):
                    found.setdefault(name, []).append((element, having.name))
    return found


def _element_lines(verb: str, elements: Elements) -> List[str]:
    return [
        f"{verb} element {TABLE} {name} {{ {', '.join(_commented(*element) for element in found)} }}"
        for name, found in elements.items()
    ]


def _commented(element: str, owner: str) -> str:
    key, colon, value = element.partition(" : ")
    return f'{key} comment "{owner}"{colon}{value}'


# Reading: listing -> objects


def _parse(listing: str) -> State:
    skeleton: List[Object] = []
    elements: Dict[str, List[Tuple[str, str]]] = {}
    for kind, name, lines in _blocks(listing):
        if kind == "chain":
            skeleton.append(Chain(name, () if name == USER_CHAIN else tuple(lines)))
            continue
        declaration, inside, text = " \n".join(lines).partition("elements = {")
        skeleton.append(ElementSet(name, tuple(line.strip() for line in declaration.splitlines() if line.strip())))
        if inside:
            for owner, element in _parse_elements(text.rstrip(" }\n")):
                elements.setdefault(owner, []).append((name, element))
    return state_of([*skeleton, *(Rules(owner, tuple(sorted(found))) for owner, found in elements.items())])


def _blocks(listing: str) -> Iterator[Tuple[str, str, List[str]]]:
    for match in re.finditer(r"^\t(chain|set|map) (\S+) \{\n(.*?)^\t\}$", listing, re.MULTILINE | re.DOTALL):
        yield match[1], match[2], [line.strip() for line in match[3].splitlines()]


def _user_chains_in_use(listing: str) -> Set[Key]:
    return {("chain", name) for kind, name, rules in _blocks(listing) if name == USER_CHAIN and rules}


def _parse_elements(text: str) -> Iterator[Tuple[str, str]]:
    """Each element's owner and text. What has no comment of ours was put there by somebody else."""
    for element in re.split(r",\s+", text.strip()):
        match = re.fullmatch(r'(.+?) comment "((?:network|container) [^"]+)"( : .+)?', element, re.DOTALL)
        if match:
            yield match[2], match[1] + (match[3] or "")
