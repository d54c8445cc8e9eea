#!/usr/bin/python
# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: forwarding
short_description: Forwarding of IP packets by the host
version_added: 0.1.0
description:
  - Turns on C(net.ipv4.ip_forward), and C(forwarding) of IPv6 where a network has IPv6, and keeps both in
    C(/etc/sysctl.d/90-wharf.conf).
  - Interfaces that take their routes from router advertisements are told to do so still (C(accept_ra=2)), since a host
    that forwards would lose its default route otherwise.
  - What stood there before is kept in the ledger and given back on removal, for each interface its own value.
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
  description: What changed, or in check mode would change, in the order in which it is done.
  returned: success
  type: list
  elements: dict
  sample: [{kind: sysctl, name: net.ipv4.ip_forward, action: update, fields: [value]}]
  contains:
    kind:
      description: The kind of the object, such as V(sysctl).
      type: str
    name:
      description: The object's name.
      type: str
    action:
      description: One of V(create), V(update) and V(delete).
      type: str
    fields:
      description: What of the object an update changes.
      type: list
      elements: str
pending:
  description: What is declared for a sandbox that does not exist yet, and is left alone until it does.
  returned: success
  type: list
  elements: str
"""

from ansible_collections.wharf.network.plugins.module_utils.engine.layers import FORWARDING
from ansible_collections.wharf.network.plugins.module_utils.layer_module import run_layer


def main() -> None:
    run_layer(FORWARDING)


if __name__ == "__main__":
    main()
