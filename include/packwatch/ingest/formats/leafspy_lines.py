"""LeafSpy's lines: the header generations, files without a header, longer rows and glued records.

LeafSpy appends to one CSV a day. Newer versions of the app only ever added columns at the end, so a row longer than
its header begins with the header's columns.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.csv

from packwatch.ingest.formats.convert import NULL_SPELLINGS, numbers, texts
from packwatch.ingest.formats.lines import Lines, split_lines

CELLS = tuple(f"CP{cell}" for cell in range(1, 97))
PROBES = ("Pack T1", "Pack T2", "Pack T3", "Pack T4")
_FIRST: tuple[str, ...] = (
    "Date/Time",
    "Lat",
    "Long",
    "Elv",
    "Speed",
    "Gids",
    "SOC",
    "AHr",
    "Pack Volts",
    "Pack Amps",
    "Max CP mV",
)
_FIRST += ("Min CP mV", "Avg CP mV", "CP mV Diff", "Judgment Value")
_FIRST += tuple(f"{probe} {unit}" for probe in PROBES for unit in "FC") + CELLS
_FIRST += ("12v Bat Amps", "VIN", "Hx", "12v Bat Volts", "Odo(km)", "QC", "L1/L2", "TP-FL", "TP-FR", "TP-RR", "TP-RL")
_FIRST += ("Ambient", "SOH", "RegenWh", "BLevel", "epoch time", "Motor Pwr(w)", "Aux Pwr(100w)", "A/C Pwr(250w)")
_FIRST += ("A/C Comp(0.1MPa)", "Est Pwr A/C(50w)", "Est Pwr Htr(250w)", "Plug State", "Charge Mode", "OBC Out Pwr")
_FIRST += ("Gear", "HVolt1", "HVolt2", "GPS Status", "Power SW", "BMS", "OBC")
# What each version added. The name Debug occurs twice from the last one on.
_ADDED = (
    ("Debug",),
    ("Motor Temp", "Inverter 2 Temp", "Inverter 4 Temp"),
    ("Speed1", "Speed2", "Wiper Status"),
    ("Torque Nm",),
    ("RPM", "Debug"),
)
GENERATIONS = tuple(_FIRST + sum(_ADDED[:count], ()) for count in range(len(_ADDED) + 1))
# Columns that people cut out before they share a log.
_CUT_OUT: tuple[tuple[str, ...], ...] = ((), ("VIN",), ("Lat", "Long"), ("Lat", "Long", "VIN"))
_LAYOUTS = tuple(
    tuple(name for name in generation if name not in cut) for generation in GENERATIONS for cut in _CUT_OUT
)

# Without these a file is no LeafSpy log, whatever else it holds.
REQUIRED = {"SOC", "AHr", "Pack Volts", "Pack Amps", "Max CP mV"}
TEXT_COLUMNS = {"VIN"}
NUMBER_COLUMNS = (
    *(f"{probe} {unit}" for probe in PROBES for unit in "FC"),
    *("Speed", "SOC", "AHr", "Pack Volts", "Pack Amps", "Max CP mV", "Min CP mV", "Odo(km)", "Ambient", "SOH"),
    *("epoch time", "Plug State", "Charge Mode", "OBC Out Pwr", "Gear", "Speed1", "RPM"),
    *CELLS,
)

# DD/MM/YYYY, MM/DD/YYYY or YYYY/MM/DD by region, always with two digits for day and month, so that the last digits
# of the record before it can be told from the date's.
_DATE = r"(?:\d{2}([/.-])\d{2}\1\d{4}|\d{4}([/.-])\d{2}\2\d{2}) \d{1,2}:\d{2}(?::\d{2})?(?: ?[AP]M)?"
_RECORD_START = re.compile(_DATE + r"(?=,)")
_HEADER_START = "Date/Time"
# epoch time in seconds: the first Leaf was sold in December 2010.
_EPOCH_FIRST = 1.29e9
# Places for the records of one line in the order of records.
_PLACES = 1 << 20


@dataclass(frozen=True)
class Records:
    """The records of a file: number columns (NaN missing) and text columns by name, and those that are broken.

    `order` sorts records as they stand in the file; `broken` holds (order, reason, text).
    """

    columns: dict[str, pa.Array]
    order: np.ndarray
    broken: list[tuple[int, str, str]]


def header_names(line: str) -> tuple[str, ...] | None:
    """Return the stripped names when `line` is a LeafSpy header, else None."""
    names = tuple(name.strip() for name in line.split(","))
    return names if set(names) >= REQUIRED else None


def split_leafspy(data: bytes) -> Lines:
    """Find the lines of a log (Latin-1), taking apart a header and the first record glued to it."""
    lines = split_lines(data, "latin-1")
    if not len(lines) or not (header := lines.text(0)).startswith(_HEADER_START):
        return lines
    record = _RECORD_START.search(header)
    if record is None:
        return lines
    cut = int(lines.starts[0]) + record.start()
    return split_lines(lines.data[:cut] + b"\n" + lines.data[cut:], "latin-1")


def layout_of(lines: Lines) -> tuple[str, ...] | None:
    """Return the column names of a file by its header, else by its first records; None when it is not LeafSpy's."""
    if not len(lines):
        return None
    return header_names(lines.text(0)) or _layout_without_header(lines)


