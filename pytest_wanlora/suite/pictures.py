"""First frames: which pictures a model can be given as they are."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pytest_wanlora.errors import SuiteError
from pytest_wanlora.files import open_regular

if TYPE_CHECKING:
    from PIL.Image import Image

#: Pillow's modes that become RGB without a loss; it cuts 16 bits off at white, and has no profile for CMYK.
_MODES: Final = ("1", "L", "P", "RGB", "LA", "PA", "RGBA")
_ORIENTATION: Final = 0x0112  # of EXIF
#: A ratio may differ by this much: a picture of 100 pixels or more that was scaled to whole ones.
_ROUNDING: Final = 0.01


def read_picture(path: Path, size: tuple[int, int] | None = None) -> Image:
    """Read a first frame, in RGB.

    Args:
        path: The file.
        size: Width and height of the video; DiffSynth stretches the picture to them. None: not checked.

    Raises:
        SuiteError: It cannot be read, or the model would be shown something else than a viewer shows.
    """
    from PIL import Image

    try:
        with open_regular(path) as file, Image.open(file) as picture:
            picture.load()
            found = _complaint(picture, path, size)
            image = picture.convert("RGB")
    # Pillow raises whatever its decoder of the format raises
    except Exception as error:
        raise SuiteError(
            f"{path}: not a picture that can be read: {error}",
            next_command=f"ls -l {shlex.quote(str(path))}",
        ) from error
    if found is not None:
        text, command = found
        raise SuiteError(f"{path}: {text}", next_command=command)
    return image


def _complaint(picture: Image, path: Path, size: tuple[int, int] | None) -> tuple[str, str] | None:
    """What is wrong with a picture, and the next command."""
    count = getattr(picture, "n_frames", 1)
    if count > 1:
        text = f"{count} pictures in one file ({picture.format}); allowed: one picture, no animation"
        return text, _written(path, "-first", f"{_opened(path)}.convert('RGBA')")
    if picture.mode not in _MODES:
        text = f"pixels of Pillow's mode {picture.mode!r}, which become RGB only with a loss"
        image = f"{_opened(path)}.convert('RGB')"
        if picture.mode.startswith("I"):
            # Pillow's own conversion cuts them off at white
            image = f"Image.fromarray((numpy.asarray({_opened(path)}) // 256).astype('uint8'))"
        return f"{text}; allowed: RGB or grey with 8 bits a channel", _written(path, "-8-bits", image)
    orientation = picture.getexif().get(_ORIENTATION, 1)
    if orientation not in (0, 1):
        text = f"EXIF orientation {orientation}: viewers turn it and the model would see it unturned"
        return f"{text}; allowed: a picture that is stored upright", _turned(path, size)
    if picture.convert("RGBA").getchannel("A").getextrema()[0] != 255:
        text = "transparent in places, where the model would see what colours the file hides"
        image = f"{_opened(path)}.convert('RGBA')"
        white = f"Image.alpha_composite(Image.new('RGBA', {picture.size}, 'white'), {image}).convert('RGB')"
        return (
            f"{text}; allowed: an opaque picture, on the background that it should have, such as white",
            _written(path, "-on-white", white),
        )
    if size is not None:
        (width, height), (across, down) = picture.size, size
        if abs(width * down / (height * across) - 1) > _ROUNDING:
            text = f"{width}x{height}, which DiffSynth would stretch to the video's {across}x{down}"
            return f"{text}; allowed: a picture of that ratio, such as one with its edges cut", _turned(
                path, size
            )
    return None


def _turned(path: Path, size: tuple[int, int] | None) -> str:
    """A command that writes a picture upright, and cut to a size."""
    image = f"ImageOps.exif_transpose({_opened(path)}).convert('RGB')"
    if size is None:
        return _written(path, "-upright", image)
    return _written(path, f"-{size[0]}x{size[1]}", f"ImageOps.fit({image}, {size})")


def _opened(path: Path) -> str:
    return f"Image.open({str(path)!r})"


def _written(path: Path, end: str, image: str) -> str:
    """A command that writes a picture beside the one that was refused."""
    new = str(path.with_name(f"{path.stem}{end}.png"))
    modules = "; import numpy" if "numpy" in image else ""
    return f"python -c {shlex.quote(f'from PIL import Image, ImageOps{modules}; {image}.save({new!r})')}"
