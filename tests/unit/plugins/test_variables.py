# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The variables of roles and playbooks: which are known, and what each may be."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.wharf.network.plugins.module_utils.engine.declaration.declared import METRICS_FILE
from ansible_collections.wharf.network.plugins.module_utils.engine.errors import ModelError
from ansible_collections.wharf.network.plugins.plugin_utils.declaration import gather
from ansible_collections.wharf.network.plugins.plugin_utils.variables import (
    DECLARING,
    KNOWN,
    read_declaring,
    read_settings,
    refuse_unknown,
)

CHECKOUT = Path(__file__).parents[3]
SPECS = {path.parts[-3]: path for path in (CHECKOUT / "roles").glob("*/meta/argument_specs.yml")}
HOSTS = {"all": ["web1", "web2", "mon"], "web": ["web1", "web2"], "web1": ["web1"], "mon": ["mon"], "web:!web": []}
BLANK = [None, "", " ", "\n", " \t\n"]
DEFAULTS = read_settings({}, lambda _patterns: [])


def options(role: str) -> dict[str, Any]:
    specs = yaml.safe_load(SPECS[role].read_text(encoding="utf-8"))
    return dict(specs["argument_specs"]["main"]["options"])


def read(given: dict[str, Any]) -> dict[str, Any]:
    """What is read, with an inventory of three hosts."""
    return read_settings(given, lambda patterns: HOSTS.get(":".join(patterns), []))


def problems_of(given: dict[str, Any]) -> list[str]:
    with pytest.raises(ModelError) as caught:
        read(given)
    return [str(problem) for problem in caught.value.problems]


def refused(*names: str, extra: tuple[str, ...] = ()) -> list[str]:
    with pytest.raises(ModelError) as caught:
        refuse_unknown(names, extra)
    return [str(problem) for problem in caught.value.problems]


def test_known_are_those_of_roles_and_playbooks_and_no_others() -> None:
    documented = {name for role in SPECS for name in options(role)}
    for playbook in (CHECKOUT / "playbooks").glob("*.yml"):
        header = re.findall(r"^# (wharf_\w+)(?=  )", playbook.read_text(encoding="utf-8"), re.MULTILINE)
        documented.update(header)
    assert documented == KNOWN
    assert {"wharf_boot", "wharf_serial", "wharf_verify_from"} <= KNOWN


def test_known_variables_pass() -> None:
    refuse_unknown(KNOWN, {"wharf_serial"})
    refuse_unknown({"ansible_host", "groups", "web_port", "lan4", "wharves", "shard_state", "_wharf_asked"}, ())


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("wharf_container", "wharf_containers"),
        ("wharf_verify_form", "wharf_verify_from"),
        ("wharf_Containers", "wharf_containers"),
        ("wharf_netwroks", "wharf_networks"),
        ("whraf_networks", "wharf_networks"),
        ("wharfcontainers", "wharf_containers"),
        ("_wharf_state", "wharf_state"),
    ],
)
def test_a_misspelt_variable_is_refused(name: str, meant: str) -> None:
    assert refused("ansible_host", name) == [f"{name}: is not a variable of wharf.network: did you mean {meant}?"]


def misspellings(name: str) -> Iterator[str]:
    """All that differ by one letter: left out, doubled, swapped with the next one, or another one."""
    for at, letter in enumerate(name):
        before, after = name[:at], name[at + 1 :]
        yield from (before + after, before + letter + letter + after)
        yield before + after[:1] + letter + after[1:]
        yield from (before + other + after for other in "aeioxz_")


@pytest.mark.parametrize("name", sorted(KNOWN))
def test_no_single_letter_may_be_wrong(name: str) -> None:
    for wrong in set(misspellings(name)) - KNOWN:
        with pytest.raises(ModelError, match=f"^{wrong}: "):
            refuse_unknown({wrong}, ())


def test_all_of_them_come_in_one_report() -> None:
    assert len(refused("wharf_a", "wharf_hosts", "wharf_serial")) == 3


def test_what_resembles_nothing_gets_a_list_of_what_there_is() -> None:
    assert refused("wharf_xyzzy")[0].startswith(
        "wharf_xyzzy: is not a variable of wharf.network: there are: wharf_awx_setup, wharf_boot, "
    )


def test_hosts_are_chosen_by_limit() -> None:
    for extra in ((), ("wharf_hosts",)):
        (problem,) = refused("wharf_hosts", extra=extra)
        assert problem.startswith("wharf_hosts: is not a variable of wharf.network: did you mean wharf_host? ")
        assert "To choose hosts, use --limit, " in problem


