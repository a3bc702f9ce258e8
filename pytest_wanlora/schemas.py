"""Base class and field types of the files that this package writes."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

Finite = Annotated[float, Field(allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class StrictModel(BaseModel):
    """Immutable, and refuses unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


def first_error(error: ValidationError) -> tuple[str, str]:
    """The dotted key of the first thing that is wrong, and what; with the number of the others."""
    first, more = error.errors(include_url=False)[0], error.error_count() - 1
    return ".".join(map(str, first["loc"])), f"{first['msg']}{f', and {more} more' if more else ''}"
