# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is declared on a host, and how one call changes that."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Any, FrozenSet, Iterable, List, Mapping, Optional

from ..errors import ModelError, Problem, ProblemCollector, is_within
from ..state import DEFAULT_NETWORK
from .parse_container import container_name
from .parse_network import check_reference, is_external, network_name
from .places import SOURCE, Places
from .section import Raw, public_key
from .vocabulary import without_passed_over

# The parts of a declaration. Each depends on those before it, except the last one, which is independent.
DOCKER_USER = "docker_user"
DEFAULT_NETWORKS = "default_networks"
USER_NETWORKS = "user_networks"
CONTAINERS = "containers"
BOOT = "boot"
SCOPES = (DOCKER_USER, DEFAULT_NETWORKS, USER_NETWORKS, CONTAINERS, BOOT)

_FIREWALL_KEYS = ("firewall-backend", "iptables", "ip6tables")

PRESENT, EXACT, ABSENT = "present", "exact", "absent"
STATES = (PRESENT, EXACT, ABSENT)

# With state absent, instead of entries: everything that was declared of this part.
ALL = "all"
# For entries that a call does not name. Their place in a message may be a file that an earlier run was given.
_EARLIER = "was declared by an earlier run, and"
ALL_WITHOUT_ABSENT = f'"{ALL}": is only for state absent; declare entries by their names'

# Seconds. A new connection may take most of the least of these; a day is too long to leave a host unconfirmed.
CONFIRM_LEAST, CONFIRM_MOST = 10, 86400
CONFIRM_RANGE = f"must be a whole number of seconds from {CONFIRM_LEAST} to {CONFIRM_MOST}, which is a day"

# Who makes a run: a play or module, `wharf follow`, the service `wharf`, somebody by hand.
PLAY, FOLLOW, AT_BOOT, BY_HAND = "play", "follow", "boot", "by hand"
# And what a run is that brings back what was declared before, whoever makes it.
REVERT = "revert"
ORIGINS = (PLAY, FOLLOW, AT_BOOT, REVERT, BY_HAND)

METRICS_FILE = (
    "must be the path of a file whose name ends with .prom, such as /var/lib/prometheus/node-exporter/wharf.prom, of "
    "letters, digits, _, ., + and - only"
)
METRICS_WITHOUT_SERVICES = "it is the service wharf-follow that writes metrics, which services: false leaves out"

# The option that each scope is given by.
PARTS = {
    DOCKER_USER: "docker_user",
    DEFAULT_NETWORKS: "host",
    USER_NETWORKS: "networks",
    CONTAINERS: "containers",
    BOOT: "boot",
}


@dataclass(frozen=True)
class Declared:
    """The declaration as it was given, except for the keys that are passed over.

    `host` is None if the default networks are not declared, `docker_user` if no rules are, and `boot` if nothing
    restores the networks at boot. `firewall` has the host's keys for the firewall backend, which the admin's rules need
    even if the default networks are not declared.
    """

    host: Optional[Raw] = None
    networks: Raw = field(default_factory=dict)
    containers: Raw = field(default_factory=dict)
    docker_user: Optional[List[Any]] = None
    firewall: Raw = field(default_factory=dict)
    boot: Optional[Raw] = None

    def __post_init__(self) -> None:
        # The ledgers of earlier versions have the keys that are passed over.
        for part, raw in without_passed_over(vars(self)).items():
            object.__setattr__(self, part, raw)

    @property
    def is_empty(self) -> bool:
        return self == Declared(firewall=self.firewall)

    @property
    def parts(self) -> List[str]:
        """The scopes of which anything is declared."""
        found = {scope: getattr(self, part) for scope, part in PARTS.items()}
        # The default networks, and what restores them, are declared also without any setting.
        return [scope for scope, raw in found.items() if raw or (raw is not None and scope in (DEFAULT_NETWORKS, BOOT))]


