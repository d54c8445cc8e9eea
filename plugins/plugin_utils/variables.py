# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The variables of the roles and playbooks, and the values that each can have.

An empty value, and a text of white space only as surveys of AWX give it, counts as not given.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

from ansible.module_utils.parsing.convert_bool import boolean

from ..module_utils.engine.declaration.declared import (
    CONFIRM_RANGE,
    METRICS_FILE,
    METRICS_WITHOUT_SERVICES,
    PRESENT,
    STATES,
    is_metrics_file,
    is_time_to_confirm,
)
from ..module_utils.engine.declaration.places import Places
from ..module_utils.engine.declaration.section import flag, list_of, one_line, whole_section
from ..module_utils.engine.errors import ModelError, ProblemCollector
from ..module_utils.engine.state import RUNTIMES
from .declaration import DECLARING as OPTIONS_THAT_DECLARE
from .declaration import NETNS, from_text, is_blank, read_parts

# Each of these says what a host is to have, or which of it is to go. The modules of the layers read them.
DECLARING = tuple(f"wharf_{option}" for option in OPTIONS_THAT_DECLARE)

_PREFIX = "wharf_"
_LIMIT = (
    "is not a variable of wharf.network: did you mean wharf_host? To choose hosts, use --limit, the limit of AWX, or a "
    "play of your own"
)
_NOT_EXTRA = (
    "is read before the variables of any host, so only extra variables set it: -e wharf_serial=…, or a survey of AWX"
)


def refuse_unknown(variables: Collection[str], extra: Collection[str]) -> None:
    """
    Args:
        variables: the names of all variables of a host.
        extra: those of them that are set as extra variables.

    Raises:
        ModelError: with the variables that begin with `wharf_`, or nearly so, and are not known.
    """
    problems = ProblemCollector()
    for name in sorted(variables):
        if name == "wharf_hosts":
            problems.add(name, _LIMIT)
        elif name == "wharf_serial" and name not in extra:
            problems.add(name, _NOT_EXTRA)
        elif name not in KNOWN:
            _refuse_if_meant(name, problems)
    problems.raise_if_any()


def _refuse_if_meant(name: str, problems: ProblemCollector) -> None:
    has_prefix = name.startswith(_PREFIX)
    if not has_prefix and difflib.SequenceMatcher(None, name[: len(_PREFIX)].lower(), _PREFIX).ratio() < 0.8:
        return
    near = difflib.get_close_matches(name.lower(), KNOWN, n=1, cutoff=0.6 if has_prefix else 0.9)
    hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(sorted(KNOWN))}"
    if has_prefix or near:
        problems.add(name, f"is not a variable of wharf.network: {hint}")


def read_settings(given: Mapping[str, Any], hosts: Callable[[list[str]], list[str]]) -> dict[str, Any]:
    """The values of variables that are settings of a run and declare nothing, by name without prefix, with defaults.

    Args:
        given: the variables of a host by their names.
        hosts: gives the hosts of the inventory that match patterns.

    Raises:
        ModelError: with all problems.
    """
    problems = ProblemCollector()
    settings: dict[str, Any] = {}
    for name, (read, default) in _SETTINGS.items():
        setting = name.removeprefix(_PREFIX)
        if default is not None:
            settings[setting] = default
        if not is_blank(given.get(name)):
            with problems.collect():
                settings[setting] = read(given[name], name)
    patterns = settings["verify_from"]
    settings["verify_from"] = hosts(patterns)
    for each in patterns:
        # Patterns that exclude hosts (!) or intersect with others (&) must match hosts, too.
        if not hosts([each.lstrip("!&")]):
            problems.add("wharf_verify_from", f'"{each}": matches no host of the inventory')
    if patterns and not settings["verify_from"] and not problems.problems:
        problems.add("wharf_verify_from", f'"{",".join(patterns)}": leaves no host of the inventory')
    if settings["confirm_verify"] and "confirm" not in settings and is_blank(given.get("wharf_confirm")):
        problems.add("wharf_confirm_verify", "is for changes that are to be confirmed: set wharf_confirm as well")
    if "boot_metrics" in settings and settings.get("boot_services") is False:
        problems.add("wharf_boot_metrics", METRICS_WITHOUT_SERVICES)
    problems.raise_if_any()
    return settings


def read_declaring(given: Mapping[str, Any]) -> list[str]:
    """The names of the variables that are given and declare something. Compose files are not read.

    Args:
        given: the variables of a host by their names.

    Raises:
        ModelError: with those of a wrong type.
    """
    problems = ProblemCollector()
    options = {name.removeprefix(_PREFIX): value for name, value in given.items()}
    state = options.get("state")
    options["state"] = state.strip() if isinstance(state, str) else state
    read = read_parts(options, Places(), problems)
    with problems.collect():
        read["compose_files"] = from_text(options.get("compose_files"), "wharf_compose_files")
    problems.raise_if_any()
    return [f"{_PREFIX}{option}" for option in OPTIONS_THAT_DECLARE if read[option] is not None]


