"""The documents are true: samples run, commands exist, links have targets, the file tree is complete."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from builders import tiny
from optstudy.cli import app
from optstudy.planning.merge import EVIDENCE
from optstudy.study.study import study_of
from optstudy.study.study_yaml import parse_yaml, read_yaml

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = ["README.md", "CONTRIBUTING.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, flags=re.DOTALL)
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
COMMANDS: Any = typer.main.get_command(app)  # a group: its attributes are those of typer's own click
MOST_LINES = 130


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= MOST_LINES


def test_the_readmes_study_file_is_the_demos_and_its_contender_is_valid() -> None:
    shown, contender = (parse_yaml(text) for language, text in BLOCKS if language == "yaml")
    demo = read_yaml(ROOT / "configs" / "digits_demo.yaml")
    claims, stated = shown.pop("claims"), demo.pop("claims")
    assert shown.items() <= demo.items()
    assert all(any(claim.items() <= one.items() for one in stated) for claim in claims)
    assert tiny(optimizers=["sgd", *contender]).optimizers[1].name == "adamax"


FENCED = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)


def commands_in(text: str, program: str) -> list[str]:
    """Return the commands of a program that the lines of a page's blocks give."""
    blocks = "\n".join(block for language, block in FENCED.findall(text) if language == "").replace("\\\n", " ")
    return [line.removeprefix(f"{program} ") for line in blocks.splitlines() if line.startswith(f"{program} ")]


def named_in(text: str, program: str) -> list[str]:
    """Return the commands of a program that a page's sentences name, some without their arguments."""
    return re.findall(rf"`{program} ([^`]+)`", FENCED.sub("", text))


@pytest.mark.parametrize("page", PAGES)
def test_each_command_of_a_page_is_understood(page: str) -> None:
    """Commands of blocks are parsed as the command line does it; those of sentences have known names and options."""
    text = (ROOT / page).read_text(encoding="utf-8")
    for command in commands_in(text, "optstudy"):
        name, *arguments = shlex.split(command, comments=True)
        COMMANDS.commands[name].make_context(name, arguments)
    for command in named_in(text, "optstudy"):
        name, *arguments = command.split()
        known = {option for parameter in COMMANDS.commands[name].params for option in parameter.opts}
        assert {argument for argument in arguments if argument.startswith("-")} <= known
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    assert {command.split()[0] for command in commands_in(text, "make") + named_in(text, "make")} <= targets


def test_the_page_of_the_package_index_stands_alone_and_its_study_is_valid() -> None:
    """The index shows no file of the repository, so the page has neither pictures nor relative links."""
    page = (ROOT / tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["readme"]).read_text()
    assert "](" not in page
    assert "<img" not in page
    [study] = [parse_yaml(text) for language, text in FENCED.findall(page) if language == "yaml"]
    assert [contender.name for contender in study_of(Path("page"), study).optimizers] == ["adamw", "adamax"]


def test_the_readmes_sample_runs() -> None:
    [sample] = [text for language, text in BLOCKS if language == "python"]
    ended = subprocess.run([sys.executable, "-c", sample], cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert ended.returncode == 0, ended.stderr
    status, accuracy = ended.stdout.split()
    assert status == "completed"
    assert float(accuracy) > 0.9


def files_of_the_tree() -> Iterator[str]:
    """Yield the path on each line of the tree in CONTRIBUTING, whose lines are indented by two spaces per folder."""
    [tree] = [text for text in re.findall(r"```\n(.*?)```", CONTRIBUTING, re.DOTALL) if "src/optstudy/\n" in text]
    folders = list[str]()
    for line in tree.splitlines():
        name = line.split()[0]
        folders = [*folders[: (len(line) - len(line.lstrip())) // 2], name]
        yield "".join(folders)


def test_the_file_tree_has_exactly_one_line_for_each_file() -> None:
    named = list(files_of_the_tree())
    assert len(set(named)) == len(named)
    assert [name for name in named if not (ROOT / name).exists() and name != "results/"] == []
    patterns = ("src/optstudy/**/*.py", "configs/*.yaml", "pipelines/*.py", "docs/*.md", "benchmarks/*.py")
    files = {str(path.relative_to(ROOT)) for pattern in patterns for path in ROOT.glob(pattern)}
    missing = {name for name in files - set(named) if not name.endswith("/__init__.py")}
    assert missing == set()


PATHS = re.compile(r"`((?:src|tests|configs|pipelines|benchmarks|docs|\.ci)/[\w./-]+|[a-z]+/[a-z_0-9]+\.py)`")


@pytest.mark.parametrize("page", PAGES)
def test_each_path_in_code_style_names_a_file(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    bases = (ROOT, ROOT / "src" / "optstudy", ROOT / "tests")
    assert [path for path in PATHS.findall(text) if not any((base / path).exists() for base in bases)] == []


def test_the_readme_gives_the_answers_of_the_shipped_studies_and_none_without_their_journals() -> None:
    answers = README.partition("<!-- answers -->\n")[2].partition("<!-- /answers -->")[0]
    generated = (ROOT / "docs" / "results" / "index.md").read_text(encoding="utf-8")
    shipped = bool(list((ROOT / "docs" / "results").glob(f"*/{EVIDENCE}")))
    assert (generated in answers) is shipped
    assert shipped or "|" not in answers


def test_each_picture_of_the_readme_has_its_file_in_both_modes() -> None:
    pictures = re.findall(r'(?:src|srcset)="([^"]+)"', README)
    assert len(pictures) == 2
    assert all((ROOT / picture).exists() for picture in pictures)


def test_the_first_page_of_the_site_links_every_other_one_and_the_gallery() -> None:
    """The page of the package index is no page of the site, and the gallery is published as it is."""
    left_out = read_yaml(ROOT / "docs" / "_config.yml")["exclude"]
    published = {path.name for path in (ROOT / "docs").glob("*.md")} - {"index.md", *left_out}
    links = set(re.findall(r"\]\(([^)#]+)", (ROOT / "docs" / "index.md").read_text(encoding="utf-8")))
    assert links == published | {"results/index.html"}
    [job] = read_yaml(ROOT / ".github" / "workflows" / "pages.yml")["jobs"].values()
    assert {"source": "./docs", "destination": "./_site"} in [step.get("with") for step in job["steps"]]


@pytest.mark.parametrize("page", PAGES)
def test_each_link_to_a_file_has_a_target(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)", text) if not link.startswith("http")]
    assert [link for link in links if not ((ROOT / page).parent / link).exists()] == []


def slug(heading: str) -> str:
    """Return the anchor that GitHub gives to a heading: lower case, without punctuation, hyphens for spaces."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES)
def test_each_link_to_a_heading_has_one(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for file, anchor in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", text):
        target = (ROOT / page).parent / file if file else ROOT / page
        headings = re.findall(r"^#+ (.+)$", FENCED.sub("", target.read_text(encoding="utf-8")), flags=re.MULTILINE)
        assert anchor in map(slug, headings), (file, anchor)
