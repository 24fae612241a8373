"""Where models come from, what makes one itself, and what is never taken."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from fedtune.data.tokenizer import TOKENIZER_FILES
from fedtune.errors import BadInput
from fedtune.models import zoo
from fedtune.models.classifier import drawn_anew, load_classifier
from fedtune.models.zoo import PAPER_LEARNING_RATE, content_hash, find_model


@pytest.fixture
def directory(bert: str, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bert, tmp_path / "model"))


def test_a_directory_is_found_as_it_is(directory: Path) -> None:
    source = find_model(str(directory))
    assert (source.directory, source.learning_rate) == (directory, PAPER_LEARNING_RATE)


def test_a_relative_directory_and_one_in_the_home_are_found(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(directory.parent)
    assert find_model("./model").directory.samefile(directory)
    monkeypatch.setenv("HOME", str(directory.parent))
    assert find_model("~/model").directory.samefile(directory)


@pytest.mark.parametrize("name", ["bert", "google-bert/bert-base-cased", "mini-bert"])
def test_a_folder_of_that_name_among_the_data_comes_first(
    name: str, bert: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(bert, tmp_path / name)
    monkeypatch.setenv("FEDTUNE_DATA", str(tmp_path))
    assert find_model(name).directory == tmp_path / name


def test_weights_that_are_only_a_pickle_are_refused_naming_safetensors(directory: Path) -> None:
    (directory / "model.safetensors").unlink()
    torch.save({}, directory / "pytorch_model.bin")
    with pytest.raises(BadInput, match=r"^model=.*no safetensors weights.*save_pretrained"):
        find_model(str(directory))


@pytest.mark.parametrize(
    ("file", "words"),
    [("config.json", "no config.json"), ("tokenizer", "no tokenizer files")],
)
def test_a_directory_that_lacks_something_is_refused_by_name(
    file: str, words: str, directory: Path
) -> None:
    for path in directory.glob(f"{file}*"):
        path.unlink()
    with pytest.raises(BadInput, match=words):
        find_model(str(directory))


def test_a_configuration_that_is_no_json_is_refused(directory: Path) -> None:
    (directory / "config.json").write_text("{")
    with pytest.raises(BadInput, match="not valid JSON"):
        find_model(str(directory))


@pytest.mark.parametrize("name", ["mini-brt", "no-such-model", "./missing", "/missing/model"])
def test_an_unknown_name_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(BadInput, match=r"no such model.*allowed is one of mini-bert") as bad:
        find_model(name)
    assert ("did you mean 'mini-bert'" in str(bad.value)) is (name == "mini-brt")


# The hub and its cache

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """A cache of huggingface_hub's in its own layout, and a hub that is a folder of ``files``."""

    def __init__(self, cache: Path, hub_id: str, files: dict[str, bytes]):
        self.folder = cache / f"models--{hub_id.replace('/', '--')}"
        self.files = files
        self.asked = 0

    @property
    def snapshot(self) -> Path:
        return self.folder / "snapshots" / COMMIT

    def store(self, patterns: Iterable[str] = ("*",), *, listing: bool = True) -> None:
        """Put what matches the patterns into the cache, as a download of these patterns does.

        ``listing``: of all that the hub has, which only versions from 2 on write.
        """
        for name, content in self.files.items():
            if not any(fnmatch(name, pattern) for pattern in patterns):
                continue
            blob = self.folder / "blobs" / hashlib.sha256(content).hexdigest()
            place = self.snapshot / name
            for path in (blob, place):
                path.parent.mkdir(parents=True, exist_ok=True)
            blob.write_bytes(content)
            place.unlink(missing_ok=True)
            place.symlink_to(os.path.relpath(blob, place.parent))
        self.write("refs/main", COMMIT)
        if listing:
            files = {
                name: {"size": len(content), "blob_id": hashlib.sha1(content).hexdigest()}
                for name, content in self.files.items()
            }
            self.write(f"trees/{COMMIT}.json", json.dumps({"format_version": 1, "files": files}))

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def hub(bert: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """google-bert/bert-base-cased with more files than fedtune takes; nothing is cached yet.

    Offline; a test can go online, where a download fills the cache and is counted.
    """
    import huggingface_hub

    files = {path.name: path.read_bytes() for path in Path(bert).iterdir()}
    others = {"README.md": b"a card", "pytorch_model.bin": b"pickled", ".gitattributes": b"*"}
    made = Hub(tmp_path / "hub", "google-bert/bert-base-cased", files | others)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("fedtune.hub.go_offline_if_unreachable", lambda: False)
    look_up = huggingface_hub.snapshot_download

    def download(
        repo_id: str, allow_patterns: list[str] | None = None, local_files_only: bool = False
    ) -> str:
        if not local_files_only:
            made.asked += 1
            made.store(allow_patterns or ["*"])
        return look_up(repo_id, allow_patterns=allow_patterns, local_files_only=True)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    zoo._from_hub.cache_clear()
    yield made
    zoo._from_hub.cache_clear()


def go_online(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedtune.hub.go_offline_if_unreachable", lambda: True)


def test_a_hub_id_that_cannot_be_had_offline_says_what_to_do(hub: Hub) -> None:
    with pytest.raises(BadInput, match=r"hub cannot be reached.*FEDTUNE_DATA/some/model"):
        find_model("some/model")
    assert zoo.availability("bert") == "needs the network once"


def test_what_was_downloaded_is_found_offline(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    go_online(monkeypatch)
    assert find_model("bert").directory == hub.snapshot
    assert not (hub.snapshot / "pytorch_model.bin").exists(), "pickles are left out"

    monkeypatch.setattr("fedtune.hub.go_offline_if_unreachable", lambda: False)
    zoo._from_hub.cache_clear()  # as in a new process
    assert find_model("bert").directory == hub.snapshot
    assert find_model("google-bert/bert-base-cased").directory == hub.snapshot
    assert zoo.availability("bert") == "in the local cache"
    assert hub.asked == 1


def test_many_configurations_of_a_model_look_it_up_once(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_online(monkeypatch)
    found = {find_model("bert").directory for _ in range(54)}
    monkeypatch.setattr(zoo, "_cached", lambda hub_id: pytest.fail("looked again"))
    assert found | {find_model("bert").directory} == {hub.snapshot}
    assert hub.asked == 1


def test_a_cache_that_others_filled_needs_no_list_of_files(hub: Hub) -> None:
    hub.store(["config.json", "*.safetensors", "tokenizer*"], listing=False)
    assert find_model("bert").directory == hub.snapshot


@pytest.mark.parametrize("listing", [True, False])
@pytest.mark.parametrize("missing", ["config.json", "model.safetensors", "tokenizer.json"])
def test_what_a_cache_lacks_is_fetched(
    missing: str, listing: bool, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.store(listing=listing)
    (hub.snapshot / missing).unlink()
    with pytest.raises(BadInput, match=r"not \(or not whole\) in the local cache"):
        find_model("bert")
    assert zoo.availability("bert") == "needs the network once"

    go_online(monkeypatch)
    assert (find_model("bert").directory / missing).is_file()


@pytest.mark.parametrize("missing", ["model-00001-of-00002.safetensors", None])
def test_weights_in_several_files_are_whole_with_all_of_them(missing: str | None, hub: Hub) -> None:
    shards = {f"model-0000{i}-of-00002.safetensors": b"weights %d" % i for i in (1, 2)}
    index = {"weight_map": dict(zip("ab", shards, strict=True))}
    one_file = hub.files["model.safetensors"]
    hub.files = {name: data for name, data in hub.files.items() if data != one_file} | shards
    hub.files["model.safetensors.index.json"] = json.dumps(index).encode()
    hub.store(listing=False)
    if missing is None:
        assert find_model("bert").directory == hub.snapshot
        hub.write(f"snapshots/{COMMIT}/model.safetensors.index.json", "{")
    else:
        (hub.snapshot / missing).unlink()
    zoo._from_hub.cache_clear()
    with pytest.raises(BadInput, match="not whole"):
        find_model("bert")


def test_a_tokenizer_of_any_format_is_downloaded_hashed_and_accepted(
    hub: Hub, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fedtune.data.tokenizer import tokenizer_hash

    for path in directory.glob("tokenizer*"):
        path.unlink()
        del hub.files[path.name]
    (directory / "tokenizer.model").write_bytes(b"pieces")
    hub.files["tokenizer.model"] = b"pieces"
    go_online(monkeypatch)

    assert find_model(str(directory)).directory == directory
    downloaded = find_model("bert").directory
    assert tokenizer_hash(downloaded) == tokenizer_hash(directory)
    assert "tokenizer.model" in TOKENIZER_FILES, "so it is copied into checkpoints too"


def test_settings_alone_are_no_tokenizer(directory: Path) -> None:
    (directory / "tokenizer.json").unlink()
    (directory / "tokenizer_config.json").write_text("{}")
    with pytest.raises(BadInput, match="no tokenizer files"):
        find_model(str(directory))


def card(front: str) -> str:
    return f"---\n{front}\n---\n# A model\n"


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        (card("license: mit\nfedtune:\n  learning_rate: 0.05"), 0.05),
        (card("fedtune: {learning_rate: 1}"), 1.0),
        (card("license: mit"), PAPER_LEARNING_RATE),
        (card("fedtune: fine"), PAPER_LEARNING_RATE),
        (card("fedtune:\n  other: 1"), PAPER_LEARNING_RATE),
        (card("- a\n- list"), PAPER_LEARNING_RATE),
        (card("broken: [yaml"), PAPER_LEARNING_RATE),
        ("# fedtune\n\n---\nfedtune: {learning_rate: 9}\n---\n", PAPER_LEARNING_RATE),
        ("", PAPER_LEARNING_RATE),
    ],
)
def test_the_rate_is_the_cards_or_the_papers(text: str, rate: float, directory: Path) -> None:
    (directory / "README.md").write_text(text)
    made = find_model(str(directory)).learning_rate
    assert made == rate
    assert type(made) is float


def test_a_model_is_its_weights_and_configuration_wherever_it_lies(
    directory: Path, tmp_path: Path
) -> None:
    first = content_hash(directory)
    moved = Path(shutil.copytree(directory, tmp_path / "elsewhere" / "other name"))
    (moved / "README.md").write_text("a card")
    os.utime(moved / "model.safetensors", (1, 1))
    assert content_hash(moved) == first


def test_another_weight_or_setting_is_another_model(directory: Path) -> None:
    hashes = {content_hash(directory)}
    weights = directory / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(bytes(data))  # of the same size
    hashes.add(content_hash(directory))
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps(config | {"hidden_dropout_prob": 0.3}))
    hashes.add(content_hash(directory))
    assert len(hashes) == 3


@pytest.mark.parametrize("by", ["model.safetensors.index.json", "config.json"])
def test_weights_that_are_named_in_a_folder_below_are_part_of_the_model(
    by: str, directory: Path
) -> None:
    below = directory / "below" / "part.safetensors"
    below.parent.mkdir()
    (directory / "model.safetensors").rename(below)
    if by == "config.json":
        config = json.loads((directory / by).read_text())
        (directory / by).write_text(
            json.dumps(config | {"transformers_weights": "below/part.safetensors"})
        )
    else:
        weights = dict.fromkeys(load_file(below), "below/part.safetensors")
        (directory / by).write_text(json.dumps({"metadata": {}, "weight_map": weights}))
    assert find_model(str(directory)).directory == directory
    model = load_classifier(directory, label_names=("a", "b"), seed=0)
    assert drawn_anew(directory) == ("classifier",)
    before = content_hash(directory)
    changed = load_file(below)
    (name, tensor), *_ = changed.items()
    save_file(changed | {name: tensor + 1}, below, {"format": "pt"})
    assert content_hash(directory) != before
    other = load_classifier(directory, label_names=("a", "b"), seed=0)
    assert not torch.equal(*(m.base_model.state_dict()[name] for m in (model, other)))
