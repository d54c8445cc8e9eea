# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""As much of the API of AWX 24 as awx_setup.yml needs, on loopback. It answers 400, with the reason, where AWX does.

AWX passes over fields that it does not know; here they are refused, since nobody means to send them.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from survey_rules import problems_of_answers, problems_of_survey

Object = dict[str, Any]

TOKEN = "a-token"
_API = "/api/v2/"

_ASKED = {"limit", "skip_tags", "credential"}
_TEMPLATE = {"name": None, "description": "", "organization": None, "survey_enabled": False, "extra_vars": ""}

# What may be sent of each kind of objects, with the values where it is not.
_FIELDS: dict[str, Object] = {
    "organizations": {"name": None},
    "inventories": {"name": None, "organization": None},
    "credentials": {"name": None, "kind": "ssh"},
    "execution_environments": {"name": None},
    "projects": {
        **{key: _TEMPLATE[key] for key in ("name", "description", "organization")},
        "scm_type": "",
        "scm_url": "",
        "scm_branch": "",
        "scm_update_on_launch": False,
        "credential": None,
    },
    "job_templates": {
        **_TEMPLATE,
        "project": None,
        "playbook": "",
        "job_type": "run",
        "inventory": None,
        "execution_environment": None,
        "become_enabled": False,
        "diff_mode": False,
        **{f"ask_{field}_on_launch": False for field in _ASKED},
    },
    "workflow_job_templates": {**_TEMPLATE, "ask_limit_on_launch": False},
    "workflow_job_template_nodes": {
        "identifier": None,
        "workflow_job_template": None,
        "unified_job_template": None,
        "type": None,
        "extra_data": {},
        "skip_tags": None,
    },
    "workflow_approval_templates": {"name": None, "description": "", "timeout": 0},
}
_TEMPLATES = ("job_templates", "workflow_job_templates", "projects", "workflow_approval_templates")
_LINKS = {"job_templates": ["credentials"], "workflow_job_template_nodes": ["success_nodes"]}

# How AWX finds the playbooks of a project.
_IS_PLAYBOOK = re.compile(r"^\s?-?\s?(?:hosts|(?:ansible\.builtin\.)?import_playbook):", re.MULTILINE)


def playbooks_of(project: Path) -> set[str]:
    """The playbooks that AWX lists of a project."""
    files = [path for path in project.rglob("*.y*ml") if not {"roles", "tasks"} & set(path.parts)]
    return {str(path.relative_to(project)) for path in files if _IS_PLAYBOOK.search(path.read_text(encoding="utf-8"))}


class Refused(Exception):
    """The reason of an answer 400."""


