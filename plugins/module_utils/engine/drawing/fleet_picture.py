# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The picture of a fleet: a card for each host, on the line that is its subnet, and the networks that hosts share."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Dict, List, Sequence, Tuple

from . import svg
from .styles import network_class
from .svg import MONO, SMALL, STRONG, Drawing
from .view import GOOD, UNTRIED, HostView, NetworkView, worst

WIDTH = 980.0

_TRUNK, _LEFT = 10.0, 28.0
_COLUMNS, _CARD, _HEIGHT, _GAP = 5, 176.0, 62.0, 14.0
_STUB, _SHARED = 16.0, 7.0
_MOST_SHARED = 4


@dataclass(frozen=True)
class Shared:
    """A network that several hosts have together."""

    name: str
    driver: str
    subnets: Tuple[str, ...]
    hosts: Tuple[str, ...]


def shared_networks(hosts: Sequence[HostView]) -> List[Shared]:
    """Those whose driver connects containers of one host with those of others; a bridge ends at its host."""
    found: Dict[Tuple[str, str], List[Tuple[HostView, NetworkView]]] = {}
    for host in hosts:
        for network in host.networks:
            if network.driver != "bridge":
                found.setdefault((network.name, network.driver), []).append((host, network))
    return [
        Shared(
            name, driver, tuple(dict.fromkeys(each for _host, network in on for each in network.whole_subnets)), names
        )
        for (name, driver), on in sorted(found.items())
        for names in [tuple(host.name for host, _network in on)]
        if len(names) > 1
    ]


def fleet_picture(hosts: Sequence[HostView]) -> Drawing:
    """Each card leads to its host, by `#h` and the number of the host."""
    targets = {host.name: f"#h{number}" for number, host in enumerate(hosts)}
    shared = shared_networks(hosts)
    groups = []
    for title, on in _by_segment(hosts).items():
        lines = [each for each in shared[:_MOST_SHARED] if _on(each, on)]
        groups.append(_segment(title, on, [(shared.index(each), each) for each in lines], targets))
    return svg.stacked([*groups, *([_legend(shared)] if shared else [])], gap=18)


def _by_segment(hosts: Sequence[HostView]) -> Dict[str, List[HostView]]:
    """By the first of its subnets that another host is on, too, or by its first one."""
    count = Counter(segment for host in hosts for segment in host.segments)
    groups: Dict[str, List[HostView]] = {}
    for host in hosts:
        often = [segment for segment in host.segments if count[segment] > 1]
        title = next(iter([*often, *host.segments]), "" if not host.error else "not observed")
        groups.setdefault(title or "no uplink", []).append(host)
    return groups


def _segment(
    title: str, hosts: Sequence[HostView], shared: Sequence[Tuple[int, Shared]], targets: Dict[str, str]
) -> Drawing:
    below = len(shared) * _SHARED + (4 if shared else 0)
    pitch = _STUB + _HEIGHT + below + _GAP
    rows = [hosts[start : start + _COLUMNS] for start in range(0, len(hosts), _COLUMNS)]
    top = 30.0
    last = top + pitch * (len(rows) - 1)
    parts = [svg.text(0, 14, title, MONO, classes="strong"), svg.line([(_TRUNK, 22), (_TRUNK, last)], "bus edge")]
    for number, on in enumerate(rows):
        y = top + number * pitch
        parts.append(svg.line([(_TRUNK, y), (_middle(len(on) - 1), y)], "bus edge"))
        for column, host in enumerate(on):
            parts.append(_plugged(host, column, y))
            parts.append(svg.link(_card(host, _LEFT + column * (_CARD + _GAP), y + _STUB), targets[host.name]))
        parts += _shared_lines(on, shared, y + _STUB + _HEIGHT)
    right = WIDTH - 6
    for place, (number, each) in enumerate(shared):
        ys = [top + at * pitch + _STUB + _HEIGHT + 6 + place * _SHARED for at, on in enumerate(rows) if _on(each, on)]
        if len(ys) > 1:
            x = right - place * _SHARED
            parts.append(svg.line([(x, ys[0]), (x, ys[-1])], f"stub s-{network_class(number)}"))
    return Drawing(top + pitch * len(rows), "".join(parts))