def read_records(lines: Lines, layout: tuple[str, ...]) -> Records:
    """Read every record; a header line in the middle of the file changes the layout from there on."""
    layouts, layout_of_line = _layout_of_lines(lines, layout)
    fields = lines.count(",") + 1
    parts, broken = [], []
    for number, names in enumerate(layouts):
        inside = layout_of_line == number
        accepted = _accepted_lengths(names)
        fitting = inside & np.isin(fields, accepted)
        fitting &= ~_glued(lines, fitting)
        for length in accepted:
            chosen = fitting & (fields == length)
            if chosen.any():
                parts.append((_read(lines.join(chosen), names, length), np.flatnonzero(chosen) * _PLACES))
        recovered, rejected = _mend(lines, np.flatnonzero(inside & ~fitting), accepted)
        broken += rejected
        for length in accepted:
            same = [(order, text) for order, text in recovered if text.count(",") + 1 == length]
            if same:
                data = "".join(f"{text}\n" for _, text in same).encode(lines.encoding)
                parts.append((_read(data, names, length), np.array([order for order, _ in same], dtype=np.int64)))
        broken += _unreadable(lines, parts, dict(recovered))
    return _join(parts, broken)


def _glued(lines: Lines, fitting: np.ndarray) -> np.ndarray:
    """Tell which lines hold more than one time of day although their length fits."""
    colons = lines.count(":")
    timed = colons[fitting & (colons > 0)]
    return colons > timed.min() if len(timed) else np.zeros(len(lines), dtype=bool)


def _layout_of_lines(lines: Lines, layout: tuple[str, ...]) -> tuple[list[tuple[str, ...]], np.ndarray]:
    """Return the distinct layouts of a file and the number of each line's own; -1 marks the header lines."""
    firsts = np.frombuffer(lines.data, dtype=np.uint8)[lines.starts]
    # Records begin with a digit; only a line that begins with the D of Date/Time can be a header, or the very first.
    suspects = np.union1d([0], np.flatnonzero(firsts == ord(_HEADER_START[0])))
    headers = {line: names for line in suspects.tolist() if (names := header_names(lines.text(line))) is not None}
    layouts = list(dict.fromkeys([layout, *headers.values()]))
    starts = [0, *headers]
    own = [layouts.index(names) for names in (layout, *headers.values())]
    layout_of_line = np.repeat(own, np.diff([*starts, len(lines)]))
    layout_of_line[list(headers)] = -1
    return layouts, layout_of_line


def _accepted_lengths(names: tuple[str, ...]) -> list[int]:
    """Return how many fields a row may have: as many as the header, one more, or those of a later generation."""
    later = {
        len(layout) for layout in _LAYOUTS if len(layout) > len(names) and _same_names(layout[: len(names)], names)
    }
    return sorted({len(names), len(names) + 1} | later)


def _same_names(layout: Sequence[str], names: Sequence[str]) -> bool:
    """Compare headers; the unit of Motor Pwr changed between versions."""
    return all(known.partition("(")[0] == name.partition("(")[0] for known, name in zip(layout, names, strict=True))


def _layout_without_header(lines: Lines) -> tuple[str, ...] | None:
    """Find the layout whose cell, extreme and time columns agree with the first complete records."""
    for line in range(min(len(lines), 5)):
        text = lines.text(line)
        if not _RECORD_START.match(text):
            continue
        fields = split_glued(text)[0].split(",")
        for layout in _LAYOUTS:
            if len(fields) in {len(layout), len(layout) + 1} and _fits(layout, fields):
                return layout
    return None


