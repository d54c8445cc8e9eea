# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Published ports as people read them: both families of one port together, and ports that follow each other as one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple

# A publication as `network_info` returns it.
Published = Mapping[str, Any]

_Key = Tuple[str, str, int, int, Optional[Tuple[str, ...]]]


@dataclass(frozen=True)
class Ports:
    """Ports of the host that lead to the same ports of one container, in one way.

    `where` has the addresses of the host by which they are reached, or `*` for all of them. `sources` are those that
    may reach them; None: everybody. A family in which nobody may is left out.
    """

    where: str
    protocol: str
    host_ports: Tuple[int, int]
    targets: Tuple[int, int]
    sources: Optional[Tuple[str, ...]]
    publications: Tuple[Published, ...]

    @property
    def published(self) -> str:
        """As `*:8080` or `*:7000-7002`."""
        return f"{self.where}:{_range(self.host_ports)}"

    @property
    def target(self) -> str:
        """As `80/tcp` or `7000-7002/tcp`."""
        return f"{_range(self.targets)}/{self.protocol}"

    def __str__(self) -> str:
        """As `*:8080→80/tcp (from 10.0.0.0/8)`."""
        who = "" if self.sources is None else f" (from {', '.join(self.sources) or 'nobody'})"
        return f"{self.published}→{self.target}{who}"


def _range(ports: Tuple[int, int]) -> str:
    first, last = ports
    return str(first) if first == last else f"{first}-{last}"


def joined(publications: Iterable[Published]) -> List[Ports]:
    found: Dict[Tuple[str, int, int], List[Published]] = {}
    for each in publications:
        found.setdefault((each["protocol"], each["host_port"], each["target_port"]), []).append(each)
    rows = sorted(
        (((_where(same), *port, _sources(same)), same) for port, same in found.items()),
        key=lambda row: (*row[0][:4], row[0][4] or ()),
    )
    runs: List[List[Tuple[_Key, List[Published]]]] = []
    for row in rows:
        if runs and _follows(runs[-1][-1][0], row[0]):
            runs[-1].append(row)
        else:
            runs.append([row])
    return [_ports(run) for run in runs]


def _ports(run: Sequence[Tuple[_Key, List[Published]]]) -> Ports:
    (where, protocol, host_port, target, sources), last = run[0][0], run[-1][0]
    publications = tuple(each for _key, same in run for each in same)
    return Ports(where, protocol, (host_port, last[2]), (target, last[3]), sources, publications)


def _where(same: List[Published]) -> str:
    reached = [port for port in same if port["allow_from"] != []] or same
    host_ips = [f"[{port['host_ip']}]" if ":" in port["host_ip"] else port["host_ip"] for port in reached]
    return "*" if sorted(host_ips) == ["0.0.0.0", "[::]"] else ",".join(host_ips)


def _sources(same: List[Published]) -> Optional[Tuple[str, ...]]:
    if any(port["allow_from"] is None for port in same):
        return None
    return tuple(dict.fromkeys(source for port in same for source in port["allow_from"]))


def _follows(before: _Key, row: _Key) -> bool:
    return row == (*before[:2], before[2] + 1, before[3] + 1, before[4])
