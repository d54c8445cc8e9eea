# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The messages of D-Bus, as the D-Bus Specification has them."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.wharf.network.plugins.module_utils.engine.kernel.system_bus import _Reader, _types, _Writer


@pytest.mark.parametrize(
    ("kind", "value", "data"),
    [
        ("s", "foo", b"\3\0\0\0foo\0"),
        ("g", "sa{sv}", b"\6sa{sv}\0"),
        ("as", ["a", "bc"], b"\x0f\0\0\0\1\0\0\0a\0\0\0\2\0\0\0bc\0"),
        ("(yu)", (1, 2), b"\1\0\0\0\2\0\0\0"),
        # An array's length does not count what aligns its first element.
        ("a(yu)", [(1, 2)], b"\x08\0\0\0\0\0\0\0\1\0\0\0\2\0\0\0"),
        ("at", [], b"\0\0\0\0\0\0\0\0"),
    ],
)
def test_bytes(kind: str, value: Any, data: bytes) -> None:
    writer = _Writer()
    writer.write(kind, value)
    assert bytes(writer.data) == data
    assert _Reader(data, "<").read(kind) == value


def test_a_dictionary_of_variants() -> None:
    writer = _Writer()
    writer.write("a{sv}", {"target": ("s", "ACCEPT"), "zones": ("as", ["a", "b"]), "on": ("b", True)})
    assert _Reader(bytes(writer.data), "<").read("a{sv}") == {"target": "ACCEPT", "zones": ["a", "b"], "on": 1}


def test_a_signature_is_taken_apart() -> None:
    assert _types("sa{sv}(ia(ss))aasv") == ["s", "a{sv}", "(ia(ss))", "aas", "v"]
