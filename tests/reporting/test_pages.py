"""A study's page and the index: whole, self-contained, escaped, the same from the same tables; in a real browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from browser import SCREENSHOTS, browse, needs_browser
from builders import tiny
from optstudy.analysis.study_results import read_study_results
from optstudy.analysis.verdicts import worded_verdict
from optstudy.metrics import amount
from optstudy.planning.layout import StudyPaths
from optstudy.records.provenance import git_commit
from optstudy.reporting.gallery.index_page import write_index
from optstudy.reporting.pages import write_report
from optstudy.reporting.style import INK, PAPER
from optstudy.reporting.summary import answer, notes
from optstudy.reporting.terminal import verdict_table
from optstudy.running.outputs import write_answer
from optstudy.study.study import Study
from optstudy.user_process import FORKSERVER
from synthetic import answer_study, fill_journal, jobs_of

EVIL = "<script>alert('x')</script> & $\\frac{1}{0}$ <b>"
NARROW = {"name": "narrow", "like": "adam", "search": {"learning_rate": {"low": 1e-3, "high": 1e-2}}}
SIX = ["sgd", "momentum", "rmsprop", "adam", "adamw", NARROW]


def study() -> Study:
    return tiny(
        question=EVIL,
        optimizers=SIX,
        replicates=8,
        epochs=4,
        tuning={"trials": 3},
        sweep={"contenders": ["sgd", "adam"], "points": 4},
        claims=[
            {"statement": f"first {EVIL}", "better": "adam", "than": "sgd", "topic": "adam-fast"},
            {"statement": "second", "better": "adam", "than": ["sgd", "momentum"], "metric": "epochs_to_target"},
            {"statement": "third", "better": "adam", "than": "sgd", "metric": "learning_rate_tolerance"},
            {"statement": "fourth", "better": "adamw", "than": "adam", "primary": False},
        ],
    )


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("report")
    paths = StudyPaths(study(), root / "results", root / "mlruns")
    answer_study(paths)
    return paths.tables


class Page(HTMLParser):
    """A page's tags, the addresses that it names, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.ids: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]
        self.ids += [value or "" for name, value in attrs if name == "id"]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_is_self_contained_and_shows_every_claim_finding_and_figure(tables: Path) -> None:
    page = Page((tables / "report.html").read_text())
    linked = [address for address in page.addresses if not address.startswith(("#", "data:"))]
    assert {"comparison.csv", "runs/adam.csv", "figures/headline.svg"} <= set(linked)
    assert [address for address in linked if not (tables / address).is_file()] == []  # beside it, none is elsewhere
    for claim in json.loads((tables / "claims.json").read_text()):
        assert f"claim-{claim['id']}" in page.ids
        assert claim["statement"] in page.text
    findings = json.loads((tables / "findings.json").read_text())
    assert findings
    assert all(finding["finding"] in page.text for finding in findings)
    drawn = {path.stem for path in (tables / "figures").glob("*.svg")}
    assert {f"figure-{name}" for name in drawn} == {name for name in page.ids if name.startswith("figure-")}
    assert {path.stem for path in (tables / "figures").glob("*.png")} == drawn
    both = {f"{name}{width}" for name in ("headline", "untuned") for width in ("", "-narrow")}
    assert drawn == {*both, "curves", "sensitivity", "maps", "budget", "robustness", "metrics", "epochs", "price"}
    assert "leads in" in page.text
    assert "Studies redrawn from the logged trials" in page.text


def test_text_from_the_study_file_is_escaped(tables: Path) -> None:
    page = Page((tables / "report.html").read_text())
    assert page.tags.count("script") == 1  # the page's own
    assert "b" not in page.tags
    assert f"first {EVIL}" in page.text


@pytest.mark.parametrize("by", ["this process", "others"])
def test_the_same_tables_give_the_same_page_and_figures(by: str, tables: Path, tmp_path: Path) -> None:
    copy = tmp_path / tables.name
    shutil.copytree(tables, copy)
    shutil.rmtree(copy / "figures")
    (copy / "report.html").unlink()
    if by == "others":
        with ProcessPoolExecutor(2, FORKSERVER) as pool:
            write_report(copy, pool.map)
    else:
        write_report(copy)
    for path in [tables / "report.html", *(tables / "figures").iterdir()]:
        assert (copy / path.relative_to(tables)).read_bytes() == path.read_bytes(), path.name


