"""Study files that something has altered are accepted or refused with a message: never a traceback, never for long."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from optstudy.errors import StudyError
from optstudy.study.study import load_study
from study_texts import CLASS, GOOD, NADAM, contender, of_ravine, with_claim, with_contender, with_pretraining

FILES = 500
TEXTS = [
    *(path.read_text() for path in sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))),
    GOOD,
    with_contender(NADAM),
    of_ravine("epochs: 2", "epochs: 200"),
    with_pretraining("adam"),
    with_claim("{statement: Adam wins, better: adam, than: sgd}"),
    contender(CLASS % "torch.optim.NAdam"),
]
WORDS = r"""
0 -1 1 1.5 1e400 -1e-400 .inf .nan 9999999999999999999999 0x7fffffffffffffff 0o17 010 1_000 1:30 2020-02-31 2001-12-14
true null ~ "" '' [] {} [[]] [1,2,3] {a:1} {low:0,high:1} {low:1,high:0,log:true} !!int !!binary !!python/name:os.system
&a *a <<:*a |- > ? - : # % @ ` sgd adam digits mlp tuned torch.optim.Adam os.system builtins.print a.b.c .. ../../x
/dev/zero ~root "\0" "\e[31m" ü 语 𝔘 ﬁ İ
"""
ODD = ("\x1b", "\x00", "\ufeff", "\u202e", "\ud800", "\t", "x: y", "[" * 300, "{a: " * 120 + "1" + "}" * 120, "9" * 400)
VALUES = (*WORDS.split(), *ODD)


def mutated(text: str, rng: random.Random) -> str:
    """Return the text after one change, or three."""
    for _ in range(rng.choice((1, 1, 1, 3))):
        lines = text.split("\n")
        at, other = rng.randrange(len(lines)), rng.choice(lines)
        line, value = lines[at], rng.choice(VALUES)
        key, colon, rest = line.partition(":")
        place = rng.randrange(len(line) + 1)
        changes = (  # the lines that come instead of one
            [],
            [line, line],
            [other, line],
            [f"{key}: {value}"],
            [f"{key}: {rest} {value}"],
            [f"{value}{colon}{rest}"],
            [" " * rng.randrange(6) + line.lstrip()],
            [line[:place] + value + line[place:]],
            [line[:place] + chr(rng.randrange(1, 0xD7FF)) + line[place:]],
            [f"{key}{colon} {other.partition(':')[2]}"],
            [f"{value}: {rng.choice(VALUES)}", line],
        )
        lines[at : at + 1] = rng.choice(changes)
        text = "\n".join(lines)
    return text


@pytest.mark.parametrize("part", range(10))
def test_a_mutated_study_file_is_read_or_refused_with_short_lines(part: int, tmp_path: Path) -> None:
    rng, refused, path = random.Random(part), 0, tmp_path / "study.yaml"
    for text in TEXTS if part == 0 else TEXTS[-1:]:  # what is altered is valid, and what is imported is not timed
        path.write_text(text)
        load_study(path)
    for _ in range(FILES // 10):
        text = mutated(rng.choice(TEXTS), rng)
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        begin = time.process_time()
        try:
            load_study(path)
        except StudyError as error:
            refused += 1
            lines = str(error).splitlines()
            assert lines, text
            assert all(line.startswith(f"{path}: ") and len(line) < 4000 for line in lines), (text, lines)
        except Exception as error:
            raise AssertionError(f"{type(error).__name__}: {error}: of this file:\n{text}") from error
        assert time.process_time() - begin < 10, text
    assert refused > FILES // 20
