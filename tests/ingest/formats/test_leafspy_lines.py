"""Lines as LeafSpy leaves them: no header, another length than the header, cut short, or two in one."""

from __future__ import annotations

import pytest

from packwatch.ingest.formats import ParsedLog, parse_log
from packwatch.ingest.formats.leafspy_lines import GENERATIONS, split_glued

HEADER_ONLY_151, OF_152, OF_155, OF_158, OF_159, OF_161 = GENERATIONS
# What remains of the newest generation when people cut out who and where: again 158 columns.
ANONYMOUS = tuple(name for name in OF_161 if name not in {"Lat", "Long", "VIN"})


def read(*lines: str, encoding: str = "latin-1", end: str = "\n") -> ParsedLog:
    return parse_log(end.join(lines).encode(encoding), "log.csv", {"vin": "V"})


def rejected(log: ParsedLog) -> list[tuple[int, str]]:
    return list(zip(log.rejects["source_row"].to_pylist(), log.rejects["reason"].to_pylist(), strict=True))


def charges(log: ParsedLog) -> list[float]:
    return [round(value, 4) for value in log.rows["soc_percent"].to_pylist()]


@pytest.fixture
def record(leafspy_record):
    """Factory of a line of `layout` whose state of charge is `soc` percent."""

    def make(soc: int, layout=OF_159, **changes: str) -> str:
        return leafspy_record(layout, {"SOC": str(soc * 10_000)} | changes)

    return make


def test_generations_have_the_known_numbers_of_columns():
    assert [len(layout) for layout in GENERATIONS] == [151, 152, 155, 158, 159, 161]
    assert OF_161.count("Debug") == 2


class TestWithoutHeader:
    @pytest.mark.parametrize(
        "layout",
        [OF_152, OF_155, OF_158, OF_159, OF_161, ANONYMOUS],
        ids=["152", "155", "158", "159", "161", "anonymous 158"],
    )
    def test_the_layout_is_told_by_the_values(self, record, layout):
        log = read(record(61, layout), record(62, layout))
        assert charges(log) == [61, 62]
        assert log.rows["cell_voltages_v"][0].as_py()[0] == pytest.approx(3.901)
        assert log.rows["vin"].to_pylist() == (["V", "V"] if layout == ANONYMOUS else ["TESTLEAF000000001"] * 2)
        assert log.rows["source_row"].to_pylist() == [1, 2]

    def test_a_first_line_cut_short_does_not_hide_the_layout(self, record):
        log = read(record(61)[40:], record(62), record(63))
        assert charges(log) == [62, 63]
        assert rejected(log) == [(1, "field_count")]

    @pytest.mark.parametrize("text", ["13/09/2020 12:26:40,1,2,3", "13/09/2020 12:26:40" + ",1" * 158])
    def test_a_dated_line_that_does_not_fit_is_no_leafspy(self, text):
        with pytest.raises(Exception, match="no known log format"):
            parse_log(text.encode(), "log.csv")


class TestLongerRows:
    def test_one_field_more_than_the_header(self, record):
        # the version that wrote 151 names and 152 values
        log = read(",".join(HEADER_ONLY_151), record(61, OF_152), record(62, OF_152))
        assert charges(log) == [61, 62]
        assert rejected(log) == []

    def test_a_comma_at_the_end_of_the_line(self, record):
        assert charges(read(",".join(OF_159), record(61) + ",")) == [61]

    def test_an_app_updated_during_the_day(self, record):
        log = read(",".join(OF_155), record(61, OF_155), record(62, OF_159), record(63, OF_161))
        assert charges(log) == [61, 62, 63]

    def test_a_new_header_in_the_middle(self, record):
        log = read(
            ",".join(OF_155), record(61, OF_155), ",".join(ANONYMOUS), record(62, ANONYMOUS), record(63, ANONYMOUS)
        )
        assert charges(log) == [61, 62, 63]
        assert log.rows["source_row"].to_pylist() == [1, 2, 3]
        assert rejected(log) == []

    def test_the_same_header_again(self, record):
        assert charges(read(",".join(OF_159), record(61), ",".join(OF_159), record(62))) == [61, 62]

    def test_many_fields_more_are_no_record(self, record):
        log = read(",".join(OF_159), record(61), record(62) + ",1" * 20)
        assert charges(log) == [61]
        assert rejected(log) == [(2, "field_count")]


