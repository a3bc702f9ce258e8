"""What is said to package indexes: dependencies that are used, links that lead somewhere."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
REPOSITORY = "https://github.com/pytest-wanlora/pytest-wanlora"
RAW = "https://raw.githubusercontent.com/pytest-wanlora/pytest-wanlora"
#: Dependencies that no module of the package imports, and why there are there all the same.
NOT_IMPORTED = {
    "pytest-xdist": "its hooks are implemented by name, and pytest loads it by itself",
    "torchvision": "open_clip and diffsynth import it and leave its version to torch's",
}
#: Developers' dependencies that are run or read, not imported.
DEV_NOT_IMPORTED = {
    *("import-linter", "mkdocs-material", "mypy", "ruff", "types-pyyaml"),
    # the accessibility tests read its script
    "axe-playwright-python",
    # the tests of the wheel start it
    "setuptools",
}
#: Modules that tests and tools import because diffsynth does; it brings them.
OF_DIFFSYNTH = {"accelerate", "einops", "peft", "transformers"}


def plain(name: str) -> str:
    """A distribution's name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(lines: list[str]) -> set[str]:
    return {plain(re.split(r"[\[<>=!~; ]", line)[0]) for line in lines}


REQUIRED = declared(PROJECT["dependencies"])
EXTRAS = {name: declared(lines) for name, lines in PROJECT["optional-dependencies"].items()}


