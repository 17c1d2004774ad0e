"""What a calibration found, as tables for people."""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, ROUND_FLOOR
from typing import TYPE_CHECKING

from adcli.image_scores import STRUCTCORE, words_for
from adcli.report.histogram import histogram_text
from adcli.report.tables import add_row, make_table, number
from adcli.thresholds import at_most, percent_rounded

if TYPE_CHECKING:
    from rich.table import Table

    from adcli.tasks.calibrate import Calibrated
    from adcli.thresholds import Estimate


def calibration_tables(calibrated: Calibrated, *, ascii: bool = False) -> list[Table | str]:
    """Suspects first, then the scores, then every estimator side by side, then what the one in force promises.

    `ascii`: for a terminal that has no block characters.
    """
    parts: list[Table | str] = [_suspects(calibrated), *_histogram(calibrated, ascii), _estimates(calibrated)]
    if calibrated.lots:
        parts += [_lots(calibrated), *_lots_lines(calibrated)]
    return [*parts, *_lines(calibrated)]


def _suspects(calibrated: Calibrated) -> Table:
    grouped = calibrated.model.group_by is not None
    head = ["image", *(["part"] if grouped else []), "score", "threshold without it", "and without those above"]
    table = make_table("Highest held-out scores: look at these first", head)
    for suspect in calibrated.suspects:
        part = [suspect.part or ""] if grouped else []
        scores = (suspect.score, suspect.without, suspect.without_and_above)
        add_row(table, suspect.image, *part, *(number(score, 6) for score in scores))
    return table


def _histogram(calibrated: Calibrated, ascii: bool) -> list[str]:
    marks = [("NG", calibrated.in_force.threshold)]
    if calibrated.check is not None:
        marks.append(("CHECK", calibrated.check.threshold))
    calibration = calibrated.model.require_calibration()
    return ["\n".join([*histogram_text(calibration.scores, marks, ascii=ascii, unit=f"{_unit(calibrated)}s"), ""])]


def _estimates(calibrated: Calibrated) -> Table:
    what = "good images" if calibrated.model.group_by is None else f"good parts ({calibrated.images} images)"
    head = ["", "rule", "threshold", "rejected", "rate", "false rejects, 95 % bounds", "promise"]
    table = make_table(f"Thresholds from {calibrated.n} {_how(calibrated)} {what}", head)
    check = calibrated.check
    for estimate in [*calibrated.side_by_side, *([] if check is None else [check])]:
        mark = "NG" if estimate is calibrated.in_force else "CHECK" if estimate is check else ""
        if math.isnan(estimate.threshold):
            needs = "-" if estimate.needed is None else f"needs {estimate.needed} {_unit(calibrated)}s"
            add_row(table, mark, estimate.rule, needs, "-", "-", "-", "")
            continue
        add_row(
            table,
            mark,
            estimate.rule,
            f"{estimate.threshold:.6g}",
            f"{estimate.rejected} of {estimate.n}",
            _percent(estimate.rate),
            _interval(estimate.rate_low, estimate.rate_high),
            _kind_of_promise(estimate),
        )
    return table


def _lots(calibrated: Calibrated) -> Table:
    head = ["lot", f"{_unit(calibrated)}s", "median score", "threshold from the others", "rejected", "rate"]
    head.append("two-sided 95 %")
    table = make_table("Each lot, by a threshold that the others set", head)
    for lot in calibrated.lots:
        if lot.rejected is None:
            add_row(table, lot.name, str(lot.n), number(lot.median), "not to be had from the others", "-", "-", "-")
            continue
        interval = _interval(lot.rate_low, lot.rate_high)
        told = (number(lot.median), number(lot.threshold, 6), str(lot.rejected), _percent(lot.rejected / lot.n))
        add_row(table, lot.name, str(lot.n), *told, interval)
    return table


def _lots_lines(calibrated: Calibrated) -> list[str]:
    judged = [lot for lot in calibrated.lots if lot.rejected is not None]
    if not judged:
        return ["no lot can be judged by the others"]
    rejected, n = sum(lot.rejected or 0 for lot in judged), sum(lot.n for lot in judged)
    worst = max(judged, key=lambda lot: (lot.rejected or 0) / lot.n)
    share = _percent((worst.rejected or 0) / worst.n)
    lines = [
        f"on a lot that set no threshold: {rejected} of {n} rejected ({_percent(rejected / n)}), at worst {share} "
        f"({worst.name}). The model may have learnt from these lots: a lot that is new to it too can be worse."
    ]
    asked = calibrated.model.require_calibration().max_false_reject
    lines += [
        f"{lot.name} breaks the {100 * asked:g} % that was asked for: at least {_percent(lot.rate_low)} of such "
        f"{_unit(calibrated)}s are rejected"
        for lot in judged
        if asked is not None and lot.rate_low > asked
    ]
    return lines


