# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the cases cannot show: paths, names of folders, and the environment of the process."""

from __future__ import annotations

from pathlib import Path

import pytest
from loading import load_compose_files

from ansible_collections.wharf.network.plugins.module_utils.engine.errors import ModelError
from ansible_collections.wharf.network.plugins.plugin_utils.compose import ComposeDeclaration


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def problems(items: object, base: Path) -> list[str]:
    with pytest.raises(ModelError) as caught:
        load_compose_files(items, base)
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize("items", [None, []])
def test_no_files_are_no_words(items: object, tmp_path: Path) -> None:
    assert load_compose_files(items, tmp_path) == ComposeDeclaration({}, {}, ())


@pytest.mark.parametrize("form", [lambda path: path, lambda path: {"files": [path]}, lambda path: [path]])
def test_an_absolute_path_in_each_form(form: object, tmp_path: Path) -> None:
    path = str(write(tmp_path / "app/compose.yml", "services: {web: {}}"))
    words = load_compose_files(form(path), Path("/nowhere"))  # type: ignore[operator]
    assert words.containers["app-web-1"]["x-source"] == f"{path}: services.web"


@pytest.mark.parametrize(("folder", "project"), [("My App", "myapp"), ("_-Shop.V2_x-", "shopv2_x-"), ("3D", "3d")])
def test_a_folder_names_the_project(folder: str, project: str, tmp_path: Path) -> None:
    write(tmp_path / folder / "compose.yml", "services: {web: {}}")
    assert list(load_compose_files(f"{folder}/compose.yml", tmp_path).containers) == [f"{project}-web-1"]


def test_a_folder_above_names_the_project(tmp_path: Path) -> None:
    write(tmp_path / "app/compose.yml", "services: {web: {}}")
    (tmp_path / "app/playbooks").mkdir()
    assert list(load_compose_files("../compose.yml", tmp_path / "app/playbooks").containers) == ["app-web-1"]


def test_a_folder_without_letters_names_nothing(tmp_path: Path) -> None:
    write(tmp_path / "___/compose.yml", "services: {web: {}}")
    assert problems("___/compose.yml", tmp_path) == [
        'wharf_compose_files[0]: "___" makes no name for a project; give project_name'
    ]


def test_precedence_of_the_project_name(tmp_path: Path) -> None:
    write(tmp_path / "compose.yml", "name: ${PREFIX-}file\nservices: {web: {}}")

    def name(**item: object) -> str:
        (container,) = load_compose_files({"files": ["compose.yml"], **item}, tmp_path).containers
        return container.removesuffix("-web-1")

    assert name() == "file"
    assert name(environment={"PREFIX": "pre-"}) == "pre-file"
    write(tmp_path / ".env", "COMPOSE_PROJECT_NAME=dotenv")
    assert name() == "dotenv"
    assert name(environment={"COMPOSE_PROJECT_NAME": "environment"}) == "environment"
    assert name(environment={"COMPOSE_PROJECT_NAME": "environment"}, project_name="option") == "option"


def test_a_project_name_that_is_given_is_not_normalised(tmp_path: Path) -> None:
    rule = "a project name is of lowercase letters, digits, '-' and '_', the first a letter or digit"
    write(tmp_path / "compose.yml", "name: My App\nservices: {web: {}}")
    assert problems("compose.yml", tmp_path) == [f'compose.yml: name: "My App": {rule}']
    write(tmp_path / ".env", "COMPOSE_PROJECT_NAME=-x")
    assert problems("compose.yml", tmp_path) == [f'wharf_compose_files[0]: COMPOSE_PROJECT_NAME: "-x": {rule}']


def test_the_environment_of_the_process_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHARF_TEST", "leaked")
    write(tmp_path / "compose.yml", "name: n\nservices: {web: {hostname: $WHARF_TEST}}")
    words = load_compose_files("compose.yml", tmp_path)
    assert words.containers["n-web-1"]["hostname"] == ""
    assert len(words.warnings) == 1


def test_values_of_the_environment_become_text(tmp_path: Path) -> None:
    write(tmp_path / "compose.yml", "name: n\nservices: {web: {hostname: $A-$B}}")
    item = {"files": "compose.yml", "environment": {"A": True, "B": 8080}}
    assert load_compose_files(item, tmp_path).containers["n-web-1"]["hostname"] == "true-8080"
    item["environment"] = {"A": None}
    assert problems(item, tmp_path) == ["wharf_compose_files[0].environment.A: must be a text"]


