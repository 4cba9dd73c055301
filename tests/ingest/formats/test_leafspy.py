"""LeafSpy columns become canonical ones: units, signs, missing values, states, and which car it is."""

from __future__ import annotations

import itertools
import math
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from packwatch.errors import UnreadableLog
from packwatch.ingest.formats import ParsedLog, parse_log
from packwatch.ingest.formats.leafspy_lines import GENERATIONS
from packwatch.schema import PARSED_SCHEMA

OF_2020 = GENERATIONS[4]  # 159 columns, with Speed1
OF_2022 = GENERATIONS[5]  # 161 columns, with RPM


@pytest.fixture
def read(leafspy_record):
    """Read a log of one record a dict of changes; the records are 10 s apart."""

    def parse(*changes: dict[str, str], layout=OF_2020, hints=None) -> ParsedLog:
        times = [{"epoch time": str(1_600_000_000 + 10 * number)} for number in range(len(changes))]
        records = [leafspy_record(layout, time | change) for time, change in zip(times, changes, strict=True)]
        text = "\n".join([",".join(layout), *records]) + "\n"
        return parse_log(text.encode("latin-1"), "log.csv", hints or {})

    return parse


def only_row(log: ParsedLog) -> dict:
    assert len(log.rows) == 1
    return log.rows.to_pylist()[0]


class TestValues:
    def test_log_has_the_canonical_columns(self, read):
        log = read({})
        assert log.format == "leafspy"
        assert log.rows.schema == PARSED_SCHEMA
        assert len(log.rejects) == 0

    def test_units(self, read):
        row = only_row(read({}))
        # SOC 654321 and AHr 1080000 are ten-thousandths: 65.4321 % and 108 Ah
        assert row["soc_percent"] == pytest.approx(65.4321)
        assert row["bms_capacity_ah"] == pytest.approx(108.0)
        assert row["bms_soh_percent"] == 95.0
        assert row["pack_voltage_v"] == 374.91
        # Speed1 5005 is in 1/100 km/h; Speed (50) is the phone's, in whatever its user likes
        assert row["speed_kmh"] == pytest.approx(50.05)
        assert row["odometer_km"] == 54321
        assert row["ambient_temperature_c"] == 15.5

    def test_discharge_is_positive_in_the_log_and_negative_here(self, read):
        assert only_row(read({"Pack Amps": "12.5"}))["pack_current_a"] == -12.5
        assert only_row(read({"Pack Amps": "-40"}))["pack_current_a"] == 40.0

    def test_cells_are_volts_and_all_96_are_kept(self, read):
        row = only_row(read({}))
        # cell n has 3900 + n mod 7 mV
        assert row["cell_voltages_v"] == pytest.approx([3.9 + cell % 7 / 1000 for cell in range(1, 97)])
        assert (row["cell_voltage_min_v"], row["cell_voltage_max_v"]) == pytest.approx((3.900, 3.906))

    def test_a_minus_sign_on_a_cell_is_balancing_and_not_its_voltage(self, read):
        row = only_row(read({"CP3": "-3903"}))
        assert row["cell_voltages_v"][2] == pytest.approx(3.903)
        assert row["cell_voltage_min_v"] == pytest.approx(3.900)

    @pytest.mark.parametrize("unread", ["0", "65535", "none", ""])
    def test_a_cell_that_was_not_read_is_null_at_its_place(self, read, unread):
        row = only_row(read({"CP3": unread}))
        assert row["cell_voltages_v"][2] is None
        assert len(row["cell_voltages_v"]) == 96
        assert row["cell_voltage_min_v"] == pytest.approx(3.900)

    def test_no_cell_read_leaves_the_extremes_of_the_log(self, read):
        row = only_row(read({f"CP{cell}": "0" for cell in range(1, 97)}))
        assert row["cell_voltages_v"] is None
        assert (row["cell_voltage_min_v"], row["cell_voltage_max_v"]) == (3.9, 3.906)

    def test_probes_keep_their_place_and_a_missing_one_is_null(self, read):
        row = only_row(read({}))
        assert row["temperatures_c"][:2] == pytest.approx([20.1, 20.5])
        assert row["temperatures_c"][2] is None
        assert row["temperatures_c"][3] == pytest.approx(19.8)
        assert (row["temperature_min_c"], row["temperature_max_c"]) == (19.8, 20.5)

    def test_a_probe_known_in_fahrenheit_alone_is_converted(self, read):
        # (59 - 32) / 1.8 = 15 °C
        assert only_row(read({"Pack T3 F": "59", "Pack T3 C": "none"}))["temperatures_c"][2] == 15.0

    def test_no_probe_at_all_is_null(self, read):
        nothing = {f"Pack T{probe} {unit}": "none" for probe in range(1, 5) for unit in "FC"}
        row = only_row(read(nothing))
        assert row["temperatures_c"] is None
        assert row["temperature_max_c"] is None

    def test_zero_is_missing_where_zero_cannot_be(self, read):
        row = only_row(read({"Odo(km)": "0", "SOH": "0", "AHr": "0", "Pack Volts": "0", "SOC": "0"}))
        for column in ("odometer_km", "bms_soh_percent", "bms_capacity_ah", "pack_voltage_v", "soc_percent", "model"):
            assert row[column] is None, column

    def test_an_empty_battery_is_zero_percent_when_the_rest_was_read(self, read):
        assert only_row(read({"SOC": "0"}))["soc_percent"] == 0.0

    def test_zero_amps_and_zero_degrees_are_values(self, read):
        row = only_row(read({"Pack Amps": "0", "Pack T1 C": "0"}))
        assert row["pack_current_a"] == 0.0
        assert row["temperature_min_c"] == 0.0

    def test_one_reading_written_to_both_fields_is_neither(self, read):
        row = only_row(read({"Pack Volts": "512.75", "Pack Amps": "-512.75"}))
        assert row["pack_voltage_v"] is None
        assert row["pack_current_a"] is None

    def test_impossible_values_are_left_to_validation(self, read):
        row = only_row(read({"SOC": "1500000", "Pack Volts": "9999"}))
        assert row["soc_percent"] == 150.0
        assert row["pack_voltage_v"] == 9999.0

    def test_provenance(self, read):
        rows = read({}, {}, {}).rows
        assert rows["source_row"].to_pylist() == [1, 2, 3]
        assert set(rows["source_object"].to_pylist()) == {"log.csv"}


