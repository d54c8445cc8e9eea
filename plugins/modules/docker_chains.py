#!/usr/bin/python
# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

# The action plugin wharf.network.layers, which meta/runtime.yml names, runs the module `layers` for this one.

DOCUMENTATION = r"""
module: docker_chains
short_description: Filter, NAT and raw rules of container networks
version_added: 1.0.0
description:
  - Computes the rules of the whole host (published ports, isolation, masquerade, protection against direct access) and
    brings the nftables table C(inet wharf) to them in one transaction.
  - There, ports, networks and containers are elements of maps and sets; the number of rules does not grow with theirs.
  - With V(iptables) as C(firewall-backend) it writes Docker's chains in the tables of iptables instead, one transaction
    for each table. The new backend's rules are in force before those of the old one go.
  - The admin's rules that are declared in O(docker_user) are in the chain C(WHARF-USER), which comes first.
  - The chain C(DOCKER-USER) comes next and belongs to the admin. It is made, never changed, and stays as long as it has
    rules. It sees addresses and ports as they are after translation; C(ct original proto-dst) is the published port.
  - Rules of other tables are never touched. They may still drop what is accepted here, whatever the order, since an
    C(accept) is final in its own chain only. Where they surely do, a warning names the chain, the rule and the remedy.
  - Where firewalld runs, the networks' bridges go into its zone C(docker), which is made where there is none.
  - After the rules have changed, connection tracking forgets the flows that lead elsewhere than they would now, or
    whose sender may no longer come. All others go on, also where rules were lost and are loaded again. Where the kernel
    does not forget them, the call fails, with all rules as declared, and the next one makes up for it.
extends_documentation_fragment:
  - wharf.network.layer
requirements:
  - nftables (the command nft), or for C(firewall-backend=iptables) the commands of iptables
"""

EXAMPLES = r"""
- name: Publish a port of a container
  wharf.network.docker_chains:
    containers:
      web:
        ports: ["8080:80", "8443:443", "127.0.0.1:9090:9090", "53:53/udp"]

- name: Let only the office reach port 8443
  wharf.network.docker_chains:
    docker_user:
      - {source: 198.51.100.0/24, published_port: 8443, action: return}
      - {published_port: 8443, action: drop}

- name: See what a declaration would change
  wharf.network.docker_chains:
    compose_files: [compose.yml]
  check_mode: true
  diff: true
"""

RETURN = r"""
changes:
  description: What changed, or in check mode would change, as in RV(wharf.network.layers#module:changes).
  returned: success
  type: list
  elements: dict
  sample: [{layer: docker_chains, kind: rules, name: container web, action: update, fields: [elements]}]
pending:
  description: The sandboxes and endpoints whose network stack does not exist yet. They are connected once it exists.
  returned: success
  type: list
  elements: str
published:
  description: The ports of the host that were taken where the declaration leaves the choice, with a range or none. As
    long as the declaration stays, they do.
  returned: success
  type: list
  elements: dict
  sample: [{container: web, host_ip: 0.0.0.0, host_port: 8001, protocol: tcp, address: 172.18.0.2, target_port: 80,
    allow_from: null}]
  contains:
    container:
      description: The container that the port leads to.
      type: str
    host_ip:
      description: The host's address; V(0.0.0.0) or V(::) is all of its family.
      type: str
    host_port:
      description: The port of the host.
      type: int
    protocol:
      description: One of V(tcp), V(udp) and V(sctp).
      type: str
    address:
      description: The container's address.
      type: str
    target_port:
      description: The container's port.
      type: int
    allow_from:
      description: The networks that may reach it; null for all.
      type: list
      elements: str
problems:
  description: What stands in the way, as in RV(wharf.network.layers#module:problems).
  returned: failure, where the declaration or the host must be changed
  type: list
  elements: dict
"""
