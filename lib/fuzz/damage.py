"""Damage to files, drawn at random: bytes, JSON, tables of text, safetensors. Pure functions."""

import csv
import io
import json
import struct
from random import Random
from typing import Any

NUMBERS = (0, 1, 2, 127, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1)
ODD_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2, 3, 7, 10**6, 10**9, 2**31, 2**63, 10**30, -(10**30)),
    *(0.5, -0.5, 1e308, float("nan"), float("inf"), "", "x", "-1", "12", "../../x", "/etc/passwd"),
    *("a\0b", "\u202e", "\ud800", "None", "nan", [], {}, [[]], [None], [-1], ["x"], {"": None}),
)
ODD_TEXTS = (
    *("", " ", "\u200c", "\ufeff", "\u202eabc", "a\0b", "\x1b[31m", "\x07", "\r", "a\nb", "a\r\nb"),
    *('"', '""', '"a', 'a"b', "'", "\\", "\\N", "\t", ",", ";", "|", "=1+1", "@SUM(A1)", "-1"),
    *("NA", "nan", "None", "null", "1e999", "$x^{", "$\\frac{1}{", "%s", "{0}", "<script>", "&lt;"),
    *("../x", "../../etc/passwd", "/etc/passwd", "C:\\x", "~", "a/../../b", ".", "..", "//", "./a"),
    *(
        "۱۲۳",
        "كتاب",
        "ي",
        "👩‍👩‍👧",
        "\u0301\u0301",
        "\U0010ffff",
        "\ud800",
        "\u2028",
        "\x85",
        "\x1c",
    ),
)
ENCODINGS = ("utf-16", "utf-16-le", "utf-32", "cp1256", "latin-1", "utf-8-sig", "utf-7")


def damaged_bytes(draw: Random, data: bytes, *, head: int = 64) -> tuple[bytes, str]:
    """The bytes with some damage, and its name.

    Args:
        draw: the generator.
        data: what to damage.
        head: how many bytes are most likely to be hit: where a format keeps its sizes.
    """
    ways = ("flip", "number", "cut", "insert", "delete", "fill", "repeat", "append", "swap")
    way = draw.choice((*ways, *ways, *ways, "empty", "random"))
    near = draw.random() < 0.6
    at = draw.randrange(max(1, min(len(data), head) if near else len(data)))
    n = draw.choice((1, 2, 4, 8, 40, 1000))
    some = bytes(draw.randrange(256) for _ in range(min(n, 40)))
    if way == "flip":
        changed = bytearray(data)
        for _ in range(min(n, 8) if data else 0):
            place = draw.randrange(min(len(data), head) if near else len(data))
            changed[place] ^= 1 << draw.randrange(8)
        return bytes(changed), way
    if way == "number":
        form = draw.choice(("<I", ">I", "<H", ">H", "<Q"))
        size = struct.calcsize(form)
        return data[:at] + struct.pack(form, draw.choice(NUMBERS) % 2 ** (8 * size)) + data[
            at + size :
        ], way
    filler = draw.choice((b"\0", b"\xff", b"A", b"\n"))
    changed_by = {
        "cut": data[: draw.randrange(len(data) + 1)],
        "insert": data[:at] + some + data[at:],
        "delete": data[:at] + data[at + n :],
        "fill": data[:at] + filler * n + data[at + n :],
        "repeat": data[:at] + data[at : at + n] * draw.choice((2, 3, 50)) + data[at + n :],
        "append": data + some,
        "swap": data[at:] + data[:at],
        "empty": b"",
        "random": bytes(draw.randrange(256) for _ in range(draw.choice((1, 12, 300)))),
    }
    return changed_by[way], way


def damaged_json(draw: Random, data: bytes) -> tuple[bytes, str]:
    """A JSON file with a value changed, removed, renamed or moved, or with damaged bytes."""
    if draw.random() < 0.15:
        return damaged_bytes(draw, data, head=len(data))
    value = json.loads(data)
    said = []
    for _ in range(draw.choice((1, 1, 1, 2, 4))):
        value, what = _changed(draw, value)
        said.append(what)
    text = json.dumps(value, ensure_ascii=draw.random() < 0.5)
    return text.encode("utf-8", "surrogatepass"), ", ".join(said)


def _changed(draw: Random, value: Any) -> tuple[Any, str]:
    """A JSON value with a change somewhere in it."""
    if draw.random() < 0.04 or not isinstance(value, dict | list) or not value:
        return odd_value(draw, value), "the whole"
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    key = draw.choice(keys)
    if isinstance(value[key], dict | list) and value[key] and draw.random() < 0.75:
        value[key], what = _changed(draw, value[key])
        return value, f"{key}.{what}"
    way = draw.choice(("value", "value", "value", "remove", "rename", "copy"))
    if way == "value":
        value[key] = odd_value(draw, value[key])
    elif way == "remove":
        del value[key]
    elif isinstance(value, list):
        value.insert(draw.randrange(len(value) + 1), _copy(value[key]))
    elif way == "rename":
        value[draw.choice((f"{key}x", "", str(key).upper(), "x"))] = value.pop(key)
    else:
        value[key] = _copy(value[draw.choice(keys)])
    return value, f"{key} {way}"


