#!/usr/bin/python
# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: overlay_key
short_description: Tell the hosts of encrypted networks the public keys of each other
version_added: 1.0.0
description:
  - Each host of a network with C(driver=overlay) and C(encrypted) makes its own private key of WireGuard, which never
    leaves it. This module makes the private key where there is none, and keeps the public key on the controller until
    the end of this run of Ansible. The modules of the layers then give it to the other hosts.
  - The playbook C(wharf.network.site) and the roles call this module themselves. A play that calls
    M(wharf.network.layers) by itself calls it for all hosts first, in an earlier task or play.
  - If a run does not reach a host, the other hosts go on using its last key that they know. They send nothing to a
    host of which they know no key, until a run reaches both.
  - If O(networks) and O(compose_files) declare no encrypted network, the module does not connect to the host.
extends_documentation_fragment:
  - wharf.network.attributes.linux
options:
  networks:
    description: The networks, as in M(wharf.network.layers).
    type: raw
  compose_files:
    description: The Compose files, as in M(wharf.network.layers).
    type: raw
  state:
    description: As in M(wharf.network.layers). With V(absent) this does nothing.
    type: str
    choices: [present, exact, absent]
    default: present
attributes:
  check_mode:
    support: full
    description: Makes no key. The later tasks predict changes as if a host without a key had one.
  diff_mode:
    support: none
    description: A private key is not shown.
  idempotent:
    support: full
    description: A host keeps its key.
"""

EXAMPLES = r"""
# In a play for all hosts, before one that sets them up one after the other.
- name: Public keys
  wharf.network.overlay_key:
    networks:
      app:
        driver: overlay
        driver_opts: {encrypted: ""}
        ipam: {config: [{subnet: 10.20.0.0/16}]}
        x-wharf: {hosts: app_servers, slice: 24}
"""

RETURN = r"""
public_key:
  description:
    - The public key of the host, as C(wg pubkey) prints it; null where no network is encrypted, where the kernel has no
      WireGuard, and in check mode where there is none yet.
  returned: success
  type: str
  sample: 3p7bfXt9wbTTW2HC7OQ1Nz+DQ8hbeGdNrfx+FG+IK08=
"""

from ansible_collections.wharf.network.plugins.module_utils.engine_loader import run_by_engine

ARGUMENT_SPEC = {
    "networks": {"type": "raw"},
    "compose_files": {"type": "raw"},
    "state": {"type": "str", "choices": ["present", "exact", "absent"], "default": "present"},
}


def main() -> None:
    run_by_engine("overlay_key", ARGUMENT_SPEC)


if __name__ == "__main__":
    main()
