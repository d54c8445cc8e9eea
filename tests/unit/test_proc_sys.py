# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of kernel parameters."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.wharf.network.plugins.module_utils.engine.errors import ApplyError
from ansible_collections.wharf.network.plugins.module_utils.engine.kernel import proc_sys


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(proc_sys, "ROOT", f"{tmp_path}/")
    (tmp_path / "net/ipv4/conf/eth0.5").mkdir(parents=True)
    (tmp_path / "net/ipv4/conf/eth0.5/arp_ignore").write_text("0\n")
    (tmp_path / "net/ipv4/ip_local_port_range").write_text("32768\t60999\n")
    return tmp_path


def test_the_dots_of_an_interface_are_slashes_in_a_parameters_name(root: Path) -> None:
    assert proc_sys.of_interface("eth0.5", "ipv4.arp_ignore") == "net.ipv4.conf.eth0/5.arp_ignore"
    proc_sys.apply([("ipv4.arp_ignore", "1")], "eth0.5")
    assert (root / "net/ipv4/conf/eth0.5/arp_ignore").read_text() == "1"
    assert proc_sys.observe((("ipv4.arp_ignore", "0"),), "eth0.5") == (("ipv4.arp_ignore", "1"),)


def test_values_are_the_same_however_they_are_spaced(root: Path) -> None:
    wanted = (("net.ipv4.ip_local_port_range", "32768  60999"),)
    assert proc_sys.observe(wanted) == wanted


def test_a_missing_parameter_is_named(root: Path) -> None:
    assert proc_sys.observe((("net.none.at_all", "1"),)) == ()
    with pytest.raises(ApplyError, match=r"sysctl net\.none\.at_all=1: there is no such parameter"):
        proc_sys.write("net.none.at_all", "1")


def test_without_ipv6_in_the_kernel_nothing_of_it_needs_restraining(root: Path) -> None:
    wanted = (("ipv6.disable_ipv6", "1"),)
    proc_sys.apply(wanted, "eth0.5")
    assert proc_sys.observe(wanted, "eth0.5") == wanted
