"""A hook of MkDocs: the README is the documentation's first page, and its links to other pages are relative.

The README's own links are absolute, since package indexes show it too. Here they lead to pages of the same
site, so the build checks them and their anchors.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

REPOSITORY = "https://github.com/pytest-wanlora/pytest-wanlora"
_DOCS = (
    f"{REPOSITORY}/blob/main/docs/",
    f"{REPOSITORY.replace('github', 'raw.githubusercontent')}/main/docs/",
)


def home(readme: str) -> str:
    """Return the README with links to the documentation relative to its folder."""
    for prefix in _DOCS:
        readme = readme.replace(f"]({prefix}", "](")
    return readme


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the first page; MkDocs calls this once it has listed the files."""
    from mkdocs.structure.files import File

    readme = Path(config.config_file_path).with_name("README.md").read_text(encoding="utf-8")
    files.append(File.generated(config, "index.md", content=home(readme)))
    return files
