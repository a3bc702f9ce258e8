"""How many tokens of a caption CLIP reads, found without importing torch.

The scorer refuses a caption that its tokenizer would cut, but only once it is loaded. This module counts the
same tokens in milliseconds, so that the refusal comes before anything is loaded.
"""

from __future__ import annotations

import gzip
import html
import shlex
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib import util
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pytest_wanlora.errors import ScoringError
from pytest_wanlora.files import parse_json, read_regular

if TYPE_CHECKING:
    from tokenizers import Tokenizer

BYTE_OFFSET: Final = 2
"""Id of the byte 0 in `ByteTokenizer`, after its padding and its mark of a beginning."""
_DEFAULT_CONTEXT: Final = 77
#: Words of CLIP's tokenizer: open_clip.tokenizer.SimpleTokenizer, after OpenAI's.
_WORDS: Final = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
_MERGES: Final = 49152 - 256 - 2


def too_long(captions: Mapping[str, str], model: str, config: Path | None) -> Iterator[tuple[str, str]]:
    """Find the captions that CLIP would cut.

    Args:
        captions: Scenario id to what CLIP compares its videos with.
        model: The suite's `scoring.clip.model`.
        config: The file of the model's configuration; None where `model` is a name of open_clip.

    Yields:
        Scenario id, and what is wrong with its caption.

    Raises:
        ScoringError: open_clip has no such model, or the configuration cannot be read.
    """
    clip = described(model, config)
    text = clip.get("text_cfg", {})
    room = int(text.get("context_length", _DEFAULT_CONTEXT)) - 2
    if "hf_tokenizer_name" in text or "hf_model_name" in text:
        return  # the scorer refuses such a model itself
    encode: Callable[[str], list[int]] = encode_bytes if clip.get("tokenizer") == "bytes" else _encode
    for scenario, caption in captions.items():
        # a token holds at least one byte, so a short text needs no vocabulary
        if len(encode_bytes(caption)) > room and (tokens := len(encode(caption))) > room:
            yield scenario, f"has {tokens} tokens and CLIP reads {room}, the rest would be cut"


def encode_bytes(text: str) -> list[int]:
    """Return `ByteTokenizer`'s ids of all bytes of a text, without marks, padding or a cut."""
    return [byte + BYTE_OFFSET for byte in cleaned(text).encode("utf-8")]


def cleaned(text: str) -> str:
    """Return a text in lower case with its white space collapsed, as CLIP's tokenizers read it."""
    # a lone surrogate has no UTF-8 form
    return " ".join(text.lower().split()).encode("utf-8", errors="replace").decode("utf-8")


def described(model: str, config: Path | None) -> dict[str, Any]:
    """Read a CLIP's configuration, as open_clip writes it; see `too_long`."""
    path = config or _open_clip() / "model_configs" / f"{model}.json"
    if config is None and not path.is_file():
        raise ScoringError(
            f"scoring.clip.model: {model!r} is neither a model of open_clip nor a .json file",
            next_command='python -c "import open_clip; print(open_clip.list_models())"',
        )
    try:
        found = parse_json(read_regular(path))
        return dict(found)
    except (OSError, ValueError, TypeError) as error:
        raise ScoringError(
            f"scoring.clip.model: {path} is not readable JSON: {error}",
            next_command=f"ls -l {shlex.quote(str(path))}",
        ) from error


def _encode(text: str) -> list[int]:
    import ftfy
    import regex

    plain = " ".join(html.unescape(html.unescape(ftfy.fix_text(text))).split()).lower()
    tokenizer = _clip_tokenizer()
    words = regex.findall(_WORDS, plain, regex.IGNORECASE)
    return [number for word in words for number in tokenizer.encode(word).ids]


@cache
def _clip_tokenizer() -> Tokenizer:
    """CLIP's byte pair encoding, from the vocabulary that open_clip ships."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    packed = (_open_clip() / "bpe_simple_vocab_16e6.txt.gz").read_bytes()
    lines = gzip.decompress(packed).decode("utf-8").split("\n")[1 : _MERGES + 1]
    merges = [(first, second) for first, second in (line.split() for line in lines)]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = [*letters, *(f"{letter}</w>" for letter in letters), *(f"{a}{b}" for a, b in merges)]
    tokenizer = Tokenizer(
        models.BPE(
            vocab={token: number for number, token in enumerate(dict.fromkeys(vocabulary))},
            merges=merges,
            end_of_word_suffix="</w>",
        )
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return tokenizer


def _open_clip() -> Path:
    """The folder of the installed open_clip, which is not imported: that takes seconds."""
    spec = util.find_spec("open_clip")
    if spec is None or spec.origin is None:
        raise ScoringError("open_clip is not installed", next_command="pip install open-clip-torch")
    return Path(spec.origin).parent
