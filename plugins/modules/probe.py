#!/usr/bin/python
# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: probe
short_description: Prove by packets who reaches whom
version_added: 1.0.0
description:
  - Sends packets from inside sandboxes and from the host, all at once, and compares what becomes of them with what is
    expected. It fails if something differs, so it can be a gate in a play.
  - Without O(probes) it derives from the ledger in C(/var/lib/wharf) what must be open and what closed. These are the
    gateway of each endpoint, one neighbour on its network and one container of another network, the way out of each
    container, and each published port from the host, from its own container, from a neighbour and from another network.
  - No service has to listen for that, and the module opens no port. It watches with a raw socket inside the sandbox
    where a probe should arrive. So it can tell a port on which no service listens from a closed one, and the right
    container from another host that answers.
  - A service that listens there sees a TCP connection that is closed at once, or a UDP datagram that begins with
    C(wharf.network probe).
extends_documentation_fragment:
  - wharf.network.attributes.read_only
  - wharf.network.attributes.linux
attributes:
  check_mode:
    support: full
    description: Sends the same packets, since they change nothing.
options:
  probes:
    description:
      - What to try. A probe here replaces the derived one with the same C(from), C(to), C(port) and C(protocol).
    type: list
    elements: dict
    default: []
    suboptions:
      from:
        description:
          - Where the packet comes from.
          - It is the name of a declared container, a sandbox such as V(netns:web), V(pid:4711) or V(path:/run/...), or
            V(host) for the host itself.
        type: str
        default: host
      to:
        description:
          - Where the packet goes to. It is an address, the name of a declared container, V(host), or a name that the
            container which asks finds in its own C(hosts).
          - A container is asked at its address on a network that both are on, if there is one. A name of several
            addresses makes several probes.
        type: str
        required: true
      port:
        description: The port, unless O(probes[].protocol=ping).
        type: int
      protocol:
        description: V(tcp) connects, V(udp) sends one datagram, V(ping) an ICMP echo request.
        type: str
        choices: [tcp, udp, ping]
        default: tcp
      expected:
        description: Whether the other side should be reached.
        type: str
        choices: [open, closed]
        default: open
      name:
        description: What the probe proves, for the report.
        type: str
      size:
        description: With O(probes[].protocol=ping), the size of the packet in bytes. It is not fragmented.
        type: int
      via:
        description:
          - The address of the host that forwards the probe, where this module does not run on that host. It is given
            in RV(outside_probes).
          - A refusal then counts as V(open) if it comes from one hop behind that host, as its TTL shows in comparison
            with that of the host's answer to a ping.
          - If this host reaches the address without a router, the probe counts as V(closed), since the address is then
            that of a neighbour of this host, not of the container.
        type: str
  derive:
    description:
      - Whether to send the probes that follow from the ledger.
      - If this is not set, they are sent where O(probes) is empty.
    type: bool
  beyond:
    description:
      - Other hosts, as C(ADDRESS) to be pinged or C(ADDRESS:PORT) to be connected to. With O(derive), containers that
        have a way out must reach them, and those on internal networks only must not.
      - Without this, no derived probe leaves the host, and it is not proved that the host forwards to the outside.
    type: list
    elements: str
    default: []
  addresses:
    description:
      - The addresses by which other hosts reach this one, for RV(outside_probes).
      - Those of the interface of the default route if this is empty.
    type: list
    elements: str
    default: []
  timeout:
    description:
      - How long to wait for an answer, in seconds. Each probe of a closed port takes this time.
      - Where a lost packet may be the reason that a probe does not come out as expected, it is sent a second time.
    type: float
    default: 1.0
  from_others:
    description:
      - The RV(probes) that this module has returned on other hosts, by the name of each. They were given
        RV(outside_probes) of this host.
      - They are kept with those that were last derived here, for C(wharf show) and the report. Nothing is sent.
    type: dict
  fail_on:
    description:
      - V(mismatch) fails if a probe comes out otherwise than expected.
      - V(unproven) fails also if one is inconclusive, as those of a container that does not run, V(nothing) never does.
    type: str
    choices: [nothing, mismatch, unproven]
    default: mismatch
notes:
  - Derived are probes of TCP and UDP, not of SCTP, and not those to C([::1]). A container's own address is tried on one
    port, not on all.
  - What an admin's rules in C(DOCKER-USER) close, and what the firewall of a container closes, is reported as closed.
  - As many probes are sent at once as there is room for in the kernel's table of neighbours, so that nobody else's
    traffic suffers. On a host of hundreds of containers it takes a minute, unless C(net.ipv4.neigh.default.gc_thresh2)
    and C(gc_thresh3) are raised as such a host needs.
  - A UDP service that takes a probe without answering is V(open) if its container is on this host, since the probe is
    seen to arrive. Elsewhere it is V(unknown).
