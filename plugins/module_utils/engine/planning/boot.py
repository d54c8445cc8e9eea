# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The services that restore a host's networks at boot, by its init system."""

from __future__ import annotations

from typing import Iterator, Mapping, Optional

from ..state import OPENRC, SYSTEMD, Object, Service
from . import boot_openrc, boot_systemd
from .facts import Facts
from .installed import BootServices

SERVICES: Mapping[str, BootServices] = {SYSTEMD: boot_systemd.SERVICES, OPENRC: boot_openrc.SERVICES}


def files_and_services(facts: Facts, wanted: Optional[bool], metrics: str = "") -> Iterator[Object]:
    """The objects of the layer `boot` beside the command.

    `wanted`: whether to install services; None: where systemd or OpenRC runs the host. `metrics` is the file in which
    metrics are kept, empty for none.
    """
    services = SERVICES.get(facts.init_system)
    if services and (facts.starts_services if wanted is None else wanted):
        yield from services.files(metrics)
        yield from (Service(name, enabled=True, running=facts.starts_services) for name in services.names)
