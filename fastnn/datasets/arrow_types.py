"""What the types of columns in Parquet and Arrow files say."""

from __future__ import annotations

from typing import Any


def is_list(kind: Any, pa: Any) -> bool:
    """Return whether a type is that of lists of numbers, or of such lists."""
    types = pa.types
    found = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    return bool(found and (is_list(kind.value_type, pa) or is_number(kind.value_type, pa)))


def is_number(kind: Any, pa: Any) -> bool:
    """Return whether a type is one of numbers."""
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind))


def _is_bytes(kind: Any, pa: Any) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def is_text(kind: Any, pa: Any) -> bool:
    """Return whether a type is one of texts, which may be bytes."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or _is_bytes(kind, pa))


def holds_pictures(kind: Any, pa: Any) -> bool:
    """Return whether a type is that of the contents of files, alone or with their paths as Hugging Face writes them."""
    if not pa.types.is_struct(kind):
        return _is_bytes(kind, pa)
    return any(field.name == "bytes" and _is_bytes(field.type, pa) for field in kind)