class TestTime:
    def test_epoch_time_is_trusted_whatever_the_clock_face_says(self, read):
        row = only_row(read({"epoch time": "1600000000", "Date/Time": "01/01/1999 00:00:00"}))
        # 1 600 000 000 s after 1970 is 2020-09-13 12:26:40 UTC
        assert row["recorded_at"] == datetime(2020, 9, 13, 12, 26, 40, tzinfo=UTC)

    def test_fractions_of_a_second_are_kept_to_the_millisecond(self, read):
        row = only_row(read({"epoch time": "1600000000.4777"}))
        assert row["recorded_at"].microsecond == 478_000

    @pytest.mark.parametrize("unread", ["0", "na", ""])
    def test_without_epoch_time_the_row_stays_without_a_time(self, read, unread):
        log = read({"epoch time": unread})
        assert only_row(log)["recorded_at"] is None
        assert len(log.rejects) == 0

    def test_rows_keep_the_order_of_the_file(self, read):
        log = read({"epoch time": "1600000300"}, {"epoch time": "1600000100"})
        assert [at.minute for at in log.rows["recorded_at"].to_pylist()] == [31, 28]


class TestChargeState:
    @pytest.mark.parametrize(
        ("changes", "expected"),
        [
            ({"Charge Mode": "3", "Gear": "1", "Speed1": "0"}, "charging"),
            ({"Charge Mode": "2", "Gear": "0", "Speed1": "0"}, "charging"),
            # plugged, and current flows into the pack
            ({"Plug State": "2", "Pack Amps": "-15", "Gear": "1", "Speed1": "0"}, "charging"),
            # plugged, but nothing flows
            ({"Plug State": "2", "Pack Amps": "1.2", "Gear": "1", "Speed1": "0"}, "parked"),
            # a plug state left over from the night, regenerating at a traffic light and on the move
            ({"Plug State": "2", "Pack Amps": "-15", "Gear": "4", "Speed1": "0"}, "driving"),
            ({"Charge Mode": "2", "Gear": "4", "Speed1": "3000"}, "driving"),
            ({"Gear": "4", "Speed1": "0"}, "driving"),
            ({"Gear": "7", "Speed1": "0"}, "driving"),
            ({"Gear": "2", "Speed1": "0"}, "driving"),
            ({"Gear": "0", "Speed1": "3000"}, "driving"),
            ({"Gear": "1", "Speed1": "0"}, "parked"),
            ({"Gear": "0", "Speed1": "0"}, None),
            ({"Gear": "na", "Speed1": "0", "Charge Mode": "na"}, None),
        ],
    )
    def test_state(self, read, changes, expected):
        # the second record moves, so the file is known to have wheel speed
        log = read(changes, {"Speed1": "4000"})
        assert log.rows["charge_state"].to_pylist()[0] == expected

    def test_a_phone_that_drifts_does_not_move_the_car(self, read):
        log = read({"Speed": "64", "Speed1": "0", "Gear": "1"}, {"Speed1": "4000"})
        assert log.rows["charge_state"].to_pylist()[0] == "parked"