@dataclass(frozen=True)
class Call:
    """The options of one call. None: the option was not given; an empty value names nothing.

    With state absent, ALL instead of entries removes all of a part, and a call without any part removes all of its
    scopes. `scopes` are the parts that the call declares; it may be given others, which only the planner uses.
    `recover`: a lost ledger is recovered from the marks on the host. `repeats`: the call declares nothing, and
    converges the host to what is declared already. `reverts`: it reverts what nobody has confirmed yet. `confirm` is
    for how many seconds after the run its changes may be confirmed before they are reverted; None: they need not be.
    `asks`: DHCP servers of the LAN may be asked for leases.
    `peer_keys` are the public keys of the hosts of encrypted networks, by their names, as far as the play knows them;
    empty, where this is a check, of one that would make its key.
    `origin` is who makes the run, one of `ORIGINS`, and `by` says it in words. `places` names the options in messages.
    """

    host: Optional[Raw] = None
    networks: Optional[Raw] = None
    containers: Optional[Raw] = None
    docker_user: Optional[List[Any]] = None
    boot: Optional[Raw] = None
    state: str = PRESENT
    scopes: FrozenSet[str] = frozenset(SCOPES)
    check: bool = False
    recover: bool = False
    repeats: bool = False
    reverts: bool = False
    confirm: Optional[int] = None
    asks: bool = True
    peer_keys: Mapping[str, str] = field(default_factory=dict)
    origin: str = BY_HAND
    by: str = ""
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
        if self.confirm is not None and not is_time_to_confirm(self.confirm):
            problems.add(self.places.option("confirm"), f'"{self.confirm}": {CONFIRM_RANGE}')
        self._check_peer_keys(problems)
        problems.raise_if_any()
        for part, raw in self.places.marked({part: getattr(self, part) for part in PARTS.values()}).items():
            object.__setattr__(self, part, raw)

    def _check_boot(self, given: Raw, problems: ProblemCollector) -> None:
        for key, value in given.items():
            path = f"{self.places.part(PARTS[BOOT])}.{key}"
            if key not in ("services", "metrics", SOURCE):
                problems.add(path, "unknown key; known here: services, metrics")
            elif key == "services" and not isinstance(value, bool):
                problems.add(path, f'"{value}": must be true or false')
            elif key == "metrics" and not is_metrics_file(value):
                problems.add(path, f'"{value}": {METRICS_FILE}')
            elif key == "metrics" and given.get("services") is False:
                problems.add(path, METRICS_WITHOUT_SERVICES)

    def _check_peer_keys(self, problems: ProblemCollector) -> None:
        for name, key in self.peer_keys.items():
            if key or not self.check:
                with problems.collect():
                    public_key(key, f"{self.places.option('peer_keys')}.{name}")

    @property
    def declares_networks(self) -> bool:
        """Whether the call may change what is declared, but for what restores the networks at boot."""
        return not self.repeats and self.scopes != {BOOT}

    @property
    def declares_rules(self) -> bool:
        """Whether the call declares rules of the admin."""
        return self.docker_user is not None and self.state != ABSENT

    def named(self, scope: str) -> Any:
        """What a call with state absent removes of a scope: the named entries, ALL, or None for nothing."""
        if all(getattr(self, part) is None for part in PARTS.values()):
            return ALL
        return getattr(self, PARTS[scope])

    def names(self, scope: str) -> bool:
        """Whether a call with state absent removes anything of a scope. For `host` and `boot`, an empty value does."""
        named = self.named(scope)
        return named is not None if scope in (DEFAULT_NETWORKS, BOOT) else bool(named)

    def removes_rest(self, scope: str) -> bool:
        """Whether the call removes all entries of a scope that it does not declare itself."""
        if scope not in self.scopes:
            return False
        if self.state == EXACT:
            return getattr(self, PARTS[scope]) is not None
        return self.state == ABSENT and self.named(scope) == ALL

    def depends_on(self, scope: str) -> bool:
        """Whether one of the call's own scopes depends on this one."""
        return any(SCOPES.index(scope) < SCOPES.index(each) for each in self.scopes - {BOOT})


