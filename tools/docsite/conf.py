# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration of Sphinx for tools/docs."""

from __future__ import annotations

from os.path import normpath
from pathlib import Path
from typing import TYPE_CHECKING

from docutils import nodes
from pygments.lexers.special import TextLexer
from sphinx.addnodes import pending_xref

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

CHECKOUT = Path(__file__).parents[2]
REPOSITORY = "https://github.com/wharf/network/blob/main"

project = "wharf.network"
project_copyright = "the wharf.network authors"
extensions = ["myst_parser", "sphinx_antsibull_ext"]
exclude_patterns = ["collection/environment_variables.rst"]
nitpicky = True
myst_heading_anchors = 4

html_theme = "sphinx_ansible_theme"
html_title = project
html_copy_source = False
html_theme_options = {"topbar_links": {"Repository": "https://github.com/wharf/network"}}
pygments_style = "ansible"
default_role = "any"

# Labels of Ansible's own pages, to which those of antsibull-docs refer. No inventory is downloaded for them.
ANSIBLE = "https://docs.ansible.com/ansible/latest"
LABELS_OF_ANSIBLE = {
    "action_plugins": f"{ANSIBLE}/plugins/action.html",
    "common_return_values": f"{ANSIBLE}/reference_appendices/common_return_values.html",
}


def setup(app: Sphinx) -> None:
    app.add_lexer("cells", TextLexer)  # the language of the blocks in docs/conformance.md that a test reads
    app.connect("doctree-read", link_to_files)
    app.connect("missing-reference", link_to_ansible)


def link_to_files(app: Sphinx, document: nodes.document) -> None:
    """A link to a folder leads to its index, and one to a file that is no page to the repository."""
    docname = app.env.docname
    for link in list(document.findall(pending_xref)):
        path = Path(docname).parent / link["reftarget"]
        if link["reftype"] != "myst" or not (CHECKOUT / path).exists():
            continue
        index = path / "index"
        inside = (app.srcdir / index).with_suffix(".md").exists()
        uri = app.builder.get_relative_uri(docname, str(index)) if inside else f"{REPOSITORY}/{normpath(path)}"
        link.replace_self(nodes.reference("", "", *link.children, refuri=uri))


def link_to_ansible(app: Sphinx, env: BuildEnvironment, link: pending_xref, text: nodes.Node) -> nodes.Node | None:
    uri = LABELS_OF_ANSIBLE.get(link["reftarget"])
    return nodes.reference("", "", text, refuri=uri) if uri else None
