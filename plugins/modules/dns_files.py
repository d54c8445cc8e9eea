#!/usr/bin/python
# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

# The action plugin wharf.network.layers, which meta/runtime.yml names, runs the module `layers` for this one.

DOCUMENTATION = r"""
module: dns_files
short_description: The resolv.conf, hosts and hostname of containers
version_added: 1.0.0
description:
  - Writes each container's C(resolv.conf), C(hosts) and C(hostname). Those of a named namespace (C(netns:NAME), the
    default) are below C(/etc/netns/NAME), from where C(ip netns exec) binds them over C(/etc).
  - Of containers of other runtimes (a C(sandbox) of C(docker:NAME), C(podman:NAME), C(machine:NAME), C(pid:N) or
    C(path:/run/...)) it writes the files that these have themselves. What stood there is given back once a container is
    no longer declared.
  - The names and aliases of the other containers on a user-defined network stand in C(hosts).
  - C(resolv.conf) has the nameservers of the host that a container can reach, unless the container or O(host) names
    others. It follows the host's when this is called.
  - Files are rewritten in place, since a container may have them bind-mounted.
  - A C(resolv.conf) that was edited by hand is not changed. A warning and RV(edited) name it.
  - A container in mode C(host) has the host's own files, unless it is given names of its own.
extends_documentation_fragment:
  - wharf.network.layer
"""

EXAMPLES = r"""
- name: Write the names of two containers
  wharf.network.dns_files:
    networks:
      app: {}
    containers:
      web:
        networks: [app]
        dns_search: example.org
        extra_hosts:
          - registry=host-gateway
      db:
        networks:
          app:
            aliases: [postgres]
"""

RETURN = r"""
changes:
  description: What changed, or in check mode would change, as in RV(wharf.network.layers#module:changes).
  returned: success
  type: list
  elements: dict
  sample: [{layer: dns_files, kind: file, name: /etc/netns/web/hosts, action: update, fields: [content]}]
edited:
  description: The C(resolv.conf) files that were edited since they were written. They are left as they
    are, also by the next call; one that is emptied or deleted is written anew. One that a container's runtime has made
    anew, when the container was started, is not taken for edited.
  returned: success
  type: list
  elements: str
  sample: [/etc/netns/web/resolv.conf]
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