class TestUnitsOfTheUser:
    def test_fahrenheit_outside(self, read):
        # 59.9 °F = 15.5 °C and 61.7 °F = 16.5 °C lie on the sensor's half degrees, 59.9 °C and 61.7 °C do not
        log = read({"Ambient": "59.9"}, {"Ambient": "61.7"})
        assert log.rows["ambient_temperature_c"].to_pylist() == pytest.approx([15.5, 16.5])

    def test_miles_on_the_odometer_of_a_version_that_writes_them(self, read):
        # 36 steps of 10 s at 100 km/h (6880 rpm / 68.8) are 10 km = 6.2 miles
        drive = [
            {
                "RPM": "6880",
                "Speed1": "0",
                "epoch time": str(1_600_000_000 + 10 * step),
                "Odo(km)": str(1000 + step * 6 // 36),
            }
            for step in range(42)
        ]
        rows = read(*drive, layout=OF_2022).rows
        # 100 km/h for 410 s = 11.4 km; the odometer moves by 6: miles
        assert rows["odometer_km"].to_pylist()[0] == pytest.approx(1609.344)
        assert rows["speed_kmh"].to_pylist()[0] == pytest.approx(100.0)

    def test_odometer_of_a_standing_car_of_that_version_is_left_open(self, read):
        assert only_row(read({"Speed1": "0"}, layout=OF_2022))["odometer_km"] is None

    def test_wheel_speed_from_the_motor(self, read):
        rows = read({"RPM": "3440", "Speed1": "0"}, {"RPM": "-344", "Speed1": "0"}, layout=OF_2022).rows
        # 68.8 turns a minute for 1 km/h; backwards is a speed too
        assert rows["speed_kmh"].to_pylist() == pytest.approx([50.0, 5.0])

    def test_phone_speed_alone_tells_only_standstill(self, read):
        rows = read({"Speed": "0", "Speed1": "0"}, {"Speed": "30", "Speed1": "0"}).rows
        assert rows["speed_kmh"].to_pylist() == [0.0, None]


class TestWhichCar:
    @pytest.mark.parametrize(
        ("ahr", "soh", "model"),
        [
            ("562000", "85", "Leaf 24"),  # 56.2 Ah / 0.85 = 66.1 Ah
            ("740504", "91.45", "Leaf 30"),  # 81.0 Ah
            ("1080000", "95", "Leaf 40"),  # 113.7 Ah
            ("1681444", "95.32", "Leaf e+ 62"),  # 176.4 Ah
            ("1400000", "100", None),  # 140 Ah: no Leaf has that
        ],
    )
    def test_model_follows_from_capacity_and_health(self, read, ahr, soh, model):
        row = only_row(read({"AHr": ahr, "SOH": soh}))
        assert (row["make"], row["model"]) == ("Nissan", model)

    def test_the_van_is_known_by_its_vin(self, read):
        row = only_row(read({"VIN": "VSKTESTVAN0000001"}))
        assert row["model"] == "e-NV200 40"

    def test_rows_before_the_vin_was_read_get_the_file_s_only_one(self, read):
        assert read({"VIN": ""}, {"VIN": "TESTLEAF000000007"}).rows["vin"].to_pylist() == ["TESTLEAF000000007"] * 2

    def test_two_cars_in_one_file_stay_two(self, read):
        log = read(
            {"VIN": "A1", "AHr": "562000", "SOH": "85"},
            {"VIN": "B2", "AHr": "1681444", "SOH": "95.32"},
            {"VIN": "", "AHr": "562000", "SOH": "85"},
        )
        assert log.rows["vin"].to_pylist() == ["A1", "B2", None]
        assert log.rows["model"].to_pylist() == ["Leaf 24", "Leaf e+ 62", "Leaf 24"]

    def test_hints_fill_what_the_log_lacks_and_nothing_else(self, read):
        hints = {"vin": "HINT0000000000001", "make": "Renault", "model": "Zoe", "year": "2019"}
        row = only_row(read({"AHr": "1400000", "SOH": "100"}, hints=hints))
        assert (row["vin"], row["make"], row["model"], row["year"]) == ("TESTLEAF000000001", "Nissan", "Zoe", 2019)

    def test_a_log_without_vin_column_takes_the_hint(self, leafspy_record):
        layout = tuple(name for name in OF_2020 if name not in {"VIN", "Lat", "Long"})
        data = f"{','.join(layout)}\n{leafspy_record(layout)}\n".encode()
        assert only_row(parse_log(data, "log", {"vin": "HINT0000000000001"}))["vin"] == "HINT0000000000001"
        assert only_row(parse_log(data, "log"))["vin"] is None


class TestHeaderGenerations:
    @pytest.mark.parametrize("layout", GENERATIONS, ids=[str(len(layout)) for layout in GENERATIONS])
    def test_every_generation_is_read(self, read, layout):
        row = only_row(read({}, layout=layout))
        assert row["soc_percent"] == pytest.approx(65.4321)
        assert len(row["cell_voltages_v"]) == 96
        assert row["vin"] == "TESTLEAF000000001"

    def test_columns_are_found_by_name_whatever_their_order_and_blanks(self, leafspy_record):
        layout = OF_2022[::-1]
        header = ",".join(f" {name} " for name in layout)
        row = only_row(parse_log(f"{header}\n{leafspy_record(layout)}\n".encode(), "log"))
        assert row["soc_percent"] == pytest.approx(65.4321)
        assert row["cell_voltages_v"][0] == pytest.approx(3.901)

    def test_header_alone_is_refused(self):
        with pytest.raises(UnreadableLog, match="without records") as caught:
            parse_log(",".join(OF_2020).encode(), "log.csv")
        assert caught.value.reason == "header_without_rows"

    def test_a_file_without_any_leafspy_column_is_refused_when_called_leafspy(self):
        with pytest.raises(UnreadableLog, match="neither a LeafSpy header") as caught:
            parse_log(b"time,speed\n1,2\n", "log.csv", format="leafspy")
        assert caught.value.reason == "unknown_format"


@pytest.fixture(scope="module")
def american(real_logs: Path) -> list[ParsedLog]:
    files = sorted((real_logs / "leafspy-us").glob("*.csv"))
    assert len(files) == 6
    return [parse_log(file.read_bytes(), file.name) for file in files]


@pytest.fixture(scope="module")
def british(real_logs: Path) -> ParsedLog:
    (file,) = (real_logs / "leafspy-uk").glob("*.csv")
    return parse_log(file.read_bytes(), file.name)


class TestRealLogs:
    def test_every_row_is_read(self, american, british):
        assert [len(log.rows) for log in american] == [112, 91, 110, 105, 105, 141]
        assert len(british.rows) == 243
        assert sum(len(log.rejects) for log in [*american, british]) == 0

    def test_the_cars_are_known(self, american, british):
        assert {model for log in american for model in log.rows["model"].to_pylist()} == {"Leaf e+ 62"}
        assert set(british.rows["model"].to_pylist()) == {"Leaf 30"}
        assert set(british.rows["vin"].to_pylist()) == {"SJNFAAAZE0U000000"}

    def test_current_has_the_sign_of_the_change_of_charge(self, american, british):
        for log in [*american, british]:
            rows = log.rows.to_pandas()
            hours = rows["recorded_at"].diff().dt.total_seconds() / 3600
            charge_ah = (rows["pack_current_a"] + rows["pack_current_a"].shift()) / 2 * hours
            near = hours < 0.1
            assert np.corrcoef(charge_ah[near], rows["soc_percent"].diff()[near])[0, 1] > 0.5

    def test_cells_add_up_to_the_pack(self, american, british):
        for log in [*american, british]:
            rows = log.rows.to_pandas()
            total_v = np.stack(rows["cell_voltages_v"]).sum(axis=1, dtype=np.float64)
            # read one after the other while the load changes: within 1 %
            assert (np.abs(total_v / rows["pack_voltage_v"] - 1) < 0.01).all()

    def test_odometer_goes_on_where_the_day_before_ended(self, american):
        outward, home = american[:3], american[3:]
        for days in (outward, home):
            ends = [
                (log.rows["odometer_km"].drop_null()[0].as_py(), log.rows["odometer_km"].drop_null()[-1].as_py())
                for log in days
            ]
            assert [next_start - end for (_, end), (next_start, _) in itertools.pairwise(ends)] == pytest.approx(
                [0, 0], abs=20
            )
        # Denver to Portland is 2 000 km by road; 1 293 on the odometer were miles
        assert outward[2].rows["odometer_km"][-1].as_py() - outward[0].rows["odometer_km"][0].as_py() == pytest.approx(
            2080, abs=10
        )

    def test_wheels_roll_as_far_as_the_odometer_says(self, american, british):
        for log in [*american, british]:
            rows = log.rows.to_pandas()
            hours = rows["recorded_at"].diff().dt.total_seconds() / 3600
            near = hours < 0.1
            rolled_km = ((rows["speed_kmh"] + rows["speed_kmh"].shift()) / 2 * hours)[near].sum()
            assert rolled_km == pytest.approx(rows["odometer_km"].diff()[near].sum(), rel=0.06)

    def test_air_temperature_is_celsius_in_both(self, american, british):
        american_c = pd.concat([log.rows["ambient_temperature_c"].to_pandas() for log in american])
        assert american_c.min() > 5
        assert american_c.max() < 48
        assert american_c.isna().sum() == 1  # one reading of 188.6 °F, the sensor's sign for none
        british_c = british.rows["ambient_temperature_c"].to_pandas()
        assert (british_c.min(), british_c.max()) == (7.5, 10.0)

    def test_states(self, american, british):
        assert set(british.rows["charge_state"].to_pylist()) == {"driving"}
        rows = pd.concat([log.rows.to_pandas() for log in american])
        charging = rows[rows["charge_state"] == "charging"]
        assert len(charging) == 73
        # some of these rows were logged while the pack's own controller slept: 0 A
        assert (charging["pack_current_a"] >= 0).all()
        assert charging["pack_current_a"].median() > 40

    def test_health_is_what_the_car_says(self, american, british):
        health = [value for log in american for value in log.rows["bms_soh_percent"].to_pylist()]
        assert (min(health), max(health)) == (95.26, 96.04)
        assert math.isclose(british.rows["bms_capacity_ah"][0].as_py(), 74.0504)

    def test_a_petrol_car_is_refused_with_what_was_found(self, real_logs):
        (file,) = (real_logs / "carscanner-ice-negative").glob("*.csv")
        with pytest.raises(UnreadableLog, match=r"'SECONDS', 'PID', 'VALUE', 'UNITS'.*Supported are") as caught:
            parse_log(file.read_bytes(), file.name)
        assert caught.value.reason == "unknown_format"

    def test_no_other_real_file_passes_for_a_known_format(self, real_logs):
        others = [file for file in real_logs.glob("*/*.*") if not file.parent.name.startswith("leafspy")]
        assert others
        for file in others:
            with pytest.raises(UnreadableLog) as caught:
                parse_log(file.read_bytes()[:1_000_000], file.name)
            assert caught.value.reason == "unknown_format", file.name