def test_serial_is_an_extra_variable() -> None:
    (problem,) = refused("wharf_serial")
    assert problem.startswith(
        "wharf_serial: is read before the variables of any host, so only extra variables set it: -e "
    )


@pytest.mark.parametrize("blank", BLANK, ids=repr)
def test_empty_is_not_given(blank: Any) -> None:
    assert read(dict.fromkeys(KNOWN, blank)) == DEFAULTS
    for role in SPECS:
        given = dict.fromkeys(options(role), "" if blank is None else blank)
        assert ArgumentSpecValidator(options(role)).validate(given).error_messages == [], role
    declaring = {name.removeprefix("wharf_"): blank for name in DECLARING}
    assert gather(declaring, [Path("/")]).parts == {}


def test_defaults() -> None:
    assert DEFAULTS["boot"] is True
    assert DEFAULTS["state"] == "present"
    assert "boot_services" not in DEFAULTS


@pytest.mark.parametrize(
    ("name", "value", "is_read"),
    [
        ("boot", False, False),
        ("boot", " no ", False),
        ("boot", "true", True),
        ("boot_services", "false", False),
        ("boot_metrics", " /var/lib/x/wharf.prom ", "/var/lib/x/wharf.prom"),
        ("drift_fail_on", "changes", "changes"),
        ("report_file", "/tmp/x.html", "/tmp/x.html"),
        ("report_verify", "yes", True),
        ("recover", "yes", True),
        ("state", " exact ", "exact"),
        ("runtime", "docker", "docker"),
        ("serial", 10, ["10"]),
        ("serial", "1, 50%", ["1", "50%"]),
        ("serial", [1, "100%"], ["1", "100%"]),
        ("verify_timeout", "0.5", 0.5),
        ("verify_timeout", 3, 3.0),
        ("verify_fail_on", "unproven", "unproven"),
        ("verify_from", "web", ["web1", "web2"]),
        ("verify_from", ["mon"], ["mon"]),
        ("verify_beyond", "192.0.2.1, [2001:db8::1]:443", ["192.0.2.1", "[2001:db8::1]:443"]),
        ("verify_beyond", "- 192.0.2.1:53\n- 2001:db8::1\n", ["192.0.2.1:53", "2001:db8::1"]),
        ("verify_addresses", ["192.0.2.1"], ["192.0.2.1"]),
        ("verify_probes", '[{"to": "192.0.2.1", "port": 80}]', [{"to": "192.0.2.1", "port": 80}]),
    ],
)
def test_values(name: str, value: Any, is_read: Any) -> None:
    assert read({f"wharf_{name}": value}) == {**DEFAULTS, name: is_read}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("state", "absnt", '"absnt": must be one of present, exact, absent; did you mean absent?'),
        ("runtime", "dokcer", '"dokcer": must be one of netns, docker, podman, machine; did you mean docker?'),
        ("boot", "perhaps", '"perhaps": must be true or false'),
        ("recover", [], '"[]": must be true or false'),
        ("boot_services", 2, '"2": must be true or false'),
        ("boot_metrics", "/var/lib/x", f'"/var/lib/x": {METRICS_FILE}'),
        ("drift_fail_on", "chnges", '"chnges": must be one of nothing, drift, changes; did you mean changes?'),
        ("report_file", "/tmp/", '"/tmp/": must be the path of a file on the controller'),
        *(
            (
                "serial",
                wrong,
                f'"{wrong}": must be a number of hosts above 0, a whole percentage such as 20%, or a list of these',
            )
            for wrong in ("some", ".%", "1..2%", "1.5%", "0%", "0", "%", "１%", "9" * 5000)
        ),
        ("verify_fail_on", "unprovn", '"unprovn": must be one of nothing, mismatch, unproven; did you mean unproven?'),
        ("verify_timeout", "soon", '"soon": must be a number of seconds above 0'),
        ("verify_timeout", 0, '"0": must be a number of seconds above 0'),
        ("verify_timeout", 10**400, f'"{10**400}": must be a number of seconds above 0'),
        ("verify_timeout", True, '"True": must be a number of seconds above 0'),
        ("verify_from", "monitorng", '"monitorng": matches no host of the inventory'),
        ("verify_from", ["web", "monitorng"], '"monitorng": matches no host of the inventory'),
        ("verify_from", "web:!monitorng", '"!monitorng": matches no host of the inventory'),
        ("verify_from", "web:!web", '"web,!web": leaves no host of the inventory'),
        *(
            (f"verify_{name}", nothing, f'"{nothing}": names no host: leave the variable out, or name one')
            for name, nothing in [
                *(("from", nothing) for nothing in (",", ", ,", "[", ":", ["["], [""], [","])),
                *((name, nothing) for name in ("beyond", "addresses") for nothing in (",", ", ,")),
            ]
        ),
        ("verify_from", {"web": 1}, "\"{'web': 1}\": must be a pattern of hosts, or a list of these"),
        ("verify_probes", "to: host", "must be a list of probes of wharf.network.probe, or its JSON or YAML text"),
    ],
)
def test_wrong_values(name: str, value: Any, message: str) -> None:
    assert problems_of({f"wharf_{name}": value}) == [f"wharf_{name}: {message}"]


