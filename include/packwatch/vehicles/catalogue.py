"""The catalogue of vehicle types: what a healthy battery of each type looks like, and how sure we are.

`catalogue.csv` beside this file holds one row a battery pack. Within a model family the order of the rows is a
preference: when name and year leave several packs possible, the first is taken and the result's note says so.
"""

from __future__ import annotations

import csv
import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from rapidfuzz import fuzz, process

from packwatch.vehicles import names

MatchedBy = Literal["exact", "alias", "fuzzy", "neutral"]

# Limits for a type the catalogue does not know, V per cell. No lithium-ion cell of any chemistry is healthy outside.
NEUTRAL_CELL_VOLTAGE_MIN_V = 2.0
NEUTRAL_CELL_VOLTAGE_MAX_V = 4.35

# Similarity in percent (rapidfuzz `ratio`: 200 x common letters / letters of both). The shortest names have four
# letters (Leaf, Kona, Niro, Bolt), where one wrong letter scores 2 x 3 / 8 = 75. At that floor Volt would pass for
# Bolt, hence the first letter must agree too, and numbers and words of one or two letters must be identical, which
# keeps Ioniq 6 from Ioniq 5, Model X from Model S and e-208 from e-2008.
MODEL_SCORE_FLOOR = 75.0
# Makes with a letter wrong or two swapped score 80 from five letters on (Telsa); Honda against Hyundai scores 67.
MAKE_SCORE_FLOOR = 80.0
# Two packs of one family differ by 20 % or more, a full capacity read from the BMS is within a few percent of nominal.
CAPACITY_TOLERANCE = 0.10

MAKE_ALIASES = {
    "vw": "Volkswagen",
    "volkswagenag": "Volkswagen",
    "teslamotors": "Tesla",
    "teslainc": "Tesla",
    "bmwi": "BMW",
    "nissanmotor": "Nissan",
    "hyundaimotor": "Hyundai",
    "kiamotors": "Kia",
    "chevy": "Chevrolet",
    "vauxhall": "Opel",
    "dsautomobiles": "DS",
    "bydauto": "BYD",
    "beijing": "BAIC",
    "bjev": "BAIC",
    "jaguarlandrover": "Jaguar",
    "jlr": "Jaguar",
}

_ELECTRIC_WORDS = {"ev", "bev", "electric"}
_OTHER_DRIVE_WORDS = {"hybrid", "phev", "hev", "mhev", "gte", "plug", "petrol", "diesel", "tdi", "tsi", "fcev"}
_FIRST_YEAR, _LAST_YEAR = 2008, 2050


@dataclass(frozen=True)
class VehicleSpecs:
    """What the catalogue says of one vehicle type; None where the source gives nothing.

    Units are in the names. `cell_voltage_min_v` and `cell_voltage_max_v` are alarm limits of one cell.
    `confidence`: A two sources or code and documentation, B one source, C engineering knowledge or an ambiguous name.
    `ambiguous`: name and year fit several packs, so capacity and chemistry are those of the commonest.
    """

    make: str | None
    family: str | None
    model: str | None
    aliases: tuple[str, ...]
    year_from: int | None
    year_to: int | None
    chemistry: str
    chemistry_detail: str | None
    cells_in_series: int | None
    cells_in_parallel: int | None
    nominal_voltage_v: float | None
    energy_gross_kwh: float | None
    energy_usable_kwh: float | None
    capacity_ah: float | None
    cell_voltage_min_v: float
    cell_voltage_max_v: float
    cooling: str | None
    confidence: str | None
    source: str | None
    note: str
    matched_by: MatchedBy = "exact"
    ambiguous: bool = False
    spec_source: Literal["catalogue", "neutral"] = "catalogue"


@functools.cache
def load_catalogue() -> tuple[VehicleSpecs, ...]:
    """Return every row of `catalogue.csv`, in its order."""
    with Path(__file__).with_name("catalogue.csv").open(encoding="utf-8", newline="") as file:
        return tuple(_from_row(row) for row in csv.DictReader(file))


