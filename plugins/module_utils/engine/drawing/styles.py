# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Colours and letters of the pictures, on light and on dark backgrounds."""

from __future__ import annotations

from typing import Mapping

SANS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, 'Noto Sans', sans-serif"
MONO = "ui-monospace, 'SF Mono', SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"


# By what has the colour; n0 to n5 distinguish networks.
Palette = Mapping[str, str]

LIGHT = {
    "page": "#f4f6f9", "card": "#ffffff", "raised": "#eef2f7", "ink": "#16202c", "muted": "#5d6b7c", "line": "#d5dce5",
    "good": "#167c48", "bad": "#c62f2a", "unproven": "#a86200", "untried": "#8b98a8",
    "n0": "#2b6cd4", "n1": "#7a4fe0", "n2": "#0c8a7e", "n3": "#c95f0c", "n4": "#b8237a", "n5": "#5b7f1c",
}  # fmt: skip
DARK = {
    "page": "#0e131a", "card": "#161d26", "raised": "#1f2833", "ink": "#e4e9f0", "muted": "#97a4b4", "line": "#2d3846",
    "good": "#45c486", "bad": "#ff7168", "unproven": "#efac40", "untried": "#6f7d8d",
    "n0": "#6ea5ff", "n1": "#a98bff", "n2": "#39c6b4", "n3": "#f39a52", "n4": "#f077b8", "n5": "#a3c754",
}  # fmt: skip
NETWORK_COLOURS = ("n0", "n1", "n2", "n3", "n4", "n5")
_DRAWN = ("good", "bad", "unproven", "untried", *NETWORK_COLOURS)


def network_class(number: int) -> str:
    """The colour of a network; a further one begins anew."""
    return NETWORK_COLOURS[number % len(NETWORK_COLOURS)]


def picture_css(scope: str = "") -> str:
    """The rules of all that is drawn: without variables, which not every program that shows SVG knows."""
    plain = f"""
{scope}text {{ font-family: {SANS}; font-size: 13px }}
{scope}.mono {{ font-family: {MONO}; font-size: 11.5px }}
{scope}.small {{ font-size: 11px }}
{scope}.strong {{ font-weight: 600 }}
{scope}.title {{ font-size: 17px; font-weight: 650 }}
{scope}.end {{ text-anchor: end }}
{scope}.middle {{ text-anchor: middle }}
{scope}.path {{ fill: none; stroke-width: 1.6 }}
{scope}.outdated .path, {scope}.lost {{ stroke-dasharray: 5 3 }}
{scope}.stub {{ fill: none; stroke-width: 2 }}
{scope}.bus {{ fill: none; stroke-width: 4 }}
{scope}.edge {{ fill: none; stroke-width: 2 }}
{scope}.mark {{ font-size: 9px; font-weight: 700; text-anchor: middle }}
"""
    return (
        f"{plain}{_coloured(LIGHT, scope)}@media screen and (prefers-color-scheme: dark) {{{_coloured(DARK, scope)}}}\n"
    )


def _coloured(palette: Palette, scope: str) -> str:
    lines = [
        f"text {{ fill: {palette['ink']} }}",
        f".muted {{ fill: {palette['muted']} }}",
        f".card {{ fill: {palette['card']}; stroke: {palette['line']} }}",
        f".page {{ fill: {palette['page']} }}",
        f".raised {{ fill: {palette['raised']} }}",
        f".hollow {{ fill: {palette['card']} }}",
        f".pill {{ fill: {palette['raised']}; stroke: {palette['line']} }}",
        f".edge {{ stroke: {palette['line']} }}",
        f".mark {{ fill: {palette['card']} }}",
    ]
    for name in _DRAWN:
        lines += [f".s-{name} {{ stroke: {palette[name]} }}", f".f-{name} {{ fill: {palette[name]} }}"]
    return "".join(f"{scope}{line}\n" for line in lines)
