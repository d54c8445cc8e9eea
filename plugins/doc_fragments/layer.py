# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules of all layers have in common: they take the same options, in the model's vocabulary."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  host:
    description:
      - Host-wide settings, with the keys of dockerd's C(daemon.json), such as C(bip), C(mtu), C(default-address-pools).
        Extensions go under C(x-wharf). C(docs/reference.md) lists every key.
      - Keys of C(daemon.json) that are not about networking are ignored. Unknown keys are errors.
      - C(firewall-backend) is V(nftables), the default, or V(iptables). A change of it takes one run on a live host.
        With C(iptables=false) no rules are made for IPv4, with C(ip6tables=false) none for IPv6; declarations that
        need such rules are refused.
      - A dictionary, or the JSON or YAML text of one.
      - If this is not given, the former declaration stays.
    type: raw
  networks:
    description:
      - User-defined networks by name, as in the top-level C(networks) of the Compose Specification, with
        C(com.docker.network.*) in C(driver_opts). Extensions go under C(x-wharf), such as C(dns), C(dhcp), C(ra) and
        C(boot) for dnsmasq. C(docs/reference.md) lists every key.
      - C(external) names a network that is declared elsewhere, or else adopts a bridge that exists on the host, which
        is never changed or deleted.
      - C(labels) and C(attachable) are ignored. Unknown keys are errors.
      - A dictionary, or the JSON or YAML text of one.
      - If this is not given, the former declaration stays.
    type: raw
  containers:
    description:
      - Containers by name, with the networking keys of C(services) of the Compose Specification. Extensions go under
        C(x-wharf), such as C(sandbox) and C(routes). C(docs/reference.md) lists every key.
      - C(allow_from), under C(x-wharf) of a port in long form, lists the networks that may reach the port. A list with
        addresses of one IP family closes the port in the other family. The host, and containers of the same network,
        always reach the port.
      - A container that names no network joins the default network C(bridge).
      - A port mapping in the short form of C(ports) is a text. A number is an error, since Ansible's YAML reads an
        unquoted C(22:22) as 1342.
      - Keys that are not about networking are ignored, and not sent to the host. Unknown keys are errors.
      - Keys that begin with C(x-) are ignored too, here and in O(networks) and O(host). A key that may be a misspelt
        C(x-wharf), such as C(x-warf), is an error, and so is C(x-wharf) in a place where it has no meaning.
      - A dictionary, or the JSON or YAML text of one.
      - If this is not given, the former declaration stays.
    type: raw
  docker_user:
    description:
      - The admin's rules for forwarded packets, in order, as in the chain C(DOCKER-USER). They are checked before those
        of networks and published ports, for established connections too.
      - The list replaces the former one; an empty list removes all declared rules. Rules that others have added to
        C(DOCKER-USER) stay, and come after these.
      - C(action) is V(accept), V(drop), V(reject), V(return) (go on to the next rules, then to those of networks and
        ports), or V(log). The other keys are conditions, all of which must be met, except C(log) and C(comment).
      - C(source) and C(destination) are networks or addresses, or lists of them. The destination is the container's
        own address, after translation. A rule without addresses is for both IP families, other rules for the families
        of their addresses.
      - C(published_port) is the port (or range) before translation. C(container) and C(network) are the destination of
        the connection. A rule with one of these three matches packets in the direction in which the connection was
        opened, not the answers.
      - C(in_interface) and C(out_interface) are links of the host, such as V(eth0), or V(eth+) for all names that begin
        so.
      - C(protocol) is V(tcp), V(udp), V(sctp) or V(icmp), which is the ICMP of either family.
      - C(state) lists states of connection tracking, of V(new), V(established), V(related), V(invalid), V(untracked).
      - C(limit) is a rate, as V(10/second), or C({rate, burst}). The rule matches packets within it. Each family counts
        by itself, and with C(published_port) each protocol.
      - C(log) writes matching packets to the kernel's log, V(true) or a text as prefix.
      - C(comment) is shown beside the rule in the kernel.
      - A list, or the JSON or YAML text of one. If this is not given, the former rules stay.
    type: raw
  boot:
    description:
      - Settings of the services that bring the networks back at boot, as those of M(wharf.network.boot). An empty
        dictionary sets all of them to their defaults.
      - If this is not given, the former declaration stays.
    type: raw
  compose_files:
    description:
      - Compose files on the controller, to read networks and containers from.
      - Each item is one project, a path, or a dictionary with C(files), C(project_name), C(environment) and
        C(profiles).
      - Several C(files) merge as those of C(docker compose -f) do. The C(.env) file beside the first one is read, the
        environment of the controller is not.
      - C(include) and C(extends) are followed to other files, whose paths begin at the folder of the first one, or at
        the C(project_directory) of an C(include). What is included has a C(.env) of its own.
      - C(profiles) lists those that are active, V('*') is all of them. Where there are none, those of the variable
        C(COMPOSE_PROFILES) count. A service that has profiles, and none that is active, is left out, and so is a
        network that only such services are on. It is an error where C(network_mode) or C(links) of another service name
        it.
      - A relative path begins at the playbook, else at the inventory, else at the working directory, whichever has the
        first file.
      - The controller reads them as YAML 1.2, so that an unquoted C(22:22) is a port mapping and not a number. In
        Ansible's own YAML it has to be quoted.
    type: raw
  runtime:
    description:
      - The runtime of containers that do not name a C(sandbox). V(netns) is no runtime; a named network namespace is
        created. With the others, the container of that name is run by the Docker Engine, Podman or systemd-nspawn,
        without a network of its own (C(--network none), C(--private-network)).
    type: str
    choices: [netns, docker, podman, machine]
  state:
    description:
      - V(present) makes each named entry exactly what is declared. Others stay.
      - V(exact) also removes entries that are no longer declared. A part that is not given stays as it was declared,
        with a warning; V({}) makes it empty.
      - V(absent) removes the named entries. An empty value names nothing, and removes nothing, with a warning. The
        value V(all) of O(networks), O(containers) or O(docker_user) names everything of that part. Any list of rules
        names all rules, and any value of O(host) names the default networks.
      - With V(absent), a call without any of O(host), O(networks), O(containers), O(docker_user) and O(compose_files)
        removes everything of the O(scope).
      - A network cannot be removed while a declared container is on it, nor the default networks while anything else is
        declared.
    type: str
    choices: [present, exact, absent]
    default: present
  scope:
    description:
      - The parts that this call declares. The call converges everything that is declared on the host, also by other
        calls.
      - Containers need user-defined networks, and these need the default networks. A needed part that is not declared
        yet is declared too. Other options that are given, and are not in the scope, are only checked.
    type: list
    elements: str
    choices: [docker_user, default_networks, user_networks, containers, boot]
    default: [docker_user, default_networks, user_networks, containers, boot]
  recover:
    description:
      - V(true) recovers a ledger (C(/var/lib/wharf/ledger.json)) that is lost or cannot be read, from the marks on what
        wharf.network made on the host. Addresses stay. A ledger that cannot be read is kept beside the new one. If the
        ledger is in order, this does nothing. Without it, a host whose ledger is lost is refused.
      - The marks do not have the declaration. Everything that was declared must be given, or the call is refused,
        unless O(state) removes the rest.
    type: bool
    default: false
  confirm:
    description:
      - Seconds, from V(10) to V(86400). The changes of this call must be confirmed within this time after they were
        made, or the host reverts to the former declaration. Without it, they are not to be confirmed.
      - The controller confirms them itself, through a new connection to the host. If no new connection succeeds before
        the deadline, the task fails. The host also reverts if the play, the controller or the connection is gone, and
        after a reboot.
      - A call that changes nothing has nothing to confirm. A call that only repairs drift has no former declaration to
        revert to; a warning says so.
      - While changes of an earlier call are not confirmed, a call without this is refused. A call with this is
        confirmed or reverted together with them.
    type: int
  confirm_later:
    description:
      - V(true) leaves the changes unconfirmed, for a later task with the module M(wharf.network.confirm), for example
        after tests of a service.
    type: bool
    default: false
  peer_keys:
    description:
      - The public keys of the hosts of encrypted networks, by their names in the inventory. By default they are those
        that M(wharf.network.overlay_key) has noted in this run of Ansible.
      - Of a host that is not among them the last known key counts.
    type: dict
    default: {}
  by:
    description: The caller, in messages about changes that are not confirmed. By default it is the play.
    type: str
    default: a module
  variable_prefix:
    description:
      - The prefix of the variables that give the options, as V(wharf_) of C(wharf_networks).
      - Messages then name the variable, such as C(wharf_networks.app), instead of the option, C(networks.app). The
        roles of this collection set it.
    type: str
    default: ""
