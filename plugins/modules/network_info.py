#!/usr/bin/python
# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: network_info
short_description: Observe a host's container networks
version_added: 1.0.0
description:
  - Tells what C(brctl show), C(ip link), C(nft list) and C(docker network inspect) would, in one call and in the words
    of the declaration. It says which container each veth serves, what is published, and which addresses are allotted.
  - Compares the declaration with the host, and names each difference. It repairs nothing.
  - What is declared is known from the ledger in C(/var/lib/wharf); this takes no declaration.
options:
  verified:
    description: Also returns what packets have shown when M(wharf.network.probe) last sent those that are derived.
    type: bool
    default: false
extends_documentation_fragment:
  - wharf.network.attributes.read_only
  - wharf.network.attributes.linux
requirements:
  - nftables (the command nft), or for C(firewall-backend=iptables) the commands of iptables
"""

EXAMPLES = r"""
- name: Observe the networks
  wharf.network.network_info:
  register: seen

- name: Show them as a picture
  ansible.builtin.debug:
    msg: "{{ seen.picture.splitlines() }}"

- name: Fail if anything was changed by hand
  ansible.builtin.assert:
    that: seen.drift | length == 0
    fail_msg: "{{ seen.drift | to_nice_yaml }}"
"""

RETURN = r"""
declared:
  description: The parts of which anything is declared on the host; empty where nothing is.
  returned: success
  type: list
  elements: str
  sample: [default_networks, user_networks, containers]
networks:
  description: Each declared network by name, with its bridge as it is. One of the driver C(macvlan) or C(ipvlan)
    has C(parent), C(mode) and C(flag) instead, and the state of that link of the host. One whose bridge has an
    C(uplink) has the routers of the LAN as C(gateways). One of the driver C(overlay) has C(host), the name of this
    host, the C(peers) with their C(address), their C(slices), and the ports that they have all hosts publish
    (C(ingress)), the C(whole_subnets), and the C(tunnel), none where it has plain routes.
  returned: success
  type: dict
  sample: {app: {driver: bridge, bridge: br-app, state: up, mtu: 1500, uplink: null, gateways: [172.18.0.1/16],
    subnets: [172.18.0.0/16], external: false, internal: false, icc: true, masquerade: true, gateway_modes: {ipv4: nat},
    mac: "02:42:5f:10:cf:b2", endpoints: [web/app]}}
containers:
  description:
    - Each declared container by name, with its endpoints as they stand and its declared ports.
    - The C(rate) of an endpoint is in bits a second and its C(burst) in bytes, null where nothing is limited.
  returned: success
  type: dict
  sample: {web: {sandbox: "netns:web", mode: networks, shares: null, hostname: web, ports: [],
    unconnected: {}, endpoints: {app: {
    interface: eth0, host_interface: veth5bb8e40aa34, bridge: br-app, parent: null, mac: "02:42:ec:9e:59:4f", mtu: 1500,
    addresses: [172.18.0.2/16], routes: [{to: 0.0.0.0/0, via: 172.18.0.1}],
    rate: {ingress: {rate: 8000000, burst: 32768}, egress: null}}}}}
published:
  description: The ports of the host that lead to containers now.
  returned: success
  type: list
  elements: dict
  sample: [{container: web, host_ip: 0.0.0.0, host_port: 8080, protocol: tcp, address: 172.18.0.2, target_port: 80,
    allow_from: null}]
interfaces:
  description: The host's own links; C(speed) is in megabits a second, where the driver reports it.
  returned: success
  type: list
  elements: dict
  sample: [{name: eth0, kind: device, state: up, mtu: 1500, mac: "52:54:00:12:34:56", speed: 1000, master: null,
    alias: "", addresses: [192.0.2.10/24]}]
