#!/usr/bin/python
# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

# The action plugin wharf.network.layers, which meta/runtime.yml names, runs the module `layers` for this one.

DOCUMENTATION = r"""
module: bridge
short_description: Bridges of container networks
version_added: 1.0.0
description:
  - Makes the bridge of the default network (C(docker0)) and of each user-defined network, as Docker does, with its
    gateway addresses of both families, MTU and MAC, without STP.
  - The name is C(br-NETWORK) where that fits into 15 bytes, else C(br-) and 12 digits of a hash.
  - A bridge is marked in its C(ifalias) as C(wharf:NETWORK). An interface of the same name without the mark is never
    touched, but an error.
  - Where nothing else is said, the MTU is that of the host's default route. A larger one is a warning.
  - The bridge has C(route_localnet) only where a port is published that the host's 127.0.0.1 leads to.
extends_documentation_fragment:
  - wharf.network.layer
requirements:
  - pyroute2 0.6.10 to 0.9, where something is to be changed
"""

EXAMPLES = r"""
- name: Make two networks
  wharf.network.bridge:
    networks:
      front:
        enable_ipv6: true
        ipam:
          config:
            - subnet: 10.20.0.0/24
              gateway: 10.20.0.254
            - subnet: fd00:20::/64
      back:
        internal: true

- name: Remove one of them
  wharf.network.bridge:
    networks:
      back: {}
    scope: [user_networks]
    state: absent
"""

RETURN = r"""
changes:
  description: What changed, or in check mode would change, as in RV(wharf.network.layers#module:changes).
  returned: success
  type: list
  elements: dict
  sample: [{layer: bridge, kind: bridge, name: br-front, action: create, fields: []}]
pending:
  description: The sandboxes and endpoints whose network stack does not exist yet. They are connected once it exists.
  returned: success
  type: list
  elements: str
problems:
  description: What stands in the way, as in RV(wharf.network.layers#module:problems).
  returned: failure, where the declaration or the host must be changed
  type: list
  elements: dict
"""
