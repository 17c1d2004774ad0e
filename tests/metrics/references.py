"""The metrics once more, from their definitions: every distinct score tried as a threshold, nothing clever.

An image is (score_map, mask or None, group) or the same with `inspected`; a score counts where it is >= a threshold.
"""

from __future__ import annotations

import itertools
import math

import numpy as np


def regions_of(mask, neighbours=8):
    """Lists of (y, x), by flooding."""
    steps = [(-1, 0), (1, 0), (0, -1), (0, 1)]
    if neighbours == 8:
        steps += [(-1, -1), (-1, 1), (1, -1), (1, 1)]
    left = {(int(y), int(x)) for y, x in zip(*np.nonzero(mask), strict=True)}
    found = []
    while left:
        todo = [left.pop()]
        region = list(todo)
        while todo:
            y, x = todo.pop()
            for dy, dx in steps:
                if (y + dy, x + dx) in left:
                    left.remove((y + dy, x + dx))
                    todo.append((y + dy, x + dx))
                    region.append((y + dy, x + dx))
        found.append(region)
    return found


class Pooled:
    """All pixels of some images: negatives, positives, and the scores of each region. Uninspected ones score -inf."""

    def __init__(self, images, neighbours=8):
        negatives, positives, self.regions = [np.zeros(0)], [np.zeros(0)], []
        for score_map, mask, _, *inspected in images:
            scores = score_map.astype(float)
            mask = np.zeros(scores.shape, bool) if mask is None else mask
            if inspected and inspected[0] is not None:
                scores = np.where(inspected[0], scores, -math.inf)
            negatives.append(scores[~mask & (scores > -math.inf)])
            positives.append(scores[mask])
            for region in regions_of(mask, neighbours):
                self.regions.append(np.array([scores[y, x] for y, x in region]))
        self.negatives, self.positives = np.concatenate(negatives), np.concatenate(positives)
        scores = np.concatenate([self.negatives, self.positives])
        self.thresholds = sorted({float(s) for s in scores if s > -math.inf}, reverse=True)

    def auroc(self):
        if not self.negatives.size or not self.positives.size:
            return math.nan
        won = sum(float(np.sum(p > self.negatives) + 0.5 * np.sum(p == self.negatives)) for p in self.positives)
        return won / (self.positives.size * self.negatives.size)

    def counts(self):
        """(true positives, false positives) at each threshold, the highest first."""
        return [(int(np.sum(self.positives >= t)), int(np.sum(self.negatives >= t))) for t in self.thresholds]

    def ap(self):
        if not self.positives.size:
            return math.nan
        total, before = 0.0, 0
        for tp, fp in self.counts():
            total += (tp - before) / self.positives.size * (tp / (tp + fp))
            before = tp
        return total

    def f1max(self):
        if not self.positives.size:
            return math.nan
        return max((2 * tp / (self.positives.size + tp + fp) for tp, fp in self.counts()), default=0.0)

    def f1_strictly_above(self, threshold):
        tp, fp = int(np.sum(self.positives > threshold)), int(np.sum(self.negatives > threshold))
        return 2 * tp / (self.positives.size + tp + fp)

    def pro_curve(self):
        """Points (false-positive rate, mean share of a region at or above the threshold), from (0, 0)."""
        points = [(0.0, 0.0)]
        for t in self.thresholds:
            pro = math.fsum(float(np.mean(region >= t)) for region in self.regions) / len(self.regions)
            points.append((float(np.mean(self.negatives >= t)), pro))
        return points

    def aupro(self, limit):
        if not self.regions or not self.negatives.size:
            return math.nan
        points = [*self.pro_curve()]
        points.append((1.0, points[-1][1]))
        area = 0.0
        for (x0, y0), (x1, y1) in itertools.pairwise(points):
            if x0 >= limit:
                break
            if x1 > limit:
                y1 = y0 + (y1 - y0) * (limit - x0) / (x1 - x0)
                x1 = limit
            area += (x1 - x0) * (y0 + y1) / 2
        return area / limit


LAWS = {
    "normal": lambda rng, n: rng.normal(size=n),
    "few levels": lambda rng, n: rng.integers(-3, 4, size=n) / 4,
    "constant": lambda rng, n: np.full(n, rng.normal()),
    "zeros of both signs": lambda rng, n: rng.choice([-0.0, 0.0, 1.0, -1.0], size=n),
    "exponential tail": lambda rng, n: np.exp(rng.exponential(4, size=n)),
    "huge range": lambda rng, n: np.clip(rng.choice([-1, 1], n) * np.exp(rng.normal(0, 30, size=n)), -3e38, 3e38),
    "denormal": lambda rng, n: rng.integers(-9, 10, size=n) * np.float32(1e-45),
    "neighbouring floats": lambda rng, n: 1 + rng.integers(0, 5, size=n) * np.finfo(np.float32).eps,
    "half precision": lambda rng, n: rng.gamma(2, 2, size=n).astype(np.float16),
    "two far clusters": lambda rng, n: rng.choice([-1e30, 1e30], n) * (1 + rng.integers(0, 9, n) * 1e-6),
    "ends of float32": lambda rng, n: rng.choice([-3.4028235e38, 3.4028235e38, 0, 1e-45], n),
}


def random_images(rng, law, with_gaps=False):
    """One to six small images of all sizes; defects a little hotter; any set may lack good or defective images."""
    images = []
    for _ in range(rng.integers(1, 7)):
        shape = tuple(int(s) for s in rng.integers(1, 17, size=2))
        score_map = LAWS[law](rng, shape[0] * shape[1]).astype(np.float32).reshape(shape)
        kind = rng.integers(0, 5)
        mask, group = None, "good"
        if kind > 1:
            group = str(rng.choice(["crack", "hole"]))
            mask = rng.random(shape) < rng.choice([0.02, 0.2, 0.6])
            mask[rng.integers(shape[0]), rng.integers(shape[1])] = True  # often a region of one pixel
            if kind == 4:
                mask[:] = True
            with np.errstate(over="ignore"):
                hotter = np.where(mask & (rng.random(shape) < 0.5), score_map * np.float32(1.5), score_map)
            score_map = np.where(np.isfinite(hotter), hotter, score_map)
        inspected = rng.random(shape) < 0.8 if with_gaps and rng.random() < 0.6 else None
        images.append((score_map, mask, group, inspected))
    return images


def auroc_of_images(scores, defective):
    pairs = [(b > g) + 0.5 * (b == g) for b in scores[defective] for g in scores[~defective]]
    return sum(pairs) / len(pairs) if pairs else math.nan


def ap_of_images(scores, defective):
    if not defective.any():
        return math.nan
    total, before = 0.0, 0
    for t in sorted(set(scores.tolist()), reverse=True):
        tp, fp = int(np.sum(scores[defective] >= t)), int(np.sum(scores[~defective] >= t))
        total += (tp - before) / int(defective.sum()) * tp / (tp + fp)
        before = tp
    return total
