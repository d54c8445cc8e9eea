# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The public key of a private key of WireGuard (X25519, RFC 7748).

The kernel reports it only once a link has the private key, and the other hosts have to know it before this host has
such a link. The time that this takes depends on the key, but nobody beyond the host can measure it.
"""

from __future__ import annotations

_PRIME = (1 << 255) - 19
# (486662 - 2) / 4, of the curve's equation.
_A24 = 121665
_BASE_POINT = 9


def clamped(private: bytes) -> bytes:
    """A private key as the kernel makes it of any 32 bytes."""
    return (int.from_bytes(private, "little") & ~7 & ((1 << 255) - 1) | (1 << 254)).to_bytes(32, "little")


def public_key(private: bytes) -> bytes:
    """Of any 32 bytes."""
    return _times(int.from_bytes(clamped(private), "little"), _BASE_POINT).to_bytes(32, "little")


def _times(scalar: int, u: int) -> int:
    """The Montgomery ladder of RFC 7748, section 5, with its names."""
    x2, z2, x3, z3 = 1, 0, u, 1
    for bit in range(254, -1, -1):
        is_set = scalar >> bit & 1
        if is_set:
            x2, z2, x3, z3 = x3, z3, x2, z2
        a, b, c, d = x2 + z2, x2 - z2, x3 + z3, x3 - z3
        da, cb, aa, bb = d * a, c * b, a * a, b * b
        e = aa - bb
        x3, z3 = (da + cb) ** 2 % _PRIME, u * (da - cb) ** 2 % _PRIME
        x2, z2 = aa * bb % _PRIME, e * (aa + _A24 * e) % _PRIME
        if is_set:
            x2, z2, x3, z3 = x3, z3, x2, z2
    return x2 * pow(z2, _PRIME - 2, _PRIME) % _PRIME