@pytest.mark.parametrize("name", ["wharf_verify_beyond", "wharf_verify_addresses"])
def test_an_address_is_named_by_its_variable(name: str) -> None:
    (problem,) = problems_of({name: ["192.0.2.1", "192.0.2.300"]})
    assert problem.startswith(f'{name}[1]: "192.0.2.300": ')


def test_wrong_values_come_in_one_report() -> None:
    assert len(problems_of({"wharf_state": "x", "wharf_boot": "x", "wharf_verify_from": "x"})) == 3


def test_what_declares_something() -> None:
    given = {"wharf_host": {}, "wharf_networks": "---", "wharf_containers": "", "wharf_docker_user": "[]"}
    assert read_declaring({**given, "wharf_compose_files": "~"}) == ["wharf_host", "wharf_docker_user"]
    assert read_declaring(
        {"wharf_networks": " all\n", "wharf_state": " absent ", "wharf_compose_files": "nowhere.yml"}
    ) == [
        "wharf_networks",
        "wharf_compose_files",
    ]
    assert read_declaring({"wharf_state": ["absent"]}) == []


def test_what_declares_something_is_of_its_type() -> None:
    given = {
        "wharf_host": ["front"],
        "wharf_networks": "all",
        "wharf_containers": "web: [",
        "wharf_docker_user": {"action": "drop"},
        "wharf_compose_files": "[",
    }
    with pytest.raises(ModelError) as caught:
        read_declaring(given)
    assert [str(problem).partition(", ")[0] for problem in caught.value.problems] == [
        "wharf_host: must be a mapping",
        'wharf_networks: "all": is only for state absent; declare entries by their names',
        "wharf_containers: line 1",
        "wharf_docker_user: must be a list of rules",
        "wharf_compose_files: line 1",
    ]


def _loaded(path: str) -> Any:
    return yaml.safe_load((CHECKOUT / path).read_text(encoding="utf-8"))


@pytest.mark.parametrize("role", sorted(SPECS))
def test_each_role_begins_by_checking_the_variables_of_all_hosts(role: str) -> None:
    first, *_others = _loaded(f"roles/{role}/tasks/main.yml")
    assert "wharf.network.check_variables" in first
    assert first["any_errors_fatal"] is True


@pytest.mark.parametrize("playbook", ["site", "confirm", "teardown", "verify"])
def test_each_playbook_begins_by_checking_the_variables_of_all_hosts(playbook: str) -> None:
    first, *_others = _loaded(f"playbooks/{playbook}.yml")
    assert (first["hosts"], first["any_errors_fatal"], first["tags"]) == ("all", True, ["always"])
    assert [task["ansible.builtin.import_tasks"] for task in first["tasks"]] == ["tasks/variables.yml"]
    assert "wharf.network.check_variables" in _loaded("playbooks/tasks/variables.yml")[0]


@pytest.mark.parametrize("value", [10, "120", " 86400 "])
def test_a_time_to_confirm(value: Any) -> None:
    assert read({"wharf_confirm": value})["confirm"] == int(value)


@pytest.mark.parametrize(
    "value", [0, 9, -120, 86401, True, False, "true", "2m", "two minutes", 12.5, "0x20", [], [120]]
)
def test_what_is_no_time_to_confirm(value: Any) -> None:
    (problem,) = problems_of({"wharf_confirm": value})
    assert problem == f'wharf_confirm: "{value}": must be a whole number of seconds from 10 to 86400, which is a day'


def test_without_a_time_nothing_is_to_be_confirmed() -> None:
    for blank in BLANK:
        assert "confirm" not in read({"wharf_confirm": blank, "wharf_confirm_verify": blank})
    assert read({"wharf_confirm": 60, "wharf_confirm_verify": "yes"})["confirm_verify"] is True
    expected = ["wharf_confirm_verify: is for changes that are to be confirmed: set wharf_confirm as well"]
    assert problems_of({"wharf_confirm_verify": True}) == expected
    # A wrong time is reported, and not that there is none.
    (problem,) = problems_of({"wharf_confirm_verify": True, "wharf_confirm": 1})
    assert problem.startswith("wharf_confirm: ")
