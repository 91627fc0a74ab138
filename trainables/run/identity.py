"""Digests that stay valid when fields are added.

Objects are named by the SHA-256 of their canonical JSON. A field or parameter that is added later
has a *neutral* value, under which everything behaves as before. While it has that value, it is
omitted from the canonical JSON, so that older digests do not change.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

NEUTRAL = {"neutral": True}
"""Metadata of a dataclass field whose default is its neutral value.

The default must never change once it is released."""


def identity_of(instance: Any) -> dict[str, Any]:  # noqa: ANN401 - any dataclass
    """Return the fields that identify a dataclass instance, as plain JSON values.

    Fields at their neutral value are omitted, as are fields that the constructor does not accept.
    """
    return {
        entry.name: _plain(getattr(instance, entry.name))
        for entry in fields(instance)
        if entry.init
        and (entry.metadata != NEUTRAL or getattr(instance, entry.name) != entry.default)
    }


def canonical_json(plain: object) -> str:
    """Return JSON values as text in canonical form, of which digests are computed.

    Keys are sorted, there are no spaces, and numbers have their shortest form.

    Raises:
        ValueError: if a number is NaN or infinite.
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
    return value + 0.0 if isinstance(value, float) else value  # -0.0 and 0.0 share one digest
