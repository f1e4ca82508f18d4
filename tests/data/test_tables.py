"""Tables as people save them: any encoding and separator comes back by cells, and a broken one is named by its row."""

import csv
import io
import random

import pytest

from fedxray.core.errors import UserError
from fedxray.data.tables import SUSPECTS, parse_table, plain_name
from fedxray.data.words import clean, nearest, normalised, word

ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be")
MARKS = {"utf-16-le": b"\xff\xfe", "utf-16-be": b"\xfe\xff"}


def encoded(text, encoding="utf-8"):
    return MARKS.get(encoding, b"") + text.encode(encoding)


def parse(text, **declared):
    return parse_table(encoded(text), "t.csv", declared)


def cell(rng):
    """Text that a cell may have: of separators, quotes, other scripts, numbers and words for nothing."""
    if rng.random() < 0.3:
        return rng.choice(
            ["", "007", "7", "7.0", "1e5", "NA", "nan", "inf", "None", "true", "-1", "Köln", "µ", "漢字", "😀"]
        )
    return "".join(rng.choice("ab,;\t\"' |=\\/.\u00e9\u0301\u00a0-") for _ in range(rng.randrange(1, 9)))


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_any_cells_come_back_from_any_encoding_and_separator(encoding, separator):
    rng = random.Random(f"{encoding}{separator}")
    for _ in range(60):
        names = ["image", "label", "patient", "site", "notes"]
        rng.shuffle(names)
        rows = [[f"x{cell(rng)}x" if name != "notes" else '\n\r"' for name in names] for _ in range(5)]
        file, end = io.StringIO(), rng.choice(["\n", "\r\n"])
        quoting = rng.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
        writer = csv.writer(file, delimiter=separator, lineterminator=end, quoting=csv.QUOTE_ALL)
        csv.writer(file, delimiter=separator, lineterminator=end, quoting=quoting).writerow(names)
        writer.writerows(rows)
        table = parse_table(encoded(file.getvalue(), encoding), "t.csv", {})
        for place, name in enumerate(names):
            if name != "notes":
                assert table.columns[name] == [clean(row[place]) for row in rows]
        assert table.unused == ["notes"]
        assert table.headers == {name: name for name in names if name != "notes"}


def test_cells_stay_text_and_lose_only_the_spaces_at_their_ends():
    table = parse("image,label,patient\na,1, 007 \nb,0,7\nc,0,\u00a0NA\t\nd,1,\ne,1,p 1\n")
    assert table.columns["patient"] == ["007", "7", "NA", "", "p 1"]
    assert clean("\ufeff Mu\u0308 \u200b") == "Mü"


def test_rows_are_counted_as_an_editor_counts_lines():
    table = parse('\n\nimage,label,"two\nlines"\na,1,"two\nlines"\n\n,,\nb,0,x\n')
    assert table.rows == [5, 9]  # a blank row, and one of empty cells, are no rows
    assert table.unused == ["two lines"]
    assert table.at(1) == "t.csv: row 9"


@pytest.mark.parametrize(
    ("header", "declared", "roles"),
    [
        ("image,label,patient", {}, {"patient": "patient"}),
        ("Image, LABEL ,Patient", {}, {"image": "Image", "label": "LABEL", "patient": "Patient"}),
        ("image,label,patient_id", {}, {"patient": "patient_id"}),
        ("image,label,Patient ID", {}, {"patient": "Patient ID"}),
        ("image,label,PatientID", {}, {"patient": "PatientID"}),
        ("image,label,subject_id", {}, {}),
        ("image,label,subject_id", {"patient": "Subject-ID"}, {"patient": "subject_id"}),
        (
            "Image Index,Finding Labels,x",
            {"image": "Image Index", "label": "finding labels"},
            {"label": "Finding Labels"},
        ),
        ("label,patient,x", {"image": "patient"}, {"image": "patient"}),  # a declared column has no other role
        ("image,label,class", {"label": "class"}, {"label": "class"}),
    ],
)
def test_columns_by_their_names_or_by_declaration(header, declared, roles):
    table = parse(f"{header}\na,0,1\n", **declared)
    assert roles.items() <= table.headers.items()
    assert ("patient" in table.headers) == ("patient" in roles)
    assert sorted([*table.headers.values(), *table.unused]) == sorted(map(clean, header.split(",")))