def test_a_claim_added_after_the_first_training_is_post_hoc_in_every_output(tmp_path: Path) -> None:
    paths = StudyPaths(study(), tmp_path / "results", tmp_path / "mlruns")
    answer_study(paths, claimed=False)
    claims = json.loads((paths.tables / "claims.json").read_text())
    assert all(claim["post_hoc"] for claim in claims)
    worded = "exploratory, post hoc"
    assert Page((paths.tables / "report.html").read_text()).text.count(worded) == len(claims)
    write_index(paths.results, [paths.study.name])
    assert Page((paths.results / "index.html").read_text()).text.count(worded) == len(claims)
    assert (paths.results / "index.md").read_text().count(worded) == sum(bool(claim["topic"]) for claim in claims)
    assert notes(read_study_results(paths.tables))[""].count(worded) == len(claims)
    table = verdict_table(paths.tables)
    assert table is not None
    assert list(table.columns[1].cells) == [worded] * len(claims)


def test_every_verdict_in_every_output_names_the_pretraining(tmp_path: Path) -> None:
    pretrained = {"name": "linear", "pretrained": "pretraining"}
    block = {"data": {"name": "digits", "arguments": {"classes": [0, 1]}}, "optimizer": "momentum", "epochs": 1}
    half = {"name": "digits", "arguments": {"classes": [5, 6]}}
    claims = [{"statement": "first", "better": "adam", "than": "sgd", "topic": "adam-fast"}]
    own = tiny(data=half, model=pretrained, pretraining=block, claims=claims, tuning={"trials": 2, "once": True})
    paths = StudyPaths(own, tmp_path / "results", tmp_path / "mlruns")
    answer_study(paths)
    worded = worded_verdict(json.loads((paths.tables / "claims.json").read_text())[0])
    assert worded.endswith(", for these hyperparameters, from weights pretrained by momentum")
    page = Page((paths.tables / "report.html").read_text()).text
    assert worded.removesuffix(", for these hyperparameters, from weights pretrained by momentum") in page
    assert "all for these hyperparameters, from weights pretrained by SGD with momentum" in " ".join(page.split())
    write_index(paths.results, [own.name])
    assert worded in Page((paths.results / "index.html").read_text()).text
    assert worded in (paths.results / "index.md").read_text()
    assert worded in notes(read_study_results(paths.tables))[""]
    assert "from weights pretrained by momentum" in str(verdict_table(paths.tables).caption)  # type: ignore[union-attr]
    assert "weights pretrained by SGD with momentum" in answer(read_study_results(paths.tables))


def test_no_two_elements_of_a_page_have_the_same_id_and_every_reference_has_its_target(tables: Path) -> None:
    text = (tables / "report.html").read_text()
    ids = Page(text).ids
    assert len(set(ids)) == len(ids)
    references = re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', text)
    assert len(references) > 100
    assert {clip or used for clip, used in references} <= set(ids)


def test_figures_of_a_page_take_its_colours_and_width(tables: Path) -> None:
    text = (tables / "report.html").read_text()
    figures = re.findall(r'<svg (?!class="mini")[^>]*>', text)
    assert len(figures) > len(list((tables / "figures").glob("*.svg")))  # the cells of some are pictures of their own
    assert all(re.fullmatch('<svg viewBox="[0-9.]+ [0-9.]+ [0-9.]+ [0-9.]+">', start) for start in figures)
    body = text[text.index("<svg") :]
    assert "currentColor" in body
    assert "var(--paper)" in body
    assert INK not in body
    assert PAPER not in body


MACHINES = [
    {"training_version": 1, "torch": "2.15.0", "scikit-learn": "1.8", "python": "3.11.7", "device": "cuda"}
    | {"cpu": "AMD EPYC, AVX512", "gpu": "NVIDIA H200", "trainings": 464},
    {"training_version": 2, "torch": "2.16.0", "scikit-learn": "1.8", "python": "3.12.1", "device": "cpu"}
    | {"cpu": "AMD EPYC, AVX512", "gpu": "", "trainings": 1},
    {"trainings": 3},
]


