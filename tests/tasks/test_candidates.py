"""What `--method auto` tries, as options to paste."""

from __future__ import annotations

import shlex

import pytest
import typer

from adcli.cli.app import app
from adcli.cli.options import parse_size
from adcli.tasks.candidates import CANDIDATES, Candidate, recipe_of
from adcli.tasks.recipe import Recipe, default_size


@pytest.mark.parametrize("candidate", CANDIDATES, ids=lambda candidate: candidate.name)
def test_the_words_of_a_candidate_are_options_that_fit_takes_for_it(candidate: Candidate) -> None:
    fit = typer.main.get_command(app).commands["fit"]
    asked = fit.make_context("fit", ["good", *shlex.split(candidate.words())]).params
    recipe = recipe_of(candidate, Recipe())
    assert (asked["method"], tuple(asked["param"]), asked["backbone"]) == (
        recipe.method,
        recipe.params,
        recipe.backbone,
    )
    assert tuple(filter(None, asked["layers"].split(","))) == recipe.layers
    size = parse_size(asked["image_size"]) if asked["image_size"] else default_size("adcli")
    assert size == recipe.image_size