def test_a_column_that_may_be_the_patient_is_not_taken_for_it():
    table = parse("image,label,Subject ID,mrn,age\na,0,1,2,3\n")
    suspects = [name for name in table.unused if any(part in plain_name(name) for part in SUSPECTS)]
    assert suspects == ["Subject ID", "mrn"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "^t.csv: empty; it needs a row of names of columns, and a row for each image$"),
        ("\n \n,,\n", "^t.csv: empty"),
        ("image,label\n", "^t.csv: no rows below the names of columns"),
        ("image,kind\na,1\n", r"no column label; its columns are image, kind\. .*dataset\.columns: \{label: NAME\}"),
        ("file,label\na,1\n", r"no column image; .*dataset\.columns: \{image: NAME\}"),
        (
            "image,label\na,1,\nb,1,\n",
            r"row 2 has 3 cells and row 1 2; correct it \(a comma inside a cell needs quotes",
        ),
        ("image,label\na,1\nb\n", "row 3 has 1 cells and row 1 2"),
        ('image,label\na,1\n"b,0\nc,1\n', "row 3: unexpected end of data; look for a stray quote there"),
        ('image,label\n"a"x,1\n', "row 2: .*; look for a stray quote there"),
        (
            'image,label\n"a,1\nb",0\nc,1\n',
            "row 2: column image has a line's end inside a cell; look for a stray quote",
        ),
        ('image,label\na,"1\nb,0"\nc,1\n', "row 2: column label has a line's end inside a cell"),
        ("image,label,label\na,1,0\n", "two columns are called label; rename or remove one"),
        ("image,label,patient,patient_id\na,1,p,q\n", "columns patient and patient_id: say which is the patient"),
        ("image,label,\na,1,x\n", "column 3 has cells and no name; name or remove it"),
        ("image,label\na,1\0\n", "no text"),
        (f"image,label\na,{'1' * 200_000}\n", "row 2: .*stray quote"),  # longer than a cell may be
    ],
)
def test_a_table_that_is_none(text, said):
    with pytest.raises(UserError, match=said):
        parse(text)


@pytest.mark.parametrize("column", ["Diagnosis", "Finding  Labels", ""])
def test_a_declared_column_that_is_not_there(column):
    with pytest.raises(UserError, match=f"^t.csv: no column {column}; its columns are image, label, x$"):
        parse("image,label,x\na,1,2\n", label=column)


def test_other_encodings_are_named_by_their_row():
    for end in ("\n", "\r\n", "\r"):
        text = "image,label,site\na,1,us\nb,0,Köln\n".replace("\n", end)
        with pytest.raises(UserError, match="row 3 is not UTF-8; save it as UTF-8"):
            parse_table(text.encode("cp1252"), "t.csv", {})
    for encoding in ("utf-16-le", "utf-32"):  # without a mark, or of a kind that no program of tables writes
        with pytest.raises(UserError, match=r"no text|not UTF-8"):
            parse_table("image,label\na,1\n".encode(encoding), "t.csv", {})
    with pytest.raises(UserError, match="not UTF-8"):
        parse_table("image,label\na,1\n".encode("utf-16")[:-1], "t.csv", {})  # cut short


def test_the_comma_at_each_line_end_of_nih_is_no_column():
    table = parse("image,label,\na,1,\nb,0,\n")
    assert table.columns == {"image": ["a", "b"], "label": ["1", "0"]}
    assert table.unused == []


def test_any_bytes_are_a_table_or_one_line():
    rng = random.Random(1)
    parts = [
        b"image",
        b"label",
        b"patient",
        b",",
        b";",
        b"\t",
        b'"',
        b"\n",
        b"\r\n",
        b"\r",
        b"\xff\xfe",
        b"\0",
        b"\xe9",
    ]
    parts += [b"a.png", b"NORMAL", b"1", b" ", b"\xef\xbb\xbf", "ü".encode(), b"\xff"]
    tables = 0
    for _ in range(3000):
        start = rng.choice([b"image,label\n", b"image;label;patient\n", b""])
        data = start + b"".join(rng.choice(parts) for _ in range(rng.randrange(12)))
        table, error = None, ""
        try:
            table = parse_table(data, "t.csv", {})
        except UserError as refused:
            error = str(refused)
        assert len(error.splitlines()) == (table is None)
        if table:
            tables += 1
            assert {len(column) for column in table.columns.values()} == {len(table.rows)}
    assert tables > 20


def test_words_are_compared_without_case_spaces_and_zeros_behind_a_point():
    assert word(" No  Finding\u00a0") == word("no finding") == "no finding"
    assert [word(text) for text in ("1.0", "1.00", "-1.0", "1.5", "01", "+1.0")] == ["1", "1", "-1", "1.5", "01", "+1"]
    assert word("STRASSE") == word("straße")
    assert word("Cafe\u0301") == word("café")


def test_two_meanings_of_one_word_are_refused():
    assert normalised({"Covid": "drop", "COVID ": "drop"}, "labels") == {"covid": "drop"}
    with pytest.raises(UserError, match=r"^labels: 'COVID' stands there twice, with two meanings; keep one$"):
        normalised({"Covid": "drop", "COVID": "1"}, "labels")


def test_the_nearest_known_word():
    words = {"normal": "0", "pneumonia": "1", "no finding": "0"}
    assert nearest("Pnuemonia", words) == "the nearest known is 'pneumonia'"
    assert nearest("No Findings", words) == "the nearest known is 'no finding'"
    assert nearest("fracture!", words) == "known are 'normal', 'pneumonia', 'no finding'"