seealso:
  - module: wharf.network.network_info
"""

EXAMPLES = r"""
- name: Fail unless the host does what is declared
  wharf.network.probe:

- name: Look at what was tried
  wharf.network.probe:
    fail_on: nothing
  register: tried

- name: Print one line for each probe
  ansible.builtin.debug:
    msg: "{{ tried.report }}"

- name: Try certain ways, and the derived ones
  wharf.network.probe:
    derive: true
    probes:
      - name: Nothing listens on the host's loopback
        to: 127.0.0.1
        port: 9
        expected: closed
      - name: The host's own stack answers
        to: 127.0.0.1
        protocol: ping
"""

RETURN = r"""
probes:
  description: One row for each probe, with O(probes[].from), O(probes[].to) and so on as they were sent.
  returned: always
  type: list
  elements: dict
  sample: [{from: shell, to: 192.0.2.10, port: 8080, protocol: tcp, expected: open, name: "port 80 of web, published",
    seen: open, fulfilled: true, why: "", seen_as: 172.17.0.2, seconds: 0.0004}]
  contains:
    expected:
      description:
        - V(open) or V(closed).
        - V(reached) of a derived ping to the host, which is to arrive there. Whether the host answers is said by its
          own rules, so V(one-way) is as expected, too.
        - V(forwarded) of a derived probe of a port that this host publishes for a container of another host. Without an
          answer it is inconclusive, since the other host decides about that.
      type: str
    seen:
      description:
        - V(open), V(closed), or V(refused), which is as good as closed.
        - V(one-way) if the probe arrives and no answer comes back, V(elsewhere) if something else answers, V(absent) if
          there is no sandbox to send it from. These are never V(open) or V(closed).
        - V(unknown) where the probe is inconclusive. A probe that follows from the ledger is not sent, and is so, if
          the sandbox at one of its ends does not exist yet.
      type: str
    fulfilled:
      description: Whether it is as expected; null where the probe is inconclusive.
      type: bool
    why:
      description: The reason, in words.
      type: str
    seen_as:
      description: The address that the container saw the probe come from, if it was seen to arrive; else null.
      type: str
    seconds:
      description: How long it took until there was an answer; V(0) if there was none.
      type: float
failed_probes:
  description: How many came out otherwise than expected.
  returned: always
  type: int
  sample: 0
unproven_probes:
  description: How many are inconclusive.
  returned: always
  type: int
  sample: 0
report:
  description: One line for each probe.
  returned: always
  type: list
  elements: str
  sample: ["✓ shell -> 192.0.2.10:8080/tcp  open: port 80 of web, published",
    "✓ shell -> 172.18.0.2:80/tcp    closed (no answer): web, on another network"]
outside_probes:
  description: What another host must find, to be given there as O(probes). Only with O(derive).
  returned: always
  type: list
  elements: dict
  sample: [{from: host, to: 192.0.2.10, port: 8080, protocol: tcp, expected: open, name: "port 80 of web, published",
    via: 192.0.2.10}]
pending:
  description: Containers whose sandbox, or that of the container whose network stack they use, is not there yet.
  returned: always
  type: list
  elements: str
  sample: []
"""

from ansible_collections.wharf.network.plugins.module_utils.engine_loader import run_by_engine

PROBE_SPEC = {
    "from": {"type": "str", "default": "host"},
    "to": {"type": "str", "required": True},
    "port": {"type": "int"},
    "protocol": {"type": "str", "choices": ["tcp", "udp", "ping"], "default": "tcp"},
    "expected": {"type": "str", "choices": ["open", "closed"], "default": "open"},
    "name": {"type": "str"},
    "size": {"type": "int"},
    "via": {"type": "str"},
}

ARGUMENT_SPEC = {
    "probes": {"type": "list", "elements": "dict", "default": [], "options": PROBE_SPEC},
    "derive": {"type": "bool"},
    "beyond": {"type": "list", "elements": "str", "default": []},
    "addresses": {"type": "list", "elements": "str", "default": []},
    "timeout": {"type": "float", "default": 1.0},
    "from_others": {"type": "dict"},
    "fail_on": {"type": "str", "choices": ["nothing", "mismatch", "unproven"], "default": "mismatch"},
}


def main() -> None:
    run_by_engine("probe", ARGUMENT_SPEC)


if __name__ == "__main__":
    main()
