"""The catalogue's figures agree with each other, and names find the pack they mean and no other."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from packwatch.vehicles.catalogue import (
    NEUTRAL_CELL_VOLTAGE_MAX_V,
    NEUTRAL_CELL_VOLTAGE_MIN_V,
    VehicleSpecs,
    attach_specs,
    get_vehicle_specs,
    load_catalogue,
    nearest_by_capacity,
)

ROWS = load_catalogue()
ROW_IDS = [f"{row.make} {row.model}" for row in ROWS]

# Nominal voltage of one cell by chemistry, V: the mean of a slow discharge. Sources round it, hence +-3.5 %.
CELL_NOMINAL_V = {"NMC": 3.66, "NCA": 3.62, "LFP": 3.2, "LMO": 3.75}
# Gross energy against Ah x V. Makers count energy to different end voltages; the widest gap is the EU500's 11.3 %.
ENERGY_TOLERANCE = 0.12


@pytest.mark.parametrize("row", ROWS, ids=ROW_IDS)
class TestEveryRow:
    def test_names_make_model_family_and_where_it_comes_from(self, row: VehicleSpecs):
        assert row.make
        assert row.model
        assert row.family
        assert row.source
        assert row.confidence in {"A", "B", "C"}

    def test_is_a_known_chemistry_and_cooling(self, row: VehicleSpecs):
        assert row.chemistry in CELL_NOMINAL_V
        assert row.cooling in {"none", "air", "liquid", "refrigerant"}

    def test_has_years_in_order(self, row: VehicleSpecs):
        assert row.year_from is not None
        assert row.year_to is None or row.year_from <= row.year_to

    def test_has_limits_around_the_nominal_cell_voltage(self, row: VehicleSpecs):
        assert row.cell_voltage_min_v < CELL_NOMINAL_V[row.chemistry] < row.cell_voltage_max_v

    def test_is_found_by_its_own_name(self, row: VehicleSpecs):
        found = get_vehicle_specs(row.make, row.model, row.year_from)
        assert (found.make, found.model, found.matched_by, found.ambiguous) == (row.make, row.model, "exact", False)

    def test_is_found_by_each_alias_in_its_own_years(self, row: VehicleSpecs):
        for alias in row.aliases:
            found = get_vehicle_specs(row.make, alias, row.year_to or 2024)
            rivals = {other.model for other in ROWS if other.make == row.make and alias in other.aliases}
            assert found.matched_by in {"alias", "exact"}
            assert found.model in rivals | {row.model}, alias


def giving(*fields: str) -> pytest.MarkDecorator:
    """Parametrize with the rows whose source gives all of `fields`."""
    rows = [row for row in ROWS if None not in [getattr(row, field) for field in fields]]
    return pytest.mark.parametrize("row", rows, ids=[f"{row.make} {row.model}" for row in rows])


@giving("nominal_voltage_v", "cells_in_series")
def test_pack_voltage_is_cells_times_the_nominal_cell_voltage(row: VehicleSpecs):
    cell_v = row.nominal_voltage_v / row.cells_in_series
    assert cell_v == pytest.approx(CELL_NOMINAL_V[row.chemistry], rel=0.035)


@giving("energy_gross_kwh", "capacity_ah", "nominal_voltage_v")
def test_energy_is_capacity_times_voltage(row: VehicleSpecs):
    assert row.capacity_ah * row.nominal_voltage_v / 1000 == pytest.approx(row.energy_gross_kwh, rel=ENERGY_TOLERANCE)


@giving("energy_gross_kwh", "energy_usable_kwh")
def test_usable_energy_is_less_than_gross(row: VehicleSpecs):
    assert 0.8 * row.energy_gross_kwh < row.energy_usable_kwh < row.energy_gross_kwh


def test_catalogue_has_every_make():
    assert {row.make for row in ROWS} == {
        "Tesla", "BMW", "Nissan", "Renault", "Dacia", "Chevrolet", "Opel", "Hyundai", "Kia", "Volkswagen", "Cupra",
        "Seat", "Skoda", "Jaguar", "Volvo", "Polestar", "Peugeot", "Citroen", "DS", "BYD", "BAIC",
    }  # fmt: skip


def test_no_two_rows_have_the_same_name():
    assert len({(row.make, row.model) for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize(
    ("make", "model", "year", "expected"),
    [
        # generations of one name, told apart by the year
        ("Nissan", "Leaf", 2013, "Leaf 24"),
        ("Nissan", "Leaf", 2018, "Leaf 40"),
        ("Renault", "Zoe", 2014, "Zoe 22"),
        ("Renault", "Zoe", 2018, "Zoe ZE40"),
        ("Renault", "Zoé", 2021, "Zoe ZE50"),
        ("Hyundai", "Ioniq", 2017, "Ioniq 28"),
        ("Hyundai", "Ioniq Electric", 2021, "Ioniq 38"),
        ("BMW", "i3", 2014, "i3 60 Ah"),
        ("BMW", "i3", 2017, "i3 94 Ah"),
        ("BMW", "i3", 2020, "i3 120 Ah"),
        ("BMW", "i3s", 2021, "i3 120 Ah"),
        ("Volkswagen", "e-Up", 2015, "e-Up gen1"),
        ("Volkswagen", "e-Up!", 2022, "e-Up gen2"),
        ("Chevrolet", "Bolt EV", 2018, "Bolt 60"),
        ("Chevrolet", "Bolt EV", 2022, "Bolt 66"),
        # a pack named outright wins over the year
        ("BMW", "i3 94Ah", 2020, "i3 94 Ah"),
        ("Nissan", "LEAF e+", 2020, "Leaf e+ 62"),
        # spellings of the make
        ("VW", "ID.3 Pro", 2021, "ID.3 58"),
        ("volkswagen", "ID3 Pro", 2021, "ID.3 58"),
        ("Tesla Motors", "Model S 85", 2014, "Model S 85"),
        ("nissan", "leaf 40", 2019, "Leaf 40"),
        ("Citroën", "ë-C4", 2021, "e-C4 50"),
        ("Škoda", "Citigo e iV", 2020, "Citigo e iV"),
        ("Vauxhall", "Corsa-e", 2021, "Corsa-e 50"),
        # the make again in the model, or only there
        ("Polestar", "Polestar 2", 2021, "Polestar 2 78"),
        ("Nissan", "Nissan Leaf 40", 2019, "Leaf 40"),
        (None, "BYD Atto 3", 2023, "Atto 3"),
        # trim words, and a year in the name
        ("Renault", "Zoe Intens ZE50", 2020, "Zoe ZE50"),
        ("Nissan", "Leaf Tekna 2013", None, "Leaf 24"),
        ("Jaguar", "I-Pace HSE", 2019, "I-Pace"),
    ],
)
def test_name_and_year_find_the_pack(make, model, year, expected):
    assert get_vehicle_specs(make, model, year).model == expected


@pytest.mark.parametrize(
    ("make", "model", "year", "expected"),
    [
        ("Nissan", "Laef", 2013, "Leaf 24"),
        ("Nisan", "Leaf", 2013, "Leaf 24"),
        ("Telsa", "Modle S 85", 2014, "Model S 85"),
        ("Hyndai", "Konna 64", 2020, "Kona 64"),
        ("Renault", "Zoee", 2014, "Zoe 22"),
        ("Dacia", "Sprnig", 2022, "Spring"),
        ("Polestr", "Polstar 2", 2021, "Polestar 2 78"),
    ],
)
def test_typos_are_forgiven(make, model, year, expected):
    assert get_vehicle_specs(make, model, year).model == expected


@pytest.mark.parametrize(
    ("make", "model"),
    [
        ("Audi", "e-tron"),
        ("Nissan", "Ariya"),
        ("Hyundai", "Ioniq 6"),  # one digit from the Ioniq 5
        ("Chevrolet", "Volt"),  # a hybrid, one letter from the Bolt
        ("Tesla", "Model Z"),  # one letter from four real ones
        ("Peugeot", "208"),  # petrol
        ("BMW", "iX3"),
        ("Kia", "Niro Hybrid"),
        ("Volvo", "XC40 Recharge T5"),  # plug-in hybrid
        ("Renault", "Leaf"),  # another make's model
        ("Honda", "Kona 64"),  # nothing is matched across makes, however alike they are spelled
        ("Nissan", "Leaf 75"),  # no such pack
        (None, "Leaf"),
        ("Nissan", None),
        ("Nissan", "!?"),
        (None, None),
        ("", ""),
    ],
)
def test_unknown_types_get_neutral_limits_and_say_so(make, model):
    specs = get_vehicle_specs(make, model, 2020)
    assert (specs.chemistry, specs.matched_by, specs.spec_source) == ("unknown", "neutral", "neutral")
    assert (specs.cell_voltage_min_v, specs.cell_voltage_max_v) == (2.0, 4.35)
    assert specs.capacity_ah is None
    assert specs.model is None
    assert "does not know" in specs.note


class TestWhatTheResultTellsOfItself:
    def test_exact(self):
        assert get_vehicle_specs("Nissan", "Leaf 24", 2013).matched_by == "exact"

    def test_alias(self):
        assert get_vehicle_specs("Nissan", "ZE0", 2013).matched_by == "alias"

    def test_fuzzy_names_the_similarity(self):
        specs = get_vehicle_specs("Nissan", "Laef", 2013)
        # "leaf" and "laef" share three letters in order of 4 + 4: 2 x 3 / 8 = 75 %
        assert specs.matched_by == "fuzzy"
        assert "similarity 75 %" in specs.note

    def test_trim_words_that_were_not_used_are_named(self):
        specs = get_vehicle_specs("Nissan", "Leaf Tekna", 2013)
        assert specs.matched_by == "fuzzy"
        assert "'tekna'" in specs.note

    def test_ambiguous_year_takes_the_commoner_pack_and_says_so(self):
        specs = get_vehicle_specs("Nissan", "Leaf", 2019)
        assert (specs.model, specs.capacity_ah) == ("Leaf 40", 113.8)
        assert specs.ambiguous
        assert specs.confidence == "C"
        assert "Leaf 40, Leaf e+ 62" in specs.note

    def test_ambiguous_chemistries_get_limits_wide_enough_for_both(self):
        # Model 3 of 2021: Long Range 2.97-4.2 V, SR+ 2.97-4.2 V, LFP 2.8-3.65 V
        specs = get_vehicle_specs("Tesla", "Model 3", 2021)
        assert (specs.cell_voltage_min_v, specs.cell_voltage_max_v) == (2.8, 4.2)

    def test_unambiguous_year_keeps_the_confidence_of_its_row(self):
        specs = get_vehicle_specs("Nissan", "Leaf", 2013)
        assert (specs.confidence, specs.ambiguous) == ("A", False)

    def test_year_before_the_first_generation_takes_the_nearest_and_says_so(self):
        specs = get_vehicle_specs("BMW", "i3", 2011)
        assert specs.model == "i3 60 Ah"
        assert "none of 2011" in specs.note
        assert specs.confidence == "C"

    def test_registration_after_the_last_model_year_takes_the_last(self):
        specs = get_vehicle_specs("BMW", "i3", 2023)
        assert specs.model == "i3 120 Ah"
        assert "none of 2023" in specs.note

    def test_type_still_built_fits_any_later_year(self):
        assert get_vehicle_specs("Nissan", "Leaf 40", 2035).note == "capacity 112.6-115 Ah"

    def test_family_without_a_year_is_ambiguous(self):
        assert get_vehicle_specs("Renault", "Zoe").ambiguous


def test_bmw_i3_has_three_packs_of_96_cells():
    packs = {
        row.model: (row.cells_in_series, row.cells_in_parallel, row.capacity_ah) for row in ROWS if row.family == "i3"
    }
    assert packs == {"i3 60 Ah": (96, 1, 60), "i3 94 Ah": (96, 1, 94), "i3 120 Ah": (96, 1, 120)}


def test_bmw_ix1_is_known_by_its_pack_name():
    specs = get_vehicle_specs("BMW", "SE12", 2023)
    assert (specs.model, specs.cells_in_series, specs.energy_gross_kwh) == ("iX1", 78, 66.45)


def test_bmw_i4_has_no_number_of_cells_because_the_source_does_not_say_which_pack():
    assert get_vehicle_specs("BMW", "i4 eDrive40", 2022).cells_in_series is None


@pytest.mark.parametrize(
    ("capacity_ah", "expected"),
    [(56.2 / 0.85, "Leaf 24"), (74.05 / 0.9145, "Leaf 30"), (112.0, "Leaf 40"), (168.14 / 0.9532, "Leaf e+ 62")],
)
def test_capacity_tells_which_leaf(capacity_ah, expected):
    # 56.2 Ah at 85 % health were 66.1 Ah when new; 74.05 at 91.45 % 81.0; 168.14 at 95.32 % 176.4
    specs = nearest_by_capacity("nissan", "leaf", capacity_ah)
    assert specs is not None
    assert specs.model == expected


@pytest.mark.parametrize("capacity_ah", [20.0, 140.0, 400.0, math.nan, math.inf, 0.0])
def test_capacity_far_from_every_pack_finds_none(capacity_ah):
    # 140 Ah is 19 % below the e+ (172.5) and 23 % above the 40 (113.8)
    assert nearest_by_capacity("Nissan", "Leaf", capacity_ah) is None


def test_capacity_of_an_unknown_family_finds_none():
    assert nearest_by_capacity("Nissan", "Micra", 65.5) is None
    assert nearest_by_capacity("Renault", "Leaf", 65.5) is None


class TestAttachSpecs:
    @pytest.fixture
    def fleet(self) -> pd.DataFrame:
        return pd.DataFrame(
            {
                "vehicle_id": ["a", "b", "c", "d"],
                "make": ["Nissan", "Audi", "nissan", None],
                "model": ["Leaf", "e-tron", "Leaf 40", None],
                "year": pd.array([2013, 2020, None, None], dtype="Int16"),
            },
            index=[7, 3, 5, 1],
        )

    def test_every_vehicle_keeps_its_row_and_gets_its_pack(self, fleet):
        attached = attach_specs(fleet)
        assert attached.index.tolist() == [7, 3, 5, 1]
        assert attached["vehicle_id"].tolist() == ["a", "b", "c", "d"]
        assert attached["spec_model"].fillna("-").tolist() == ["Leaf 24", "-", "Leaf 40", "-"]
        assert attached["chemistry"].tolist() == ["LMO", "unknown", "NMC", "unknown"]
        assert attached["spec_source"].tolist() == ["catalogue", "neutral", "catalogue", "neutral"]
        assert attached["capacity_nominal_ah"].fillna(-1).tolist() == [65.5, -1, 113.8, -1]
        assert attached["cells_in_series"].fillna(-1).tolist() == [96, -1, 96, -1]
        assert attached["energy_nominal_kwh"].fillna(-1).tolist() == [21.3, -1, 39, -1]
        assert attached["spec_confidence"].fillna("-").tolist() == ["A", "-", "A", "-"]
        assert not attached["spec_ambiguous"].any()

    def test_ambiguous_types_are_marked(self):
        attached = attach_specs(pd.DataFrame({"make": ["Nissan"], "model": ["Leaf"], "year": [2019]}))
        assert attached["spec_ambiguous"].tolist() == [True]
        assert attached["spec_note"].str.startswith("ambiguous").all()
        # 115 Ah or 172 Ah: no health can be told from the wrong one.
        assert attached[["capacity_nominal_ah", "energy_nominal_kwh"]].isna().all(axis=None)

    def test_limits_are_never_missing(self, fleet):
        attached = attach_specs(fleet)
        assert attached["cell_voltage_limit_min_v"].tolist() == [2.5, NEUTRAL_CELL_VOLTAGE_MIN_V, 2.5, 2.0]
        assert attached["cell_voltage_limit_max_v"].tolist() == [4.22, NEUTRAL_CELL_VOLTAGE_MAX_V, 4.22, 4.35]

    def test_its_argument_stays_as_it_was(self, fleet):
        before = fleet.copy()
        attach_specs(fleet)
        pd.testing.assert_frame_equal(fleet, before)

    def test_a_second_time_changes_nothing(self, fleet):
        once = attach_specs(fleet)
        pd.testing.assert_frame_equal(attach_specs(once), once)

    def test_no_vehicles_give_the_same_columns(self, fleet):
        empty = attach_specs(fleet.iloc[:0])
        assert len(empty) == 0
        assert empty.dtypes.to_dict() == attach_specs(fleet).dtypes.to_dict()

    def test_each_distinct_type_is_looked_up_once(self, fleet, monkeypatch):
        asked = []

        def remember(make, model, year):
            asked.append((make, model, year))
            return get_vehicle_specs(make, model, year)

        monkeypatch.setattr("packwatch.vehicles.catalogue.get_vehicle_specs", remember)
        many = pd.concat([fleet] * 50, ignore_index=True)
        assert len(attach_specs(many)) == 200
        assert sorted(asked, key=str) == sorted(
            [("Nissan", "Leaf", 2013), ("Audi", "e-tron", 2020), ("nissan", "Leaf 40", None), (None, None, None)],
            key=str,
        )

    def test_columns_of_python_objects_are_taken_too(self):
        plain = pd.DataFrame({"make": ["Nissan", None], "model": ["Leaf", None], "year": [2013, None]}, dtype=object)
        assert attach_specs(plain)["chemistry"].tolist() == ["LMO", "unknown"]
