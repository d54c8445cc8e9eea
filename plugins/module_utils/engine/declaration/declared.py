# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is declared on a host, and what one call makes of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, FrozenSet, List, Mapping, Optional

from ..errors import ModelError, ProblemCollector
from ..state import DEFAULT_NETWORK
from .parse_network import network_name
from .places import SOURCE, Places
from .vocabulary import without_passed_over

# The parts of a declaration. Each stands on those before it, but for the last, which stands alone.
DOCKER_USER = "docker_user"
DEFAULT_NETWORKS = "default_networks"
USER_NETWORKS = "user_networks"
CONTAINERS = "containers"
BOOT = "boot"
SCOPES = (DOCKER_USER, DEFAULT_NETWORKS, USER_NETWORKS, CONTAINERS, BOOT)

_FIREWALL_WORDS = ("firewall-backend", "iptables", "ip6tables")

PRESENT, EXACT, ABSENT = "present", "exact", "absent"
STATES = (PRESENT, EXACT, ABSENT)

# In place of names, where state is absent: everything that was declared of this part.
ALL = "all"
# Of what a call does not name: the place may be that of a file, or of the standard input, of another run.
_EARLIER = "was declared by an earlier run, and"
ALL_WITHOUT_ABSENT = f'"{ALL}": is only for state absent; declare entries by their names'

# The part of a declaration that each scope is of.
PARTS = {
    DOCKER_USER: "docker_user",
    DEFAULT_NETWORKS: "host",
    USER_NETWORKS: "networks",
    CONTAINERS: "containers",
    BOOT: "boot",
}

Words = Mapping[str, Any]


@dataclass(frozen=True)
class Declared:
    """Words, as they were given, but without what is passed over.

    `host` is None as long as the default networks are not declared, `docker_user` as long as no rule is, and `boot` as
    long as nothing is to bring the networks back when the host boots. `firewall` has those of a host's words that say
    by what rules are made, for rules that are declared alone.
    """

    host: Optional[Words] = None
    networks: Words = field(default_factory=dict)
    containers: Words = field(default_factory=dict)
    docker_user: Optional[List[Any]] = None
    firewall: Words = field(default_factory=dict)
    boot: Optional[Words] = None

    def __post_init__(self) -> None:
        # Ledgers from before have all of it.
        for part, words in without_passed_over(vars(self)).items():
            object.__setattr__(self, part, words)

    @property
    def is_empty(self) -> bool:
        return self == Declared(firewall=self.firewall)


@dataclass(frozen=True)
class Call:
    """What one call was given; what is None was not given, and what is empty names nothing.

    With the state absent, ALL in place of names lets go all of a part, and a call that was given no part at all lets
    all of its scopes go. `scopes` are the parts that it declares; the rest of what it is given is only known to the
    planner. `recover`: where the ledger is lost, it is recovered from the marks on the host. `repeats`: it was given
    nothing, and brings the host to what is declared already. `places` names what it was given, in messages.
    """

    host: Optional[Words] = None
    networks: Optional[Words] = None
    containers: Optional[Words] = None
    docker_user: Optional[List[Any]] = None
    boot: Optional[Words] = None
    state: str = PRESENT
    scopes: FrozenSet[str] = frozenset(SCOPES)
    check: bool = False
    recover: bool = False
    repeats: bool = False
    places: Places = Places()

    def __post_init__(self) -> None:
        problems = ProblemCollector()
        for scope, part in PARTS.items():
            given = getattr(self, part)
            if given == ALL and scope not in (DEFAULT_NETWORKS, BOOT):
                if self.state != ABSENT:
                    problems.add(self.places.part(part), ALL_WITHOUT_ABSENT)
            elif scope == DOCKER_USER and not isinstance(given, (list, type(None))):
                problems.add(self.places.part(part), "must be a list of rules, in the order in which they hold")
            elif scope != DOCKER_USER and not isinstance(given, (dict, type(None))):
                problems.add(self.places.part(part), "must be a mapping")
            elif scope == BOOT:
                self._check_boot(given or {}, problems)
        problems.raise_if_any()
        for part, words in self.places.marked({part: getattr(self, part) for part in PARTS.values()}).items():
            object.__setattr__(self, part, words)

    def _check_boot(self, given: Words, problems: ProblemCollector) -> None:
        for key, value in given.items():
            path = f"{self.places.part(PARTS[BOOT])}.{key}"
            if key not in ("services", SOURCE):
                problems.add(path, "unknown key; known here: services")
            elif key == "services" and not isinstance(value, bool):
                problems.add(path, f'"{value}": must be true or false')

    @property
    def declares_rules(self) -> bool:
        """Whether it was given rules of the admin's that are to hold."""
        return self.docker_user is not None and self.state != ABSENT

    def named(self, scope: str) -> Any:
        """What a call with the state absent names of a scope; ALL, empty, or None if nothing."""
        if all(getattr(self, part) is None for part in PARTS.values()):
            return ALL
        return getattr(self, PARTS[scope])

    def names(self, scope: str) -> bool:
        """Whether a call with the state absent names anything of a scope; any settings name the default networks."""
        named = self.named(scope)
        return named is not None if scope in (DEFAULT_NETWORKS, BOOT) else bool(named)

    def lets_rest_go(self, scope: str) -> bool:
        """Whether everything of a scope goes that was declared before and is not declared by this call."""
        if scope not in self.scopes:
            return False
        if self.state == EXACT:
            return getattr(self, PARTS[scope]) is not None
        return self.state == ABSENT and self.named(scope) == ALL

    def stands_on(self, scope: str) -> bool:
        """Whether a scope that this call declares stands on another one."""
        return any(SCOPES.index(scope) < SCOPES.index(each) for each in self.scopes - {BOOT})