def _on(each: Shared, hosts: Sequence[HostView]) -> List[int]:
    return [column for column, host in enumerate(hosts) if host.name in each.hosts]


def _middle(column: int) -> float:
    return _LEFT + column * (_CARD + _GAP) + _CARD / 2


def _plugged(host: HostView, column: int, y: float) -> str:
    """The line to the subnet, in the colour of what packets from other hosts have shown."""
    status = worst(host.probes_in)
    colour = "edge" if status == UNTRIED else f"s-{status}"
    good = sum(probe.status == GOOD for probe in host.probes_in)
    tip = f"{good} of {len(host.probes_in)} probes from other hosts came out as expected" if host.probes_in else ""
    x = _middle(column)
    return svg.with_tip(svg.line([(x, y), (x, y + _STUB)], f"bus {colour}"), tip)


def _card(host: HostView, x: float, y: float) -> str:
    room = _CARD - 26
    facts, state = _facts(host)
    drawn = [
        svg.box(x, y, _CARD, _HEIGHT, "card", 8),
        svg.box(x + 6, y + 9, 4, _HEIGHT - 18, f"f-{host.status}", 2),
        svg.text(x + 18, y + 20, host.name, STRONG, room),
        svg.text(x + 18, y + 37, facts, SMALL, room, "muted"),
        svg.text(x + 18, y + 53, state, SMALL, room, f"f-{host.status}"),
    ]
    return svg.with_tip("".join(drawn), "\n".join([host.name, *host.interfaces, *host.trouble, host.error]).strip())


def _facts(host: HostView) -> Tuple[str, str]:
    if host.error:
        return "not observed", host.error
    facts = f"{_counted(host.containers, 'container')} · {_counted(host.published, 'port')}"
    return facts, summary(host) or ("all as declared" if host.probes else "nothing differs")


def summary(host: HostView) -> str:
    """In a few words what is wrong with a host, or waits for something."""
    bad = sum(probe.status == "bad" for probe in host.probes)
    counts = [
        (len(host.drift), "differ" if len(host.drift) > 1 else "differs"),
        (bad, "probes failed" if bad > 1 else "probe failed"),
        (len(host.pending), "pending"),
    ]
    counted = [f"{number} {words}" for number, words in counts if number]
    return " · ".join(counted) or (_counted(len(host.trouble), "warning") if host.trouble else "")


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _shared_lines(hosts: Sequence[HostView], shared: Sequence[Tuple[int, Shared]], y: float) -> List[str]:
    """Below the cards, and on to the line at the right that joins the rows, if it is in other rows, too."""
    parts = []
    for place, (number, each) in enumerate(shared):
        columns, colour, at = _on(each, hosts), f"stub s-{network_class(number)}", y + 6 + place * _SHARED
        if columns:
            is_alone = len(columns) == len(each.hosts)
            right = _middle(columns[-1]) + _offset(place) if is_alone else WIDTH - 6 - place * _SHARED
            parts.append(svg.line([(_middle(columns[0]) + _offset(place), at), (right, at)], colour))
        for column in columns:
            x = _middle(column) + _offset(place)
            parts.append(svg.line([(x, y), (x, at)], colour) + svg.dot(x, at, 3.2, f"f-{network_class(number)}"))
    return parts


def _offset(number: int) -> float:
    return (number - (_MOST_SHARED - 1) / 2) * 16


def _legend(shared: Sequence[Shared]) -> Drawing:
    rows = []
    for number, each in enumerate(shared):
        mark = svg.dot(8, 9, 5, f"f-{network_class(number)}" if number < _MOST_SHARED else "f-untried")
        words = f"{each.driver}  {', '.join(each.subnets)}  on {len(each.hosts)} hosts: {', '.join(each.hosts)}"
        name = svg.fitted(each.name, 200, STRONG)
        at = 20 + svg.width_of(name, STRONG) + 10
        texts = svg.text(20, 13, each.name, STRONG, 200) + svg.text(at, 13, words, SMALL, WIDTH - at, "muted")
        rows.append(Drawing(20, mark + texts))
    return svg.stacked(rows)
