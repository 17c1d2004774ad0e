"""The papers' protocol through the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from adcli.store import load
from tests.conftest import QUICK, Adcli


def test_the_middle_alone_is_learnt_scored_and_evaluated(dataset: Path, adcli: Adcli, tmp_path: Path) -> None:
    model = tmp_path / "m.h5"
    ran = adcli("fit", dataset / "train", "-m", model, *QUICK, "--protocol", "paper", "--json")
    assert ran.code == 0, ran.err
    spec, geometry = load(model).model.spec, load(model).model.geometry
    assert geometry.crop.side == spec.image_size and json.loads(ran.out)["protocol"] == "paper"
    share = 1 - np.prod(geometry.crop.side) / np.prod(geometry.crop.resized)
    assert json.loads(adcli("info", "-m", model, "--json").out)["uninspected_share"] == share
    ran = adcli("eval", dataset, "-m", model, "--json")
    row = next(row for row in json.loads(ran.out)["rows"] if row["kind"] == "all")
    assert ran.code == 0 and abs(row["uninspected_share"] - share) < 0.03


def test_what_is_told_of_the_margin_names_no_region_of_interest(dataset: Path, adcli: Adcli, tmp_path: Path) -> None:
    model, out = tmp_path / "m.h5", tmp_path / "out"
    words = ("fit", dataset / "train", "-m", model, *QUICK, "--protocol", "paper")
    said = [
        adcli(*words),
        adcli("score", dataset / "test", "-m", model, "--out", out, "--html"),
        adcli("eval", dataset, "-m", model),
    ]
    texts = [" ".join((ran.out + ran.err).split()) for ran in said] + [(out / "report.html").read_text()]
    assert all("not inspected" in text or "is not inspected" in text for text in texts)
    assert not any("region of interest" in text for text in texts)


def test_without_a_size_it_is_the_papers(dataset: Path, adcli: Adcli, tmp_path: Path) -> None:
    quick = [word for word in QUICK if word not in ("--image-size", QUICK[QUICK.index("--image-size") + 1])]
    ran = adcli("fit", dataset / "train", "-m", tmp_path / "m.h5", *quick, "--protocol", "paper", "-p", "dims=10")
    assert ran.code == 0, ran.err
    assert load(tmp_path / "m.h5").model.spec.image_size == (224, 224)


def test_what_cannot_be_is_refused_in_a_sentence(dataset: Path, adcli: Adcli, tmp_path: Path) -> None:
    for words, says in (
        (("--protocol", "papers"), "adcli or paper"),
        (("--protocol", "paper", "--tile", "48"), "leave one out"),
        (("--protocol", "paper", "--roi", "0%,0%,2%,2%"), "outside the middle"),
    ):
        ran = adcli("fit", dataset / "train", "-m", tmp_path / "m.h5", *QUICK, *words)
        assert (ran.code, says in ran.err, ran.err.count("\n")) == (2, True, 1), ran.err
