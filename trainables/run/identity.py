"""Digests that stay valid when fields are added.

The digest of an object is the SHA-256 of its canonical JSON, and serves as its name. A field or
parameter that is added after a release has a *neutral value*, under which everything behaves as
before. Canonical JSON omits fields and parameters with their neutral value, so that the digests of
older objects do not change.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Hashable, Mapping
from dataclasses import Field, fields, is_dataclass
from functools import cache
from typing import Any, cast

NEUTRAL_DEFAULT = {"neutral": True}
"""Metadata of a dataclass field that is left out of digests while it has its default.

The default of such a field must not change after its release."""

MAX_INTEGER = 2**63 - 1
"""Largest integer of users in an object, which databases and readers of JSON can represent."""


def identity_of(instance: Any) -> dict[str, Any]:  # noqa: ANN401 - any dataclass
    """Return the fields of a dataclass instance that enter its digest, as JSON values by name.

    A field marked `NEUTRAL_DEFAULT` is omitted while it has its default. A field that is not an
    argument of the constructor is always omitted.
    """
    values = (
        (field, getattr(instance, field.name))
        for field in _identity_fields(cast("Hashable", type(instance)))
    )
    return {
        field.name: _to_json_value(value)
        for field, value in values
        if value != field.default or field.metadata != NEUTRAL_DEFAULT
    }


@cache
def _identity_fields(dataclass_type: type[Any]) -> tuple[Field[Any], ...]:
    """Return the fields of a dataclass that are arguments of its constructor."""
    return tuple(field for field in fields(dataclass_type) if field.init)


def canonical_json(json_value: object) -> str:
    """Return the canonical JSON text of a value: equal values give equal text.

    Keys are sorted, spaces are omitted, and numbers have their shortest form.

    Raises:
        ValueError: if a number is NaN or infinite.
    """
    return json.dumps(json_value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest_of(json_value: object) -> str:
    """Return the SHA-256 of the canonical JSON text of a value, in hexadecimal."""
    return hashlib.sha256(canonical_json(json_value).encode()).hexdigest()


def _to_json_value(value: object) -> object:
    """Convert dataclasses, mappings and tuples to JSON values, recursively."""
    if value is None or isinstance(value, str | int):
        return value  # most values, which need not be tried as anything else
    if is_dataclass(value):
        return identity_of(value)
    if isinstance(value, Mapping):
        return {key: _to_json_value(element) for key, element in value.items()}
    if isinstance(value, tuple):
        return [_to_json_value(element) for element in value]
    return value + 0.0 if isinstance(value, float) else value  # -0.0 and 0.0 have one digest