def is_time_to_confirm(seconds: int) -> bool:
    return not isinstance(seconds, bool) and CONFIRM_LEAST <= seconds <= CONFIRM_MOST


def is_metrics_file(path: Any) -> bool:
    return isinstance(path, str) and re.fullmatch(r"(/[\w.+-]+)+\.prom", path, re.ASCII) is not None


def declare(before: Declared, call: Call) -> Declared:
    """What is declared after the call.

    Raises:
        ModelError: the default networks would go while networks or containers are declared, which depend on them; or
            an external entry has keys that belong to the network that it refers to.
    """
    if call.repeats:
        return before
    after = before
    for scope in SCOPES:
        if scope in call.scopes:
            after = _with_scope(after, call, scope, call.state)
        elif call.depends_on(scope) and call.state != ABSENT:
            # Entries of a part that the call's own scopes depend on are declared, too.
            after = _with_scope(after, call, scope, PRESENT)
    if after.host is None and (after.networks or after.containers):
        dependent = ", ".join([*after.networks, *after.containers])
        message = f"the default networks cannot be removed before what is declared on them: {dependent}"
        raise ModelError.at(call.places.option("state"), message)
    return after


def known(declared: Declared, call: Call) -> Declared:
    """What the planner should know: what is declared, and the other entries that a call was given."""
    if call.state == ABSENT:
        return declared
    declares_networks = USER_NETWORKS in call.scopes or call.depends_on(USER_NETWORKS)
    networks, containers, host = declared.networks, declared.containers, declared.host
    # What is outside the call's scopes, other calls of the same play will declare. `declare` has put the call's
    # networks into `declared` already, if it declares them.
    if declares_networks:
        networks = {**(call.networks or {}), **networks}
    else:
        networks = _networks(networks, call, call.networks, call.state)
    if CONTAINERS not in call.scopes:
        containers = _entries(containers, call.containers, call.state)
    if host is None and (networks or containers):
        host = call.host or {}
    return replace(declared, host=host, networks=networks, containers=containers)


def not_given(before: Declared, call: Call) -> FrozenSet[str]:
    """The networks that were declared before, and that this call was not given, by their names on the host."""
    given = call.networks if isinstance(call.networks, Mapping) else {}
    names = {network_name(*network) for network in before.networks.items() if network[0] not in given}
    is_default_given = before.host is None or call.host is not None
    return frozenset(names if is_default_given else {*names, DEFAULT_NETWORK})


def with_earlier(problems: Iterable[Problem], before: Declared, call: Call) -> List[Problem]:
    """The problems, of which those of containers that this call was not given say so."""
    if call.repeats:
        return [*problems]
    given = call.containers if isinstance(call.containers, Mapping) else {}
    earlier = [entry for entry in before.containers.items() if entry[0] not in given]
    places = [call.places.of(raw, f"containers.{key}") for key, raw in earlier]
    return [
        replace(each, message=f"{each.message} (an earlier run declared this container)")
        if any(is_within(each.path, place) for place in places)
        else each
        for each in problems
    ]


def unnamed(before: Declared, call: Call) -> List[str]:
    """Warnings about a call that might be expected to remove entries, but removes none since it names nothing."""
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
        return [f"{file}: names nothing, so --state absent removes nothing. The value all names everything"]
    scopes = [scope for scope in SCOPES if scope in call.scopes]
    given = [scope for scope in scopes if getattr(call, PARTS[scope]) is not None]
    variables = " or ".join(call.places.part(PARTS[scope]) for scope in given or scopes)
    remedy = "{} names the default networks" if call.scopes == {DEFAULT_NETWORKS} else "all names everything"
    return [f"state is absent, and {variables} names nothing, so nothing is removed. The value {remedy}"]


