# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The drivers of networks: what a network of one driver has, and others have not, as frozen dataclasses."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Driver:
    """What connects the containers of a network; a subclass has the settings of one driver."""


@dataclass(frozen=True)
class BridgeDriver(Driver):
    """A bridge on the host, by which containers reach each other and the host. It has no settings of its own."""
