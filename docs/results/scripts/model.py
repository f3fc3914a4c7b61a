"""Makes the directory of a model shape for `teebench run --model NAME=DIR`: model.py SHAPE TARGET [TEXTS]

SHAPE is a folder beside this file (`llama-1b`, `llama-8b`): its configuration is copied, and a byte-level BPE tokenizer of
32,000 tokens is trained on the text files under TEXTS, by default this repository. There are no weights: servers run with
`loadFormat: Dummy`. Another tokenizer changes the number of tokens that a generated text has, by a few percent.
Needs PyPI's `tokenizers`.
"""

import pathlib
import shutil
import sys

import tokenizers

HERE = pathlib.Path(__file__).resolve().parent
ENDINGS = {".rs", ".md", ".py", ".yaml", ".toml", ".sh", ".json"}
MOST_BYTES = 1 << 20


def main() -> None:
    shape, target = sys.argv[1], pathlib.Path(sys.argv[2])
    texts = pathlib.Path(sys.argv[3]) if len(sys.argv) > 3 else HERE.parents[2]
    target.mkdir(parents=True, exist_ok=True)
    for name in ("config.json", "tokenizer_config.json"):
        shutil.copy(HERE / shape / name, target / name)
    files = sorted(
        str(path)
        for path in texts.rglob("*")
        if path.suffix in ENDINGS and "target" not in path.parts and path.is_file() and path.stat().st_size < MOST_BYTES
    )
    tokenizer = tokenizers.ByteLevelBPETokenizer()
    tokenizer.train(files, vocab_size=32_000, special_tokens=["<s>", "</s>"], show_progress=False)
    tokenizer.save(str(target / "tokenizer.json"))
    print(f"{target}: {tokenizer.get_vocab_size()} tokens from {len(files)} files")


if __name__ == "__main__":
    main()
