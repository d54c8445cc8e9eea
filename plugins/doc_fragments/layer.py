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
      - Host-wide settings in the words of dockerd's C(daemon.json), such as C(bip), C(mtu), C(default-address-pools).
      - Keys of C(daemon.json) that are not about networking are passed over, unknown ones are errors.
      - C(firewall-backend) is V(nftables), the default, or V(iptables). Another one is changed to on a live host in one
        run. With C(iptables=false) the rules for IPv4 are left to others, with C(ip6tables=false) those for IPv6; what
        only rules bring about is refused there.
      - Below C(x-wharf) stands what C(daemon.json) has no words for. C(accept-in-iptables-forward=true) lets through,
        in the chain C(FORWARD) of third-party iptables rules, what the rules by nftables accept.
      - A dictionary, or the JSON or YAML text of one.
      - Where this is not given, what was declared before stands.
    type: raw
  networks:
    description:
      - User-defined networks by name, in the words of the top-level C(networks) of the Compose Specification,
        C(com.docker.network.*) in C(driver_opts) included.
      - C(external) names a network that is declared elsewhere, or else adopts a bridge that stands on the host, which
        is never changed or deleted.
      - Below C(x-wharf) stands what dnsmasq does on the network, C(dns), C(dhcp), C(ra) and C(boot), and more that
        Compose has no words for.
      - C(labels) and C(attachable) are passed over, unknown keys are errors.
      - Below C(x-wharf) stands what Compose has no words for. C(masquerade), with C(ipv4) and C(ipv6) below it, is
        C(enable_ip_masquerade) for one family. C(icmp=true) lets everybody ping the network's
        containers by their own addresses, and trace the route to them with pings; else only the host and the same
        network may. C(mss_clamp=true) makes the segments of TCP connections from and to the network fit the path's
        MTU, which helps where ICMP errors are lost on the way.
      - A dictionary, or the JSON or YAML text of one.
    type: raw
  containers:
    description:
      - Containers by name, in the networking words of C(services) of the Compose Specification, and below C(x-wharf)
        what Compose has no words for, which is C(sandbox) and C(routes).
      - Below C(x-wharf) of a port in long form, C(allow_from) lists the networks that may reach it; one text is a
        list of one. A port that names networks of one family only is closed in the other. The host itself, and
        containers of the same network, always reach it.
      - A container that names no network joins the default network C(bridge).
      - A port mapping in the short form of C(ports) is a text. A number is an error, since Ansible's YAML makes 1342 of
        an unquoted C(22:22).
      - Keys that are not about networking are passed over, unknown ones are errors. What is passed over is not sent to
        the host.
      - Keys that begin with C(x-) are passed over as well, here and in O(networks) and O(host), but not one that may be
        a misspelt C(x-wharf), such as C(x-warf), nor C(x-wharf) where it means nothing.
      - A dictionary, or the JSON or YAML text of one.
    type: raw
  docker_user:
    description:
      - The admin's rules for what is forwarded, in their order, as one would put them into the chain C(DOCKER-USER).
        They hold before those of networks and published ports, for established connections too.
      - The list is set whole. Rules that somebody has put into C(DOCKER-USER) are left, and come after these. An empty
        list lets all declared ones go.
      - C(action) is V(accept), V(drop), V(reject), V(return) (go on to the next rules, those of networks and ports), or
        V(log). All other keys are conditions, each of which must be met, but for C(log) and C(comment).
      - C(source) and C(destination) are networks or addresses, each may be a list. The destination is that after
        translation, a container's own. A rule without addresses holds for both families, others for those of their
        addresses.
      - C(published_port) is the port (or range) as published, before translation. What containers ask of others at a
        port of the same number is not concerned. C(container) and C(network) are where the connection goes. With one of
        these three a rule holds in the direction in which the connection was opened, not for its answers.
      - C(in_interface) and C(out_interface) are links of the host, such as V(eth0), or V(eth+) for all that begin so.
      - C(protocol) is V(tcp), V(udp), V(sctp) or V(icmp), which is the ICMP of either family.
      - C(state) lists states of connection tracking, of V(new), V(established), V(related), V(invalid), V(untracked).
      - C(limit) is a rate, as V(10/second), or C({rate, burst}). It is met by packets within it, where
        those of another family, and those of another protocol with C(published_port), count by themselves.
      - C(log) writes what the rule holds for to the kernel's log, with a prefix where it is a text and not V(true).
      - C(comment) stands beside the rule in the kernel.
      - A list, or the JSON or YAML text of one. Where this is not given, what was declared before stands.
    type: raw
  boot:
    description:
      - Settings of what brings the networks back when the host boots, as M(wharf.network.boot) takes them, which is
        C(services). An empty dictionary leaves all to the defaults.
      - Where this is not given, what was declared before stands.
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
      - What runs the containers that do not name a C(sandbox). V(netns) is nobody; each then is a named network
        namespace, which is made here. The others are containers of that name which the Docker Engine, Podman or
        systemd-nspawn run without a network of their own (C(--network none), C(--private-network)).
    type: str
    choices: [netns, docker, podman, machine]
  state:
    description:
      - V(present) makes each named entry what is declared, whole, and leaves the others.
      - V(exact) also removes what was declared before and is no longer. A part that is not given stays as it was
        declared, with a warning; V({}) makes it empty.
      - V(absent) removes the named entries. An empty value names nothing, so nothing goes, with a warning. The value
        V(all) of O(networks), O(containers) or O(docker_user) names everything of that part. A list of rules stands
        for all rules, and any value of O(host) for the default networks.
      - With V(absent), a call without any of O(host), O(networks), O(containers), O(docker_user) and O(compose_files)
        removes everything of the O(scope).
      - A network that a declared container is on cannot go, nor can the default networks while anything else is
        declared.
    type: str
    choices: [present, exact, absent]
    default: present
  scope:
    description:
      - The parts that this call declares, together with what they stand on. The call converges everything that is
        declared on the host, also by other calls. Containers stand on
        user-defined networks, those on the default networks, and all on the rules of C(docker_user).
      - What is given beyond the scope is only known to the planner. What the scope stands on and nobody has declared
        yet, is declared with it.
    type: list
    elements: str
    choices: [docker_user, default_networks, user_networks, containers, boot]
    default: [docker_user, default_networks, user_networks, containers, boot]
  recover:
    description:
      - What to do where the ledger of the host (C(/var/lib/wharf/ledger.json)) is lost, or cannot be read.
        Without this, such a host is refused.
      - V(true) recovers the ledger from the marks of what wharf.network made on the host, together with its addresses.
        A ledger that cannot be read is kept beside the new one. Where the ledger is in order, this does nothing.
      - The marks do not say what was declared. All of it must be given, or the call is refused, unless O(state) says
        that the rest goes.
    type: bool
    default: false
  confirm:
    description:
      - Seconds, from V(10) to V(86400). The changes of this call must be confirmed within this time after they were
        made, or the host reverts to what was declared before. Without it, they need not be confirmed.
      - The controller confirms them itself, through a new connection to the host. Where no new connection succeeds
        before the deadline, the task fails. The host reverts also where the play, the controller or the connection is
        gone, and after a reboot.
      - A call that changes nothing has nothing to confirm. Nor has one that only repairs what differs from a
        declaration that stays the same, since there is no other one to revert to; a warning says so.
      - As long as changes of an earlier call are not confirmed, a call without this is refused. A call with this is
        confirmed together with them; until then the host reverts to what was declared before the first one.
    type: int
  confirm_later:
    description:
      - With V(true) the changes are left unconfirmed, for the module M(wharf.network.confirm) in a later task, such as
        one after tests of what the host serves.
    type: bool
    default: false
  by:
    description: Who makes the call, in messages about changes that are not confirmed. By default it is the play.
    type: str
    default: a module
  variable_prefix:
    description:
      - What the names of variables begin with from which the options are given, as in V(wharf_) of C(wharf_networks).
      - Messages then name the variable, such as C(wharf_networks.app), and else the option, C(networks.app). The roles
        of this collection set it.
    type: str
    default: ""
attributes:
  check_mode:
    support: full
    description:
      - Predicts exactly the changes that a real run then makes.
      - Each call is predicted against the host as it is. So of a play with several calls, only the first is predicted
        as it will be, and one that relies on what an earlier call makes or removes may fail in check mode.
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
  - netaddr 0.7.19 to 1.x, where a subnet or an address is allotted that is neither declared nor had before
  - root on the target
notes:
  - Each call plans the whole of what is declared on the host, also what is not of its layers. All errors of the
    declaration, and all foreign objects that are in the way of its layers, come in one report, before anything on the
    host is touched.
author:
  - The wharf.network authors (@wharf)
"""
