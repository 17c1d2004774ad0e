"""Lists of limit samples as people and spreadsheets write them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from adcli.tasks.samples import read_samples
from tests.conftest import Adcli
from tests.tasks.conftest import Write


@pytest.mark.parametrize(
    ("head", "body", "encoding"),
    [
        ("image,expected", "{},NG", "utf-8"),
        ("image,expected", "{},NG", "utf-8-sig"),
        ("path,verdict", "{},ng", "utf-8"),
        ("Image , EXPECTED", " {} , Ng ", "utf-8"),
        ("image;expected", "{};NG", "utf-8-sig"),
        ("image;expected;note", "{};NG;left, above", "utf-8"),
        ("expected;region;image", "NG;0 0 96 96;{}", "utf-8"),
        ("note,expected,image", '"scratch, ""deep""",NG,{}', "utf-8"),
        ("image,expected,,", "{},NG,,", "utf-8"),
        ("image,expected,note", "{},NG", "utf-8"),
        ("image,expected", "{},NG,,,", "utf-8"),
        ("image,verdict,score,expected", "{},OK,0.5,NG", "utf-8"),
        ("image,expected,region", "{},NG,", "utf-8"),
        ("\n\nimage,expected", "\n,\n{},NG\n\n", "utf-8"),
        ("image,expected\r", "{},NG\r", "utf-8"),
        ('"image","expected"', '"{}","NG"', "utf-8"),
        ("image,expected,a;b;c", "{},NG,1;2;3", "utf-8"),
    ],
)
def test_lists_as_people_and_spreadsheets_write_them_are_read(
    head: str, body: str, encoding: str, known: Any, write: Write, verify: Any
) -> None:
    image = known["NG"]["image"]
    ran = verify(write(head, body.format(image), encoding=encoding), "--json")
    assert ran.code == 0
    (row,) = json.loads(ran.out)["rows"]
    assert (row["image"], row["expected"], row["verdict"]) == (image, ["NG"], "NG")


def test_the_table_that_score_writes_is_a_list_of_samples(
    known: Any, dataset: Path, band_model: Path, verify: Any, adcli: Adcli, tmp_path: Path
) -> None:
    assert adcli("score", dataset / "test", "--out", tmp_path, "-m", band_model).code == 0
    table = tmp_path / "results.csv"
    table.write_text(table.read_text().replace("largest_bbox", "region"))
    assert verify(table).code == 0


@pytest.mark.parametrize(
    ("lines", "line", "said"),
    [
        (["picture,expected", "a.png,NG"], 1, "no column image"),
        (["image,should be", "a.png,NG"], 1, "no column expected"),
        (["image;should be", "a.png;NG"], 1, "no column expected"),
        (["image,expected,Image", "a.png,NG,b.png"], 1, "names the column 'image' twice"),
        (["image,expected,note,note", "a.png,NG,,"], 1, "names the column 'note' twice"),
        (["image,expected", "a.png,OK", "b.png,BAD"], 3, "expects 'BAD'"),
        (["image,expected", "a.png,ERROR"], 2, "expects 'ERROR'"),
        (["image,expected", "a.png,"], 2, "expects ''"),
        (["image,expected", "a.png,NG/"], 2, "expects ''"),
        (["image,expected", "a.png"], 2, "expects ''"),
        (["image,expected", "", ",NG"], 3, "names no image"),
        (["image,expected", "a,b.png,NG"], 2, "has 3 cells under 2 columns"),
        (["image,expected,note", "a,b.png,NG"], 2, "expects 'b.png'"),
        (["image,expected", "a.png,NG,b"], 2, "has 3 cells under 2 columns"),
        (["image,expected,region", "a.png,NG,1 2 3"], 2, "has the region '1 2 3'"),
        (["image,expected,region", "a.png,NG,1 2 3 -4"], 2, "has the region"),
        (["image,expected,region", "a.png,NG,1 2 3 0"], 2, "has the region"),
        (["image,expected,region", "a.png,NG,1.5 2 3 4"], 2, "has the region"),
        (["image,expected,region", "a.png,NG,1 2 3 4 5"], 2, "has the region"),
        (["image,expected,region", f"a.png,NG,1 2 3 {'9' * 5000}"], 2, "has the region"),
        (["image,expected,region", "a.png,OK,1 2 3 4"], 2, "may be OK"),
        (["image,expected,region", "a.png,CHECK/OK,1 2 3 4"], 2, "may be OK"),
        (["image,expected,note", 'a.png,NG,"two', 'lines"', "b.png,bad,"], 4, "expects 'bad'"),
        (["image,expected,note", "a.png,NG,", 'b.png,NG,"open'], 3, "is no CSV"),
        (["image,expected", "a.png,NG", "b\0.png,NG"], 3, "NUL byte"),
    ],
)
def test_a_list_that_cannot_be_meant_is_refused_with_the_number_of_the_line(
    lines: list[str], line: int, said: str, write: Write, verify: Any
) -> None:
    samples = write(*lines)
    ran = verify(samples)
    assert (ran.code, ran.out) == (2, "")
    assert f"{samples} line {line} " in ran.sentence
    assert len(ran.sentence) < 400
    assert said in ran.sentence
    assert list(samples.parent.iterdir()) == [samples]


def test_texts_that_are_not_utf8_are_refused_and_say_where(write: Write, verify: Any) -> None:
    ran = verify(write("image,expected", "a.png,NG", "größe.png,NG", encoding="latin-1"))
    assert (ran.code, "line 3 is not UTF-8" in ran.sentence) == (2, True)
    ran = verify(write("image,expected", "a.png,NG", encoding="utf-16"))
    assert (ran.code, "line 1 holds a NUL byte" in ran.sentence) == (2, True)


def test_no_list_and_no_samples_are_refused(write: Write, verify: Any, tmp_path: Path) -> None:
    for samples, said in [
        (tmp_path / "none.csv", "there is no list of samples"),
        (tmp_path, "there is no list of samples"),
        (write("image,expected", name="head.csv"), "lists no samples"),
        (write("image,expected", "", ",", " ", name="blank.csv"), "lists no samples"),
        (write(name="empty.csv"), "names no column image"),
    ]:
        ran = verify(samples)
        assert (ran.code, ran.out) == (2, "")
        assert said in ran.sentence


def test_a_list_that_checks_one_side_only_is_said_to(known: Any, write: Write, verify: Any) -> None:
    ok, ng = known["OK"]["image"], known["NG"]["image"]
    assert "finds nothing would pass" in verify(write("image,expected", f"{ok},OK")).sentence
    assert "rejects everything would pass" in verify(write("image,expected", f"{ng},NG")).sentence
    assert verify(write("image,expected", f"{ok},OK", f"{ng},NG")).err == ""


def test_a_list_names_the_line_of_each_sample(write: Write) -> None:
    samples, digest = read_samples(
        write("image,expected,note", "", "a.png,ng/Check/NG,", 'b.png,OK,"x\ny"', "c.png,ok")
    )
    assert [(one.line, one.given) for one in samples] == [(3, "a.png"), (4, "b.png"), (6, "c.png")]
    assert [verdict.value for verdict in samples[0].expected] == ["NG", "CHECK"]
    path = samples[0].path.parent / "samples.csv"
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()
