# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A file that the command `wharf` is given becomes a declaration, or one error that names the file and the line."""

from __future__ import annotations

import builtins
import io
import sys
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.wharf.network.plugins.module_utils.engine.declaration.declaration_file import (
    STANDARD_INPUT,
    read_declaration,
)
from ansible_collections.wharf.network.plugins.module_utils.engine.errors import ModelError

YAML = """\
# a comment
networks:
  front: &usual {driver: bridge}
  back: {<<: *usual, internal: true}
containers:
  web: {networks: [front], ports: [22:22, "8080:80"], hostname: no}
"""
READ = {
    "networks": {"front": {"driver": "bridge"}, "back": {"driver": "bridge", "internal": True}},
    "containers": {"web": {"networks": ["front"], "ports": ["22:22", "8080:80"], "hostname": "no"}},
}


def write(folder: Path, text: str, name: str = "words.yml") -> str:
    (folder / name).write_text(text, encoding="utf-8")
    return str(folder / name)


def problem(path: str) -> str:
    with pytest.raises(ModelError) as caught:
        read_declaration(path)
    (found,) = caught.value.problems
    assert found.path == path
    return found.message


@pytest.mark.parametrize("name", ["words.yml", "words"])
def test_yaml_is_that_of_version_1_2(tmp_path: Path, name: str) -> None:
    """A port mapping is no number in base 60, and `no` is a name."""
    assert read_declaration(write(tmp_path, YAML, name)) == READ


@pytest.mark.parametrize("name", ["words.json", "words.yml", "words"])
def test_json(tmp_path: Path, name: str) -> None:
    assert read_declaration(write(tmp_path, '\ufeff{"host": {"mtu": 1400}}\n', name)) == {"host": {"mtu": 1400}}
    assert read_declaration(write(tmp_path, "{}")) == {}


@pytest.mark.parametrize("text", ["{networks: {a: {}}}", '{"networks": {"a": {},},}', "{networks: {a: }} # flow\n"])
def test_yaml_in_flow_style(tmp_path: Path, text: str) -> None:
    """It begins as JSON does."""
    assert list(read_declaration(write(tmp_path, text))["networks"]) == ["a"]


def test_the_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(YAML.encode())))
    assert read_declaration(STANDARD_INPUT) == READ


def test_messages_name_the_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    messages = {b"a: 1": "a: unknown key; ", b"\xff": "line 1: is not UTF-8", b"[": "line 1, column 2: "}
    for content, message in messages.items():
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
        with pytest.raises(ModelError) as caught:
            read_declaration(STANDARD_INPUT)
        assert str(caught.value).startswith(f"standard input: {message}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty: declare something of host, networks, containers, docker_user"),
        ("# nothing\n", "is empty: "),
        ("null", "is empty: "),
        ("- a\n- b\n", "must be a mapping with host, networks, containers, docker_user; this is a list"),
        ("just words", "must be a mapping with host, networks, containers, docker_user; this is a text"),
        ("7", "must be a mapping with host, networks, containers, docker_user; this is a number"),
        ("netwroks: {}", "netwroks: unknown key; did you mean networks?"),
        ("wharf_networks: {}", "wharf_networks: unknown key; did you mean networks?"),
        ("services: {}", "services: unknown key; known here: host, networks, containers, docker_user"),
        ("host:\n  mtu: .nan\n", "line 2, column 8: .nan: must be a finite number"),
        ('{"host":\n {"mtu": NaN}}', "NaN: must be a finite number"),
        ('{"host":\n {"mtu": 1e999}}', "1e999: must be a finite number"),
        ("networks:\n  a: {}\n  a: {}\n", "line 3, column 3: the key 'a' is given again here, first in line 2"),
        ('{"host": {"mtu": 1, "mtu": 2}}', "the key 'mtu' is given twice in one object"),
        ('{"host": {,}}', "line 1, column 11: expected the node content, but found ','"),
        ("host: [1", "line 1, column 9: expected ',' or ']'"),
        ("host:\n\tmtu: 1", "line 2, column 1: found character '\\t' that cannot start any token"),
        ("host: !vault x", "line 1, column 7: the tag !vault is not known here"),
        ("host: *nowhere", "line 1, column 7: found undefined alias 'nowhere'"),
        ("host: &a [*a]", "line 1, column 7: this value contains itself"),
        ("? [a]\n: 1", "line 1, column 3: a key must be a text"),
        ("host: !!int x", "line 1, column 7: invalid literal"),
        ("host: !!map x", "line 1, column 7: "),
        ("host: 1\n---\nhost: 2", "line 2, column 1: but found another document"),
        ("host: {<<: [1]}", "line 1, column 13: below << a mapping is expected"),
        ("host: \x00", "is not YAML: "),
    ],
)
def test_what_is_wrong_is_one_sentence(tmp_path: Path, text: str, message: str) -> None:
    assert problem(write(tmp_path, text)).startswith(message)


def test_all_unknown_keys_come_in_one_report(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        read_declaration(write(tmp_path, "netwroks: {}\nhots: {}\n"))
    assert [each.message.partition(":")[0] for each in caught.value.problems] == ["netwroks", "hots"]


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    assert problem(str(tmp_path / "none.yml")) == "cannot be read: No such file or directory"
    assert problem(str(tmp_path)) == "cannot be read: Is a directory"
    (tmp_path / "latin1.yml").write_bytes("host: {}\n# grün\n".encode("latin-1"))
    assert problem(str(tmp_path / "latin1.yml")) == "line 2: is not UTF-8 text"


def test_a_json_file_is_not_read_as_yaml(tmp_path: Path) -> None:
    assert problem(write(tmp_path, "host: {}", "words.json")).startswith("line 1, column 1: is not JSON: ")


def test_where_there_is_no_pyyaml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = builtins.__import__

    def without_yaml(name: str, *rest: Any) -> Any:
        if name == "yaml":
            raise ImportError(name)
        return usual(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_yaml)
    assert read_declaration(write(tmp_path, '{"host": {}}')) == {"host": {}}
    assert problem(write(tmp_path, "host: {}")) == (
        "is not JSON (line 1, column 1: Expecting value), and this host has nothing that reads YAML: "
        "install the package python3-yaml, or give JSON"
    )
    assert problem(write(tmp_path, '{"host":\n {,}}')).startswith("is not JSON (line 2, column 3: Expecting property")