def test_the_page_states_what_trained(tables: Path, tmp_path: Path) -> None:
    lines = (
        "464 trainings by training version 1 with torch 2.15.0, scikit-learn 1.8, Python 3.11.7 on cuda "
        "(NVIDIA H200; AMD EPYC, AVX512)",
        "1 training by training version 2 with torch 2.16.0, scikit-learn 1.8, Python 3.12.1 on cpu (AMD EPYC, AVX512)",
        "3 trainings by training version unknown with torch unknown, scikit-learn unknown, Python unknown on unknown",
    )
    assert page_with_provenance(tables, tmp_path, trained_by=MACHINES).count(f"trained by{''.join(lines)}") == 1


def test_the_page_of_an_older_provenance_without_machines_is_written(tables: Path, tmp_path: Path) -> None:
    assert "trained by" not in page_with_provenance(tables, tmp_path, trained_by=None)


def page_with_provenance(tables: Path, tmp_path: Path, **changes: object) -> str:
    """Return the text of the page with these changes of provenance.json; None removes an entry."""
    copy = tmp_path / tables.name
    shutil.copytree(tables, copy)
    provenance = json.loads((copy / "provenance.json").read_text()) | changes
    kept = {name: value for name, value in provenance.items() if value is not None}
    (copy / "provenance.json").write_text(json.dumps(kept))
    write_report(copy, lambda _draw, names: ["" for _ in names])
    return Page((copy / "report.html").read_text()).text.replace("\n", "")


def test_the_page_shows_the_designs_on_the_same_data_and_seed_if_there_are_several(
    tables: Path, tmp_path: Path
) -> None:
    [own] = json.loads((tables / "provenance.json").read_text())["designs"]
    assert (own["number"], own["study"], own["own"], own["changed"]) == (1, "tiny", True, [])
    assert 'id="designs"' not in (tables / "report.html").read_text()
    first = {**own, "study": "before", "own": False}
    later = {**own, "number": 2, "changed": [f"epochs: 2 -> {EVIL}"], "added": 1, "withdrawn": 2}
    text = page_with_provenance(tables, tmp_path, designs=[first, later])
    assert f"epochs: 2 -> {EVIL}; 1 primary claim added; 2 primary claims withdrawn" in text
    assert "2 (this page)tiny" in text
    assert "1before" in text


def test_claims_registered_before_the_first_training_are_not_post_hoc(tables: Path) -> None:
    assert not any(claim["post_hoc"] for claim in json.loads((tables / "claims.json").read_text()))
    assert "post hoc" not in (tables / "report.html").read_text()


def test_each_claim_has_its_n_and_an_inconclusive_one_the_replicates_needed(tables: Path) -> None:
    claims = json.loads((tables / "claims.json").read_text())
    text = " ".join(Page((tables / "report.html").read_text()).text.split())
    assert {claim["n"] for claim in claims} == {8}
    for claim in claims:
        if claim["verdict"] == "inconclusive":
            difference = amount(claim["metric"], 2 * claim["margin"])
            numbers = (claim[f"replicates_needed{end}"] for end in ("", "_low", "_high"))
            needed, low, high = ("10,000 or more" if number >= 10_000 else number for number in numbers)
            forecast = f"80% power for a true difference of {difference}: {needed} replicates ({low} to {high}"
            assert forecast in text
    assert "settle" not in text


def test_the_page_states_how_a_learning_rate_tolerance_was_measured(tables: Path) -> None:
    """Four rates over three decades."""
    text = " ".join(Page((tables / "report.html").read_text()).text.split())
    described = "within 1 pp of the sweep's best validation accuracy (4 rates, 1 decade apart)"
    assert text.count(described) == 2  # below the table, and below the figure


