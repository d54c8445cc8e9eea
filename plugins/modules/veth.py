#!/usr/bin/python
# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

# The action plugin wharf.network.layers, which meta/runtime.yml names, runs the module `layers` for this one.

DOCUMENTATION = r"""
module: veth
short_description: Sandboxes and endpoints of containers
version_added: 1.0.0
description:
  - Makes the named network namespaces of containers (C(ip netns)), and connects each to its networks by a veth pair,
    whose one end is made directly inside the sandbox, with its name, MAC, MTU, addresses and routes.
  - Containers of other runtimes are connected by C(x-wharf.sandbox), V(pid:N) or V(path:/run/...). One that does
    not run yet is pending, not an error; it is connected by the first call that finds it.
  - Both ends of a pair have the MTU of the network. The host's end is marked in its C(ifalias) as
    C(wharf:CONTAINER/NETWORK).
  - On a network of the driver C(macvlan) or C(ipvlan), a container gets a link on the network's parent instead of a
    veth pair.
  - The names of containers in the modes C(host), C(service:X) and C(container:X) are bound to the stack they use, so
    C(ip netns exec NAME) works for all of them.
extends_documentation_fragment:
  - wharf.network.layer
"""

EXAMPLES = r"""
- name: Connect three containers
  wharf.network.veth:
    networks:
      app: {}
    containers:
      web:
        networks: [app]
      db:
        networks:
          app:
            aliases: [postgres]
            mac_address: 02:42:0a:00:00:05
      metrics:
        network_mode: service:web

- name: Connect a process that runs already
  wharf.network.veth:
    containers:
      runner:
        x-wharf:
          sandbox: pid:4711
"""

RETURN = r"""
changes:
  description: What changed, or in check mode would change, as in RV(wharf.network.layers#module:changes).
  returned: success
  type: list
  elements: dict
  sample: [{layer: veth, kind: endpoint, name: web/app, action: create, fields: []}]
pending:
  description: The sandboxes and endpoints whose network stack does not exist yet, and endpoints whose place a
    third-party interface in the container occupies, which a warning names. A run connects them once that has changed.
  returned: success
  type: list
  elements: str
  sample: ["pid:4711", runner/bridge]
problems:
  description: What stands in the way, as in RV(wharf.network.layers#module:problems).
  returned: failure, where the declaration or the host must be changed
  type: list
  elements: dict
"""