class Awx:
    """The objects of an AWX, by kind and number, and the requests that were to change something."""

    def __init__(self, project: Path) -> None:
        self.playbooks = playbooks_of(project)
        self.objects: dict[str, dict[int, Object]] = {kind: {} for kind in _FIELDS}
        self.surveys: dict[tuple[str, int], Object] = {}
        self.links: dict[tuple[str, int, str], list[int]] = {}
        self.writes: list[str] = []
        self._last = 0
        for kind, name in (("organizations", "Default"), ("inventories", "Servers"), ("credentials", "fleet key")):
            self.create(kind, {"name": name})

    def named(self, kind: str) -> dict[str, Object]:
        return {each.get("name") or each["identifier"]: each for each in self.objects[kind].values()}

    def survey(self, kind: str, name: str) -> Object:
        return self.surveys.get((kind, self.named(kind)[name]["id"]), {})

    def next_of(self, node: str) -> list[str]:
        """The identifiers of the nodes that follow the success of a node."""
        nodes = "workflow_job_template_nodes"
        following = self.links.get((nodes, self.named(nodes)[node]["id"], "success_nodes"), [])
        return [self.objects[nodes][number]["identifier"] for number in following]

    def create(self, kind: str, given: Object) -> Object:
        self._last += 1
        made = {**_FIELDS[kind], "id": self._last, "url": f"{_API}{kind}/{self._last}/"}
        self.objects[kind][self._last] = made
        try:
            return self.update(kind, made, given)
        except Refused:
            del self.objects[kind][made["id"]]
            raise

    def update(self, kind: str, item: Object, given: Object) -> Object:
        unknown = given.keys() - _FIELDS[kind].keys()
        if unknown:
            raise Refused(f"{kind}: unknown fields {sorted(unknown)}")
        wanted = {**item, **given}
        same = [each for each in self.objects[kind].values() if each["id"] != item["id"] and _key(each) == _key(wanted)]
        if same:
            raise Refused(f"{kind}: there is one of this name in this organization")
        self._check(kind, wanted)
        item.update(given)
        return item

    def _check(self, kind: str, wanted: Object) -> None:
        if kind == "projects" and wanted["scm_type"] and not wanted["scm_url"]:
            raise Refused("scm_url: this field is required")
        if kind == "job_templates":
            if not wanted["inventory"] and not wanted.get("ask_inventory_on_launch"):
                raise Refused("inventory: a job template must have one, or ask for one")
            if wanted["playbook"] not in self.playbooks:
                raise Refused("playbook: not found for project")
        if kind == "workflow_job_template_nodes" and wanted["unified_job_template"]:
            self._check_prompts(wanted)

    def _check_prompts(self, node: Object) -> None:
        """A node may only give a template what this asks for at a launch."""
        number = node["unified_job_template"]
        kind = next(kind for kind in _TEMPLATES if number in self.objects[kind])
        template = self.objects[kind][number]
        if node["skip_tags"] and not template.get("ask_skip_tags_on_launch"):
            raise Refused("skip_tags: field is not configured to prompt on launch")
        survey = self.surveys.get((kind, number), {}) if template.get("survey_enabled") else {}
        asked = {question["variable"] for question in survey.get("spec", ())}
        if node["extra_data"].keys() - asked:
            raise Refused(f"extra_data: not allowed on launch: {sorted(node['extra_data'].keys() - asked)}")
        wrong = problems_of_answers(survey, node["extra_data"])
        if wrong:
            raise Refused("; ".join(wrong))

    def shown(self, kind: str, item: Object) -> Object:
        """An object as AWX answers it."""
        related: dict[str, str] = {}
        if kind in ("job_templates", "workflow_job_templates"):
            related["survey_spec"] = f"{item['url']}survey_spec/"
        template = item.get("unified_job_template")
        if template:
            found = next(each for each in _TEMPLATES if template in self.objects[each])
            related["unified_job_template"] = f"{_API}{found}/{template}/"
        more: Object = {"type": kind.removesuffix("s"), "related": related, "summary_fields": {}}
        if kind == "projects":
            more |= {"scm_revision": "0", "summary_fields": {"current_update": {"id": 1}}}
        return {**item, **more}

    def answer(self, method: str, path: str, query: Mapping[str, str], body: Object) -> tuple[int, Any]:
        """The status and the body of an answer."""
        match path.removeprefix(_API).strip("/").split("/"):
            case ["project_updates", _number] if method == "GET":
                return 200, {"status": "successful"}
            case ["unified_job_templates"] if method == "GET":
                return 200, _page([each for kind in _TEMPLATES for each in self._found(kind, query)])
            case [kind] if kind in _FIELDS and method == "GET":
                return 200, _page(self._found(kind, query))
            case [kind] if kind in _FIELDS and method == "POST":
                return 201, self.shown(kind, self.create(kind, body))
            case [kind, number] if kind in _FIELDS and int(number) in self.objects[kind]:
                item = self.objects[kind][int(number)]
                if method == "PATCH":
                    self.update(kind, item, body)
                return 200, self.shown(kind, item)
            case [kind, number, part] if kind in _FIELDS and int(number) in self.objects[kind]:
                return self._part(method, kind, int(number), part, body)
        return 404, {"detail": "Not found."}

    def _part(self, method: str, kind: str, number: int, part: str, body: Object) -> tuple[int, Any]:
        if part == "survey_spec" and "survey_enabled" in _FIELDS[kind]:
            if method == "POST":
                wrong = problems_of_survey(body)
                if wrong:
                    return 400, {"error": "; ".join(wrong)}
                self.surveys[kind, number] = body
            return 200, self.surveys.get((kind, number), {})
        if part == "create_approval_template" and kind == "workflow_job_template_nodes" and method == "POST":
            made = self.create("workflow_approval_templates", body)
            self.objects[kind][number]["unified_job_template"] = made["id"]
            return 201, self.shown("workflow_approval_templates", made)
        if part in _LINKS.get(kind, ()):
            linked = self.links.setdefault((kind, number, part), [])
            if method == "POST":
                (linked.remove if body.get("disassociate") else linked.append)(body["id"])
                return 204, None
            return 200, _page([{"id": each} for each in linked])
        return 404, {"detail": "Not found."}

    def _found(self, kind: str, query: Mapping[str, str]) -> list[Object]:
        shown = [self.shown(kind, item) for item in self.objects[kind].values()]
        return [each for each in shown if all(str(each.get(key)) == value for key, value in query.items())]


def _key(item: Object) -> tuple[Any, ...]:
    return tuple(item.get(field) for field in ("name", "organization", "identifier", "workflow_job_template"))


def _page(results: list[Object]) -> Object:
    return {"count": len(results), "next": None, "results": results}


@contextmanager
def serving(awx: Awx) -> Iterator[str]:
    """The URL of an AWX, while it is served."""

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            url = urlsplit(self.path)
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length) or b"{}") if length else {}
            if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                self._send(401, {"detail": "Authentication credentials were not provided."})
                return
            if self.command != "GET":
                awx.writes.append(f"{self.command} {url.path}")
            try:
                self._send(*awx.answer(self.command, url.path, dict(parse_qsl(url.query)), body))
            except Refused as reason:
                self._send(400, {"__all__": [str(reason)]})

        do_GET = do_POST = do_PATCH = do_DELETE = _answer

        def _send(self, status: int, body: Any) -> None:
            content = b"" if body is None else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("X-API-Product-Name", "AWX")
            self.send_header("X-API-Product-Version", "24.6.1")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
