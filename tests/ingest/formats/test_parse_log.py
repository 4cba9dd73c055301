"""Formats are recognized by content; what is not a log is refused with a reason and a sentence that helps."""

from __future__ import annotations

import gzip
import io
import random
import zipfile

import pyarrow as pa
import pytest

from packwatch.config import settings
from packwatch.errors import UnreadableLog, UsageError
from packwatch.ingest.formats import ADAPTERS, parse_log, write_log
from packwatch.ingest.formats.leafspy_lines import GENERATIONS

CSV = b"vin,recorded_at,soc_percent\nV1,2024-01-02T03:04:05Z,81.5\n"
JSONL = b'{"vin":"V1","recorded_at":"2024-01-02T03:04:05Z","soc_percent":81.5}\n'
PARQUET = write_log(parse_log(CSV, "log").rows, "log.parquet")


@pytest.fixture
def by_format(leafspy_record) -> dict[str, bytes]:
    leafspy = f"{','.join(GENERATIONS[4])}\n{leafspy_record()}\n".encode()
    return {"canonical-csv": CSV, "canonical-jsonl": JSONL, "canonical-parquet": PARQUET, "leafspy": leafspy}


def refusal(data: bytes, name: str = "raw/some.csv", **options) -> UnreadableLog:
    with pytest.raises(UnreadableLog) as caught:
        parse_log(data, name, **options)
    assert str(caught.value).startswith(f"{name}: ")
    return caught.value


class TestRecognition:
    @pytest.mark.parametrize("name", ["x", "x.csv", "x.parquet", "x.jsonl.gz", "x.zip"])
    @pytest.mark.parametrize("format", [adapter.format for adapter in ADAPTERS])
    def test_by_content_whatever_the_name(self, by_format, format, name):
        log = parse_log(by_format[format], name)
        assert (log.format, len(log.rows)) == (format, 1)

    @pytest.mark.parametrize("format", [adapter.format for adapter in ADAPTERS])
    def test_packed(self, by_format, format):
        assert parse_log(gzip.compress(by_format[format]), "x").format == format

    @pytest.mark.parametrize("format", [adapter.format for adapter in ADAPTERS])
    def test_called_by_name(self, by_format, format):
        assert parse_log(by_format[format], "x", format=format).format == format

    def test_a_format_that_does_not_exist(self):
        with pytest.raises(UsageError, match=r"'excel' is unknown; choose auto or one of .*leafspy"):
            parse_log(CSV, "x", format="excel")

    def test_every_adapter_has_a_title_of_its_own(self):
        assert len({adapter.title for adapter in ADAPTERS}) == len(ADAPTERS)

    def test_a_broken_first_line_does_not_hide_json_lines(self):
        log = parse_log(b'{"vin":"V1","recor\n' + JSONL, "x")
        assert (log.format, len(log.rows), len(log.rejects)) == ("canonical-jsonl", 1, 1)


