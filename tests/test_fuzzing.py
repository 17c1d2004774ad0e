"""A few seconds of what benchmarks/fuzz.py does for hours; and the texts that it found to be misread."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st

from adcli.cli.options import parse_size, share
from adcli.errors import UsageError
from adcli.parts import Grouping
from adcli.sizes import MinSize
from tests.cli.processes import needs_fork
from tests.conftest import Adcli
from tests.fuzzing.cases import Case, Target, Violation
from tests.fuzzing.image_files import image_target
from tests.fuzzing.model_files import checked_blocks, lookup3, model_target
from tests.fuzzing.result_folders import result_target
from tests.fuzzing.runner import attempt
from tests.fuzzing.texts import READERS, check_text, text_target

quick = settings(max_examples=300, deadline=None, derandomize=True, database=None)


def nothing_fails(target: Target, cases: int, folder: Path, least_kinds: int) -> None:
    """`cases` of the target, of which none fails, and which end in so many ways at least."""
    came = set()
    for number in range(cases):
        how, failure = attempt(target, 20250, number, folder / str(number))
        assert not failure, f"case {number}: {failure}"
        came.add(how)
    assert len(came) >= least_kinds, came


def test_damaged_images_are_read_or_refused(tmp_path: Path) -> None:
    nothing_fails(image_target(), 1500, tmp_path, 30)


def test_damaged_models_are_read_or_refused(tmp_path: Path) -> None:
    (tmp_path / "seeds").mkdir()
    nothing_fails(model_target(tmp_path / "seeds"), 150, tmp_path, 15)


def test_damaged_texts_are_read_or_refused(tmp_path: Path) -> None:
    nothing_fails(text_target(), 800, tmp_path, 25)


def test_damaged_results_are_compared_continued_or_refused(
    dataset: Path, model: Path, adcli: Adcli, tmp_path: Path
) -> None:
    def run(*words: object) -> None:
        assert adcli(*words).code == 0

    (tmp_path / "seeds").mkdir()
    nothing_fails(result_target(tmp_path / "seeds", dataset, model, run), 40, tmp_path, 15)


@needs_fork
def test_whatever_a_case_does_is_recorded_and_saved(tmp_path: Path) -> None:
    """In a process of its own, in which nothing has begun threads."""
    script = f"""
import os, time
from pathlib import Path
from tests.fuzzing import runner
from tests.fuzzing.cases import Target, Violation

def check(kind, case, folder):
    number = int(case["n"])
    if number == 3:
        raise Violation("three")
    if number == 5:
        os.abort()
    if number == 9:
        time.sleep(60)
    if number == 13:
        kept.append(bytearray(os.urandom(1 << 20)) * 300)
    return "fine"

kept = []
runner.CASE_SECONDS, runner._RESTART, runner.GROWTH_MB = 1.0, 4, 100
class Numbered(Target):
    def case(self, seed, number):
        return "a seed", {{"n": b"%d" % number}}

report = runner.fuzz(Numbered("numbers", None, check), 1, 4.0, 1, Path({str(tmp_path)!r}))
print(sorted((one["case"], one["what"].split(":")[0].split()[0]) for one in report.failures ))
print(report.outcomes["fine"] > 8, (Path({str(tmp_path)!r}) / "numbers-1-5" / "case" / "n").read_text())
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[1], capture_output=True, text=True)
    assert done.stdout.splitlines() == [
        "[(3, 'Traceback'), (5, 'crash'), (9, 'hang'), (13, 'memory')]",
        "True 5",
    ], done.stderr


def test_the_same_seed_gives_the_same_cases(tmp_path: Path) -> None:
    for make in (image_target, text_target):
        one, other = make(), make()
        assert all(one.case(3, number) == other.case(3, number) for number in range(50))
        assert one.case(3, 0) != one.case(4, 0)


def test_the_checksum_is_that_of_hdf5(tmp_path: Path) -> None:
    target = model_target(tmp_path)
    assert target.name == "models"
    data = (tmp_path / "model.h5").read_bytes()
    assert len(checked_blocks(data)) > 10
    assert lookup3(b"") == 0xDEADBEEF  # as the comments of lookup3.c have it
    assert lookup3(b"Four score and seven years ago") == 0x17770551


@pytest.mark.parametrize("error", [Violation("of no kind"), KeyError("of no kind"), SystemExit("of no kind")])
def test_a_violation_and_an_unstated_exception_are_failures(error: BaseException, tmp_path: Path) -> None:
    def check(kind: str, case: Case, folder: Path) -> str:
        raise error

    came, failure = attempt(Target("failing", lambda rng: ("", {}), check), 1, 1, tmp_path / "case")
    assert came.startswith("FAILED")
    assert "of no kind" in failure
    assert not (tmp_path / "case").exists()


# Texts that were misread: each ended the command as a defect of adcli.


@pytest.mark.parametrize("text", ["snan", "1e999999999%", "sNaN%", "-snan", "nan%1", "1" * 200 + "e999999%"])
def test_what_no_decimal_holds_is_no_share(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="is no share"):
        share(text)


@pytest.mark.parametrize("text", ["9" * 5000, "256x" + "9" * 5000, "٢٥٦", "256x", "x256", "1e3", "-1"])
def test_what_is_no_size_of_an_image_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not an image size"):
        parse_size(text)


@pytest.mark.parametrize("pattern", ["x{99999999999999999999}", "(" * 5000 + ")" * 5000, "[", "(?P<1>x)", "(?<=a+)"])
def test_an_expression_that_cannot_be_compiled_is_refused(pattern: str) -> None:
    with pytest.raises(UsageError, match="is no regular expression"):
        Grouping(pattern)


# Searched by another program, which also shrinks what it finds.


@quick
@given(
    st.sampled_from(sorted(set(READERS) - {"dataset", "samples", "manifest"})),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
)
def test_any_text_is_read_or_refused(reader: str, text: str) -> None:
    assert check_text(reader, {"text": text.encode()}, Path()).startswith(reader)


numbers = st.one_of(st.integers(1, 10**6).map(str), st.decimals("0.001", 10**4, places=3).map(str))
lengths = st.tuples(numbers, st.sampled_from(["px", "mm", "um", ""])).map("".join)
areas = st.tuples(numbers, st.sampled_from(["px", "mm2", ""])).map("".join)


@quick
@given(areas, st.none() | lengths, st.none() | lengths)
def test_a_minimum_size_comes_back_from_its_own_words(area: str, length: str | None, width: str | None) -> None:
    words = area + "".join(f":{name}={one}" for name, one in (("length", length), ("width", width)) if one is not None)
    size = MinSize.parse(words)
    assert MinSize.parse(str(size)) == size
    assert size.pixels(100, 100, 0.05).area >= 1


@quick
@given(st.decimals(0, 1, places=9), st.sampled_from(["", " ", "  "]))
def test_a_share_in_percent_is_a_hundredth(number: object, space: str) -> None:
    assert share(f"{number}{space}%") == pytest.approx(float(number) / 100, rel=1e-15)
    assert share(f" {number} ") == float(number)