def _lines(calibrated: Calibrated) -> list[str]:
    in_force, model = calibrated.in_force, calibrated.model
    lines = [f"NG above {in_force.threshold:.6g} ({in_force.rule}): {in_force.guarantee}"]
    if calibrated.check:
        lines.append(
            f"CHECK above {calibrated.check.threshold:.6g} ({calibrated.check.rule}): {calibrated.check.guarantee}"
        )
    lines += _condition_lines(calibrated)
    size = model.sizes[0]
    share = {"share": f" ({100 * size.area.value:.3g} % of the image)", "mm2": f" ({size.area})", "px": ""}
    counts = f"a region counts from {_span(*calibrated.area_px)} px on{share[size.area.unit]}"
    asked = [f"a {name} of {least}" for name, least in (("length", size.length), ("width", size.width)) if least]
    counts += f", with at least {' and '.join(asked)}" if asked else ""
    if len(model.sizes) > 1:
        counts = "a region counts when it has any of " + ", ".join(map(str, model.sizes))
    lines.append(f"{counts}; one hot patch becomes {_span(*calibrated.footprint_px)} px in the map")
    calibration = model.require_calibration()
    if calibration.precision_check is not None:
        lines.append(calibration.precision_check.sentence(calibration.precision))
    if model.scales is not None:
        lines.append(
            f"scores are U, the largest of (level - median) / spread over the sizes; medians "
            f"{', '.join(number(value) for value in model.scales.centre)}, spreads "
            f"{', '.join(number(value) for value in model.scales.spread)}, of {model.scales.images} good images "
            f"({model.scales.evidence})"
        )
    if calibrated.before is not None:
        before = calibrated.before
        band = "" if before.check_threshold is None else f", CHECK above {number(before.check_threshold, 6)}"
        line = f"before: NG above {number(before.threshold, 6)} ({before.rule}){band}"
        if calibrated.above_before is not None:
            line += f"; {calibrated.above_before} of these {calibrated.n} {_unit(calibrated)}s are NG by that"
        lines.append(line)
    return lines


def _condition_lines(calibrated: Calibrated) -> list[str]:
    """What else makes CHECK of OK, each with its promise, and what they promise together."""
    calibration, unit, n = calibrated.model.require_calibration(), _unit(calibrated), calibrated.n
    guard, stage = calibration.guard, calibration.image_stage
    left_out = calibration.evidence != "held-out"
    lines = []
    if guard is not None:
        promise = _promise_of_check(guard.rate, guard.rate_high, unit, left_out)
        lines.append(f"input guard above {guard.limit:.4g} ({guard.beyond} of {n} {unit}s are): {promise}")
    if stage is None:
        return lines
    words = words_for(stage.score, getattr(calibrated.model.detector, "image_stage", None))
    promise = _promise_of_check(stage.rate, stage.rate_high, unit, left_out or stage.score == STRUCTCORE)
    lines.append(
        f"image stage, {stage.score}: {words}, above {stage.limit:.6g} ({stage.beyond} of {n} {unit}s are): {promise}"
    )
    rate, who = stage.rate, "the image stage"
    if guard is not None:
        rate, who = rate + guard.rate, "the input guard and the image stage"
    lines.append(
        f"rates add up: {who} make at most {at_most(rate)} of good {unit}s CHECK on average, beside what the "
        "thresholds reject"
    )
    return lines


def _promise_of_check(rate: float, rate_high: float, unit: str, left_out: bool) -> str:
    promise = (
        f"the next good {unit} is CHECK by it with a probability of at most {at_most(rate)}, and with 95 % confidence "
        f"at most {at_most(rate_high)} of good {unit}s are"
    )
    return f"approximately, by leaving one out at a time, {promise}" if left_out else promise


def _how(calibrated: Calibrated) -> str:
    held_out = calibrated.model.require_calibration().evidence
    return "held-out" if held_out == "held-out" else "left-out (approximate)"


def _unit(calibrated: Calibrated) -> str:
    return "image" if calibrated.model.group_by is None else "part"


def _interval(low: float, high: float) -> str:
    """Two bounds in percent, rounded outwards: a bound that is printed holds."""
    return f"{percent_rounded(low, ROUND_FLOOR)} to {percent_rounded(high, ROUND_CEILING)}"


def _percent(rate: float) -> str:
    return f"{100 * rate:.3g} %" if rate >= 0.1 else f"{100 * rate:.2g} %"


def _kind_of_promise(estimate: Estimate) -> str:
    if not estimate.promises:
        return "none: bounds if fixed before"
    return {"conformal": "on average", "guaranteed": "with confidence"}.get(estimate.rule.split()[0], "both")


def _span(low: int, high: int) -> str:
    return str(low) if low == high else f"{low} to {high}"