def declare(before: Declared, call: Call) -> Declared:
    """What is declared once the call is through.

    Raises:
        ModelError: the default networks would go from under others.
    """
    if call.repeats:
        return before
    after = before
    for scope in SCOPES:
        if scope in call.scopes:
            after = _with_scope(after, call, scope, call.state)
        elif call.stands_on(scope) and call.state != ABSENT:
            # What a call stands on, and is given, it declares as well.
            after = _with_scope(after, call, scope, PRESENT)
    if after.host is None and (after.networks or after.containers):
        others = ", ".join([*after.networks, *after.containers])
        message = f"the default networks cannot go while these are declared: {others}"
        raise ModelError.at(call.places.option("state"), message)
    return after


def known(declared: Declared, call: Call) -> Declared:
    """What the planner is to know: what is declared, and what else a call was given that makes things present."""
    if call.state == ABSENT:
        return declared
    stood_on = USER_NETWORKS in call.scopes or call.stands_on(USER_NETWORKS)
    # What a call stands on and finds declared, it leaves.
    networks = (
        {**(call.networks or {}), **declared.networks}
        if stood_on
        else _foreseen(declared.networks, call, call.networks)
    )
    containers = (
        declared.containers if CONTAINERS in call.scopes else _foreseen(declared.containers, call, call.containers)
    )
    host = call.host or {} if networks or containers else None
    return replace(
        declared, host=host if declared.host is None else declared.host, networks=networks, containers=containers
    )


def not_given(before: Declared, call: Call) -> FrozenSet[str]:
    """The networks that were declared before, and of which this call says nothing: by their names on the host."""
    given = call.networks if isinstance(call.networks, Mapping) else {}
    names = {network_name(*network) for network in before.networks.items() if network[0] not in given}
    is_default_given = before.host is None or call.host is not None
    return frozenset(names if is_default_given else {*names, DEFAULT_NETWORK})


def unnamed(before: Declared, call: Call) -> List[str]:
    """Warnings: what the state of a call might be expected to let go, and which stays since the call names nothing."""
    if call.repeats:
        return []
    if call.state == EXACT:
        parts = [PARTS[scope] for scope in SCOPES if scope in call.scopes and scope != BOOT]
        return [
            f"{call.places.part(part)} is not given: what was declared there before stays, as if state were present. "
            f"The value {'[]' if part == 'docker_user' else '{}'} declares that there is nothing"
            for part in parts
            if getattr(call, part) is None and getattr(before, part)
        ]
    if call.state != ABSENT or not call.scopes or any(call.names(scope) for scope in call.scopes):
        return []
    if call.places.file and call.scopes == frozenset(SCOPES):
        file = call.places.file
        return [f"{file}: names nothing, so nothing goes with --state absent. The value all names everything"]
    variables = " or ".join(call.places.part(PARTS[scope]) for scope in SCOPES if scope in call.scopes)
    remedy = "{} names the default networks" if call.scopes == {DEFAULT_NETWORKS} else "all names everything"
    return [f"state is absent, and {variables} names nothing, so nothing goes. The value {remedy}"]


