"""mp4 files of rendered videos, for people: nothing is measured on them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_wanlora.errors import StudioError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_FPS = 8
#: Of x264: half the time of its default preset for a file of the same size, 0.1 dB further from the frames.
_PRESET = "veryfast"


def require_ffmpeg() -> None:
    """Refuse before rendering what `write_preview` could not write after it.

    Raises:
        StudioError: There is no ffmpeg: imageio-ffmpeg brings one for most machines, not for all.
    """
    import imageio_ffmpeg

    try:
        imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError as error:
        raise StudioError(
            "previews (mp4) cannot be written: imageio-ffmpeg has brought no ffmpeg and none is installed; "
            "allowed: ffmpeg installed, one named in IMAGEIO_FFMPEG_EXE, or --wanlora-no-previews",
            next_command="pip install --force-reinstall imageio-ffmpeg",
        ) from error


def write_preview(frames: NDArray[np.uint8], path: Path) -> None:
    """Write frames as an H.264 mp4 that browsers play.

    Args:
        frames: uint8 (T, H, W, 3).
    """
    import imageio_ffmpeg

    height, width = frames.shape[1:3]
    writer: Any = imageio_ffmpeg.write_frames(
        str(path),
        (width, height),
        fps=_FPS,
        codec="libx264",
        quality=8,
        macro_block_size=2,
        output_params=["-preset", _PRESET],
    )
    writer.send(None)
    try:
        for frame in frames:
            writer.send(frame.tobytes())
    finally:
        writer.close()
