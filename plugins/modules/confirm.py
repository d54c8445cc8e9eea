#!/usr/bin/python
# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: confirm
short_description: Confirm changes of a host's container networks through a new connection
version_added: 1.0.0
description:
  - Confirms changes of a call with O(wharf.network.layers#module:confirm), so that the host does not revert them.
  - Each attempt makes a new connection to the host. An existing one, also one that ssh shares
    (C(ControlPersist)), would prove nothing. The attempts go on until one of them succeeds or O(timeout) is over.
  - The modules of the layers confirm their own changes in the same way, unless
    O(wharf.network.layers#module:confirm_later) leaves it to this module.
  - Where there is nothing to confirm it changes nothing. Where changes were reverted since they were not confirmed in
    time, it fails, and says when that was.
extends_documentation_fragment:
  - wharf.network.attributes.linux
options:
  run:
    description:
      - The run whose changes are confirmed, together with those before it, by the C(id) of C(unconfirmed) that it
        returned. It fails where a later run is to be confirmed.
      - Without it, everything that is unconfirmed on the host is confirmed.
    type: str
    default: ""
  timeout:
    description: How long new connections are tried, in seconds. The host's own deadline holds all the same.
    type: int
    default: 60
attributes:
  check_mode:
    support: full
    description: Confirms nothing, since in check mode nothing was changed that could be confirmed.
  diff_mode:
    support: none
    description: There is nothing to show.
  idempotent:
    support: full
    description: What is confirmed need not be confirmed again.
"""

EXAMPLES = r"""
- name: A change that is reverted after two minutes, unless it is confirmed
  wharf.network.layers:
    confirm: 120
    confirm_later: true
    containers:
      web: {ports: ["8080:80"]}

- name: What must be open and what closed
  wharf.network.probe:

- name: It stays
  wharf.network.confirm:
"""

RETURN = r"""
confirmed:
  description: The run that was confirmed; null where there was nothing to confirm.
  returned: success
  type: dict
  sample: {id: 5f0c2a91, by: 'the play "Networks" of alice at deploy', seconds: 120,
    until: "2026-11-28 16:04:05 UTC"}
"""

from ansible_collections.wharf.network.plugins.module_utils.engine_loader import run_by_engine

ARGUMENT_SPEC = {"run": {"type": "str", "default": ""}, "timeout": {"type": "int", "default": 60}}


def main() -> None:
    run_by_engine("confirm", ARGUMENT_SPEC)


if __name__ == "__main__":
    main()