def test_dotenv_is_read_beside_the_first_file_only(tmp_path: Path) -> None:
    write(tmp_path / "a/compose.yml", "name: n\nservices: {web: {hostname: $A}}")
    write(tmp_path / "a/.env", "A=first")
    write(tmp_path / "b/more.yml", "services: {}")
    write(tmp_path / "b/.env", "A=second")
    words = load_compose_files({"files": ["a/compose.yml", "b/more.yml"]}, tmp_path)
    assert words.containers["n-web-1"]["hostname"] == "first"


def test_a_wrong_dotenv_is_named_beside_the_file(tmp_path: Path) -> None:
    write(tmp_path / "a/compose.yml", "prots: {}")
    write(tmp_path / "a/.env", "!")
    assert problems("a/compose.yml", tmp_path) == [
        "a/compose.yml: prots: unknown key; remove it, or let its name start with x-",
        "a/.env:1: '!' is no assignment; write NAME=value",
    ]


def test_extensions_that_resemble_x_wharf_and_that_do_not(tmp_path: Path) -> None:
    text = """
    x-warf: {}
    x-common: {}
    services:
      web: {x-wharff: {}, x-share: 1, deploy: {x-wharf: {}, x-aws: 1}}
      later: {profiles: [debug], X-wharf: {}}
    """
    write(tmp_path / "a/compose.yml", text)
    means_nothing = (
        "x-wharf has a meaning only in the settings of a host, a network, a container, a container's network, and a "
        "port in long form"
    )
    assert problems("a/compose.yml", tmp_path) == [
        f"a/compose.yml: x-warf: unknown key; {means_nothing}",
        "a/compose.yml: services.web.x-wharff: unknown key; did you mean x-wharf?",
        f"a/compose.yml: services.web.deploy.x-wharf: unknown key; {means_nothing}",
        "a/compose.yml: services.later.X-wharf: unknown key; did you mean x-wharf?",
    ]


def test_an_item_is_not_extended(tmp_path: Path) -> None:
    write(tmp_path / "a/compose.yml", "services: {}")
    known = "environment, files, profiles, project_name"
    assert problems([{"files": ["a/compose.yml"], "x-profile": ["debug"], "x-common": 1}], tmp_path) == [
        "wharf_compose_files[0].x-profile: unknown key; did you mean profiles?",
        f"wharf_compose_files[0].x-common: unknown key; known here: {known}",
    ]


@pytest.mark.parametrize("text", ["", "[]", "just text"])
def test_a_file_that_is_no_map(text: str, tmp_path: Path) -> None:
    write(tmp_path / "compose.yml", text)
    assert problems("compose.yml", tmp_path) == ["compose.yml: must be a map with the key services"]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "latin1.yml").write_bytes(b"name: caf\xe9")
    (tmp_path / "file").touch()
    assert problems(["latin1.yml", "file/compose.yml"], tmp_path) == [
        f"wharf_compose_files[0]: {tmp_path}/latin1.yml is not UTF-8 text, at byte 9",
        f"wharf_compose_files[1]: cannot read {tmp_path}/file/compose.yml: Not a directory",
    ]


def test_paths_in_a_file_begin_at_its_folder(tmp_path: Path) -> None:
    path = write(tmp_path / "app/compose.yml", "include: [db/compose.yml]\nservices: {web: {extends: db}}")
    write(tmp_path / "app/db/compose.yml", "services: {db: {extends: {service: base, file: ../base.yml}}}")
    write(tmp_path / "app/base.yml", "services: {base: {hostname: $A}}")
    write(tmp_path / "app/db/.env", "A=here")
    for item, base, folder in ((str(path), "/nowhere", f"{tmp_path}/app/"), ("compose.yml", path.parent, "")):
        words = load_compose_files(item, Path(base))
        assert words.containers["app-web-1"]["hostname"] == "here"
        assert words.containers["app-db-1"]["x-source"] == f"{folder}db/compose.yml: services.db"


@pytest.mark.parametrize(
    "place",
    [
        "https://github.com/example/app.git#main:deploy",
        "git@example.org:app.git",
        "github.com/example/app",
        "oci://registry.example/app:1",
    ],
)
def test_files_elsewhere_are_not_fetched(place: str, tmp_path: Path) -> None:
    write(tmp_path / "compose.yml", f"name: n\ninclude: ['{place}']")
    elsewhere = f'"{place}" is not on the controller; fetch it, and give its path there'
    assert problems("compose.yml", tmp_path) == [f"compose.yml: include[0]: {elsewhere}"]
