"""Command line: `python -m tools.pretrain COMMAND --work DIR ...`.

In this order: `texts`, `tokenizer`, `teacher`, `mini-bert`, `mini-albert`, `mini-distilbert`,
and, once learning rates and fine-tuned accuracies are known, `cards`. Each writes into the work
folder; an interrupted one goes on when it is run again.
"""

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # before transformers: nothing here is downloaded


def _texts(args: argparse.Namespace) -> None:
    from .passages import Source, collect

    counts = collect(
        [Source.parse(s) for s in args.source], args.most, args.work / "passages.jsonl"
    )
    (args.work / "counts.json").write_text(json.dumps(counts, indent=1))
    print(json.dumps(counts))


def _tokenizer(args: argparse.Namespace) -> None:
    import numpy as np
    from tokenizers import Tokenizer

    from . import passages, vocabulary

    texts, held_out = passages.load(args.work / "passages.jsonl")
    teachers = Tokenizer.from_file(str(args.teacher / "tokenizer.json"))
    counts = vocabulary.count_pieces(teachers, texts)
    pieces = vocabulary.choose_pieces(teachers.get_vocab(), counts)
    vocabulary.save(pieces, teachers.get_vocab(), args.work / "tokenizer")
    ids, offsets = vocabulary.tokenize(vocabulary.build_tokenizer(pieces), texts)
    np.savez(args.work / "tokens.npz", ids=ids, offsets=offsets, held_out=np.array(held_out))
    print(f"{len(texts)} passages, {len(ids)} tokens")


def _teacher(args: argparse.Namespace) -> None:
    from . import passages, teacher

    texts, _ = passages.load(args.work / "passages.jsonl")
    teacher.embed_passages(args.teacher, texts, args.work / "teacher.npy")


def _model(args: argparse.Namespace) -> None:
    from .build import build

    build(args.command, args.work, args.teacher)


def _cards(args: argparse.Namespace) -> None:
    from .card import write_card

    for pair in args.rates.split(","):
        name, rate = pair.split("=")
        table = args.table.read_text(encoding="utf-8") if args.table else ""
        write_card(name, args.work / "export" / name, args.work, float(rate), table)


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command."""
    commands = {
        "texts": _texts,
        "tokenizer": _tokenizer,
        "teacher": _teacher,
        "mini-bert": _model,
        "mini-albert": _model,
        "mini-distilbert": _model,
        "cards": _cards,
    }
    parser = argparse.ArgumentParser(prog="python -m tools.pretrain")
    parser.add_argument("command", choices=commands)
    parser.add_argument("--work", type=Path, required=True, help="folder for everything made")
    parser.add_argument("--teacher", type=Path, help="Hugging Face folder of all-MiniLM-L6-v2")
    parser.add_argument(
        "--source",
        action="append",
        default=[],
        metavar="NAME:READER:LIMIT:PATH",
        help="a source of texts (command `texts`); may be given several times",
    )
    parser.add_argument("--most", type=int, default=47000, help="passages in all (`texts`)")
    parser.add_argument("--rates", default="", help="`cards`: mini-bert=RATE,mini-albert=RATE,...")
    parser.add_argument("--table", type=Path, help="`cards`: Markdown printed by benchmarks.mini")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    args = parser.parse_args(argv)
    if args.command not in ("texts", "cards") and args.teacher is None:
        parser.error(f"{args.command} needs --teacher")
    if args.command == "texts" and not args.source:
        parser.error("texts needs at least one --source")
    import torch

    torch.set_num_threads(args.threads)
    args.work.mkdir(parents=True, exist_ok=True)
    commands[args.command](args)


if __name__ == "__main__":
    main()