def _fits(layout: tuple[str, ...], fields: list[str]) -> bool:
    """Tell whether a record agrees with a layout: Max CP mV is the largest cell and epoch time is a time."""
    record = dict(zip(layout, fields, strict=False))
    try:
        cells = [abs(float(record[cell])) for cell in CELLS]
        return max(cells) == float(record["Max CP mV"]) and float(record["epoch time"]) > _EPOCH_FIRST
    except ValueError:
        return False


def split_glued(text: str) -> list[str]:
    """Split a line at every date that begins a record; a single record stays whole."""
    starts = [found.start() for found in _RECORD_START.finditer(text)]
    if not starts or starts[0] != 0:
        starts = [0, *starts]
    pieces = [text[start:end] for start, end in zip(starts, [*starts[1:], len(text)], strict=True)]
    return [piece.removesuffix(",") if number < len(pieces) - 1 else piece for number, piece in enumerate(pieces)]


def _mend(
    lines: Lines, odd: np.ndarray, accepted: list[int]
) -> tuple[list[tuple[int, str]], list[tuple[int, str, str]]]:
    """Take the complete records out of lines of a wrong length; what is left of such a line is broken."""
    recovered, broken = [], []
    for line in odd.tolist():
        pieces = split_glued(lines.text(line))
        for place, piece in enumerate(pieces):
            order = line * _PLACES + place
            whole = piece.count(",") + 1 in accepted and _RECORD_START.match(piece)
            if whole:
                recovered.append((order, piece))
            else:
                broken.append((order, "glued_record" if len(pieces) > 1 else "field_count", piece))
    return recovered, broken


_Part = tuple[dict[str, tuple[pa.Array, np.ndarray]], np.ndarray]


def _read(data: bytes, names: tuple[str, ...], length: int) -> dict[str, tuple[pa.Array, np.ndarray]]:
    """Read rows of `length` fields whose first ones are `names`; returns each column with its unreadable rows."""
    place = {name: names.index(name) for name in (*NUMBER_COLUMNS, *TEXT_COLUMNS) if name in names}
    for typed in (True, False):
        kinds = {
            str(position): pa.float64() if typed and name not in TEXT_COLUMNS else pa.string()
            for name, position in place.items()
        }
        try:
            table = pyarrow.csv.read_csv(
                pa.BufferReader(data),
                read_options=pyarrow.csv.ReadOptions(
                    column_names=[str(position) for position in range(length)],
                    use_threads=False,
                    encoding="utf8" if data.isascii() else "latin-1",
                ),
                parse_options=pyarrow.csv.ParseOptions(quote_char=False),
                convert_options=pyarrow.csv.ConvertOptions(
                    column_types=kinds,
                    include_columns=list(kinds),
                    null_values=NULL_SPELLINGS,
                    strings_can_be_null=True,
                ),
            )
            break
        except pa.ArrowInvalid:
            # A word where a number belongs: read text and find out which rows.
            if not typed:
                raise
    return {
        name: (texts if name in TEXT_COLUMNS else numbers)(table[str(position)].combine_chunks())
        for name, position in place.items()
    }


def _unreadable(lines: Lines, parts: list[_Part], recovered: dict[int, str]) -> list[tuple[int, str, str]]:
    """List the records of `parts` that hold a word where a number belongs and take them out."""
    found = []
    for number, (columns, order) in enumerate(parts):
        bad = np.logical_or.reduce([unreadable for _, unreadable in columns.values()])
        if not bad.any():
            continue
        for place in order[bad].tolist():
            text = recovered.get(place) or lines.text(place // _PLACES)
            found.append((place, "unreadable_number", text))
        good = pa.array(~bad)
        kept = {
            name: (values.filter(good), np.zeros(int((~bad).sum()), dtype=bool))
            for name, (values, _) in columns.items()
        }
        parts[number] = (kept, order[~bad])
    return found


def _join(parts: list[_Part], broken: list[tuple[int, str, str]]) -> Records:
    """Lay the parts together in the order of the file; a column that a part lacks is missing there."""
    if not parts:
        return Records({}, np.zeros(0, dtype=np.int64), broken)
    order = np.concatenate([part_order for _, part_order in parts])
    place = pa.array(np.argsort(order, kind="stable"))
    columns = {}
    for name in (*NUMBER_COLUMNS, *TEXT_COLUMNS):
        if not any(name in part for part, _ in parts):
            continue
        kind = pa.string() if name in TEXT_COLUMNS else pa.float64()
        pieces = [part[name][0] if name in part else pa.nulls(len(part_order), kind) for part, part_order in parts]
        columns[name] = pa.concat_arrays([piece.cast(kind) for piece in pieces]).take(place)
    return Records(columns, np.sort(order), broken)
