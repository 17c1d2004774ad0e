"""`fit --method auto`: which method, backbone and image size, decided on good images alone.

The images held out for the threshold have no part in it, so what is promised of the threshold stays what it is. Of the
images to learn from, some (the probes) are set apart; every candidate learns from others, and is measured on the probes
as they are and with synthetic defects planted on them (adcli.blemishes). Then the chosen one learns from all.

The rule: the criterion is the mean of the image AUROC of planted against clean probes and of the overlap (AUPRO up to
a false-positive rate of 5 %) on the planted defects. Of the candidates whose criterion lies behind the best by at most
one standard error of the difference (bootstrap over the probes; the one-standard-error rule of Breiman et al.,
Classification and Regression Trees, 1984, section 3.4.3), the first in the list wins, which is the cheapest to score
with. Nothing measured in seconds decides, so equal images give an equal choice on any day; unless a time budget ends
the trials early.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from adcli.detectors import check_image_stage, find_method
from adcli.detectors.params import parse_params
from adcli.errors import AdcliError, UsageError
from adcli.finding import FoundImage
from adcli.parts import Grouping
from adcli.tasks import fit as fit_task
from adcli.tasks.candidates import AUTO, Candidate, named, obstacle, recipe_of
from adcli.tasks.dividing import divide, identify
from adcli.tasks.engines import Machine, check_machine
from adcli.tasks.fit import Fitted
from adcli.tasks.recipe import Recipe, check_recipe
from adcli.tasks.trials import Probe, Trial, run_trial
from adcli.thresholds.estimators import Rule, check
from adcli.types import Progress, no_progress

LEAST = 12  # images to learn from: fewer leave too few probes to tell candidates apart
_LEAST_PROBES = 5
_LARGE = 10**6  # pixels: of larger images fewer are probed, as each takes its time in proportion
_RESAMPLES = 2000


@dataclass(frozen=True)
class AutoParams:
    """What a user may set with -p."""

    candidates: str = ""  # names separated by commas, see adcli methods; empty: all
    seconds: float = 0.0  # no further candidate is begun after so many; 0: all are tried, and the choice repeats itself
    learn: int = 500  # the most images that a candidate on trial learns from
    probe: int = 40  # the most images that defects are planted on, and at most a quarter of all


@dataclass(frozen=True)
class Choice:
    """What was tried, and why one was chosen."""

    trials: list[Trial]  # in the order of the list
    behind: list[tuple[float, float]]  # of each: how far behind the best, and the standard error of that difference
    winner: Trial
    why: str
    passed_over: list[tuple[str, str]]  # candidate, reason
    learnt: int  # images that each candidate learnt from
    probed: int  # images planted on
    planted: int  # defects on them that can be seen


def fit(
    images: Sequence[FoundImage],
    path: Path,
    recipe: Recipe,
    *,
    rule: Rule | None = None,
    machine: Machine | None = None,
    overwrite: bool = False,
    pictures: bool = True,
    progress: Progress = no_progress,
) -> Fitted:
    """As `adcli.tasks.fit.fit`, for a recipe whose method is auto; what it has tried is in `choice`.

    Raises:
        UsageError: there are too few images to choose by, besides what `fit` refuses.
    """
    machine = machine or Machine()
    fit_task.check_place(path, overwrite)  # before minutes are spent
    choice = choose(images, recipe, rule or Rule(), machine, progress)
    tried = ", ".join(f"{one.candidate.name} {one.measurement.criterion():.3f}" for one in choice.trials)
    chosen = f"{choice.winner.candidate.name}, by {AUTO} among {len(choice.trials)} ({tried})"
    fitted = fit_task.fit(
        images,
        path,
        replace(choice.winner.recipe, chosen=chosen),
        rule=rule,
        machine=machine,
        overwrite=overwrite,
        pictures=pictures,
        progress=progress,
    )
    return replace(fitted, choice=choice)


def choose(images: Sequence[FoundImage], recipe: Recipe, rule: Rule, machine: Machine, progress: Progress) -> Choice:
    """Tries every candidate that can be tried on these good images, of which those to be held out are left alone."""
    params = parse_params(AutoParams, list(recipe.params))
    _check(params)
    if recipe.leave_one_out:
        raise UsageError(
            "--method auto chooses by images that --leave-one-out would set the threshold on, and a threshold promises "
            "nothing of images that something was chosen by: hold images out, or name the method"
        )
    candidates = named(params.candidates)
    check_recipe(recipe)
    check(rule)
    check_machine(machine)
    known, _ = identify(images, machine.threads, progress)
    pairs, _ = divide({image: digest for image, (digest, _) in known.items()}, recipe, rule)
    sizes = [known[image][1] for image, _ in pairs]
    learnt, probes = _set_apart(pairs, recipe, params, float(np.median([height * width for height, width in sizes])))
    began = time.monotonic()
    trials: list[Trial] = []
    passed_over: list[tuple[str, str]] = []
    faults: list[AdcliError] = []
    for number, candidate in enumerate(candidates):
        progress("trying candidates", number, len(candidates))
        reason = obstacle(candidate, recipe, sizes)
        if reason is None and params.seconds and trials and time.monotonic() - began > params.seconds:
            reason = f"the {params.seconds:g} seconds were used up"
        if reason is None:
            try:
                if rule.image_stage is not None:
                    check_image_stage(candidate.method, find_method(candidate.method).detector(), rule.image_stage)
                on_trial = recipe_of(candidate, recipe)
                trials.append(run_trial(candidate, on_trial, learnt, probes, machine, _named(candidate, progress)))
            except AdcliError as error:
                faults.append(error)
                reason = str(error)
        if reason is not None:
            passed_over.append((candidate.name, reason))
    progress("trying candidates", len(candidates), len(candidates))
    if not trials:
        if faults:
            raise faults[0]
        raise UsageError(f"--method auto has nothing to try: {'; '.join(f'{n}: {r}' for n, r in passed_over)}")
    winner, behind, why = _decide(trials, recipe.seed)
    planted = int((~np.isnan(winner.measurement.overlap)).sum())
    return Choice(trials, behind, winner, why, passed_over, len(learnt), len(probes), planted)


def _check(params: AutoParams) -> None:
    least = {"learn": 2, "probe": _LEAST_PROBES, "seconds": 0}
    for name, value in least.items():
        if not getattr(params, name) >= value:
            raise UsageError(f"{name}={getattr(params, name)} must be at least {value}")


def _named(candidate: Candidate, progress: Progress) -> Progress:
    return lambda stage, done, total: progress(f"{candidate.name}: {stage}", done, total)


def _set_apart(
    pairs: Sequence[tuple[FoundImage, str]], recipe: Recipe, params: AutoParams, pixels: float
) -> tuple[list[FoundImage], list[Probe]]:
    """Images to learn from and to probe with, by content or by part, so that no order and few other files matter.

    Of images of more than a megapixel (`pixels`: the middle one's) fewer are probed.
    """
    grouping = Grouping(recipe.group_by) if recipe.group_by else None
    units: dict[str, list[tuple[FoundImage, str]]] = {}
    for image, digest in pairs:
        units.setdefault(digest if grouping is None else grouping.of(image), []).append((image, digest))
    if len(units) < LEAST:
        raise UsageError(
            f"{len(units)} good images or parts to learn from are too few to choose a method by: give at least "
            f"{LEAST}, or name one with --method (adcli methods lists them)"
        )
    ranked = sorted(units, key=lambda unit: hashlib.sha256(b"adcli auto " + unit.encode(errors="replace")).digest())
    wanted = min(max(_LEAST_PROBES, len(units) // 4), params.probe)
    wanted = max(_LEAST_PROBES, round(wanted * min(1.0, _LARGE / pixels)))
    probing = [units[unit][0] for unit in ranked[:wanted]]
    seen = {digest for _, digest in probing}
    learnt = [pair for unit in ranked[wanted:] for pair in units[unit] if pair[1] not in seen][: params.learn]
    donors = [*probing[1:], probing[0]]
    probes = [
        Probe(image.path, digest, donor.path) for (image, digest), (donor, _) in zip(probing, donors, strict=True)
    ]
    return [image for image, _ in learnt], probes


def _decide(trials: Sequence[Trial], seed: int) -> tuple[Trial, list[tuple[float, float]], str]:
    """The winner; how far behind the best each is, with the standard error of the difference; and why."""
    criteria = np.array([trial.measurement.criterion() for trial in trials])
    if np.isnan(criteria).all():
        raise UsageError(
            "no synthetic defect can be seen on these images, so nothing tells the candidates apart: name one with "
            "--method"
        )
    best = int(np.nanargmax(criteria))
    n = len(trials[0].measurement.overlap)
    counts = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), _RESAMPLES).astype(np.float64)
    drawn = np.stack([trial.measurement.resampled(counts) for trial in trials])  # (candidates, R)
    errors = (drawn[best] - drawn).std(1)
    behind = [(float(gap), float(error)) for gap, error in zip(criteria[best] - criteria, errors, strict=True)]
    place = next(number for number, (gap, error) in enumerate(behind) if gap <= error)
    winner, leader = trials[place], trials[best]
    if len(trials) == 1:
        return winner, behind, f"{winner.candidate.name} was the only one that could be tried."
    if place != best:
        gap, error = behind[place]
        why = (
            f"{winner.candidate.name} is no more than one standard error behind the best, {leader.candidate.name} "
            f"({criteria[place]:.3f} against {criteria[best]:.3f}, {gap:.3f} +- {error:.3f}), and cheaper to score "
            "with."
        )
        return winner, behind, why
    second = min((number for number in range(len(trials)) if number != best), key=lambda number: behind[number][0])
    gap, error = behind[second]
    ahead = "the best, ahead of the dearer" if gap <= error else "ahead of all others, of"  # no cheaper one is as near
    why = (
        f"{winner.candidate.name} is {ahead} {trials[second].candidate.name} by {gap:.3f} +- {error:.3f}"
        f"{_most_by(winner, trials[second])}."
    )
    return winner, behind, why


def _most_by(winner: Trial, other: Trial) -> str:
    """Of which kind of defect most of the lead is."""
    ours, theirs = winner.measurement.by_kind(), other.measurement.by_kind()
    leads = {kind: sum(ours[kind]) - sum(theirs[kind]) for kind in ours}
    leads = {kind: lead for kind, lead in leads.items() if lead > 0}  # NaN is not
    return f", most of it on the defects called {max(leads, key=lambda kind: leads[kind])}" if leads else ""
