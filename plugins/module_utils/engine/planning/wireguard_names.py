# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host calls its link of all encrypted networks, and the file that has the private key of that link."""

from __future__ import annotations

WIREGUARD_LINK = "wg-wharf"

# The key never leaves the host.
KEY_FILE = "/var/lib/wharf/wireguard.key"
