"""Whether a value from a JSON file has the shape that its reader takes for granted."""

import math
from types import FunctionType
from typing import Any

Whole = range(2**53)  # shape of a whole number that a count or a size can be
SOME = 40  # characters of a wrong value that are told


def misfit(value: Any, shape: Any, where: str = "it") -> str:
    """Where a value first differs from a shape, in words; "" if it does not.

    Args:
        value: from a JSON file.
        shape: a type (float takes whole numbers too, neither infinite nor NaN; bool is no int); a
            range of int; None; a function that says whether it fits; a tuple of shapes, of which
            one must fit; [shape] of a list; a dict of the fields that must be there, `name?` of one
            that may be; {str: shape} of an object with any names. Other fields than those are not
            looked at.
        where: the value stands, for the words.
    """
    if isinstance(shape, tuple):
        found = [misfit(value, one, where) for one in shape]
        return "" if "" in found else found[0]
    if isinstance(shape, list) and isinstance(value, list):
        return _first(misfit(one, shape[0], f"{where}[{i}]") for i, one in enumerate(value))
    if isinstance(shape, dict) and isinstance(value, dict):
        if str in shape:
            return _first(
                misfit(one, shape[str], _inside(where, key)) for key, one in value.items()
            )
        absent = [name for name in shape if not name.endswith("?") and name not in value]
        if absent:
            return f"{_inside(where, absent[0])} is missing"
        return _first(
            misfit(value[name.rstrip("?")], of, _inside(where, name.rstrip("?")))
            for name, of in shape.items()
            if name.rstrip("?") in value
        )
    return "" if _is_plain(value, shape) else f"{where} is {value!r:.{SOME}}"


def are_names(value: Any) -> bool:
    """Shape of a list of names, such as of classes: none of them is empty or stands there twice."""
    if not isinstance(value, list) or not all(isinstance(name, str) and name for name in value):
        return False
    return len(set(value)) == len(value)


def _is_plain(value: Any, shape: Any) -> bool:
    """Whether a value is of a type, None or in a range."""
    if isinstance(shape, list | dict):
        return False
    if shape is None:
        return value is None
    if isinstance(shape, FunctionType):
        return bool(shape(value))
    if isinstance(shape, range):
        return type(value) is int and value in shape
    if shape is float:
        return type(value) is int or (type(value) is float and math.isfinite(value))
    return type(value) is int if shape is int else isinstance(value, shape)


def _inside(where: str, name: str) -> str:
    return name if where == "it" else f"{where}.{name}"


def _first(found: Any) -> str:
    return next(filter(None, found), "")