def refuse_leaving(before: Declared, after: Declared) -> None:
    """
    Raises:
        ModelError: networks go while containers are on them.
    """
    problems = ProblemCollector()
    for key in before.networks.keys() - after.networks.keys():
        names = {key, network_name(key, before.networks[key])}
        there = names.intersection(network_name(*network) for network in after.networks.items())
        on_it = [container for container, words in after.containers.items() if names & _networks_of(words)]
        if on_it and not there:
            remedy = "let them go before, or put them on another network"
            path = Places().of(before.networks[key], f"networks.{key}")
            problems.add(path, f"{_EARLIER} cannot go while containers are on it: {', '.join(on_it)}: {remedy}")
    problems.raise_if_any()


def _networks_of(words: Any) -> FrozenSet[str]:
    """The names by which a container's words call its networks."""
    if not isinstance(words, Mapping):
        return frozenset()
    networks = words.get("networks")
    named = networks if isinstance(networks, (Mapping, list, tuple)) else [words.get("network_mode")]
    return frozenset(str(name) for name in named)


def _foreseen(before: Words, call: Call, given: Optional[Words]) -> Words:
    """What other calls of the same play will make of entries that are not in the scope of this one."""
    return before if given is None else _entries(before, given, call.state)


def _with_scope(before: Declared, call: Call, scope: str, state: str) -> Declared:
    if scope == DEFAULT_NETWORKS:
        host = _host(before, call, state)
        return replace(before, host=host, firewall=_firewall(before, host))
    if scope == DOCKER_USER:
        firewall = _firewall(before, before.host or call.host)
        return replace(before, docker_user=_rules(before, call, state), firewall=firewall)
    if scope == BOOT:
        return replace(before, boot=_boot(before, call, state))
    part = PARTS[scope]
    given = call.named(scope) if state == ABSENT else getattr(call, part)
    entries = _entries(getattr(before, part), given, state)
    return replace(before, networks=entries) if scope == USER_NETWORKS else replace(before, containers=entries)


def _host(before: Declared, call: Call, state: str) -> Optional[Words]:
    """The default networks have no names: `host` stands for them, whatever it says."""
    if state == ABSENT:
        return None if call.names(DEFAULT_NETWORKS) else before.host
    return call.host if call.host is not None else before.host or {}


def _rules(before: Declared, call: Call, state: str) -> Optional[List[Any]]:
    """Rules have no names: a list stands for all that are declared."""
    if state == ABSENT:
        return None if call.names(DOCKER_USER) else before.docker_user
    return before.docker_user if call.docker_user is None else call.docker_user or None


def _boot(before: Declared, call: Call, state: str) -> Optional[Words]:
    """What brings the networks back has no names either."""
    if state == ABSENT:
        return None if call.names(BOOT) else before.boot
    return before.boot if call.boot is None else call.boot


def _firewall(before: Declared, host: Optional[Words]) -> Words:
    return before.firewall if host is None else {key: host[key] for key in _FIREWALL_WORDS if key in host}


def _entries(before: Words, given: Any, state: str) -> Words:
    if given == ALL:
        return {} if state == ABSENT else before
    named = given or {}
    if state == PRESENT:
        return {**before, **named}
    if state == EXACT:
        return before if given is None else named
    # What goes may be called by its name on the host, where that is nobody's key.
    names = {real_name(*entry) for entry in named.items() if entry[0] not in before}
    return {key: words for key, words in before.items() if key not in named and real_name(key, words) not in names}


def real_name(key: str, words: Any) -> str:
    """The name on the host of the network or container that is declared by this key."""
    if isinstance(words, Mapping) and words.get("container_name"):
        return str(words["container_name"])
    return network_name(key, words)
