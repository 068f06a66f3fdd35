"""CSVs as Excel, pandas and editors leave them."""

from pathlib import Path

import pytest

from ser.config import DataConfig
from ser.data.csv_input import read_csv_input, read_transcripts
from ser.data.tables import read_clips, read_dataset
from ser.runtime.errors import UserError

HEADER = ("id", "path", "label")
ROWS = (("a", "a.wav", "0"), ("b", "b.wav", "1"))
PLAIN = "id,path,label\na,a.wav,0\nb,b.wav,1\n"


def written(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "train.csv"
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize(
    "text",
    [
        PLAIN + ",,\r\n,,\r\n",
        PLAIN + " \n",
        PLAIN + '\t\n"",,\n',
        PLAIN + "\x1a",
        PLAIN + "\x1a\r\n",
        PLAIN.rstrip() + "\x1a",
        PLAIN + "\0" * 400,
        "\n\n,,\n" + PLAIN,
        PLAIN.replace("\nb", "\n,,\n\nb"),
        PLAIN.replace("\n", "\r"),
        PLAIN.replace("\n", "\r\r\n"),
        PLAIN.replace(",0", ",0,,"),
        PLAIN.replace(",", ";"),
        PLAIN.replace(",", "\t"),
        "sep=;\r\n" + PLAIN.replace(",", ";"),
        '"sep=|"\n' + PLAIN.replace(",", "|"),
        "\ufeff\ufeff" + PLAIN,
        "\u200b" + PLAIN.replace("path", "path\u200b ").replace("b.wav", "b\ufeff.wav").replace("\na", "\n\u2060a"),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_what_excel_and_editors_leave_changes_nothing(tmp_path, text, encoding):
    source = read_csv_input(written(tmp_path, text, encoding))
    assert (source.header, source.rows) == (HEADER, ROWS)


def test_the_index_column_of_pandas_is_no_content(tmp_path):
    for name in ("", "Unnamed: 0"):
        source = read_csv_input(written(tmp_path, f"{name},id,path,label\n0,a,a.wav,0\n1,,,\n2,b,b.wav,1\n"))
        assert source.column("id") == ("a", "b") and source.numbers == (2, 4)


def test_delimiters_that_excel_leaves_out_after_empty_cells_are_filled_up_and_missing_cells_are_not(tmp_path):
    source = read_csv_input(written(tmp_path, "id,label,note\na,0,\nb,1\n"))
    assert source.rows == (("a", "0", ""), ("b", "1", ""))
    with pytest.raises(UserError, match="line 3: 2 cells where the header has 3"):
        read_csv_input(written(tmp_path, "id,path,label\na,a.wav,0\nb,b.wav\n"))


def test_rows_are_counted_as_a_spreadsheet_shows_them(tmp_path):
    config = DataConfig(root=str(written(tmp_path, 'id,path,text,label\na,a.wav,"two\nlines",0\n\n,c.wav,x,1\n')))
    with pytest.raises(UserError, match="1 row without an id: row 4"):
        read_dataset(config)
    written(tmp_path, 'id,path,text,label\na,a.wav,"two\nlines",0\n\nb,b.wav,x,\n')
    with pytest.raises(UserError, match="1 row without a label: row 4"):
        read_dataset(config)
    with pytest.raises(UserError, match=r"line 4 \(row 3 of a spreadsheet\): 2 cells"):
        read_csv_input(written(tmp_path, 'id,path,label\na,"a\nb",0\nb,b.wav\n'))


def test_a_double_byte_order_mark_hides_no_ids(tmp_path):
    assert read_clips(written(tmp_path, "\ufeff\ufeffid,path\n\u200b7,x.wav\n"), DataConfig()).ids == ("7",)


def test_a_file_whose_name_has_an_invisible_sign_is_found(tmp_path):
    (tmp_path / "a\u200b.wav").touch()
    for name in ("a\u200b.wav", "a.wav"):
        assert read_clips(written(tmp_path, f"path\n{name}\n"), DataConfig()).paths[0].is_file()


def test_nobody_says_null_or_an_invisible_sign(tmp_path):
    path = written(tmp_path, "id,text\na,NaN\nb,null\nc,\u200b\nd,None\ne, 안녕\u200b  하세요\nf,Nana\n")
    said = {"a": "", "b": "", "c": "", "d": "", "e": "안녕 하세요", "f": "Nana"}
    assert read_transcripts(path) == said
    assert read_clips(path, DataConfig()).texts == tuple(said.values())


def test_bytes_that_are_no_text_are_refused_in_one_line(tmp_path):
    with pytest.raises(UserError, match="UTF-16 without its byte-order mark"):
        read_csv_input(written(tmp_path, PLAIN, "utf-16-le"))
    (tmp_path / "train.csv").write_bytes(b"\xff\xfe" + PLAIN.encode("utf-16-le")[:-1])
    with pytest.raises(UserError, match="not text"):
        read_csv_input(tmp_path / "train.csv")
