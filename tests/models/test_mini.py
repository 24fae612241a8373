"""The miniatures that ship: intact, small, loadable offline, and related as they should be."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from tokenizers import Tokenizer

import fedtune

FOLDER = Path(fedtune.__file__).parent / "models" / "mini"
NAMES = ("mini-bert", "mini-albert", "mini-distilbert")
LAYERS = {"mini-bert": 4, "mini-albert": 4, "mini-distilbert": 2}


def num_encoder_parameters(name):
    weights = load_file(FOLDER / name / "model.safetensors")
    encoder = name.removeprefix("mini-") + "."
    return sum(tensor.numel() for key, tensor in weights.items() if key.startswith(encoder))


@pytest.fixture(scope="module", params=NAMES)
def classifier(request):
    from transformers import AutoModelForSequenceClassification

    torch.manual_seed(0)
    model, info = AutoModelForSequenceClassification.from_pretrained(
        FOLDER / request.param, num_labels=5, dtype=torch.float32, output_loading_info=True
    )
    return request.param, model.eval(), info


@pytest.mark.parametrize("name", NAMES)
def test_weights_match_the_card(name):
    card = (FOLDER / name / "README.md").read_text(encoding="utf-8")
    digest = hashlib.sha256((FOLDER / name / "model.safetensors").read_bytes()).hexdigest()
    assert digest in card


@pytest.mark.parametrize("name", NAMES)
def test_card_recommends_a_learning_rate_for_plain_sgd(name):
    card = (FOLDER / name / "README.md").read_text(encoding="utf-8")
    front = yaml.safe_load(card.split("---\n")[1])
    assert 0.001 <= front["fedtune"]["learning_rate"] <= 1
    assert front["license"] == "apache-2.0"


@pytest.mark.parametrize("name", NAMES)
def test_weights_are_finite_and_in_half_precision(name):
    weights = load_file(FOLDER / name / "model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.float16}
    assert all(bool(tensor.isfinite().all()) for tensor in weights.values())


def test_all_three_together_stay_below_twelve_megabytes():
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) <= 12_000_000


def test_the_tokenizer_is_one():
    files = {(FOLDER / name / "tokenizer.json").read_bytes() for name in NAMES}
    assert len(files) == 1
    assert len(json.loads(files.pop())["model"]["vocab"]) == 8000


def test_albert_has_fewer_than_half_of_berts_parameters():
    assert num_encoder_parameters("mini-albert") < num_encoder_parameters("mini-bert") / 2


@pytest.mark.parametrize("name", NAMES)
def test_number_of_layers(name):
    config = json.loads((FOLDER / name / "config.json").read_text())
    assert config.get("num_hidden_layers", config.get("n_layers")) == LAYERS[name]


def test_only_the_head_is_new_in_a_classifier(classifier):
    name, _, info = classifier
    new = {key.split(".")[0] for key in info["missing_keys"]}
    assert new == ({"pre_classifier", "classifier"} if "distil" in name else {"classifier"})
    assert not info["mismatched_keys"]


def test_texts_that_mean_the_same_are_closer_than_others(classifier):
    name, model, _ = classifier
    tokenizer = Tokenizer.from_file(str(FOLDER / name / "tokenizer.json"))
    tokenizer.enable_padding()
    texts = [
        "the movie was a boring waste of time and the acting was terrible",
        "a dull film with awful actors that i could not finish",
        "the government raised taxes to pay for the war and the army",
    ]
    encodings = tokenizer.encode_batch(texts)
    ids = torch.tensor([e.ids for e in encodings])
    mask = torch.tensor([e.attention_mask for e in encodings])
    with torch.no_grad():
        hidden = model.base_model(input_ids=ids, attention_mask=mask).last_hidden_state
    vectors = (hidden * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
    vectors = torch.nn.functional.normalize(vectors, dim=-1)
    same, first_other, second_other = (vectors @ vectors.T)[[0, 0, 1], [1, 2, 2]].tolist()
    assert same > max(first_other, second_other) + 0.2


@pytest.mark.parametrize("name", NAMES)
def test_masked_token_head_follows_the_topic(name):
    from transformers import AutoModelForMaskedLM

    folder = FOLDER / name
    model = AutoModelForMaskedLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    movie, gap = tokenizer.token_to_id("movie"), tokenizer.token_to_id("[MASK]")

    def probability_of_movie(text):
        ids = tokenizer.encode(text).ids
        with torch.no_grad():
            scores = model(input_ids=torch.tensor([ids])).logits[0, ids.index(gap)]
        return scores.softmax(-1)[movie].item()

    review = probability_of_movie("the acting was terrible and i hated this [MASK] .")
    manual = probability_of_movie("the function returns the value of this [MASK] .")
    assert review > 5 * manual


def test_balancing_embeddings_changes_no_output():
    from transformers import AlbertConfig, AlbertForPreTraining

    from tools.pretrain.balance import balance_embeddings

    torch.manual_seed(0)
    config = AlbertConfig(
        vocab_size=50,
        embedding_size=8,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
    )
    model = AlbertForPreTraining(config).eval()
    ids = torch.randint(5, 50, (2, 9))
    with torch.no_grad():
        before = model(input_ids=ids)
        assert balance_embeddings(model) > 10
        after = model(input_ids=ids)
    torch.testing.assert_close(after.prediction_logits, before.prediction_logits)
    torch.testing.assert_close(after.sop_logits, before.sop_logits)


def test_loads_without_network():
    program = f"""
import socket
def refuse(*args, **kwargs):
    raise AssertionError("network look-up")
socket.getaddrinfo = socket.create_connection = refuse
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from transformers.models.bert import modeling_bert
for name in {NAMES!r}:
    folder = r"{FOLDER}/" + name
    AutoTokenizer.from_pretrained(folder)
    AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2, dtype=torch.float32)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
