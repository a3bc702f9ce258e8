"""A tokenizer folder that the pipeline loads like `google/umt5-xxl`: T5's marks, a token a character."""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

_MARKS = ("<pad>", "</s>", "<unk>")  # ids 0, 1, 2, as umT5 has them


def write(folder: Path) -> None:
    """Write the folder.

    Printable ASCII has a token a character, everything else one a UTF-8 byte: any prompt has tokens, and two
    different prompts have different ones.

    Args:
        folder: Made if need be.
    """
    letters = [chr(code) for code in range(0x21, 0x7F)]
    pieces = [*_MARKS, *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *letters]
    tokenizer = Tokenizer(models.Unigram([(piece, -1.0) for piece in pieces], unk_id=2, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer.add_special_tokens(list(_MARKS))
    marks = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {**marks, "model_max_length": 512, "tokenizer_class": "PreTrainedTokenizerFast"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=1), encoding="utf-8")
    (folder / "special_tokens_map.json").write_text(json.dumps(marks, indent=1), encoding="utf-8")