def test_the_page_states_how_many_claims_were_withdrawn_since_the_first_training(tmp_path: Path) -> None:
    paths = StudyPaths(study(), tmp_path / "results", tmp_path / "mlruns")
    session = fill_journal(paths)
    fewer = paths.study.model_copy(update={"claims": paths.study.claims[:1]})
    later = StudyPaths(fewer, paths.results, paths.mlruns)
    session = replace(session, paths=later)
    write_answer(session, jobs_of(session))
    [claim] = json.loads((later.tables / "claims.json").read_text())
    assert claim["tests"] == 3
    assert claim["p_corrected"] == min(1, 3 * claim["p"])
    text = " ".join(Page((later.tables / "report.html").read_text()).text.split())
    assert "2 primary claims registered before the first training were withdrawn" in text
    assert "registered before the first training jointly (3 claims, 2 of them withdrawn or changed since)" in text


def test_a_page_is_written_within_a_minute_of_processor_time(tables: Path) -> None:
    """Six contenders with a sweep. The limit is generous: on two cores of an EPYC, it took 2.4 to 3.5 s."""
    clock = time.process_time()
    write_report(tables)
    assert time.process_time() - clock < 60


@needs_browser
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", ["report.html", "index.html"])
def test_a_browser_opens_it_from_disk_without_an_error_or_horizontal_scroll(
    tables: Path, tmp_path: Path, width: int, name: str
) -> None:
    """The page is framed at the width, since headless Chromium's windows are at least 500 px wide."""
    write_index(tables.parent, [tables.name])
    path = tables / name if name == "report.html" else tables.parent / name
    frame = tmp_path / "frame.html"
    measure = (
        "const d=document.getElementById('f').contentDocument;"
        "document.title=[d.documentElement.scrollWidth,d.documentElement.clientWidth,"
        "d.querySelectorAll('figure').length,"
        "[...d.querySelectorAll('figure')].filter(f=>[...f.querySelectorAll('svg')].some("
        "s=>s.getBoundingClientRect().height>50&&s.getBoundingClientRect().right<=d.documentElement.clientWidth)"
        "||f.closest('details')).length].join(' ')"
    )
    style = f"border:0;width:{width}px;height:900px"
    frame.write_text(f'<iframe id="f" src="{path.as_uri()}" style="{style}" onload="{measure}"></iframe>')
    dom = browse(frame.as_uri(), tmp_path, "--virtual-time-budget=5000", "--allow-file-access-from-files", "--dump-dom")
    found = re.search(r"<title>([\d ]+)</title>", dom.stdout)
    assert found, dom.stdout[:500] + dom.stderr
    scrolled, visible, figures, drawn = map(int, found[1].split())
    assert scrolled == visible <= width
    assert figures == drawn
    assert (figures > 0) is (name == "report.html")
    assert "CONSOLE" not in dom.stderr
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    shot = SCREENSHOTS / f"{path.stem}-{width}.png"
    browse(frame.as_uri(), tmp_path, f"--window-size={width},900", f"--screenshot={shot}")
    assert shot.stat().st_size > 10_000


def test_provenance_has_the_command_as_given_and_the_time_from_first_to_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Synthetic trainings begin a second apart, and take half of one."""
    paths = StudyPaths(tiny(), tmp_path / "results", tmp_path / "mlruns")
    for arguments, file in (
        (["run", "own/my study.yaml"], "'own/my study.yaml'"),
        (["report", "a.yaml", "b.yaml"], "configs/tiny.yaml"),
        ([], "configs/tiny.yaml"),
    ):
        monkeypatch.setattr("sys.argv", ["optstudy", *arguments])
        answer_study(paths)
        found = json.loads((paths.tables / "provenance.json").read_text())
        assert found["command"] == f"optstudy run {file}"
    assert found["trainings"] == 2 * 2 * (2 + 2)
    assert found["wall_seconds"] == 15.5


def test_the_commit_of_a_changed_tree_is_dirty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert git_commit() == "unknown"
    (tmp_path / "file").write_text("one")
    identity = ["-c", "user.name=n", "-c", "user.email=n@example.org"]
    for command in (["init", "-q"], ["add", "file"], [*identity, "commit", "-q", "-m", "one"]):
        subprocess.run(["git", *command], check=True)
    commit = git_commit()
    assert re.fullmatch("[0-9a-f]{40}", commit)
    (tmp_path / "untracked").write_text("results")
    assert git_commit() == commit
    (tmp_path / "file").write_text("two")
    assert git_commit() == f"{commit}-dirty"
