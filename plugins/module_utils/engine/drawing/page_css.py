# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the page looks, but for the pictures in it: on screens that are light, dark or narrow, and on paper."""

from __future__ import annotations

from .styles import DARK, LIGHT, MONO, NETWORK_COLOURS, SANS, Palette


def _variables(palette: Palette) -> str:
    return "".join(f"--{name}: {colour}; " for name, colour in palette.items() if name not in NETWORK_COLOURS)


PAGE_CSS = f"""
:root {{ {_variables(LIGHT)} }}
@media screen and (prefers-color-scheme: dark) {{ :root {{ {_variables(DARK)} }} }}
* {{ box-sizing: border-box }}
html {{ -webkit-text-size-adjust: 100%; scroll-padding-top: 4rem }}
body {{ margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 1080px; background: var(--page); color: var(--ink);
  font: 15px/1.5 {SANS} }}
[hidden] {{ display: none !important }}
header h1 {{ margin: 0; font-size: 1.75rem; font-weight: 680; letter-spacing: -.02em; line-height: 1.2 }}
header p {{ margin: .25rem 0 0; color: var(--muted) }}
.tiles {{ display: flex; flex-wrap: wrap; gap: .6rem; list-style: none; margin: 1.4rem 0 1rem; padding: 0 }}
.tiles li {{ flex: 1 1 6.5rem; padding: .6rem .9rem; background: var(--card); border: 1px solid var(--line);
  border-radius: 10px; color: var(--muted); font-size: .82rem; line-height: 1.35 }}
.tiles b {{ display: block; font-size: 1.45rem; font-weight: 650; color: var(--ink);
  font-variant-numeric: tabular-nums }}
.tiles .good b {{ color: var(--good) }}
.tiles .bad b {{ color: var(--bad) }}
.tiles .unproven b {{ color: var(--unproven) }}
.tools {{ position: sticky; top: 0; z-index: 1; display: flex; flex-wrap: wrap; align-items: center; gap: .6rem 1rem;
  margin: 0 -1.25rem 1rem; padding: .7rem 1.25rem; background: var(--page); border-bottom: 1px solid var(--line) }}
.tools input[type=search] {{ flex: 1 1 16rem; min-width: 0; padding: .5rem .8rem; font: inherit; color: inherit;
  background: var(--card); border: 1px solid var(--line); border-radius: 8px }}
.tools label {{ display: flex; align-items: center; gap: .4rem; font-size: .9rem }}
.tools button {{ padding: .4rem .75rem; font: inherit; font-size: .88rem; color: inherit; background: var(--card);
  border: 1px solid var(--line); border-radius: 8px; cursor: pointer }}
.tools button:hover {{ background: var(--raised) }}
.tools output {{ color: var(--muted); font-size: .88rem }}
:focus-visible {{ outline: 2px solid {LIGHT["n0"]}; outline-offset: 2px }}
.fleet {{ margin: 0 0 1.2rem; padding: 1.1rem 1.25rem; background: var(--card); border: 1px solid var(--line);
  border-radius: 12px }}
.fleet a:hover rect.card {{ stroke: var(--muted) }}
svg {{ display: block; width: 100%; height: auto }}
.host {{ margin: 0 0 .7rem; background: var(--card); border: 1px solid var(--line); border-radius: 12px }}
.host[open] {{ padding-bottom: .9rem; margin-bottom: 1.2rem }}
.host > * {{ margin-left: 1.25rem; margin-right: 1.25rem }}
.host > summary {{ display: flex; flex-wrap: wrap; align-items: center; gap: .2rem .8rem; margin: 0;
  padding: .8rem 1.25rem }}
summary {{ cursor: pointer; list-style: none }}
summary::-webkit-details-marker {{ display: none }}
.host > summary::after, .network > summary::before, .probes > summary::before, .drift > summary::before {{ content: "";
  width: .42rem; height: .42rem; border: solid var(--muted); border-width: 0 1.6px 1.6px 0; transform: rotate(-45deg);
  transition: transform .12s; flex: none }}
details[open] > summary::after, details[open] > summary::before {{ transform: rotate(45deg) }}
.host > summary::after {{ margin-left: auto }}
h2 {{ margin: 0; font-size: 1.08rem; font-weight: 640; overflow-wrap: anywhere }}
.dot {{ width: .7rem; height: .7rem; border-radius: 50%; background: var(--untried); flex: none }}
.dot.good {{ background: var(--good) }}
.dot.bad {{ background: var(--bad) }}
.dot.unproven {{ background: var(--unproven) }}
.facts {{ color: var(--muted); font-size: .88rem }}
.badge {{ padding: .05rem .6rem; border: 1px solid; border-radius: 99px; font-size: .8rem; color: var(--muted) }}
.badge.bad {{ color: var(--bad) }} .badge.unproven {{ color: var(--unproven) }}
.about {{ margin-top: 0; margin-bottom: .25rem; color: var(--muted); font-size: .85rem; overflow-wrap: anywhere }}
.about b {{ color: var(--ink); font-weight: 600 }}
.uplink {{ font-family: {MONO}; font-size: .8rem; white-space: pre-wrap }}
.trouble {{ margin: .6rem 1.25rem .8rem; padding: .5rem .8rem .5rem 1.8rem; background: var(--raised);
  border-left: 3px solid var(--unproven); border-radius: 8px; color: var(--ink) }}
.lane {{ margin-top: .8rem; margin-bottom: .6rem }}
.network {{ margin-bottom: .8rem }}
svg.row {{ margin-top: -1px }}
.network > summary {{ position: relative }}
.network > summary::before {{ position: absolute; left: -.95rem; top: .68rem }}
.network > summary:hover rect.raised {{ filter: brightness(.97) }}
.probes, .drift {{ margin-top: .5rem; font-size: .88rem }}
.probes > summary, .drift > summary {{ display: flex; align-items: center; gap: .7rem; padding: .25rem 0;
  font-weight: 560 }}
.drift ul {{ margin: .3rem 0 .6rem; padding-left: 1.4rem }}
table {{ width: 100%; border-collapse: collapse }}
th, td {{ padding: .22rem .9rem .22rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line);
  overflow-wrap: break-word }}
th {{ color: var(--muted); font-weight: 500 }}
td.mono {{ font-family: {MONO}; font-size: .8rem; white-space: nowrap }}
td.mark {{ width: 1.4rem; font-weight: 700; color: var(--good) }}
tr.bad .mark, tr.bad td:nth-child(5) {{ color: var(--bad) }}
tr.unproven .mark, tr.unproven td:nth-child(5) {{ color: var(--unproven) }}
@media screen and (max-width: 820px) {{
  body {{ padding: 1.2rem .8rem 3rem }}
  .tools {{ position: static; margin: 0 -.8rem .8rem; padding: .6rem .8rem }}
  .host > * {{ margin-left: .9rem; margin-right: .9rem }}
  .host > summary {{ padding: .7rem .9rem }}
  .lane {{ overflow-x: auto; padding-left: 1rem; margin-left: 0 !important }}
  .lane > * {{ min-width: 780px }}
  .fleet.lane {{ padding-left: 1rem }}
}}
@media print {{
  body {{ max-width: none; padding: 0; font-size: 11px; background: #fff }}
  .tools {{ display: none }}
  .host, .fleet {{ border-color: #bbb }}
  .host::details-content, .network::details-content {{ content-visibility: visible; block-size: auto }}
  svg.row, svg.heading, tr, .tiles, .host > summary {{ break-inside: avoid }}
  .host > summary, svg.heading, .network > summary {{ break-after: avoid }}
  * {{ -webkit-print-color-adjust: exact; print-color-adjust: exact }}
}}
"""
