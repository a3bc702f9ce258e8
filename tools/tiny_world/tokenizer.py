"""Make the tokenizer: ``python -m tools.tiny_world.tokenizer --out pytest_wanlora/tiny/tokenizer``.

Byte-level BPE over the world's captions, so that every word of a caption is about one token, while any other
text (Korean, Chinese, emoji) still has one through its bytes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from tools.tiny_world.factors import CATEGORIES, caption

VOCABULARY = 448


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    texts = [
        caption(name, row, template)
        for name, spec in CATEGORIES.items()
        for row in spec.combinations()
        for template in range(len(spec.templates))
    ]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=VOCABULARY,
            special_tokens=["<pad>", "</s>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    marks = {"pad_token": "<pad>", "eos_token": "</s>"}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **marks)
    fast.save_pretrained(str(arguments.out))
    longest = max(len(fast(text).input_ids) for text in texts)
    print(f"{tokenizer.get_vocab_size()} tokens; the longest of {len(texts)} captions has {longest}")


if __name__ == "__main__":
    main()
