# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What all hosts of an overlay network must declare alike. Each host compares its settings with those of the others.

A host that differs would send where nobody listens, to addresses that another host has, or in clear text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, Iterator, List, Mapping, Sequence, Tuple

from ..errors import Problem, ProblemCollector
from . import section as read
from .drivers import DATA_PATH_PORT, WIREGUARD_PORT
from .section import Section, whole_section
from .slices import LAST_VNI, hashed_vni
from .vocabulary import EXTENSION

VNI_OPTION = "com.docker.network.driver.overlay.vxlanid_list"
_USUAL_SLICE = {4: 24, 6: 64}
AS_SENT = {True: "encrypted", False: "in clear text"}

udp_port = read.number_from(1, 65535, "a UDP port is from 1 to 65535")
_vni = read.number_from(1, LAST_VNI, f"a VXLAN network identifier is one number from 1 to {LAST_VNI}")

# By the key that a member has for it: where a network declares it.
_PLACES = {
    "encrypted": "driver_opts.encrypted",
    "direct": "x-wharf.direct",
    "subnets": "ipam.config",
    "slice": "x-wharf.slice",
    "vxlanid_list": f"driver_opts.{VNI_OPTION}",
    "data_path_port": "x-wharf.data_path_port",
}


@dataclass(frozen=True)
class SharedSettings:
    """`prefixes` are the lengths of slices, by IP family."""

    encrypted: bool
    direct: bool
    subnets: Tuple[read.Subnet, ...]
    prefixes: Dict[int, int]
    vni: int
    port: int

    def by_key(self) -> Dict[str, Any]:
        """As a member has them, in values that JSON has; those which mean something here."""
        found: Dict[str, Any] = {
            "encrypted": self.encrypted,
            "direct": self.direct,
            "subnets": _plain(self.subnets),
            "slice": _plain(self.prefixes),
        }
        if not (self.direct or self.encrypted):
            found["vxlanid_list"] = self.vni
        if not self.direct:
            found["data_path_port"] = self.port
        return found


def parse_shared(network: str, subnets: Sequence[read.Subnet], options: Section, extension: Section) -> SharedSettings:
    """
    Args:
        network: its name.
        options: its `driver_opts`.
        extension: its `x-wharf`.
    """
    encrypted = options.take("encrypted", _encrypted, options.is_blank("encrypted"))
    versions = sorted({each.version for each in subnets})
    given = extension.take_optional("slice", _prefixes(versions)) or {}
    return SharedSettings(
        encrypted,
        extension.take("direct", read.flag, False),
        tuple(subnets),
        {version: given.get(version, _USUAL_SLICE[version]) for version in versions},
        options.take(VNI_OPTION, _vni, hashed_vni(network)),
        extension.take("data_path_port", udp_port, WIREGUARD_PORT if encrypted else DATA_PATH_PORT),
    )


def as_written(network: str, entry: Mapping[str, Any]) -> Dict[str, Any]:
    """Those of an entry of `wharf_networks`, by key. Whatever else is wrong in it is passed over, since its own host
    reports that; where one of these is wrong, nothing is known of them.
    """
    problems = ProblemCollector()
    with problems.collect():
        section = Section(entry, "", problems)
        config = section.inner("ipam").take_all("config", read.list_of(read.mapping))
        subnets = [read.subnet(pool["subnet"], "") for pool in config if pool.get("subnet")]
        options = Section(dict(section.take_all("driver_opts", read.pairs("="))), "", problems)
        found = parse_shared(network, subnets, options, section.inner(EXTENSION))
    return {} if problems.problems else found.by_key()


def parse_of_member(section: Section, versions: Sequence[int]) -> Dict[str, Any]:
    """The settings of another host, by key, as far as they are given. `versions` are the network's IP families."""
    parsers: Dict[str, read.Parser[Any]] = {
        "encrypted": read.flag,
        "direct": read.flag,
        "subnets": read.list_of(read.subnet),
        "slice": _prefixes(versions),
        "vxlanid_list": _vni,
        "data_path_port": udp_port,
    }
    found = {key: section.take_optional(key, parse) for key, parse in parsers.items()}
    return {key: _plain(value) for key, value in found.items() if value is not None}


def disagreements(here: SharedSettings, host: str, there: Mapping[str, Any], path: str) -> Iterator[Problem]:
    """Where another host, whose place in the declaration is `path`, declares the network otherwise than this one."""
    own = here.by_key()
    for key in _differing(own, there):
        if key == "encrypted":
            why = (
                f"on {host} the network is {AS_SENT[not here.encrypted]}, and here it is {AS_SENT[here.encrypted]}: "
                f"declare {_PLACES[key]} on all of its hosts, or on none"
            )
        else:
            why = (
                f"{host} has this for the network, and this host has {_text(own[key])}: declare the same "
                f"{_PLACES[key]} on all of its hosts"
            )
        yield Problem(f"{path}.{key}", f"{_text(there[key])}: {why}")


def sent_differently(here: SharedSettings, host: str, sent: Mapping[str, Any], path: str) -> Iterator[Problem]:
    """Where the settings of this host that the others get differ from its own, as by variables of a play."""
    own = here.by_key()
    for key in _differing(own, sent):
        yield Problem(
            f"{path}.{key}",
            f"{_text(sent[key])}: the other hosts get this for {host}, which is this host, and it declares "
            f"{_text(own[key])}: declare {_PLACES[key]} in the inventory, where they read it, and not in a play",
        )


def _differing(here: Mapping[str, Any], there: Mapping[str, Any]) -> List[str]:
    """From whether it is encrypted follows what else differs."""
    found = [key for key in here if key in there and _differ(here[key], there[key])]
    return ["encrypted"] if "encrypted" in found else found


def _differ(here: Any, there: Any) -> bool:
    """Of slices, the families that both have are compared."""
    return {**here, **there} != here if isinstance(here, dict) else here != there


def _plain(value: Any) -> Any:
    """Subnets in any order, and prefix lengths by IP family, in values that JSON has."""
    if isinstance(value, dict):
        return {f"ipv{version}": prefix for version, prefix in sorted(value.items())}
    return sorted(map(str, value)) if isinstance(value, tuple) else value


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return ", ".join(f"{family} {prefix}" for family, prefix in value.items())
    return ", ".join(value) if isinstance(value, list) else str(value)


def _encrypted(value: Any, path: str) -> bool:
    """Docker encrypts whichever value the option has. Whoever says `false` may not know that."""
    if str(value).lower() != "true":
        raise read.wrong(path, value, "must be empty, or true: leave the option out for a network in clear text")
    return True


def _prefixes(versions: Sequence[int]) -> read.Parser[Dict[int, int]]:
    """A parser of `slice`: a prefix length, or one for each IP family. One alone is that of IPv4, if there is IPv4."""

    def parse(value: Any, path: str) -> Dict[int, int]:
        if not isinstance(value, Mapping):
            return {min(versions, default=4): read.number(value, path)}
        with whole_section(value, path) as section:
            found = {version: section.take_optional(f"ipv{version}", read.number) for version in (4, 6)}
        return {version: prefix for version, prefix in found.items() if prefix is not None}

    return parse