class TestRefusals:
    @pytest.mark.parametrize("data", [b"", b"\n\r\n \t", b"\xef\xbb\xbf", b"\0" * 10_000, gzip.compress(b"")])
    def test_empty(self, data):
        assert refusal(data).reason == "empty_object"

    def test_packed_and_cut_short(self):
        assert refusal(gzip.compress(CSV * 1000)[:-20]).reason == "truncated_compression"

    def test_too_large_by_the_setting(self, monkeypatch):
        monkeypatch.setenv("PACKWATCH_OBJECT_BYTES_MAX", "1000")
        settings.cache_clear()
        try:
            assert refusal(gzip.compress(CSV * 1000)).reason == "too_large"
        finally:
            monkeypatch.undo()
            settings.cache_clear()

    def test_a_petrol_car_is_named_by_its_fields(self):
        error = refusal(b'"SECONDS";"PID";"VALUE";"UNITS";\n"1.5";"Engine RPM";"800";"rpm";\n')
        assert error.reason == "unknown_format"
        assert "'SECONDS', 'PID', 'VALUE', 'UNITS'" in str(error)
        for adapter in ADAPTERS:
            assert adapter.title in str(error)

    @pytest.mark.parametrize(
        ("data", "found"),
        [
            (b"make,model,year\nNissan,Leaf,2019\n", "'make', 'model', 'year'"),  # a list of cars
            (b"vin,note\nV1,x\n", "'vin', 'note'"),
            (b"hello", "text of 1 fields beginning with 'hello'"),
            (b'[{"recorded_at": 1}]', "one canonical object a line"),
            (b'{"a": 1}\n{"a": 2}\n', "JSON beginning with"),
            (b"<html><body>404</body></html>", "<html>"),
            (b"%PDF-1.7 \x00\x01", "a PDF"),
            (b"SQLite format 3\x00", "SQLite"),
            (b"BZh91AY&SY", "bzip2"),
            (b"\xfd7zXZ\x00", "xz"),
        ],
    )
    def test_other_content(self, data, found):
        error = refusal(data)
        assert error.reason == "unknown_format"
        assert found in str(error)

    def test_a_zip_is_to_be_unpacked_first(self):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("log.csv", CSV)
        error = refusal(buffer.getvalue())
        assert error.reason == "unknown_format"
        assert "unpack it" in str(error)

    @pytest.mark.parametrize("seed", range(20))
    def test_noise(self, seed):
        assert refusal(random.Random(seed).randbytes(5000)).reason == "unknown_format"

    @pytest.mark.parametrize("codec", ["utf-16", "utf-16-le", "utf-16-be"])
    @pytest.mark.parametrize("text", [CSV, JSONL, ",".join(GENERATIONS[4]).encode()], ids=["csv", "jsonl", "leafspy"])
    def test_utf_16(self, codec, text):
        error = refusal(text.decode().encode(codec))
        assert error.reason == "wrong_encoding"
        assert "Save it as UTF-8" in str(error)

    @pytest.mark.parametrize("text", [CSV, JSONL], ids=["csv", "jsonl"])
    def test_another_encoding_in_a_canonical_log(self, text):
        error = refusal(text + text.splitlines()[-1].replace(b"V1", "VÄ".encode("latin-1")))
        assert error.reason == "wrong_encoding"
        assert "0xc4" in str(error)

    @pytest.mark.parametrize("data", [b"vin,recorded_at,soc_percent", b"vin,recorded_at,soc_percent\r\n\r\n"])
    def test_header_alone(self, data):
        assert refusal(data).reason == "header_without_rows"

    def test_parquet_without_rows(self):
        assert (
            refusal(write_log(pa.table({"vin": pa.array([], pa.string())}), "x.parquet")).reason
            == "header_without_rows"
        )

    @pytest.mark.parametrize("cut", [4, 10, 200, -1, -9])
    def test_parquet_cut_short(self, cut):
        assert refusal(PARQUET[:cut]).reason == "corrupt_parquet"

    def test_parquet_damaged_inside(self):
        damaged = PARQUET[: len(PARQUET) // 2] + b"\xff" * 40 + PARQUET[len(PARQUET) // 2 + 40 :]
        assert refusal(damaged).reason == "corrupt_parquet"


class TestHints:
    HINTS = {"vin": "H1", "make": "Nissan", "model": "Leaf 40", "year": "2019"}  # noqa: RUF012

    def test_they_fill_what_the_log_lacks(self):
        row = parse_log(b"recorded_at,soc_percent\n2024-01-02T03:04:05Z,50\n", "x", self.HINTS).rows.to_pylist()[0]
        assert (row["vin"], row["make"], row["model"], row["year"]) == ("H1", "Nissan", "Leaf 40", 2019)

    def test_what_the_log_says_wins_row_by_row(self):
        data = b"vin,year,recorded_at,soc_percent\nV1,2012,2024-01-02T03:04:05Z,50\n,,2024-01-02T03:04:06Z,51\n"
        rows = parse_log(data, "x", self.HINTS).rows
        assert rows["vin"].to_pylist() == ["V1", "H1"]
        assert rows["year"].to_pylist() == [2012, 2019]

    def test_blank_hints_are_none(self):
        assert parse_log(CSV, "x", {"make": " ", "year": ""}).rows["make"].to_pylist() == [None]

    def test_a_year_that_is_none(self):
        error = refusal(CSV, hints={"year": "new"})
        assert error.reason == "unreadable_hint"
        assert "year=new" in str(error)

    def test_other_hints_are_ignored(self):
        assert parse_log(CSV, "x", {"color": "red"}).rows["vin"].to_pylist() == ["V1"]
