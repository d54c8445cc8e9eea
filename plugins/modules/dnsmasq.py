#!/usr/bin/python
# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

# The action plugin wharf.network.layers, which meta/runtime.yml names, runs the module `layers` for this one.

DOCUMENTATION = r"""
module: dnsmasq
short_description: Names, leases and network boot on user-defined networks
version_added: 1.0.0
description:
  - Runs C(dnsmasq) to answer the names of containers on user-defined networks, as Docker's embedded resolver does. It
    knows containers by their name, host name and aliases, and by each of these with the network's name behind it.
  - A container is told the names of all networks that it is on, and of no other. Each network has a resolver at its
    gateway. Containers that are on several networks, or declare nameservers of their own in C(dns), have a further
    resolver. Those with the same networks and nameservers share it. The rules of M(wharf.network.docker_chains) lead
    their queries to it.
  - Queries for other names go to the nameservers that the container, its networks or O(host) declare, in this order,
    else to those in the host's C(/etc/resolv.conf), whose changes take effect at once. On internal networks, such
    queries are not forwarded.
  - Containers that come, go or change are seen at once, without a restart.
  - Where C(x-wharf) of a network says so, C(dhcp), C(ra) and C(boot), it also gives leases by DHCP, advertises routers,
    and serves files to boot from.
  - Without systemd the processes are started and stopped by this module. With systemd they are instances of
    C(wharf-dnsmasq@.service).
requirements:
  - dnsmasq 2.88 or later on the target, where a user-defined network is declared whose names it is to answer
extends_documentation_fragment:
  - wharf.network.layer
"""

EXAMPLES = r"""
- name: Answer names on a network, in a domain of its own too
  wharf.network.dnsmasq:
    networks:
      app:
        x-wharf:
          dns:
            domain: app.example.org
            records:
              _ldap._tcp: {SRV: 0 5 389 directory}
    containers:
      web:
        networks: [app]
      directory:
        networks:
          app:
            aliases: [ldap]
"""

RETURN = r"""
changes:
  description: What changed, or in check mode would change, as in RV(wharf.network.layers#module:changes).
  returned: success
  type: list
  elements: dict
  sample: [{layer: dnsmasq, kind: file, name: /run/wharf/names/app/web, action: update, fields: [content]}]
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
