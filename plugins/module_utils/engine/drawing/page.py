# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One page of HTML that needs nothing else: a fleet, or one host, as a picture that can be searched and folded.

All that is not written here is escaped, and the page loads nothing and runs no script but its own.
"""

from __future__ import annotations

import base64
import hashlib
from html import escape
from typing import Iterator, List, Sequence, Tuple

from . import fleet_picture, host_picture, svg
from .page_css import PAGE_CSS
from .styles import picture_css
from .view import BAD, GOOD, UNPROVEN, HostView, NetworkView, SentProbe

# So many rows of containers are shown unfolded, and of so many probes that are as declared each host has a line.
_MOST_OPEN_ROWS, _MOST_OPEN_HOSTS, _MOST_GOOD = 80, 12, 200
# Of those that failed, so many are named at the top of the host.
_MOST_FAILED = 5

_SCRIPT = """
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const tools = document.querySelector('.tools'), input = tools.querySelector('input[type=search]');
const wrong = tools.querySelector('input[type=checkbox]'), found = tools.querySelector('output');
const folds = all('details');
// Not the tips, which name others.
const shown = row => all('text', row).map(each => each.textContent).join(' ').toLowerCase();
const hosts = all('details.host').map(host => ({
  element: host, text: host.dataset.name.toLowerCase(), needs: host.dataset.needs === '1',
  about: all('.about', host).map(each => each.textContent).join(' ').toLowerCase(),
  networks: all('details.network', host).map(network => ({
    element: network, text: network.querySelector('summary').textContent.toLowerCase(),
    rows: all('svg.row', network).map(row => ({element: row, text: shown(row)})),
  })),
}));
let before = null;
function search() {
  const words = input.value.toLowerCase().split(/\\s+/).filter(word => word), isSearch = words.length > 0;
  if (isSearch && !before) before = folds.map(fold => fold.open);
  if (!isSearch && before) { folds.forEach((fold, at) => fold.open = before[at]); before = null; }
  const has = text => words.every(word => text.includes(word));
  let count = 0;
  for (const host of hosts) {
    const whole = has(`${host.text} ${host.about}`);
    let some = false;
    for (const network of host.networks) {
      const everything = whole || has(`${host.text} ${network.text}`);
      let any = everything;
      for (const row of network.rows) {
        const matches = everything || has(`${host.text} ${network.text} ${row.text}`);
        row.element.toggleAttribute('hidden', !matches);
        any = any || matches;
        count += matches;
      }
      network.element.hidden = !any;
      if (isSearch && any) network.element.open = true;
      some = some || any;
    }
    host.element.hidden = !(whole || some) || (wrong.checked && !host.needs);
    if (isSearch && !host.element.hidden) host.element.open = true;
  }
  const visible = hosts.filter(host => !host.element.hidden).length;
  const rows = isSearch ? `, ${count} rows` : '';
  found.textContent = isSearch || wrong.checked ? `${visible} of ${hosts.length} hosts${rows}` : '';
}
input.addEventListener('input', search);
wrong.addEventListener('change', search);
tools.querySelector('.unfold').addEventListener('click', () => folds.forEach(fold => fold.open = true));
tools.querySelector('.fold').addEventListener('click', () => folds.forEach(fold => fold.open = false));
function reveal() {
  const host = location.hash && document.getElementById(location.hash.slice(1));
  if (host && host.tagName === 'DETAILS') { host.open = true; host.scrollIntoView(); }
}
addEventListener('hashchange', reveal);
all('a[href^="#h"]').forEach(link => link.addEventListener('click', () => setTimeout(reveal)));
let unprinted = null;
addEventListener('beforeprint', () => {
  unprinted = folds.map(fold => fold.open);
  all('details.host, details.network, details.drift').forEach(fold => fold.open = true);
});
addEventListener('afterprint', () => { folds.forEach((fold, at) => fold.open = unprinted[at]); });
tools.hidden = false;
reveal();
"""


def page(hosts: Sequence[HostView], made: str, title: str = "Container networks") -> str:
    """`made` says when all this was observed."""
    rows = sum(len(network.rows) for host in hosts for network in host.networks)
    are_open = rows <= _MOST_OPEN_ROWS
    drawn = fleet_picture.fleet_picture(hosts) if len(hosts) > 1 else None
    lines = [
        "<!DOCTYPE html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        f'<meta http-equiv="Content-Security-Policy" content="{_policy()}">',
        f"<title>{escape(title)}</title>",
        f"<style>{picture_css('svg ')}{PAGE_CSS}</style>",
        "</head>",
        "<body>",
        f"<header><h1>{escape(title)}</h1><p>{escape(made)}</p></header>",
        _tiles(hosts),
        _TOOLS,
        f'<section class="fleet lane">{svg.inline(drawn, fleet_picture.WIDTH, "", "the hosts")}</section>'
        if drawn
        else "",
        "<main>",
        *(_host(host, number, len(hosts), are_open) for number, host in enumerate(hosts)),
        "</main>",
        f"<script>{_SCRIPT}</script>",
        "</body>",
        "</html>",
    ]
    return "".join(f"{line}\n" for line in lines if line)


def _policy() -> str:
    digest = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"


_TOOLS = """<search class="tools" hidden>
<input type="search" placeholder="host, container, address, port …" aria-label="Search">
<label><input type="checkbox"> what needs attention</label>
<button type="button" class="unfold">Unfold all</button><button type="button" class="fold">Fold all</button>
<output></output>
</search>"""


def _tiles(hosts: Sequence[HostView]) -> str:
    probes = [probe for host in hosts for probe in host.probes]
    drift, pending = sum(len(host.drift) for host in hosts), sum(len(host.pending) for host in hosts)
    unseen = sum(bool(host.error) for host in hosts)
    tiles = [
        (str(len(hosts)), "host" if len(hosts) == 1 else "hosts", ""),
        (str(unseen), "not observed", BAD) if unseen else None,
        (str(sum(len(host.networks) for host in hosts)), "networks", ""),
        (str(sum(host.containers for host in hosts)), "containers", ""),
        (str(sum(host.published for host in hosts)), "published", ""),
        (str(drift), "object differs" if drift == 1 else "objects differ", BAD if drift else GOOD),
        (str(pending), "pending", UNPROVEN if pending else GOOD),
        _verified(probes),
    ]
    drawn = (f'<li class="{each[2]}"><b>{each[0]}</b> {each[1]}</li>' for each in tiles if each)
    return f'<ul class="tiles">{"".join(drawn)}</ul>'


def _verified(probes: Sequence[SentProbe]) -> Tuple[str, str, str]:
    count = {status: sum(probe.status == status for probe in probes) for status in (GOOD, BAD, UNPROVEN)}
    if not probes:
        return "–", "nothing verified", ""
    if count[BAD]:
        return str(count[BAD]), f"of {len(probes)} probes failed", BAD
    return f"{count[GOOD]}", f"of {len(probes)} probes as expected", UNPROVEN if count[UNPROVEN] else GOOD


def _host(host: HostView, number: int, of: int, are_open: bool) -> str:
    is_open = are_open or (host.status == BAD and of <= _MOST_OPEN_HOSTS)
    needs = host.status != GOOD
    facts = (
        "not observed"
        if host.error
        else f"{len(host.networks)} networks · {host.containers} containers · {host.published} published"
    )
    summary = fleet_picture.summary(host)
    name, badge = escape(host.name), f'<span class="badge {host.status}">{escape(summary)}</span>' if summary else ""
    lines = [
        f'<details class="host" id="h{number}" data-name="{name}" data-needs="{int(needs)}"{_open(is_open)}>',
        f'<summary><span class="dot {host.status}"></span><h2>{name}</h2>',
        f'<span class="facts">{facts}</span>{badge}</summary>',
        *_about(host),
        *([_pictures(host, are_open)] if host.networks else []),
        *(
            f'<p class="about beside">{escape(words)}: <b>{escape(", ".join(names))}</b></p>'
            for words, names in host.beside
        ),
        *_probes(host),
        *_list("drift", "What differs from what is declared", host.drift),
        "</details>",
    ]
    return "\n".join(lines)


def _open(is_open: bool) -> str:
    return " open" if is_open else ""


def _about(host: HostView) -> Iterator[str]:
    for interface in host.interfaces:
        yield f'<p class="about uplink">{escape(interface)}</p>'
    if host.last_change:
        yield f'<p class="about">Last change: {escape(host.last_change)}</p>'
    failed = [probe for probe in host.probes if probe.status == BAD]
    trouble: List[str] = [*([host.error] if host.error else []), *host.trouble, *map(str, failed[:_MOST_FAILED])]
    if failed[_MOST_FAILED:]:
        trouble.append(f"{len(failed) - _MOST_FAILED} more probes failed")
    if trouble:
        yield f'<ul class="about trouble">{"".join(f"<li>{escape(each)}</li>" for each in trouble)}</ul>'


def _pictures(host: HostView, are_open: bool) -> str:
    drawn = [
        _network(network, number, are_open or len(network.rows) <= 12) for number, network in enumerate(host.networks)
    ]
    columns = svg.inline(host_picture.columns(), host_picture.WIDTH, "", "the columns")
    legend = svg.inline(host_picture.legend(host), host_picture.WIDTH, "legend", "what the colours mean")
    classes = "lane outdated" if host.is_outdated else "lane"
    return f'<div class="{classes}">{columns}{"".join(drawn)}{legend}</div>'


def _network(network: NetworkView, number: int, is_open: bool) -> str:
    heading, *rows = host_picture.network_picture(network, number)
    drawn = [svg.inline(each, host_picture.WIDTH, "row", row.container) for each, row in zip(rows, network.rows)]
    top = svg.inline(heading, host_picture.WIDTH, "heading", f"network {network.name}")
    return f'<details class="network"{_open(is_open)}><summary>{top}</summary>{"".join(drawn)}</details>'


def _probes(host: HostView) -> Iterator[str]:
    if not host.probes:
        return
    good = [probe for probe in host.probes if probe.status == GOOD]
    shown = [*host.wrong, *good[:_MOST_GOOD]]
    counted = f"{len(good)} of {len(host.probes)} as expected"
    when = f", {host.verified}{', before the last change' if host.is_outdated else ''}"
    yield f'<details class="probes"><summary>Probes: {counted}{escape(when)}</summary>'
    yield '<div class="lane"><table>'
    yield "<thead><tr><th></th><th>from</th><th>to</th><th>expected</th><th>seen</th><th>what</th></tr></thead><tbody>"
    yield from (_probe(probe) for probe in shown)
    yield "</tbody></table></div>"
    if good[_MOST_GOOD:]:
        yield f"<p>and {len(good) - _MOST_GOOD} more as expected</p>"
    yield "</details>"


def _probe(probe: SentProbe) -> str:
    seen = f"{probe.seen} ({probe.why})" if probe.why not in ("", probe.seen) else probe.seen
    cells = [(probe.source, ""), (probe.target, "mono"), (probe.expected, ""), (seen, ""), (probe.name, "")]
    drawn = "".join(f'<td class="{classes}">{escape(words)}</td>' for words, classes in cells)
    return f'<tr class="{probe.status}"><td class="mark">{host_picture.MARKS[probe.status]}</td>{drawn}</tr>'


def _list(classes: str, title: str, items: Sequence[str]) -> Iterator[str]:
    if items:
        drawn = "".join(f"<li>{escape(each)}</li>" for each in items)
        yield f'<details class="{classes}"><summary>{title}: {len(items)}</summary><ul>{drawn}</ul></details>'