class TestGluedRecords:
    @pytest.mark.parametrize(
        "date", ["30/01/2020 08:24", "01/30/2020 8:24:05", "2020/01/30 08:24:05", "30.01.2020 8:24 AM"]
    )
    def test_two_whole_records_become_two_rows(self, record, date):
        # the last field of the first is 9.5: "9.530/01/2020 08:24" parts before the two digits of the day
        first, second = record(61, **{"Date/Time": date}), record(62, **{"Date/Time": date})
        log = read(",".join(OF_159), first + second, record(63, **{"Date/Time": date}))
        assert charges(log) == [61, 62, 63]
        assert log.rows["source_row"].to_pylist() == [1, 2, 3]
        assert rejected(log) == []

    def test_three_in_one_line(self, record):
        assert charges(read(",".join(OF_159), record(61) + record(62) + record(63))) == [61, 62, 63]

    def test_glued_by_a_comma(self, record):
        assert charges(read(",".join(OF_159), record(61) + "," + record(62))) == [61, 62]

    def test_the_whole_one_is_kept_and_the_broken_one_set_aside(self, record):
        cut = ",".join(record(61).split(",")[:80])
        log = read(",".join(OF_159), record(60), cut + record(62), record(63))
        assert charges(log) == [60, 62, 63]
        assert rejected(log) == [(2, "glued_record")]
        assert log.rejects["raw"].to_pylist() == [cut]
        assert log.rows["source_row"].to_pylist() == [1, 3, 4]

    def test_broken_at_the_end(self, record):
        log = read(",".join(OF_159), record(61) + ",".join(record(62).split(",")[:5]))
        assert charges(log) == [61]
        assert rejected(log) == [(2, "glued_record")]

    def test_a_glued_line_that_happens_to_have_a_known_length(self, record):
        # 155 fields and the first 4 of another, one of them shared: 158, as many as a later generation
        glued = record(61, OF_155) + ",".join(record(62, OF_155).split(",")[:4])
        assert glued.count(",") + 1 == 158
        log = read(",".join(OF_155), record(60, OF_155), glued)
        assert charges(log) == [60, 61]
        assert rejected(log) == [(3, "glued_record")]

    def test_a_record_glued_to_the_header(self, record):
        log = read(",".join(OF_159) + record(61), record(62))
        assert charges(log) == [61, 62]

    def test_without_header(self, record):
        assert charges(read(record(61) + record(62), record(63))) == [61, 62, 63]

    def test_split_keeps_a_single_record_whole(self, record):
        assert split_glued(record(61)) == [record(61)]
        assert split_glued("nothing of the kind") == ["nothing of the kind"]


class TestBrokenLines:
    def test_a_last_line_cut_short(self, record):
        log = read(",".join(OF_159), record(61), record(62)[:300])
        assert charges(log) == [61]
        assert rejected(log) == [(2, "field_count")]
        assert log.rejects["source_object"].to_pylist() == ["log.csv"]

    def test_a_word_where_a_number_belongs(self, record):
        log = read(
            ",".join(OF_159), record(61), record(62, **{"Pack Volts": "oops"}), record(63, CP7="3.x"), record(64)
        )
        assert charges(log) == [61, 64]
        assert rejected(log) == [(2, "unreadable_number"), (3, "unreadable_number")]
        assert "oops" in log.rejects["raw"][0].as_py()
        assert log.rows["source_row"].to_pylist() == [1, 4]

    def test_a_word_in_a_recovered_record(self, record):
        log = read(",".join(OF_159), record(61) + record(62, SOH="oops"))
        assert charges(log) == [61]
        assert rejected(log) == [(2, "unreadable_number")]
        assert log.rejects["raw"][0].as_py() == record(62, SOH="oops")[:2000]

    def test_a_word_where_nothing_is_read(self, record):
        assert charges(read(",".join(OF_159), record(61, Gids="oops", Hx="?"))) == [61]

    def test_only_broken_lines_are_still_accounted_for(self):
        log = read(",".join(OF_159), "a,b", "c")
        assert len(log.rows) == 0
        assert rejected(log) == [(1, "field_count"), (2, "field_count")]

    def test_long_garbage_is_shown_in_part(self):
        log = read(",".join(OF_159), "x" * 5000)
        assert len(log.rejects["raw"][0].as_py()) == 2000


class TestBytes:
    @pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
    def test_ends_of_lines(self, record, end):
        assert charges(read(",".join(OF_159), record(61), record(62), "", "", end=end)) == [61, 62]

    def test_byte_order_mark(self, record):
        data = b"\xef\xbb\xbf" + f"{','.join(OF_159)}\n{record(61)}\n".encode()
        assert charges(parse_log(data, "log")) == [61]

    def test_nul_padding_and_nul_in_between(self, record):
        data = f"{','.join(OF_159)}\n{record(61)}\n".encode() + b"\0" * 512 + f"{record(62)}\n".encode() + b"\0" * 4096
        assert charges(parse_log(data, "log")) == [61, 62]

    def test_latin_1(self, record):
        log = read(",".join(OF_159), record(61, **{"GPS Status": "Größe"}), record(62, VIN="VÄN"), encoding="latin-1")
        assert charges(log) == [61, 62]
        assert log.rows["vin"].to_pylist() == ["TESTLEAF000000001", "VÄN"]

    def test_blank_lines_are_no_rows(self, record):
        log = read("", ",".join(OF_159), "", record(61), "   ", record(62), "\t", "")
        assert charges(log) == [61, 62]
        assert log.rows["source_row"].to_pylist() == [1, 2]
