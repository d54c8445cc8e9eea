# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The zone of containers in firewalld, and which bridges are in it, by firewalld's own D-Bus interface."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Dict, FrozenSet, Iterator, Mapping, Optional, Sequence

from ...diff import Change
from ...errors import ApplyError
from ...kernel.system_bus import BusError, SystemBus
from ...kernel.system_bus import path as bus_path
from ...state import Firewalld, Key, Object, State, Zones, state_of
from ...third_party.accepts import ZONE
from ..resource import Observation, Resource
from . import firewalld_stopped

_NAME = "org.fedoraproject.FirewallD1"
_RUNTIME, _PERMANENT = "/org/fedoraproject/FirewallD1", "/org/fedoraproject/FirewallD1/config"
_EXISTED_BEFORE = "stood before"


def is_running() -> bool:
    if not bus_path():
        return False
    try:
        with SystemBus() as bus:
            return bus.has(_NAME)
    except (OSError, BusError):
        return False


class FirewalldResource(Resource):
    """Observes and changes `Firewalld`. A zone or policy that existed before wharf.network (`prior`) stays as it is."""

    kinds = frozenset(["firewalld"])

    def __init__(self, prior: Mapping[str, str]) -> None:
        self._prior = prior

    def observe(self, desired: State, owned: FrozenSet[Key]) -> Observation:
        wanted = [thing for thing in desired.values() if isinstance(thing, Firewalld)]
        gone = [Firewalld.named(name) for kind, name in sorted(owned - desired.keys()) if kind == "firewalld"]
        if not wanted and not gone:
            return Observation({}, desired)
        if not is_running():
            return Observation(state_of([*self._kept(wanted, gone)]), desired)
        with _connected() as firewalld:
            observed = [self._observed(firewalld, thing, thing in wanted, owned) for thing in [*wanted, *gone]]
            prior = _prior(firewalld, [thing for thing in wanted if thing.key not in owned])
        return Observation(state_of([thing for thing in observed if thing]), desired, prior=prior)

    def _kept(self, wanted: Sequence[Firewalld], gone: Sequence[Firewalld]) -> Iterator[Object]:
        """What the files of firewalld have while it does not run; of a zone or policy only whether it exists."""
        inside = firewalld_stopped.interfaces(ZONE)
        for thing in [*wanted, *gone]:
            if thing.what == "interface":
                if thing.own_name in inside:
                    yield replace(thing, settings=(("runtime", ZONE), ("permanent", ZONE)))
            elif thing in wanted:
                yield thing
            elif _prior_key(thing.name) not in self._prior and firewalld_stopped.has(thing.what, thing.own_name):
                is_used = thing.what == "zone" and inside - {each.own_name for each in gone}
                yield from () if is_used else (thing,)

    def _observed(
        self, firewalld: _Connection, thing: Firewalld, is_wanted: bool, owned: FrozenSet[Key]
    ) -> Optional[Object]:
        if thing.what == "interface":
            name = thing.own_name
            zones = (("runtime", firewalld.zone_now(name)), ("permanent", firewalld.zone_kept(name)))
            return replace(thing, settings=zones) if any(zone for _when, zone in zones) else None
        settings = firewalld.group(thing)
        if settings is None:
            return None
        if thing.key not in owned or _prior_key(thing.name) in self._prior:
            return thing if is_wanted else None
        managed = {Firewalld.named(name).own_name for _kind, name in owned}
        if not is_wanted and {*settings.get("interfaces", ())} - managed:
            # By now it has third-party interfaces, too.
            return None
        return replace(thing, settings=tuple((key, settings[key]) for key in _SETTINGS[thing.what]))

    def apply(self, changes: Sequence[Change]) -> Mapping[Key, str]:
        """Zones are made before what refers to them. Then firewalld reads its files anew, as after its own tools."""
        if not is_running():
            _apply_stopped(changes)
            return {}
        with _connected() as firewalld:
            groups = [change for change in changes if _subject(change).what != "interface"]
            interfaces = [change for change in changes if change not in groups]
            going = [change for change in groups if change.after is None]
            for change in [each for each in groups if each.after]:
                _keep_group(firewalld, change)
            if len(groups) > len(going):
                firewalld.reload()
            for change in interfaces:
                _put(firewalld, change)
            # A policy names its zone.
            for change in sorted(going, key=lambda each: each.subject.name):
                firewalld.forget(_subject(change))
            if going:
                firewalld.reload()
        return {}


def _prior(firewalld: _Connection, new: Sequence[Firewalld]) -> Dict[str, str]:
    """The zones and policies among these that exist already."""
    return {
        _prior_key(thing.name): _EXISTED_BEFORE
        for thing in new
        if thing.what != "interface" and firewalld.group(thing) is not None
    }


def _apply_stopped(changes: Sequence[Change]) -> None:
    # Interfaces, then the policy, then the zone.
    for change in sorted(changes, key=lambda each: each.subject.name):
        thing = _subject(change)
        if change.after is None and thing.what != "interface":
            firewalld_stopped.forget(thing.what, thing.own_name)
        elif change.after is None:
            firewalld_stopped.remove_interface(ZONE, thing.own_name)
        else:
            firewalld_stopped.add_interface(ZONE, thing.own_name)


