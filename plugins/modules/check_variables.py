#!/usr/bin/python
# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: check_variables
short_description: Refuse variables that the roles and playbooks do not know
version_added: 1.0.0
description:
  - Fails if the host has a variable that begins with C(wharf_) and that the roles and playbooks of this collection do
    not know, or if one of their variables has an impossible value.
  - The roles and playbooks begin with this. It runs on the controller, and reads and changes nothing on the host.
  - An empty value, and a text of nothing but white space as surveys of AWX give it, counts as not given.
  - It checks that C(wharf_host), C(wharf_networks) and C(wharf_containers) are dictionaries, and C(wharf_docker_user) a
    list, or texts of these. The modules of the layers read what is within them, and Compose files.
extends_documentation_fragment:
  - wharf.network.attributes.read_only
attributes:
  action:
    support: full
    description: All of it is an action plugin.
  platform:
    support: full
    description: The systems that this runs on.
    platforms: all
seealso:
  - module: wharf.network.network_info
author:
  - The wharf.network authors (@wharf)
"""

EXAMPLES = r"""
- name: Refuse unknown variables on all hosts of the play, before anything is done on any of them
  wharf.network.check_variables:
  any_errors_fatal: true
"""

RETURN = r"""
declaring:
  description: The variables that are given and declare something of the host.
  returned: success
  type: list
  elements: str
  sample: [wharf_networks, wharf_containers]
encrypts:
  description: Whether a variable declares an encrypted network, or names Compose files, which may do that.
  returned: success
  type: bool
  sample: false
settings:
  description:
    - What the other variables say, by their names without C(wharf_), with their defaults.
    - C(verify_from) has the hosts that the pattern names. What is not given and has no default is not there.
  returned: success
  type: dict
  sample: {recover: false, boot: true, runtime: netns, state: present, verify_addresses: [], verify_beyond: [],
    verify_fail_on: mismatch, verify_from: [], verify_probes: [], verify_timeout: 1.0}
problems:
  description: What is wrong, each with the C(path) of the variable and a C(message) that says what would be right.
  returned: failure
  type: list
  elements: dict
  sample: [{path: wharf_container, message: "is not a variable of wharf.network: did you mean wharf_containers?"}]
"""
