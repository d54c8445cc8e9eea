# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Does what a remedy of `wharf explain` says, as its reader would, to a declaration and to the question."""

from __future__ import annotations

import copy
import re
from typing import Any

import yaml

_OPTION = re.compile(r"(leave out )?`([^`…]*: [^`…]*)`(?:, not network_mode,)? in wharf_([\w.-]+)")
_MAPPING = re.compile(r"`([\d:]+(?:/\w+)?)` in wharf_containers\.(\w+)\.ports\[(\d+)\]")
_CLIENT = re.compile(r"add (\S+) to `x-wharf: {allow_from: \[…\]}` in wharf_containers\.(\w+)\.ports\[(\d+)\]")
_DRIVER_OPTION = re.compile(r"another (com\.docker\.\S+) in wharf_networks\.(\w+)")
_RULE = re.compile(r"change or remove the rule at wharf_docker_user\[(\d+)\]")
_NETWORK = re.compile(
    r"to a network(?: with (IPv6))? that is not internal, "
    r"by `networks`(?:, not network_mode,)? in wharf_containers\.(\w+)"
)
_INSTEAD = re.compile(r"use (\S+) instead of ::1")
_USE = re.compile(r"use ([^ ,]+)")


def follow(remedy: str, words: dict[str, Any], target: str) -> tuple[dict[str, Any], str] | None:
    """The declaration and TO afterwards; None if the remedy is nothing that a declaration or a question has."""
    if ":PORT" in remedy:
        return None
    words = copy.deepcopy(words)
    is_changed = False
    for left_out, text, path in _OPTION.findall(remedy):
        at = _at(words, path.split("."))
        for key, value in yaml.safe_load(text).items():
            _set(at, key, None if left_out else value)
            is_changed = True
    for text, container, index in _MAPPING.findall(remedy):
        words["containers"][container]["ports"][int(index)] = text
        is_changed = True
    for client, container, index in _CLIENT.findall(remedy):
        words["containers"][container]["ports"][int(index)]["x-wharf"]["allow_from"].append(client)
        is_changed = True
    for key, network in _DRIVER_OPTION.findall(remedy):
        del words["networks"][network]["driver_opts"][key]
        is_changed = True
    for index in _RULE.findall(remedy):
        del words["docker_user"][int(index)]
        is_changed = True
    for family, container in _NETWORK.findall(remedy):
        at = _at(words, ["containers", container])
        _set(at, "networks", [*at.get("networks", []), _outer(words, bool(family))])
        is_changed = True
    instead, used = _INSTEAD.search(remedy), _USE.search(remedy)
    if instead:
        return words, target.replace("[::1]", instead[1])
    if used:
        return words, used[1]
    return (words, target) if is_changed else None


def _at(words: dict[str, Any], path: list[str]) -> dict[str, Any]:
    for key in path:
        words[key] = words.get(key) or {}
        words = words[key]
    return words


def _set(at: dict[str, Any], key: str, value: Any) -> None:
    if key.startswith("com.docker.") or key in ("macvlan_mode", "ipvlan_flag"):
        at, value = at.setdefault("driver_opts", {}), str(value).lower()
    if value is None:
        del at[key]
    elif key == "ports":
        at[key] = [*at.get(key, []), *value]
    elif key == "networks":
        at.pop("network_mode", None)
        at[key] = {name: (at.get(key) or {}).get(name) for name in value} if isinstance(at.get(key), dict) else value
    elif isinstance(value, dict):
        at[key] = {**(at.get(key) or {}), **value}
    else:
        at[key] = value


def _outer(words: dict[str, Any], with_ipv6: bool) -> str:
    """The first network that is not internal, or the first one of those with IPv6."""
    return next(
        name
        for name, network in words["networks"].items()
        if not network.get("internal") and (network.get("enable_ipv6") or not with_ipv6)
    )
