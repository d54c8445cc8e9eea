# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The picture of one host: each network with its containers, and who reaches them by which published ports.

network ─ container   addresses      80/tcp ◀── *:8080 ┃ everybody
"""

from __future__ import annotations

import ipaddress
from typing import List, Sequence

from . import svg
from .ports import Ports
from .styles import network_class, picture_css
from .svg import MONO, SMALL, STRONG, TITLE, Drawing
from .view import BAD, GOOD, UNPROVEN, UNTRIED, HostView, NetworkView, PublishedPorts, Row, SentProbe

WIDTH = 980.0

# The columns.
_BUS, _NODE, _NAME, _ADDRESS = 16.0, 42.0, 58.0, 250.0
_TARGET, _FROM, _PILL, _EDGE, _WHO = 532.0, 541.0, 638.0, 802.0, 816.0
_TARGET_WIDTH, _PILL_WIDTH = 94.0, 150.0
_LINE, _PADDING = 21.0, 7.0

MARKS = {GOOD: "✓", BAD: "✗", UNPROVEN: "?"}
_LEGEND = {
    GOOD: "as expected, by the last probes",
    BAD: "not as expected",
    UNPROVEN: "inconclusive",
    UNTRIED: "not probed",
}
_MOST_TIPS = 12


def row(each: Row, number: int, network: NetworkView) -> Drawing:
    """A container on the network of this number, between the line that is its bridge, and the edge of the host."""
    is_last = each is network.rows[-1]
    colour = network_class(number)
    lines = max(2, len(each.ports), len(each.addresses) + bool(each.reason))
    height = lines * _LINE + 2 * _PADDING
    middle = height / 2
    parts = [
        svg.line([(_BUS, 0), (_BUS, middle if is_last else height)], f"bus s-{colour}"),
        svg.with_tip(_stub(each, middle, colour), _tip(each.probes)),
        *_name(each, middle),
        *_addresses(each, middle),
        *(_published(ports, y) for ports, y in zip(each.ports, _spread(middle, len(each.ports)))),
    ]
    if any(other.ports for other in network.rows):
        parts.insert(0, svg.line([(_EDGE, 0), (_EDGE, height)], "edge"))
    return Drawing(height, "".join(parts))


def _name(each: Row, middle: float) -> List[str]:
    room = _ADDRESS - _NAME - 10
    name, links = " + ".join([each.container, *each.sharers]), "  ".join(filter(None, [each.links, *each.notes]))
    if not links:
        return [svg.text(_NAME, middle + 4, name, STRONG, room)]
    return [svg.text(_NAME, middle - 4, name, STRONG, room), svg.text(_NAME, middle + 13, links, MONO, room, "muted")]


def _spread(middle: float, number: int) -> List[float]:
    return [middle + (each - (number - 1) / 2) * _LINE for each in range(number)]


def _stub(each: Row, y: float, colour: str) -> str:
    if each.reason:
        return svg.line([(_BUS, y), (_NODE - 6, y)], "stub lost s-unproven") + svg.dot(
            _NODE, y, 5, "stub hollow s-unproven"
        )
    probes = each.status if each.probes else colour
    return (
        svg.line([(_BUS, y), (_NODE, y)], f"stub s-{probes}")
        + svg.dot(_NODE, y, 6, f"f-{colour}")
        + (_mark(each.status, (_BUS + _NODE) / 2 - 1, y) if each.status in (BAD, UNPROVEN) else "")
    )


def _addresses(each: Row, middle: float) -> List[str]:
    texts = [(address, MONO, "") for address in each.addresses]
    texts += [(each.reason, SMALL, "f-unproven")] if each.reason else []
    ys = _spread(middle + 4, len(texts))
    room = _TARGET - _TARGET_WIDTH - _ADDRESS - 6
    return [svg.text(_ADDRESS, y, words, font, room, classes) for (words, font, classes), y in zip(texts, ys)]


def _published(published: PublishedPorts, y: float) -> str:
    ports, status = published.ports, published.status
    who = _who(ports)
    classes = f"path s-{status}" if published.stands else f"path lost s-{status}"
    tip = _tip(published.probes) if published.stands else "not published now: its rules or its container are not there"
    drawn = [
        svg.text(_TARGET, y + 4, ports.target, MONO, _TARGET_WIDTH, "end"),
        svg.line([(_FROM, y), (_PILL, y)], classes),
        svg.line([(_FROM + 6, y - 4), (_FROM, y), (_FROM + 6, y + 4)], f"path s-{status}"),
        svg.line([(_PILL + _PILL_WIDTH, y), (_EDGE, y)], classes),
        svg.box(_PILL, y - 9, _PILL_WIDTH, 18, "pill", 9),
        svg.text(_PILL + _PILL_WIDTH / 2, y + 4, ports.published, MONO, _PILL_WIDTH - 12, "middle"),
        _mark(status, (_FROM + _PILL) / 2 + 3, y),
        svg.text(_WHO, y + 4, who, SMALL, WIDTH - _WHO - 6, "muted" if ports.sources is None else ""),
    ]
    return svg.with_tip("".join(drawn), tip)


def _who(ports: Ports) -> str:
    if all(ipaddress.ip_address(each["host_ip"]).is_loopback for each in ports.publications):
        return "this host alone"
    if ports.sources is None:
        return "everybody"
    return f"only {', '.join(ports.sources)}" if ports.sources else "nobody"


def _mark(status: str, x: float, y: float) -> str:
    if status not in MARKS:
        return ""
    return svg.dot(x, y, 6.5, f"f-{status}") + svg.text(x, y + 3.2, MARKS[status], classes="mark")


def _tip(probes: Sequence[SentProbe]) -> str:
    worst_first = sorted(probes, key=lambda probe: (BAD, UNPROVEN, GOOD).index(probe.status))
    lines = [f"{MARKS[probe.status]} {probe}" for probe in worst_first[:_MOST_TIPS]]
    return "\n".join([*lines, *([f"and {len(probes) - _MOST_TIPS} more"] if probes[_MOST_TIPS:] else [])])


def heading(network: NetworkView, number: int) -> Drawing:
    """What a network is, above its containers."""
    colour = network_class(number)
    where = "  ".join(each for each in (network.link, ", ".join(network.gateways or network.subnets)) if each)
    settings = [f"{len(network.rows)} container{'' if len(network.rows) == 1 else 's'}"]
    settings += [] if network.driver == "bridge" else [network.driver]
    settings += [f"mtu {network.mtu}", *network.marks]
    width = svg.width_of(network.name, STRONG)
    name_width = min(width, _ADDRESS - _BUS - 26)
    badges, right = [], WIDTH - 10
    for words in reversed(settings):
        needed = min(svg.width_of(words, SMALL), 150.0) + 16
        right -= needed
        classes = "" if network.is_up else "f-bad"
        badges += [
            svg.box(right, 6, needed, 18, "pill", 9),
            svg.text(right + 8, 19, words, SMALL, needed - 12, classes),
        ]
        right -= 6
    parts = [
        svg.box(0, 0, WIDTH, 30, "raised"),
        svg.box(_BUS - 7, 8, 14, 14, f"f-{colour}", 4),
        svg.text(_BUS + 16, 20, network.name, STRONG, name_width + 2),
        svg.text(_BUS + 28 + name_width, 20, where, MONO, max(right - _BUS - 40 - name_width, 40), "muted"),
        *badges,
    ]
    height = 34.0
    if network.notes:
        height += 18
        notes = " · ".join(network.notes)
        parts.append(svg.text(_BUS + 16, 44, notes, SMALL, WIDTH - _BUS - 26, "muted"))
    if network.rows:
        parts.append(svg.line([(_BUS, 22), (_BUS, height)], f"bus s-{colour}"))
    return Drawing(height, "".join(parts))


def columns() -> Drawing:
    """What the columns are."""
    titles = ((_NAME, "container"), (_ADDRESS, "addresses"), (_PILL, "published port"), (_WHO, "who may reach it"))
    drawn = "".join(svg.text(x, 12, words, SMALL, classes="muted") for x, words in titles)
    return Drawing(18, drawn + svg.text(_TARGET, 12, "its port", SMALL, classes="muted end"))


def legend(host: HostView) -> Drawing:
    statuses = [GOOD, BAD, UNPROVEN, UNTRIED] if host.probes else [UNTRIED]
    x, parts = 0.0, []
    for status in statuses:
        parts.append(svg.line([(x, 8), (x + 26, 8)], f"path s-{status}") + _mark(status, x + 13, 8))
        parts.append(svg.text(x + 33, 12, _LEGEND[status], SMALL, classes="muted"))
        x += 33 + svg.width_of(_LEGEND[status], SMALL) + 22
    if host.verified:
        when = f"verified {host.verified}" + (", before the last change" if host.is_outdated else "")
        parts.append(svg.text(0, 30, when, SMALL, classes="muted"))
    return Drawing(36 if host.verified else 18, "".join(parts))


def network_picture(network: NetworkView, number: int) -> List[Drawing]:
    return [heading(network, number), *(row(each, number, network) for each in network.rows)]


def host_svg(host: HostView) -> str:
    """The whole picture of a host, in a file by itself."""
    margin, gap = 20.0, 14.0
    top = [Drawing(24, svg.text(0, 16, host.name, TITLE, WIDTH))]
    top += [Drawing(18, svg.text(0, 12, interface, MONO, WIDTH, "muted")) for interface in host.interfaces]
    top += [
        Drawing(18, svg.text(0, 12, f"! {each}", SMALL, WIDTH, "f-bad")) for each in (*host.trouble, host.error) if each
    ]
    lanes = [svg.stacked(network_picture(network, number)) for number, network in enumerate(host.networks)]
    beside = [
        Drawing(20, svg.text(0, 13, f"{words}:  {', '.join(names)}", SMALL, WIDTH)) for words, names in host.beside
    ]
    parts = [svg.stacked(top), columns(), svg.stacked(lanes, gap=gap), svg.stacked(beside), legend(host)]
    drawn = svg.stacked([each for each in parts if each.height], margin, margin, gap)
    frame = svg.box(0.5, 0.5, WIDTH + 2 * margin - 1, drawn.height + margin - 1, "card", 10)
    classes = "outdated" if host.is_outdated else ""
    content = f'{frame}<g class="{classes}">{drawn.content}</g>'
    label = f"the container networks of {host.name}"
    return svg.document(Drawing(drawn.height + margin, content), WIDTH + 2 * margin, picture_css(), label)