def check_removed_networks(before: Declared, after: Declared) -> None:
    """
    Raises:
        ModelError: networks go while containers are on them.
    """
    problems = ProblemCollector()
    for key in before.networks.keys() - after.networks.keys():
        names = {key, network_name(key, before.networks[key])}
        declared = names.intersection(network_name(*network) for network in after.networks.items())
        on_it = [container for container, raw in after.containers.items() if names & _networks_of(raw)]
        if on_it and not declared:
            remedy = "remove them first, or put them on another network"
            path = Places().of(before.networks[key], f"networks.{key}")
            problems.add(path, f"{_EARLIER} cannot be removed while containers are on it: {', '.join(on_it)}: {remedy}")
    problems.raise_if_any()


def _networks_of(raw: Any) -> FrozenSet[str]:
    """The names that a container's entry has for its networks."""
    if not isinstance(raw, Mapping):
        return frozenset()
    networks = raw.get("networks")
    named = networks if isinstance(networks, (Mapping, list, tuple)) else [raw.get("network_mode")]
    return frozenset(str(name) for name in named)


def _with_scope(before: Declared, call: Call, scope: str, state: str) -> Declared:
    part = PARTS[scope]
    earlier, given = getattr(before, part), getattr(call, part)
    named = call.named(scope) if state == ABSENT else given
    if scope == USER_NETWORKS:
        return replace(before, networks=_networks(earlier, call, named, state))
    if scope == CONTAINERS:
        return replace(before, containers=_entries(earlier, named, state))
    # The others have no entries with names: each is replaced as a whole.
    declared = earlier if given is None else given
    if state == ABSENT:
        declared = None if call.names(scope) else earlier
    if scope == DEFAULT_NETWORKS:
        # They are declared whatever their settings are.
        host = declared if state == ABSENT else declared or {}
        return replace(before, host=host, firewall=_firewall(before, host))
    if scope == DOCKER_USER:
        return replace(before, docker_user=declared or None, firewall=_firewall(before, before.host or call.host))
    return replace(before, boot=declared)


def _firewall(before: Declared, host: Optional[Raw]) -> Raw:
    return before.firewall if host is None else {key: host[key] for key in _FIREWALL_KEYS if key in host}


def _networks(before: Raw, call: Call, given: Any, state: str) -> Raw:
    """The networks after the call, whose external entries neither replace nor remove what they refer to: the network of
    that name that an earlier call declared.

    Raises:
        ModelError: such an entry has other keys.
    """
    if state == EXACT or not isinstance(given, Mapping):
        return _entries(before, given, state)
    external = {key for key, raw in given.items() if is_external(raw)}
    if state == ABSENT:
        left = {key for key in external if not is_external(before.get(key))}
    else:
        left = {key for key in external if _is_declared(key, given[key], before)}
        problems, places = ProblemCollector(), Places()
        for key in sorted(left):
            declared = f"{places.of(before[key], f'networks.{key}')} of an earlier run"
            check_reference(given[key], call.places.of(given[key], f"networks.{key}"), declared, problems)
        problems.raise_if_any()
    return _entries(before, {key: raw for key, raw in given.items() if key not in left}, state)


def _is_declared(key: str, external: Any, before: Raw) -> bool:
    """Whether the network that an external entry refers to has been declared by the same key."""
    if key not in before or is_external(before[key]):
        return False
    return network_name(key, external) == network_name(key, before[key])


def _entries(before: Raw, given: Any, state: str) -> Raw:
    if given == ALL:
        return {} if state == ABSENT else before
    named = given or {}
    if state == PRESENT:
        return {**before, **named}
    if state == EXACT:
        return before if given is None else named
    # An entry to remove may be named by its name on the host, if that is not the key of another entry.
    names = {real_name(*entry) for entry in named.items() if entry[0] not in before}
    return {key: raw for key, raw in before.items() if key not in named and real_name(key, raw) not in names}


def real_name(key: str, raw: Any) -> str:
    """The name on the host of the network or container with this key."""
    return container_name(network_name(key, raw), raw)