def odd_value(draw: Random, old: Any) -> Any:
    """A value to stand in the place of `old`: of another type, absurdly large, or nearly right."""
    near: list[Any] = [str(old), [old], {"x": old}]
    if isinstance(old, bool):
        near += [not old, int(old)]
    elif isinstance(old, int | float):
        near += [old + 1, old - 1, -old, old * 2, old * 1000, float(old), old + 0.5, old // 2]
    elif isinstance(old, str):
        near += [old + "x", old[:-1], old.upper(), old * 1000, f" {old}"]
    elif isinstance(old, list):
        near += [old[:-1], old + old[:1], old * 3, old[::-1], old[0] if old else 0]
    deep: Any = []
    if draw.random() < 0.02:
        for _ in range(900):
            deep = [deep]
        return deep
    return _copy(draw.choice(near if draw.random() < 0.5 else ODD_VALUES))


def _copy(value: Any) -> Any:
    """A value of its own, so that a later change to it changes nothing else; as deep as need be."""
    return json.loads(json.dumps(value))


def damaged_table(draw: Random, data: bytes, *, separator: str = ",") -> tuple[bytes, str]:
    """A CSV or TSV file with a damaged cell, row, header, separator or encoding."""
    way = draw.choice(
        *[("cell", "cell", "cell", "cell", "cells", "row", "column", "header", "long", "lines")],
    )
    if draw.random() < 0.2:
        way = draw.choice(("bytes", "encoding", "separator", "ends", "quotes"))
    if way == "bytes":
        return damaged_bytes(draw, data, head=len(data))
    text = data.decode()
    if way == "encoding":
        encoding = draw.choice(ENCODINGS)
        return text.encode(encoding, "replace") * draw.choice((1, 1, 2)), encoding
    if way == "ends":
        end = draw.choice(("\r", "\r\n", "\n\r", "\n\n", "\x0b", "\u2028", ""))
        return text.replace("\r\n", "\n").replace("\n", end).encode(), way
    rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=separator))
    if way == "separator":
        other = draw.choice((",", "\t", ";", "|", " ", "::", "،"))
        return "\n".join(other.join(row) for row in rows).encode(), way
    what = _damage_rows(draw, rows, way)
    written = io.StringIO(newline="")
    if way == "quotes" or draw.random() < 0.15:  # written without care for what a quote means
        written.write("\n".join(separator.join(row) for row in rows) + "\n")
    else:
        csv.writer(written, delimiter=separator).writerows(rows)
    return written.getvalue().encode("utf-8", "surrogatepass"), what


def _damage_rows(draw: Random, rows: list[list[str]], way: str) -> str:
    """Change rows in place, and say how."""
    number = draw.randrange(len(rows)) if way != "header" else 0
    row = rows[number]
    column = draw.randrange(len(row)) if row else 0
    if way in ("cell", "header", "quotes") and row:
        how = draw.choice(("odd", "odd", "odd", "joined", "copy"))
        other = draw.choice(rows)
        joined = row[column] + draw.choice(ODD_TEXTS) + row[column]
        copied = draw.choice(other) if other else ""
        row[column] = {"odd": draw.choice(ODD_TEXTS), "joined": joined, "copy": copied}[how]
    elif way == "cells":
        for line in rows[1:]:
            if column < len(line):
                line[column] = draw.choice(ODD_TEXTS)
    elif way == "row":
        changes: tuple[list[str], ...] = (
            [],
            [*row, ""],
            row[:-1],
            row * 2,
            [""] * len(row),
            row[::-1],
        )
        rows[number : number + 1] = [list(draw.choice(changes)), *draw.choice(([], [row], rows))]
    elif way == "column":
        for line in rows:
            del line[column : column + 1]
    elif way == "long" and row:
        row[column] = draw.choice(("ا", "a b ", "\u0301", "x\n", '"')) * draw.choice(
            (200, 5000, 140_000, 400_000)
        )
    elif way == "lines":
        del rows[draw.randrange(len(rows) + 1) :]
    return f"{way} {number}:{column}"


def damaged_safetensors(draw: Random, data: bytes) -> tuple[bytes, str]:
    """A safetensors file with a damaged header, size of it, or content."""
    size = struct.unpack("<Q", data[:8])[0]
    way = draw.choice(("header", "header", "size", "bytes", "values", "cut"))
    if way == "header":
        header, what = damaged_json(draw, data[8 : 8 + size])
        return struct.pack("<Q", len(header)) + header + data[8 + size :], f"header {what}"
    if way == "size":
        wrong = draw.choice((0, 1, size - 1, size + 1, len(data), 2**32, 2**63, 2**64 - 1))
        return struct.pack("<Q", wrong) + data[8:], way
    if way == "values":  # every float of it NaN, infinite or huge
        value = draw.choice((b"\0\0\xc0\x7f", b"\0\0\x80\x7f", b"\xff\xff\x7f\x7f"))
        n = (len(data) - 8 - size) // 4
        return data[: 8 + size] + value * n + data[8 + size + 4 * n :], way
    if way == "cut":
        return data[: draw.randrange(len(data))], way
    return damaged_bytes(draw, data, head=8 + size)
