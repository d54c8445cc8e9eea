#!/usr/bin/python
# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: explain
short_description: Say whether and why a packet passes
version_added: 1.0.0
description:
  - Follows a packet and its answer through the state of the kernel, which is the routes, bridges, kernel parameters,
    NAT and firewall rules of the host and of its containers, also those of third parties.
  - The verdict is about this host. It does not cover what is beyond the host, such as other routers.
  - For each step, it names the owner of the rule and the place in the declaration that the rule comes from. It also
    says what would let the packet pass.
  - If the verdict depends on a condition that cannot be known, such as the sender, or whether a rate limit is reached,
    the verdict is V(unknown), and RV(unknown) names the condition.
extends_documentation_fragment:
  - wharf.network.attributes.read_only
  - wharf.network.attributes.linux
attributes:
  check_mode:
    support: full
    description: Does the same, since it changes nothing. With O(send) it sends the same packet.
options:
  from:
    description:
      - The sender of the packet. It is a container, by its name or by an alias that no other container has, V(host), an
        address, or V(outside).
      - V(outside) is any host beyond the default route. Its address is unknown.
      - A packet from an address that neither this host nor a container has arrives on the interface by which the host
        reaches that address.
    type: str
    required: true
  to:
    description:
      - The destination and its port, as in V(db:5432), V(host:8080/tcp), V(192.0.2.10:53/udp) or
        V([2001:db8::10]:443).
      - The name is that of a container, V(host), one from the file C(hosts) of the container in O(from), or an
        address. If a name has several addresses, the module explains the first one, and returns the verdicts for the
        others in RV(others).
      - The protocol is V(tcp) unless V(/udp) or V(/sctp) says otherwise.
    type: str
    required: true
  icmp:
    description: Whether the packet is a ping. Then O(to) has no port.
    type: bool
    default: false
  send:
    description:
      - Whether to send one such packet, and watch whether it arrives. The sender in O(from) must be on this host.
      - A service that listens there sees a TCP connection that is closed at once, or a UDP datagram that begins with
        C(wharf.network probe).
    type: bool
    default: false
requirements:
  - nftables with JSON (the command nft), and iptables-save where there are rules of iptables
notes:
  - The packet is the first one of a new connection. Connections that connection tracking already knows may pass in
    spite of the verdict.
  - A container's port is V(open) if the packet arrives, even if no service listens there, as with
    M(wharf.network.probe). A port of the host itself is V(closed) if no service listens.
  - It does not consider eBPF, traffic control, and rules for ARP.
seealso:
  - module: wharf.network.probe
  - module: wharf.network.network_info
"""

EXAMPLES = r"""
- name: Two networks, with a container each
  wharf.network.layers:
    networks: {front: {}, back: {}}
    containers:
      web: {networks: [front], ports: ["8080:80"]}
      db: {networks: [back]}

- name: Ask why the database is not reached
  wharf.network.explain:
    from: web
    to: db:5432
  register: explained

- name: Print the verdict, and what would open it
  ansible.builtin.debug:
    msg: "{{ [explained.verdict ~ ': ' ~ explained.why] + explained.remedies }}"

- name: Fail unless a port is open to one network
  wharf.network.explain:
    from: 10.0.0.7
    to: host:8080/tcp
  register: explained
  failed_when: explained.verdict != 'open'

- name: Send a packet as well
  wharf.network.explain:
    from: web
    to: 192.0.2.53
    icmp: true
    send: true
"""

RETURN = r"""
verdict:
  description: V(open), V(closed), or V(unknown) if it depends on a condition that cannot be known.
  returned: success
  type: str
  sample: closed
why:
  description: The reason in one sentence.
  returned: success
  type: str
  sample: web is on app, and network back is isolated from others (wharf_networks.back)
from:
  description: The sender, as given; for an alias, the container's name.
  returned: success
  type: str
  sample: web
to:
  description: The destination, as given.
  returned: success
  type: str
  sample: db:5432
address:
  description: The address that the packet is sent to.
  returned: success
  type: str
  sample: 172.19.0.2
port:
  description: The port; null with a ping.
  returned: success
  type: int
  sample: 5432
protocol:
  description: V(tcp), V(udp), V(sctp) or V(ping).
  returned: success
  type: str
  sample: tcp
steps:
  description:
    - The steps of the packet, and then those of the answer.
    - If RV(verdict) is V(unknown), these are the steps of a case in which the packet is dropped.
  returned: success
  type: list
  elements: dict
  sample: [{where: host, what: drops the packet, owner: wharf.network, place: wharf_networks.back, chain: inet wharf
    raw-prerouting, rule: "ip daddr @protected4 … drop", passes: false, answer: false}]
  contains:
    where:
      description: The network stack in which it happens, C(host) or the name of a container.
      type: str
    what:
      description: What happens.
      type: str
    owner:
      description: Who made the rule; empty if the step is not that of a rule.
      type: str
    place:
      description: The place of the declaration that the rule comes from, if any.
      type: str
    chain:
      description: Family, table and chain of the rule.
      type: str
    rule:
      description: The rule as nft or iptables writes it, or C(policy drop).
      type: str
    passes:
      description: Whether the packet goes on; null if that is not known.
      type: bool
    answer:
      description: Whether the packet is the answer.
      type: bool
remedies:
  description: What would let the packet pass, each by itself. Empty if it is open.
  returned: success
  type: list
  elements: str
  sample: ["connect both to one network: `networks: [app, back]` in wharf_containers.web",
    "`ports: [\"5432:5432\"]` in wharf_containers.db, and use host:5432"]
unknown:
  description: The conditions that cannot be known.
  returned: success
  type: list
  elements: dict
  sample: [{what: "the network beyond eth0, and whether a host answers there", matters: false}]
  contains:
    what:
      description: The condition.
      type: str
    matters:
      description: Whether the verdict depends on it.
      type: bool
others:
  description: The other addresses of O(to), each with its verdict.
  returned: success
  type: list
  elements: dict
  sample: [{address: "fd00::2", verdict: open}]
sent:
  description: The result of sending the packet; null without O(send).
  returned: success
  type: dict
  sample: {seen: closed, why: no answer, seen_as: null, seconds: 0.0, agrees: true, trace: [
    "inet wharf raw-prerouting: ip daddr @protected4 … drop comment \"direct access\""]}
  contains:
    seen:
      description: As RV(wharf.network.probe#module:probes[].seen).
      type: str
    why:
      description: The reason, in words.
      type: str
    seen_as:
      description: The source address with which the packet arrived, or null.
      type: str
    seconds:
      description: The time until the answer; V(0) if there was none.
      type: float
    agrees:
      description: Whether this agrees with the verdict; null if it is inconclusive.
      type: bool
    trace:
      description:
        - The nftables rules that the packet passed on the host, by the kernel's trace (nftrace).
        - Empty if the host has no nft, or a kernel older than 5.12.
      type: list
      elements: str
report:
  description: The same as lines of text, as the command C(wharf explain) prints them.
  returned: success
  type: list
  elements: str
  sample: ["closed: web -> db:5432 (172.19.0.2:5432/tcp): web is on app, and network back is isolated from others"]
"""

from ansible_collections.wharf.network.plugins.module_utils.engine_loader import run_by_engine

ARGUMENT_SPEC = {
    "from": {"type": "str", "required": True},
    "to": {"type": "str", "required": True},
    "icmp": {"type": "bool", "default": False},
    "send": {"type": "bool", "default": False},
}


def main() -> None:
    run_by_engine("explain", ARGUMENT_SPEC)


if __name__ == "__main__":
    main()