def imported(folder: str) -> dict[str, str]:
    """Third-party modules that the Python files of a folder import, each with one of these files."""
    found: dict[str, str] = {}
    for path in sorted((ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [str(node.module)]
            else:
                continue
            found |= {name.partition(".")[0]: str(path.relative_to(ROOT)) for name in names}
    own = {"pytest_wanlora", "tests", "tools", "benchmarks"}
    return {name: path for name, path in found.items() if name not in sys.stdlib_module_names | own}


@cache
def distributions() -> dict[str, set[str]]:
    """Modules that can be imported here, with the distributions that brought them."""
    return {module: {*map(plain, names)} for module, names in metadata.packages_distributions().items()}


class TestDependencies:
    def test_every_module_that_the_package_imports_is_in_a_declared_distribution(self) -> None:
        allowed = REQUIRED.union(*(names for extra, names in EXTRAS.items() if extra != "dev"))
        missing = {
            f"{path} imports {module} of {distributions().get(module)}"
            for module, path in imported("pytest_wanlora").items()
            if not distributions().get(module, set()) & allowed
        }
        assert missing == set()

    def test_every_declared_distribution_is_imported_or_has_its_reason(self) -> None:
        used = set().union(*(distributions().get(module, set()) for module in imported("pytest_wanlora")))
        assert REQUIRED - used == set(NOT_IMPORTED)

    def test_developers_files_import_what_is_declared_for_developers_and_nothing_else(self) -> None:
        modules = set().union(*(imported(folder) for folder in ("tests", "tools", "benchmarks")))
        allowed = REQUIRED | EXTRAS["dev"]
        missing = {module for module in modules if not distributions().get(module, set()) & allowed}
        assert missing == OF_DIFFSYNTH
        used = set().union(*(distributions().get(module, set()) for module in modules))
        assert EXTRAS["dev"] - used == DEV_NOT_IMPORTED

    def test_the_check_sees_what_a_file_imports(self) -> None:
        found = imported("pytest_wanlora")
        # at the top, in a function, for type checkers alone
        assert {"yaml", "cv2", "numpy"} <= set(found)
        assert len(found) > 10
        assert imported("tests/unit/scoring")["torchvision"].startswith("tests/unit/scoring/")


@cache
def tracked() -> frozenset[str]:
    """Files of the repository, and the folders that hold them."""
    listed = subprocess.run(
        ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True
    ).stdout.decode()
    files = listed.rstrip("\0").split("\0")
    return frozenset(files) | {str(folder) for file in files for folder in Path(file).parents}


def targets(text: str) -> Iterator[tuple[str, str]]:
    """What a page links to and shows: "link" or "image", and its address; HTML's too."""
    for token in every(MarkdownIt("commonmark", {"html": True}).enable("table").parse(text)):
        if token.type == "link_open":
            yield "link", str(token.attrs["href"])
        elif token.type == "image":
            yield "image", str(token.attrs["src"])
        elif token.type in ("html_block", "html_inline"):
            found = re.findall(r"\b(href|src|srcset)\s*=\s*[\"']?([^\"'\s>]+)", token.content, re.IGNORECASE)
            yield from (("link" if name.lower() == "href" else "image", address) for name, address in found)


def every(tokens: list[Token]) -> Iterator[Token]:
    for token in tokens:
        yield token
        yield from every(token.children or [])


def wrong(kind: str, address: str) -> str | None:
    """What is wrong with a link or an image of a page that package indexes show; None if nothing is."""
    if not address.startswith("https://"):
        return "not absolute"
    path = re.split("[?#]", address)[0]
    if not path.startswith((REPOSITORY, RAW)):
        return None
    if path.startswith(RAW):
        found = re.fullmatch(r"/main/(?P<path>.+)", path.removeprefix(RAW))
        form = "raw"
    else:
        if path.removeprefix(REPOSITORY).rstrip("/") in (
            "",
            "/issues",
            "/releases",
            "/discussions",
            "/actions",
        ):
            return "a page, not an image" if kind == "image" else None
        found = re.fullmatch(r"/(?P<form>blob|tree|raw)/main/(?P<path>.+?)/?", path.removeprefix(REPOSITORY))
        form = found["form"] if found else ""
    if found is None:
        return "not of the form .../blob/main/FILE, .../tree/main/FOLDER or raw .../main/FILE"
    if found["path"] not in tracked():
        return "no such file or folder is in the repository"
    if (ROOT / found["path"]).is_dir() != (form == "tree"):
        return "tree is for folders, blob and raw are for files"
    return "the page about a file, not an image" if kind == "image" and form != "raw" else None


class TestLinks:
    def test_every_link_and_image_of_the_readme_leads_somewhere_from_a_package_index(self) -> None:
        text = (ROOT / PROJECT["readme"]).read_text(encoding="utf-8")
        found = list(targets(text))
        assert found
        assert [(address, why) for kind, address in found if (why := wrong(kind, address))] == []

    def test_every_url_of_the_project_leads_somewhere(self) -> None:
        urls = PROJECT["urls"]
        assert {"Homepage", "Repository", "Documentation", "Changelog", "Issues"} <= set(urls)
        assert [(name, why) for name, address in urls.items() if (why := wrong("link", address))] == []
        assert urls["Repository"] == REPOSITORY

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("[a](docs/evidence.md)", "not absolute"),
            ("[a](#options)", "not absolute"),
            ("[a](/docs)", "not absolute"),
            ("[a](http://example.org)", "not absolute"),
            ("[a]\n\n[a]: docs/evidence.md", "not absolute"),
            ("![a](docs/images/report-phone.png)", "not absolute"),
            ('<img alt="" src="docs/images/report-phone.png">', "not absolute"),
            ("<a href=LICENSE>x</a>", "not absolute"),
            (f"[![a](docs/x.svg)]({REPOSITORY})", "not absolute"),
            (f"| a |\n|---|\n| [a]({REPOSITORY}/blob/main/docs/gone.md) |", "no such file"),
            (f"[a]({REPOSITORY}/blob/main/docs)", "tree is for folders"),
            (f"[a]({REPOSITORY}/tree/main/LICENSE)", "tree is for folders"),
            (f"[a]({REPOSITORY}/blob/v1/LICENSE)", "not of the form"),
            (f"[a]({REPOSITORY}/wiki)", "not of the form"),
            (f"![a]({REPOSITORY}/blob/main/docs/images/report-phone.png)", "not an image"),
            (f"![a]({RAW}/main/docs/images/gone.png)", "no such file"),
        ],
    )
    def test_a_wrong_one_is_found(self, text: str, expected: str) -> None:
        (found,) = [why for kind, address in targets(text) if (why := wrong(kind, address))]
        assert expected in found

    @pytest.mark.parametrize(
        "text",
        [
            f"[a]({REPOSITORY}/blob/main/docs/evidence.md#limits)",
            f"[a]({REPOSITORY}/tree/main/docs)",
            f"[a]({REPOSITORY}) [b]({REPOSITORY}/issues)",
            f"![a]({RAW}/main/docs/images/report-phone.png)",
            f"![a]({REPOSITORY}/raw/main/docs/images/report-phone.png)",
            "<https://example.org/x>",
            "`[a](b)`\n\n```\n[a](b)\n```",
        ],
    )
    def test_a_right_one_is_not(self, text: str) -> None:
        assert [why for kind, address in targets(text) if (why := wrong(kind, address))] == []
