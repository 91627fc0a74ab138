"""Digests that survive the project's growth.

A thing is named by the SHA-256 of its canonical JSON. A field or parameter that is added later has
a *neutral* value, under which everything is as it was before it existed; while it has that value it
is left out of the canonical JSON, and older digests stay what they are.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

NEUTRAL = {"neutral": True}
"""Metadata of a dataclass field whose default is its neutral value.

Once released, that default must never change."""


def identity_of(instance: Any) -> dict[str, Any]:  # noqa: ANN401 - any dataclass
    """Return what identifies a dataclass instance, as plain JSON values.

    Fields at their neutral value are left out, and those that the constructor does not take.
    """
    return {
        one.name: _plain(getattr(instance, one.name))
        for one in fields(instance)
        if one.init and (one.metadata != NEUTRAL or getattr(instance, one.name) != one.default)
    }


def canonical_json(plain: object) -> str:
    """Write JSON values in the one form that digests are taken of.

    Keys are sorted, there are no spaces, and numbers have their shortest form.

    Raises:
        ValueError: a NaN or an infinity.
    """
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest_of(plain: object) -> str:
    """Return the SHA-256 of the canonical JSON of plain values, in hexadecimal."""
    return hashlib.sha256(canonical_json(plain).encode()).hexdigest()


def _plain(value: object) -> object:
    if is_dataclass(value):
        return identity_of(value)
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, tuple):
        return [_plain(inner) for inner in value]
    return value + 0.0 if isinstance(value, float) else value  # -0.0 and 0.0: one digest
