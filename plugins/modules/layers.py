#!/usr/bin/python
# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: layers
short_description: Bring a host's container networks to what is declared, in one run
version_added: 1.0.0
description:
  - Converges all layers of a host's container networks, or those of O(layers), in one run. The run plans everything
    that is declared on the host, observes each layer, makes all changes in one order, and observes again.
  - Where the kernel, a program or the disk refuses a change, all changes of the run are taken back, in every layer. The
    error says what was refused, and what could not be taken back.
  - What is refused inside a single container concerns that container alone. It is pending, with a warning.
  - The modules M(wharf.network.bridge), M(wharf.network.docker_chains), M(wharf.network.forwarding),
    M(wharf.network.veth), M(wharf.network.dns_files), M(wharf.network.dnsmasq) and M(wharf.network.boot) are one layer
    each.
options:
  layers:
    description:
      - The layers that this call converges. Their order is always that of the choices, reversed for removals.
      - What the call declares is kept in the ledger for all layers.
    type: list
    elements: str
    choices: [bridge, docker_chains, forwarding, veth, dns_files, dnsmasq, boot]
    default: [bridge, docker_chains, forwarding, veth, dns_files, dnsmasq, boot]
extends_documentation_fragment:
  - wharf.network.layer
requirements:
  - pyroute2 0.6.10 to 0.9, where bridges are to be changed
"""

EXAMPLES = r"""
- name: A network, and a container with a published port
  wharf.network.layers:
    networks:
      app: {}
    containers:
      web:
        networks: [app]
        ports: ["8080:80"]

- name: The bridges and rules alone
  wharf.network.layers:
    layers: [bridge, docker_chains, forwarding]
    networks:
      app: {}

- name: Remove everything that is declared on the host
  wharf.network.layers:
    state: absent
"""

RETURN = r"""
changes:
  description: What changed, or in check mode would change, in the order in which it is done.
  returned: success
  type: list
  elements: dict
  sample: [{layer: forwarding, kind: sysctl, name: net.ipv4.ip_forward, action: update, fields: [value]}]
  contains:
    layer:
      description: The layer that the object belongs to.
      type: str
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
  description: The sandboxes and endpoints whose network stack does not exist yet, and the link of encrypted networks if
    the kernel has lost WireGuard. A run connects them once that has changed.
  returned: success
  type: list
  elements: str
unconfirmed:
  description: What is still to be confirmed of this call, with the C(id) that M(wharf.network.confirm) takes; null
    where there is nothing to confirm, or it is confirmed already.
  returned: success
  type: dict
  sample: {id: 5f0c2a91, by: 'the play "Networks" of alice at deploy', seconds: 120,
    until: "2026-11-28 16:04:05 UTC"}
reverted:
  description: The unconfirmed changes that this call has reverted first; null if there were none.
  returned: success
  type: dict
  sample: null
problems:
  description: What stands in the way, each with the C(path) of its place and a C(message) that says what
    would be right. What is wrong in a text or Compose file itself, is in the error message alone.
  returned: failure, where the declaration or the host must be changed
  type: list
  elements: dict
  sample: [{path: "containers.web.ports[1]", message: '"8080:80/icmp": protocol must be tcp, udp or sctp'}]
"""

from ansible_collections.wharf.network.plugins.module_utils.engine_loader import run_by_engine

_LAYERS = ["bridge", "docker_chains", "forwarding", "veth", "dns_files", "dnsmasq", "boot"]
_SCOPES = ["docker_user", "default_networks", "user_networks", "containers", "boot"]

ARGUMENT_SPEC = {
    "host": {"type": "raw"},
    "networks": {"type": "raw"},
    "containers": {"type": "raw"},
    "docker_user": {"type": "raw"},
    "boot": {"type": "raw"},
    "compose_files": {"type": "raw"},
    "runtime": {"type": "str", "choices": ["netns", "docker", "podman", "machine"]},
    "state": {"type": "str", "choices": ["present", "exact", "absent"], "default": "present"},
    "scope": {"type": "list", "elements": "str", "choices": _SCOPES, "default": _SCOPES},
    "layers": {"type": "list", "elements": "str", "choices": _LAYERS, "default": _LAYERS},
    "recover": {"type": "bool", "default": False},
    "confirm": {"type": "int"},
    "confirm_later": {"type": "bool", "default": False},
    "peer_keys": {"type": "dict", "default": {}, "no_log": False},
    "by": {"type": "str", "default": "a module"},
    "variable_prefix": {"type": "str", "default": ""},
}


def main() -> None:
    run_by_engine("layers", ARGUMENT_SPEC)


if __name__ == "__main__":
    main()
