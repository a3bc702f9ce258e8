"""A record as a TensorBoard run, beside the runs' folders: the gates of one training are one run there."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.types_pb2 import DT_STRING
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from pytest_wanlora.reports.export import Point, points, side_by_side
from pytest_wanlora.reports.writing import Report

if TYPE_CHECKING:
    from pytest_wanlora.results.run_record import RunRecord


def _write(record: RunRecord, folder: Path) -> Iterator[Path]:
    """Write the events of a run to `tensorboard/TRAINING` beside its folder."""
    for point in points(record, folder):
        place = folder.parent / "tensorboard" / point.training
        writer = EventFileWriter(str(place), filename_suffix=f".{record.run_id}")
        try:
            writer.add_event(Event(step=point.step, summary=Summary(value=list(_values(point)))))
        finally:
            writer.close()
        yield place


def _values(point: Point) -> Iterator[Summary.Value]:
    for name, value in point.numbers.items():
        yield Summary.Value(tag=name, simple_value=value)
    text = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text"))
    words = TensorProto(dtype=DT_STRING, string_val=[point.words.encode()])
    yield Summary.Value(tag="decision", metadata=text, tensor=words)
    with tempfile.TemporaryDirectory() as temporary:
        for name, pair in point.videos.items():
            # an animated GIF: what its page of images plays
            target = Path(temporary) / "pair.gif"
            side_by_side(pair, target)
            with Image.open(target) as image:
                width, height = image.size
            shown = Summary.Image(
                width=width, height=height, colorspace=3, encoded_image_string=target.read_bytes()
            )
            yield Summary.Value(tag=f"baseline | candidate/{name}", image=shown)


REPORT = Report(write=_write)