attributes:
  check_mode:
    support: full
    description:
      - Predicts exactly the changes that a real run then makes.
      - Each call is predicted against the present state of the host. In a play with several calls, a call that needs
        the changes of an earlier one may fail in check mode.
      - It does not tell whether the layers that a call leaves out have what its own layers need. A real run of the
        layer C(veth) alone fails, for example, where a bridge is missing.
  diff_mode:
    support: full
    description:
      - Shows one titled difference for each object that changes, and one for all chains and sets that come or
        go, for what dnsmasq needs, and for network stacks.
      - The list C(changes) has each of them.
  idempotent:
    support: full
    description: A second run changes nothing.
  platform:
    support: full
    description: The systems that this runs on.
    platforms: linux
  action_group:
    support: full
    description: Use C(group/wharf.network.layers) in C(module_defaults) to set the options of all layers at once.
    membership:
      - wharf.network.layers
requirements:
  - Python 3.9 or later
  - netaddr 0.7.19 to 1.x, to choose a new subnet or address
  - root on the target
notes:
  - Each call plans everything that is declared on the host, also outside of its layers. One report has the errors of
    the declaration, and all third-party objects that are in the way of its layers, before anything on the host is
    changed. What depends on a wrong entry, such as the addresses in a subnet whose gateway is wrong, is checked once
    that is right.
author:
  - The wharf.network authors (@wharf)
"""
