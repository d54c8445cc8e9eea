# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The layers of a host: what is planned for each, and by which doors it is brought about."""

from __future__ import annotations

from . import host_files, plan, rules_nftables
from .bridges import Bridges
from .converge import Layer
from .door import Doors
from .endpoints import Endpoints
from .files import Files
from .nftables import Nftables
from .sandboxes import Sandboxes
from .sysctl import Sysctls

FORWARDING = Layer(
    "forwarding",
    plan.forwarding,
    lambda ledger: Doors({"sysctl": Sysctls(ledger.found), "file": Files(ledger.found)}),
)
BRIDGE = Layer("bridge", plan.bridges, lambda ledger: Bridges())
DOCKER_CHAINS = Layer("docker_chains", rules_nftables.rules, lambda ledger: Nftables(ledger.canonical))
VETH = Layer(
    "veth",
    plan.sandboxes_and_endpoints,
    lambda ledger: Doors({"sandbox": Sandboxes(), "endpoint": Endpoints()}),
)
DNS_FILES = Layer("dns_files", host_files.dns_files, lambda ledger: Files(ledger.found))

# In the order in which a host is built: the rules stand before the first endpoint exists.
LAYERS = (FORWARDING, BRIDGE, DOCKER_CHAINS, VETH, DNS_FILES)
