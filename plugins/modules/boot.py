#!/usr/bin/python
# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: boot
short_description: Bring a host's container networks back when it boots
version_added: 1.0.0
description:
  - Installs the command C(wharf), C(/usr/local/sbin/wharf), which is the engine of this very version of the collection
    in one file. It is run by the Python that runs this module. It knows from the ledger what is declared on the host.
  - Where systemd or OpenRC runs the host, the service C(wharf) brings back what is declared when the host boots, and
    with systemd also when the firewall's own service is started anew. The service C(wharf-follow) connects containers
    of other runtimes that start, or start anew, keeps containers' files of names true to the host's, and loads flushed
    rules again. Both are enabled and started.
  - Where neither does, only the command is installed.
extends_documentation_fragment:
  - wharf.network.attributes.linux
options:
  services:
    description:
      - With V(true) the services are installed and enabled also where systemd or OpenRC is there and does not run, as
        in an image that is being built; an error where there is neither. With V(false) only the command is installed.
      - Where this is not given, there are services where systemd or OpenRC runs the host.
    type: bool
  metrics:
    description:
      - The path of a file for the textfile collector of Prometheus' node_exporter. The service C(wharf-follow) keeps
        there what C(wharf metrics) prints. Its name ends with C(.prom), and its folder exists.
      - Where this is not given, no metrics are written.
    type: str
  state:
    description: With V(absent) all of it is removed. The networks stay.
    type: str
    choices: [present, absent]
    default: present
  variable_prefix:
    description:
      - What the name of the variable begins with from which O(services) is given, as in V(wharf_boot_) of
        C(wharf_boot_services). Messages then name the variable, and else the option. The role C(boot) sets it.
    type: str
    default: ""
  by:
    description: Who makes the call, for C(wharf log). By default it is the play.
    type: str
    default: a module
attributes:
  check_mode:
    support: full
    description: Predicts exactly the changes that a real run then makes.
  diff_mode:
    support: full
    description: Shows one titled difference for each object that changes.
  idempotent:
    support: full
    description: A second run changes nothing.
"""

EXAMPLES = r"""
- name: Have the networks come back after a reboot
  wharf.network.boot:

- name: Only the command
  wharf.network.boot:
    services: false
"""

RETURN = r"""
changes:
  description: What changed, or in check mode would change, as in RV(wharf.network.layers#module:changes).
  returned: success
  type: list
  elements: dict
  sample: [{layer: boot, kind: service, name: wharf.service, action: create, fields: []}]
"""

from ansible_collections.wharf.network.plugins.module_utils.engine_loader import run_by_engine

ARGUMENT_SPEC = {
    "services": {"type": "bool"},
    "metrics": {"type": "str"},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "variable_prefix": {"type": "str", "default": ""},
    "by": {"type": "str", "default": "a module"},
}


def main() -> None:
    run_by_engine("boot", ARGUMENT_SPEC)


if __name__ == "__main__":
    main()