allotted:
  description: The subnets, addresses and free ports that were allotted, to be pinned in a declaration.
  returned: success
  type: dict
  sample: {networks: {app: {172.18.0.0/16: 172.18.0.1}}, endpoints: {web/app: {interface: eth0,
    mac: "02:42:ec:9e:59:4f", ipv4: 172.18.0.2}}, ports: {}}
foreign:
  description: The third-party rules and policies that drop what the networks need, and what would let it through.
  returned: success
  type: list
  elements: dict
  sample: [{tool: nft, family: inet, table: filter, base: forward, chain: forward, rule: "", hook: forward, drops: [
    packets to the outside from containers of network app], remedy: "`nft insert rule inet filter forward …`"}]
  contains:
    tool:
      description: What lists the rule, V(nft) or one of V(iptables-nft), V(iptables-legacy) and their likes for IPv6.
      type: str
    family:
      description: The table's family.
      type: str
    table:
      description: The table.
      type: str
    base:
      description: The chain at the hook, by which packets come to C(chain).
      type: str
    chain:
      description: The chain that drops.
      type: str
    rule:
      description: The rule that drops, or that cannot be read; empty where it is the chain's policy.
      type: str
    hook:
      description: The hook of C(base), such as V(forward).
      type: str
    drops:
      description: What it drops; empty where the rule cannot be read.
      type: list
      elements: str
    remedy:
      description: What lets it through, in the words of whoever owns the table.
      type: str
edited:
  description:
    - The containers' C(resolv.conf) files that were edited by hand. They are not changed, and do not count as
      drift.
  returned: success
  type: list
  elements: str
  sample: [/etc/netns/web/resolv.conf]
pending:
  description: The sandboxes of containers that do not run now, with what is to be in them, and the link
    of encrypted networks if the kernel has lost WireGuard. It is no drift.
  returned: success
  type: list
  elements: str
  sample: ["docker:web", web/app, "docker:web:/etc/hosts"]
drift:
  description: By layer, the changes that would bring the host to what is declared; empty if nothing differs.
  returned: success
  type: dict
  sample: {bridge: [{kind: bridge, name: br-app, action: update, fields: [mtu]}]}
unconfirmed:
  description: Changes that are to be confirmed, by whom they were made, and until when; null where there are none.
  returned: success
  type: dict
  sample: {id: 5f0c2a91, by: 'the play "Networks" of alice at deploy', seconds: 120,
    until: "2026-11-28 16:04:05 UTC"}
reverted:
  description: Changes that the host has reverted since they were not confirmed, until the next run reports it; null
    where there are none.
  returned: success
  type: dict
  sample: {by: 'the play "Networks" of alice at deploy', at: "2026-11-28 16:04:06 UTC",
    reason: since they were not confirmed}
last_change:
  description: When the last run began that changed anything, what and who made it, and how many objects it changed;
    null where no run has.
  returned: success
  type: dict
  sample: {at: 1795893354.5, time: "2026-11-28 19:15:54 UTC", origin: play,
    by: 'the play "Networks" of alice at deploy', objects: 88}
verified:
  description: The C(probes) of M(wharf.network.probe) that were derived here, those that other hosts have sent
    (C(from_others)), and when (C(at), C(time)); null where that is not known.
  returned: when O(verified=true)
  type: dict
  sample: {at: 1795893985.1, time: "2026-11-28 19:26:25 UTC", probes: [], from_others: []}
trouble:
  description: What an admin has to see first, in sentences; containers that are pending, what is gone or differs, and
    third-party rules that drop what must pass.
  returned: success
  type: list
  elements: str
  sample: ["network app: its bridge br-app is gone, so containers on it are disconnected"]
picture:
  description: The same as a picture for the terminal.
  returned: success
  type: str
"""

from ansible_collections.wharf.network.plugins.module_utils.engine_loader import run_by_engine

ARGUMENT_SPEC = {"verified": {"type": "bool", "default": False}}


def main() -> None:
    run_by_engine("network_info", ARGUMENT_SPEC)


if __name__ == "__main__":
    main()