def get_vehicle_specs(make: str | None, model: str | None, year: int | None = None) -> VehicleSpecs:
    """Look up the battery of a vehicle type by make, model and model year, tolerating aliases, trims and typos.

    An explicit pack name ("Leaf 40") wins over the year; a family name ("Leaf") is resolved by the year. Nothing is
    ever matched across makes. An unknown type gets neutral limits instead of a guess.

    Args:
        make: for example "Nissan", "VW", "Tesla Motors"; when None the model may begin with the make.
        model: pack, trim or family name.
        year: model year, None when unknown.

    Returns:
        The row, with `matched_by` and a `note` that tells every liberty taken; `spec_source` is 'neutral' when unknown.
    """
    words = names.words(model or "")
    known_make = _find_make(make) if make else None
    if not make:
        known_make, words = _split_make(words)
    if known_make is None or not words:
        return _neutral(make, model)
    own = names.words(known_make)
    named = make and names.words(make)
    attempts = [words]
    attempts += [words[len(part) :] for part in (own, named) if part and words[: len(part)] == part and words != part]
    rows = tuple(row for row in load_catalogue() if row.make == known_make)
    for finder in (_find_exact, _find_alias, _find_trim, _find_fuzzy):
        for attempt in attempts:
            found = finder(rows, attempt)
            if found is not None:
                candidates, matched_by, note, year_in_name = found
                return _choose(candidates, year or year_in_name, matched_by, note)
    return _neutral(make, model)


def nearest_by_capacity(make: str, family: str, capacity_ah: float) -> VehicleSpecs | None:
    """Return the pack of a model family whose nominal capacity is nearest to `capacity_ah` (Ah when new).

    None when the family is unknown or nothing lies within `CAPACITY_TOLERANCE` of a nominal capacity.
    """
    known_make, wanted = _find_make(make), names.join(names.words(family))
    rows = [
        row
        for row in load_catalogue()
        if row.make == known_make and names.join(names.words(row.family or "")) == wanted and row.capacity_ah
    ]
    if not rows or not np.isfinite(capacity_ah):
        return None
    distance = [abs(capacity_ah / row.capacity_ah - 1) for row in rows if row.capacity_ah]
    best = int(np.argmin(distance))
    return rows[best] if distance[best] <= CAPACITY_TOLERANCE else None


def attach_specs(vehicles: pd.DataFrame) -> pd.DataFrame:
    """Return `vehicles` with the columns of its battery type added; each distinct type is looked up once.

    Args:
        vehicles: columns make, model and year (missing values allowed) and any others.

    Returns:
        The same rows in the same order, plus chemistry, cells_in_series, cells_in_parallel, capacity_nominal_ah (Ah),
        energy_nominal_kwh (usable), nominal_voltage_v, cell_voltage_limit_min_v, cell_voltage_limit_max_v (V, never
        missing), cooling, spec_model, spec_source, spec_confidence, spec_note and spec_ambiguous. Where the name fits
        several packs the capacity and energy are missing: a health in percent of the wrong one would be a wrong number.
    """
    kinds = vehicles[["make", "model", "year"]].astype({"year": "Float64"})
    number = kinds.groupby(["make", "model", "year"], dropna=False, sort=False).ngroup().to_numpy()
    distinct, first = np.unique(number, return_index=True)
    specs = [
        get_vehicle_specs(_text(make), _text(model), None if pd.isna(year) else int(year))
        for make, model, year in kinds.iloc[first].to_numpy(dtype=object)
    ]
    columns = pd.DataFrame({name: [getattr(spec, field) for spec in specs] for name, field in _SPEC_COLUMNS.items()})
    columns = columns.astype({name: _SPEC_TYPES.get(name, "float64") for name in _SPEC_COLUMNS})
    columns.loc[columns["spec_ambiguous"], ["capacity_nominal_ah", "energy_nominal_kwh"]] = np.nan
    attached = columns.iloc[np.searchsorted(distinct, number)].set_axis(vehicles.index)
    kept = vehicles.drop(columns=[name for name in _SPEC_COLUMNS if name in vehicles])
    return pd.concat([kept, attached], axis="columns")


