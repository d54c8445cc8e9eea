# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Merges a later Compose file over an earlier one, as `docker compose -f a.yml -f b.yml` does.

Maps are merged, lists appended, other values replaced, except for the keys named here; a null changes nothing. The
rules are those of compose-go v2 (`override/merge.go`) and of https://docs.docker.com/reference/compose-file/merge/, for
the keys about networking.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..module_utils.engine.errors import ModelError, ProblemCollector
from .compose_document import Raw
from .interpolation import LEFT_OUT
from .yaml12 import Override, Reset, without_tags


@dataclass(frozen=True)
class _Place:
    """The place of values that are merged, and where problems are reported."""

    path: str
    problems: ProblemCollector

    def below(self, key: str, joint: str) -> _Place:
        return _Place(f"{self.path}{joint}{key}", self.problems)


Merger = Callable[[object, object, _Place], object]


def merge_documents(base: Raw, over: Raw, path: str, problems: ProblemCollector) -> Raw:
    """The later file `path`, merged over the earlier one. The result has no `Reset` or `Override`.

    Values of types that cannot be merged are reported in `problems`, and the earlier one stays.
    """
    mergers = {"services": _merge_services, "networks": _merge_networks}
    merged = _merge_maps(base, over, _Place(path, problems), mergers, ": ")
    return {key: without_tags(value) for key, value in merged.items()}


def merge_service(base: Raw, over: Raw, path: str, problems: ProblemCollector) -> Raw:
    """A service merged over its base. The result has no `Reset` or `Override`.

    Values of types that cannot be merged are reported in `problems`, and that of the base stays.
    """
    merged = _merge_maps(base, over, _Place(path, problems), _SERVICE_MERGERS)
    return {key: without_tags(value) for key, value in merged.items()}


def _merge_maps(base: Raw, over: Raw, place: _Place, mergers: Mapping[str, Merger], joint: str = ".") -> Raw:
    merged = dict(base)
    for key, value in over.items():
        before = merged.get(key)
        if isinstance(value, Reset):
            merged.pop(key, None)
        elif isinstance(value, Override):
            merged[key] = value.value
        elif before is None:
            merged[key] = _readable(value)
        else:
            merger = mergers.get(key) or mergers.get("*") or _merge_any
            with place.problems.collect():
                merged[key] = merger(_readable(before), _readable(value), place.below(key, joint))
    return merged


def _merge_any(before: object, value: object, place: _Place) -> object:
    if value is None:
        return before
    if isinstance(before, dict) and isinstance(value, dict):
        return _merge_maps(before, value, place, {})
    if isinstance(before, list) and isinstance(value, list):
        return before + value
    if isinstance(before, (dict, list)) or isinstance(value, (dict, list)):
        raise _cannot_merge(before, value, place.path)
    return value


def _readable(value: object) -> object:
    """A list without the items that could not be read. Their positions do not matter once lists are appended."""
    return [item for item in value if item is not LEFT_OUT] if isinstance(value, list) else value


def _cannot_merge(before: object, value: object, path: str) -> ModelError:
    kinds = f"{_kind(value)} cannot change {_kind(before)}"
    return ModelError.at(path, f"{kinds}; write it in the same form, or tag it !override")


def _kind(value: object) -> str:
    if isinstance(value, dict):
        return "a map"
    return "a list" if isinstance(value, list) else "a single value"


def _merge_each(mergers: Mapping[str, Merger]) -> Merger:
    """A merger of maps that uses `mergers` for their values, by key."""

    def merge_each(before: object, value: object, place: _Place) -> object:
        if isinstance(before, dict) and isinstance(value, dict):
            return _merge_maps(before, value, place, mergers)
        return _merge_any(before, value, place)

    return merge_each


def _merge_attachments(before: object, value: object, place: _Place) -> object:
    return _merge_any(_attachments(before), _attachments(value), place)


def _attachments(networks: object) -> object:
    """A service's `networks` in the form of a map."""
    if isinstance(networks, list) and all(isinstance(name, str) for name in networks):
        return dict.fromkeys(networks)
    return networks


def _merge_sequences(before: object, value: object, _place: _Place) -> object:
    return [*_sequence(before), *_sequence(value)]


def _sequence(value: object) -> list[object]:
    """A list as it is, a map as `key=value` texts, a single value as a list of one."""
    if isinstance(value, Mapping):
        return [text for key, item in value.items() for text in _pair_texts(key, item)]
    if isinstance(value, list):
        return value
    return [] if value is None else [value]


def _pair_texts(key: str, value: object) -> list[str]:
    if value is None:
        return [key]
    # One host name may have several addresses: `extra_hosts: {db: [10.0.0.5, 10.0.0.6]}`
    return [f"{key}={item}" for item in (value if isinstance(value, list) else [value])]


def _merge_extra_hosts(before: object, value: object, _place: _Place) -> object:
    """Append, since a host name may have several addresses; only the same address again is a repeat."""
    tagged = _tagged_keys(value)
    merged = [entry for entry in _sequence(before) if _extra_host(entry)[0] not in tagged]
    known = {_extra_host(entry) for entry in merged}
    return [*merged, *(entry for entry in _sequence(without_tags(value)) if _extra_host(entry) not in known)]


def _tagged_keys(value: object) -> set[str]:
    if not isinstance(value, dict):
        return set()
    return {key for key, item in value.items() if isinstance(item, (Reset, Override))}


def _extra_host(entry: object) -> tuple[str, str]:
    """`host:address` and `host=address` say the same; an IPv6 address has colons, a host name has none."""
    text = str(entry)
    host, _joint, address = text.partition("=" if "=" in text else ":")
    return host, address


def _merge_pairs(before: object, value: object, place: _Place) -> object:
    return {**_pairs(before, place), **_pairs(value, place)}


def _pairs(value: object, place: _Place) -> dict[str, object]:
    if isinstance(value, dict):
        return value
    if value is None:
        return {}
    if isinstance(value, list) and all(isinstance(text, str) and "=" in text for text in value):
        return {key: item for key, _equals, item in (text.partition("=") for text in value)}
    raise ModelError.at(place.path, "must be a map, or a list of KEY=VALUE")


def _merge_address_pools(before: object, value: object, place: _Place) -> object:
    """The later file determines the subnets; other keys of a subnet are merged over those of the earlier file.

    compose-go has a bug here: if several subnets are changed at once, some of them get the gateway of another one.
    """
    if not isinstance(before, list) or not isinstance(value, list):
        return _merge_any(before, value, place)
    known = {str(pool.get("subnet")): pool for pool in before if isinstance(pool, dict)}
    return [
        _merge_any(known[str(pool.get("subnet"))], pool, place)
        if isinstance(pool, dict) and str(pool.get("subnet")) in known
        else pool
        for pool in value
    ]


_SERVICE_MERGERS: Mapping[str, Merger] = {
    "networks": _merge_attachments,
    "dns": _merge_sequences,
    "dns_opt": _merge_sequences,
    "dns_search": _merge_sequences,
    "extra_hosts": _merge_extra_hosts,
    "sysctls": _merge_pairs,
}
_merge_services = _merge_each({"*": _merge_each(_SERVICE_MERGERS)})
_merge_networks = _merge_each(
    {"*": _merge_each({"ipam": _merge_each({"config": _merge_address_pools}), "labels": _merge_pairs})}
)
