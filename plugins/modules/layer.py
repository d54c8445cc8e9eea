#!/usr/bin/python
# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: layer
short_description: Any one layer of a host's container networks
version_added: 0.1.0
description:
  - Does what the module of the same name as the layer does, such as M(wharf.network.bridge). Those are for plays.
  - Behind each of those it is this module that runs on the host, so Ansible packs what it sends there once for all
    layers of a play, and not once for each.
options:
  layer:
    description: The name of the layer. In the order in which a host is built.
    type: str
    required: true
    choices: [bridge, docker_chains, forwarding, veth, dns_files, dnsmasq]
extends_documentation_fragment:
  - wharf.network.layer
"""

EXAMPLES = r"""
- name: As by wharf.network.bridge
  wharf.network.layer:
    layer: bridge
    networks:
      app: {}
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
  description: The sandboxes and endpoints whose network stack does not exist yet. They are left alone until it does.
  returned: success
  type: list
  elements: str
  sample: []
problems:
  description: What stands in the way, each with the C(path) of its place and a C(message) that says what
    would be right. What is wrong in a text or Compose file itself, is in the error message alone.
  returned: failure, where the declaration or the host must be changed
  type: list
  elements: dict
  sample: [{path: "containers.web.ports[1]", message: '"8080:80/icmp": protocol must be tcp, udp or sctp'}]
"""

from ansible_collections.wharf.network.plugins.module_utils.layer_module import run_named_layer


def main() -> None:
    run_named_layer()


if __name__ == "__main__":
    main()