_SPEC_COLUMNS = {
    "chemistry": "chemistry",
    "cells_in_series": "cells_in_series",
    "cells_in_parallel": "cells_in_parallel",
    "capacity_nominal_ah": "capacity_ah",
    "energy_nominal_kwh": "energy_usable_kwh",
    "nominal_voltage_v": "nominal_voltage_v",
    "cell_voltage_limit_min_v": "cell_voltage_min_v",
    "cell_voltage_limit_max_v": "cell_voltage_max_v",
    "cooling": "cooling",
    "spec_model": "model",
    "spec_source": "spec_source",
    "spec_confidence": "confidence",
    "spec_note": "note",
    "spec_ambiguous": "ambiguous",
}
_SPEC_TYPES = dict.fromkeys(
    ("chemistry", "cooling", "spec_model", "spec_source", "spec_confidence", "spec_note"), "str"
)
_SPEC_TYPES |= {"spec_ambiguous": "bool"}

# What a finder returns: the rows that fit, how, a remark, and a year written into the name.
_Found = tuple[Sequence[VehicleSpecs], MatchedBy, str, int | None]


def _find_exact(rows: Sequence[VehicleSpecs], words: list[str]) -> _Found | None:
    found = [row for row in rows if names.join(names.words(row.model or "")) == names.join(words)]
    return (found, "exact", "", None) if found else None


def _find_alias(rows: Sequence[VehicleSpecs], words: list[str]) -> _Found | None:
    found = [row for row in rows if names.join(words) in _other_names(row)]
    return (found, "alias", "", None) if found else None


def _find_trim(rows: Sequence[VehicleSpecs], words: list[str]) -> _Found | None:
    """Find the longest known name whose words stand in `words` in order, when only trim words or a year are left."""
    known = {tuple(names.words(name)) for row in rows for name in (row.model or "", row.family or "", *row.aliases)}
    held = [name for name in known if name[:1] == tuple(words[:1]) and names.left_over(words, name) is not None]
    if not held:
        return None
    best = max(held, key=lambda name: (len(name), name))
    rest = names.left_over(words, best) or []
    years = [word for word in rest if word.isdigit() and _FIRST_YEAR <= int(word) <= _LAST_YEAR]
    trim = [word for word in rest if word not in years]
    if any(word.isdigit() for word in trim) or _OTHER_DRIVE_WORDS & set(trim):
        return None
    found = [row for row in rows if names.join(best) in _all_names(row)]
    year = int(years[0]) if years else None
    if set(trim) <= _ELECTRIC_WORDS:
        return found, "alias", "", year
    return found, "fuzzy", f"the words '{' '.join(trim)}' of the name were not used to choose", year


def _find_fuzzy(rows: Sequence[VehicleSpecs], words: list[str]) -> _Found | None:
    strict, spelled = names.strict(words)
    if not spelled:
        return None
    spellings: dict[str, list[VehicleSpecs]] = {}
    for row in rows:
        for name in [row.model or "", row.family or "", *row.aliases]:
            other_strict, other = names.strict(names.words(name))
            if other_strict == strict and other[:1] == spelled[:1]:
                known = spellings.setdefault(other, [])
                if row not in known:
                    known.append(row)
    best = process.extractOne(spelled, list(spellings), scorer=fuzz.ratio, score_cutoff=MODEL_SCORE_FLOOR)
    if best is None:
        return None
    return spellings[best[0]], "fuzzy", f"read as a misspelling, similarity {best[1]:.0f} %", None


def _choose(candidates: Sequence[VehicleSpecs], year: int | None, matched_by: MatchedBy, note: str) -> VehicleSpecs:
    """Choose among the packs that fit a name, by year and then by the order of the catalogue."""
    remarks = [note] if note else []
    fitting = [row for row in candidates if year is None or _years_off(row, year) == 0]
    confidence_lost = False
    if not fitting and year is not None:
        nearest = min(_years_off(row, year) for row in candidates)
        fitting = [row for row in candidates if _years_off(row, year) == nearest]
        remarks.append(f"the catalogue has none of {year}, the nearest years were taken")
        confidence_lost = len(candidates) > 1
    chosen = fitting[0]
    low, high = chosen.cell_voltage_min_v, chosen.cell_voltage_max_v
    if len(fitting) > 1:
        listed = ", ".join(row.model or "" for row in fitting)
        when = f" of {year}" if year else " without a year"
        remarks.append(
            f"ambiguous: the name{when} fits {listed}; {chosen.model} was taken because the catalogue lists it first, "
            "with cell limits wide enough for all of them"
        )
        low = min(row.cell_voltage_min_v for row in fitting)
        high = max(row.cell_voltage_max_v for row in fitting)
        confidence_lost = True
    return replace(
        chosen,
        cell_voltage_min_v=low,
        cell_voltage_max_v=high,
        confidence="C" if confidence_lost else chosen.confidence,
        note="; ".join(part for part in (*remarks, chosen.note) if part),
        matched_by=matched_by,
        ambiguous=len(fitting) > 1,
    )