_SETTINGS = {"zone": ("target",), "policy": ("target", "from", "to")}


def _prior_key(name: str) -> str:
    return f"firewalld {name}"


def _keep_group(firewalld: _Connection, change: Change) -> None:
    thing = _subject(change)
    settings = dict(_settings(change.after))
    if thing.what == "zone" and change.before is not None:
        firewalld.set_target(thing.own_name, settings["target"])
    elif thing.what == "zone":
        firewalld.add_zone(thing.own_name, settings)
    else:
        if change.before is not None:
            firewalld.forget(thing)
        firewalld.add_policy(thing.own_name, settings)


def _put(firewalld: _Connection, change: Change) -> None:
    """An interface into its zones, or out of them."""
    name = _subject(change).own_name
    wanted = dict(_settings(change.after))
    zone = firewalld.zone_kept(name)
    if zone != wanted.get("permanent", ""):
        firewalld.move_kept(name, zone, wanted.get("permanent", ""))
    # Reading its files anew, firewalld may have moved it.
    zone = firewalld.zone_now(name)
    if zone != wanted.get("runtime", ""):
        firewalld.move_now(name, zone, wanted.get("runtime", ""))


def _subject(change: Change) -> Firewalld:
    if not isinstance(change.subject, Firewalld):
        raise TypeError(change.subject.kind)
    return change.subject


def _settings(thing: Optional[Object]) -> Any:
    return thing.settings if isinstance(thing, Firewalld) else ()


@contextmanager
def _connected() -> Iterator[_Connection]:
    """
    Raises:
        ApplyError: firewalld refused, or is gone.
    """
    try:
        with SystemBus() as bus:
            yield _Connection(bus)
    except (OSError, BusError) as error:
        raise ApplyError(f"firewalld: {error}") from error


class _Connection:
    """firewalld's interface (its manual firewalld.dbus(5)), as far as it is needed here."""

    def __init__(self, bus: SystemBus) -> None:
        self._bus = bus

    def _now(self, part: str, member: str, *values: str) -> Any:
        return self._bus.call(_NAME, _RUNTIME, f"{_NAME}{part}", member, "s" * len(values), *values)

    def _kept(self, member: str, *values: str) -> Any:
        return self._bus.call(_NAME, _PERMANENT, f"{_NAME}.config", member, "s" * len(values), *values)

    def _kept_group(self, what: str, name: str, member: str, *values: str) -> Any:
        path = self._kept(f"get{what.title()}ByName", name)
        return self._bus.call(_NAME, path, f"{_NAME}.config.{what}", member, "s" * len(values), *values)

    def reload(self) -> None:
        self._now("", "reload")

    def zone_now(self, interface: str) -> str:
        return str(self._now(".zone", "getZoneOfInterface", interface))

    def zone_kept(self, interface: str) -> str:
        return str(self._kept("getZoneOfInterface", interface))

    def group(self, thing: Firewalld) -> Optional[Dict[str, Any]]:
        """The settings of a zone or policy; None where there is none of this name."""
        return self._zone(thing.own_name) if thing.what == "zone" else self._policy(thing.own_name)

    def _zone(self, name: str) -> Optional[Dict[str, Any]]:
        if name not in self._kept("getZoneNames"):
            return None
        settings = self._kept_group("zone", name, "getSettings2")
        return {"target": settings.get("target", "default"), "interfaces": settings.get("interfaces", [])}

    def _policy(self, name: str) -> Optional[Dict[str, Any]]:
        if name not in self._kept("getPolicyNames"):
            return None
        settings = self._kept_group("policy", name, "getSettings")
        ways = {"from": settings.get("ingress_zones", []), "to": settings.get("egress_zones", [])}
        zones = {key: Zones(tuple(names)) for key, names in ways.items()}
        return {"target": settings.get("target", "CONTINUE"), **zones}

    def add_zone(self, name: str, settings: Mapping[str, Any]) -> None:
        words = {"short": ("s", name), "target": ("s", settings["target"])}
        self._bus.call(_NAME, _PERMANENT, f"{_NAME}.config", "addZone2", "sa{sv}", name, words)

    def set_target(self, zone: str, target: str) -> None:
        self._kept_group("zone", zone, "setTarget", target)

    def add_policy(self, name: str, settings: Mapping[str, Any]) -> None:
        words: Dict[str, Any] = {"short": ("s", name), "target": ("s", settings["target"])}
        words["ingress_zones"] = ("as", [*settings["from"].names])
        words["egress_zones"] = ("as", [*settings["to"].names])
        self._bus.call(_NAME, _PERMANENT, f"{_NAME}.config", "addPolicy", "sa{sv}", name, words)

    def forget(self, thing: Firewalld) -> None:
        self._kept_group(thing.what, thing.own_name, "remove")

    def move_kept(self, interface: str, before: str, after: str) -> None:
        if before:
            self._kept_group("zone", before, "removeInterface", interface)
        if after:
            self._kept_group("zone", after, "addInterface", interface)

    def move_now(self, interface: str, before: str, after: str) -> None:
        if after:
            self._now(".zone", "changeZoneOfInterface", after, interface)
        else:
            self._now(".zone", "removeInterface", before, interface)
