#!/usr/bin/python
# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

# The action plugin wharf.network.layers, which meta/runtime.yml names, runs the module `layers` for this one.

DOCUMENTATION = r"""
module: forwarding
short_description: Forwarding of IP packets by the host
version_added: 1.0.0
description:
  - Turns on C(net.ipv4.ip_forward), and C(forwarding) of IPv6 where a network has IPv6.
  - Where IPv6 is forwarded, sets C(accept_ra=2) on interfaces of a default route that had C(accept_ra=1). Otherwise
    these would no longer take routes from router advertisements, and the host would lose its default route.
  - Writes the same to C(/etc/sysctl.d/90-wharf.conf), so that it holds after a reboot.
  - The ledger keeps the prior value of each parameter and interface. It is restored on removal.
  - If C(ip-forward) is V(false) in O(host), the module changes none of these parameters.
  - Makes the link of WireGuard by which hosts of encrypted overlay networks reach each other, since that must come
    after the rules.
extends_documentation_fragment:
  - wharf.network.layer
"""

EXAMPLES = r"""
- name: Let the host forward for its containers
  wharf.network.forwarding:
    host: {}
    networks:
      app: {enable_ipv6: true}

- name: Leave forwarding to the admin
  wharf.network.forwarding:
    host:
      ip-forward: false
"""

RETURN = r"""
changes:
  description: What changed, or in check mode would change, as in RV(wharf.network.layers#module:changes).
  returned: success
  type: list
  elements: dict
  sample: [{layer: forwarding, kind: sysctl, name: net.ipv4.ip_forward, action: update, fields: [value]}]
pending:
  description: The link of encrypted networks, if the kernel has lost WireGuard. A run makes it once that has changed.
  returned: success
  type: list
  elements: str
problems:
  description: What stands in the way, as in RV(wharf.network.layers#module:problems).
  returned: failure, where the declaration or the host must be changed
  type: list
  elements: dict
"""