def _neutral(make: str | None, model: str | None) -> VehicleSpecs:
    named = " ".join(part for part in (make, model) if part) or "a vehicle without make and model"
    return VehicleSpecs(
        make=make,
        family=None,
        model=None,
        aliases=(),
        year_from=None,
        year_to=None,
        chemistry="unknown",
        chemistry_detail=None,
        cells_in_series=None,
        cells_in_parallel=None,
        nominal_voltage_v=None,
        energy_gross_kwh=None,
        energy_usable_kwh=None,
        capacity_ah=None,
        cell_voltage_min_v=NEUTRAL_CELL_VOLTAGE_MIN_V,
        cell_voltage_max_v=NEUTRAL_CELL_VOLTAGE_MAX_V,
        cooling=None,
        confidence=None,
        source=None,
        note=f"the catalogue does not know {named}: neutral limits "
        f"{NEUTRAL_CELL_VOLTAGE_MIN_V} to {NEUTRAL_CELL_VOLTAGE_MAX_V} V per cell, no nominal capacity",
        matched_by="neutral",
        spec_source="neutral",
    )


@functools.cache
def _makes() -> dict[str, str]:
    """Return every spelling of a make that needs no guessing, compacted, with the catalogue's spelling."""
    own = {names.join(names.words(row.make or "")): row.make or "" for row in load_catalogue()}
    return own | MAKE_ALIASES


@functools.lru_cache(maxsize=4096)
def _find_make(make: str) -> str | None:
    spelled, makes = names.join(names.words(make)), _makes()
    if spelled in makes:
        return makes[spelled]
    similar = [name for name in makes if name[:1] == spelled[:1]]
    best = process.extractOne(spelled, similar, scorer=fuzz.ratio, score_cutoff=MAKE_SCORE_FLOOR)
    return makes[best[0]] if best else None


def _split_make(words: list[str]) -> tuple[str | None, list[str]]:
    """Take a make off the beginning of a model name."""
    for length in range(len(words) - 1, 0, -1):
        make = _makes().get(names.join(words[:length]))
        if make:
            return make, words[length:]
    return None, words


@functools.cache
def _other_names(row: VehicleSpecs) -> frozenset[str]:
    return frozenset(names.join(names.words(name)) for name in (*row.aliases, row.family or ""))


def _all_names(row: VehicleSpecs) -> frozenset[str]:
    return _other_names(row) | {names.join(names.words(row.model or ""))}


def _years_off(row: VehicleSpecs, year: int) -> int:
    """Return how many years `year` lies outside the years the row was built."""
    first, last = row.year_from or _FIRST_YEAR, row.year_to or max(year, row.year_from or _FIRST_YEAR)
    return max(first - year, year - last, 0)


def _text(value: Any) -> str | None:
    return None if pd.isna(value) or not str(value).strip() else str(value)


def _from_row(row: dict[str, str]) -> VehicleSpecs:
    """Turn a line of the file into specs; an empty field becomes None."""
    whole = {
        name: int(row[name]) if row[name] else None
        for name in ("year_from", "year_to", "cells_in_series", "cells_in_parallel")
    }
    decimal = {
        name: float(row[name]) if row[name] else None
        for name in ("nominal_voltage_v", "energy_gross_kwh", "energy_usable_kwh", "capacity_ah")
    }
    return VehicleSpecs(
        make=row["make"],
        family=row["family"],
        model=row["model"],
        aliases=tuple(row["aliases"].split(";")) if row["aliases"] else (),
        chemistry=row["chemistry"],
        chemistry_detail=row["chemistry_detail"] or None,
        cell_voltage_min_v=float(row["cell_voltage_min_v"]),
        cell_voltage_max_v=float(row["cell_voltage_max_v"]),
        cooling=row["cooling"] or None,
        confidence=row["confidence"] or None,
        source=row["source"] or None,
        note=row["note"],
        **whole,  # type: ignore[arg-type]
        **decimal,  # type: ignore[arg-type]
    )