def _choice(*choices: str) -> Callable[[Any, str], str]:
    def read(value: Any, path: str) -> str:
        text = str(value).strip()
        if text not in choices:
            near = difflib.get_close_matches(text, choices, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise _wrong(path, value, f"must be one of {', '.join(choices)}{hint}")
        return text

    return read


def _boolean(value: Any, path: str) -> bool:
    try:
        return bool(boolean(value.strip() if isinstance(value, str) else value))
    except TypeError:
        raise _wrong(path, value, "must be true or false") from None


def _seconds(value: Any, path: str) -> float:
    try:
        seconds = float(value)
    except (OverflowError, TypeError, ValueError):
        seconds = 0
    if isinstance(value, bool) or not 0 < seconds < float("inf"):
        raise _wrong(path, value, "must be a number of seconds above 0")
    return seconds


def _time_to_confirm(value: Any, path: str) -> int:
    text = str(value).strip()
    if not re.fullmatch(r"[0-9]{1,9}", text) or not is_time_to_confirm(int(text)):
        raise _wrong(path, value, CONFIRM_RANGE)
    return int(text)


def _metrics_file(value: Any, path: str) -> str:
    if not is_metrics_file(str(value).strip()):
        raise _wrong(path, value, METRICS_FILE)
    return str(value).strip()


def _path(value: Any, path: str) -> str:
    found = value.strip() if isinstance(value, str) else ""
    if found.rpartition("/")[2] in ("", ".", "..", "~"):
        raise _wrong(path, value, "must be the path of a file on the controller")
    return found


def _serial(value: Any, path: str) -> list[str]:
    sizes = [str(size).strip() for item in _as_list(value) for size in str(item).split(",")]
    wrong = [size for size in sizes if not re.fullmatch(r"0*[1-9][0-9]{0,8}%?", size)]
    if wrong:
        raise _wrong(
            path, wrong[0], "must be a number of hosts above 0, a whole percentage such as 20%, or a list of these"
        )
    return sizes


def _patterns(value: Any, path: str) -> list[str]:
    from ansible.inventory.manager import split_host_pattern

    if any(not isinstance(item, str) for item in _as_list(value)):
        raise _wrong(path, value, "must be a pattern of hosts, or a list of these")
    return _some([pattern for pattern in split_host_pattern(_as_list(value)) if pattern], value, path)


def _hosts(value: Any, path: str) -> list[str]:
    """Addresses, with or without ports: a list, or the text of one."""
    from ..module_utils.engine.reachability.parse_probes import parse_hosts

    hosts = _some(_texts(value), value, path)
    parse_hosts(hosts, path)
    return hosts


def _some(found: list[str], value: Any, path: str) -> list[str]:
    """The items found in a value, which must be some unless the value is an empty list."""
    if not found and value not in ([], ()):
        raise _wrong(path, value, "names no host: leave the variable out, or name one")
    return found


def _overlay(value: Any, path: str) -> dict[str, Any]:
    """What the hosts of an overlay network know of each other. Only this host's own is read here."""
    from ..module_utils.engine.declaration.parse_overlay import check_member

    given = from_text(value, path)
    check_member(given, path)
    return dict(given)


def _awx_setup(value: Any, path: str) -> dict[str, Any]:
    """The settings of `awx_setup.yml` for an AWX."""
    with whole_section(from_text(value, path), path) as section:
        given = {key: section.take(key, one_line, default) for key, default in _AWX_DEFAULTS.items()}
        become = section.take("become", flag, True)
        credentials = list(section.take_all("credentials", list_of(one_line)))
    if not given["inventory"]:
        raise ModelError.at(f"{path}.inventory", "is missing: name the inventory in AWX that has the hosts")
    folder = given.pop("folder")
    path_of_playbooks = "" if folder == "." else f"{folder.rstrip('/')}/"
    return {**given, "become": become, "credentials": credentials, "path": path_of_playbooks}


def _texts(value: Any) -> list[str]:
    if not isinstance(value, str):
        return [str(item) for item in _as_list(value)]
    lines = [line.strip().removeprefix("- ") for line in value.splitlines()]
    return [text for line in lines for text in re.split(r"[,\s]+", line) if text]


def _probes(value: Any, path: str) -> list[Any]:
    probes = from_text(value, path)
    if not isinstance(probes, list) or any(not isinstance(probe, Mapping) for probe in probes):
        raise ModelError.at(path, "must be a list of probes of wharf.network.probe, or its JSON or YAML text")
    return probes


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _wrong(path: str, value: Any, message: str) -> ModelError:
    return ModelError.at(path, f'"{value}": {message}')


# An empty text: not given.
_AWX_DEFAULTS = {
    "inventory": "",
    "organization": "Default",
    "project": "wharf.network",
    "url": "https://github.com/wharf/network",
    "branch": "",
    "source_credential": "",
    "folder": "playbooks",
    "execution_environment": "",
    "prefix": "wharf",
}

# The reader of each variable that is a setting, and its default, None for none. Which services there are by default
# depends on the host.
_SETTINGS: dict[str, tuple[Callable[[Any, str], Any], Any]] = {
    "wharf_awx_setup": (_awx_setup, None),
    "wharf_overlay": (_overlay, None),
    "wharf_recover": (_boolean, False),
    "wharf_boot": (_boolean, True),
    "wharf_boot_metrics": (_metrics_file, None),
    "wharf_boot_services": (_boolean, None),
    "wharf_confirm": (_time_to_confirm, None),
    "wharf_confirm_verify": (_boolean, False),
    "wharf_drift_fail_on": (_choice("nothing", "drift", "changes"), "nothing"),
    "wharf_report_file": (_path, "wharf-report.html"),
    "wharf_report_verify": (_boolean, False),
    "wharf_runtime": (_choice(NETNS, *RUNTIMES), NETNS),
    "wharf_serial": (_serial, None),
    "wharf_state": (_choice(*STATES), PRESENT),
    "wharf_verify_addresses": (_hosts, []),
    "wharf_verify_beyond": (_hosts, []),
    "wharf_verify_fail_on": (_choice("nothing", "mismatch", "unproven"), "mismatch"),
    "wharf_verify_from": (_patterns, []),
    "wharf_verify_probes": (_probes, []),
    "wharf_verify_timeout": (_seconds, 1.0),
}

KNOWN = frozenset([*DECLARING, *_SETTINGS])
