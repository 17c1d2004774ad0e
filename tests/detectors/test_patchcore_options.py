"""What PatchCore's options make of it: whitening, windows, suspicions, updates, banks that are read from a file."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from sklearn.neighbors import LocalOutlierFactor

from adcli import gallery
from adcli.detectors import DETECTORS, banks, is_positional, suspicion, windows
from adcli.detectors.patchcore import PatchCore, PatchCoreParams
from adcli.detectors.patches import collect, embed
from adcli.detectors.suspicion import NEIGHBOURS, outlier_factors
from adcli.detectors.whitening import SHRINKAGE, learn_whitening
from adcli.engines.torch import TorchScorer
from adcli.errors import UsageError
from adcli.gallery import Gallery
from adcli.store import load, save
from tests.detectors import references
from tests.detectors.features import SHAPES, ArrayFeatures, random_layers, tensors
from tests.detectors.test_contract import Bench, flawed, one_sentence, textures
from tests.models import altered, make

TWO = SHAPES[:2]
GRID = TWO[0][1:]
POSITIONS = GRID[0] * GRID[1]
EVERY = [
    {},
    {"whiten": True},
    {"positional": 1},
    {"denoise": 0.15},
    {"positional": 1, "whiten": True, "denoise": 0.3},
    {"coreset": 1.0, "positional": 2},
]


def name(changes):
    return ",".join(changes) or "none"


def fit(layers, seed=3, batch=4, inside=None, **params):
    features = ArrayFeatures(layers, batch, inside=inside)
    return PatchCore.fit(features, PatchCoreParams(**params), np.random.default_rng(seed))


def vectors(layers):
    """(N, P, D) float64."""
    return embed(tensors(layers), 1024).numpy().reshape(len(layers[0]), POSITIONS, -1).astype(np.float64)


def grids(detector, layers):
    return detector.scorer()(tensors(layers)).grid.numpy().reshape(len(layers[0]), -1)


def same(one, other):
    for field in dataclasses.fields(one):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if isinstance(a, Gallery):
            a, b = a.read(), b.read()
        if dataclasses.is_dataclass(a):
            same(a, b)
        elif isinstance(a, np.ndarray):
            assert np.array_equal(a, b), field.name
        else:
            assert a == b, field.name


# Whitening


def test_whitened_distances_are_mahalanobis_distances_to_the_nearest_patch():
    good, seen = random_layers(5, 1, TWO, offset=3), random_layers(2, 2, TWO, offset=3)
    detector = fit(good, coreset=1.0, whiten=True)
    patches = vectors(good).reshape(-1, 14)
    covariance = references.shrunk_covariance(patches, SHRINKAGE)
    for grid, queries in zip(grids(detector, seen), vectors(seen), strict=True):
        expected = references.nearest_by_mahalanobis(queries, patches, covariance)
        np.testing.assert_allclose(grid, expected, rtol=2e-4)
    assert grids(detector, good).max() < 1e-5


def test_whitened_patches_have_the_unit_covariance_but_for_the_shrinkage():
    patches = vectors(random_layers(9, 1, TWO)).reshape(-1, 14).astype(np.float32)
    z = learn_whitening(Gallery.of(patches), "cpu").on("cpu")(torch.from_numpy(patches)).double().numpy()
    np.testing.assert_allclose(z.mean(0), 0, atol=1e-5)
    covariance = np.cov(patches.T.astype(np.float64))
    spread = np.linalg.eigvalsh(covariance)
    expected = spread / ((1 - SHRINKAGE) * spread + SHRINKAGE * spread.mean())
    np.testing.assert_allclose(np.linalg.eigvalsh(np.cov(z.T)), np.sort(expected), rtol=1e-4)


def test_whitened_scores_do_not_change_with_the_features_unit():
    good, seen = random_layers(5, 1, TWO), random_layers(2, 2, TWO)
    plain = fit(good, coreset=0.2, whiten=True, projection=100)
    scaled = fit([layer * 100 for layer in good], coreset=0.2, whiten=True, projection=100)
    np.testing.assert_allclose(grids(scaled, [layer * 100 for layer in seen]), grids(plain, seen), rtol=1e-3)


def test_the_coreset_is_chosen_in_the_whitened_space():
    good = random_layers(6, 1, TWO)
    detector = fit(good, seed=5, coreset=0.1, whiten=True)
    z = detector.whitening.on("cpu")(embed(tensors(good), 1024)).numpy()
    first = int(np.random.default_rng(5).integers(len(z)))
    picks, radius = references.greedy_k_center(z, len(z) // 10, first)
    np.testing.assert_allclose(detector.bank.read(), z[picks], atol=1e-5)
    assert detector.covering_radius == pytest.approx(radius, rel=1e-4)


def test_patches_that_are_all_alike_cannot_be_whitened():
    with pytest.raises(UsageError, match="alike") as refusal:
        fit([np.zeros((3, 4, 1, 1), np.float32)], whiten=True)
    assert one_sentence(refusal.value)


# Windows


def in_window(detector, good, seen, reach, shown=None):
    """Distances and image scores of each seen image by the patches of the window, one by one."""
    patches = vectors(good)
    shown = np.ones(patches.shape[:2], bool) if shown is None else shown.reshape(patches.shape[:2])
    everything, scores = [], []
    for queries in vectors(seen):
        distances, around = [], []
        for position, query in enumerate(queries):
            near = references.window(position, GRID, reach)
            bank = patches[:, near][shown[:, near]]
            distances.append(references.nearest_in_bank([query], bank)[0][0] if len(bank) else 0)
            around.append(bank)
        worst = int(np.argmax(distances))
        everything.append(distances)
        scores.append(references.reweighted(queries[worst], around[worst], detector.params.neighbours))
    return np.array(everything), scores


@pytest.mark.parametrize("reach", [0, 1, 2, 20])
@pytest.mark.parametrize("bytes_at_a_time", [1, 200_000, 32 << 20])
def test_neighbours_are_those_within_the_window(reach, bytes_at_a_time, monkeypatch):
    monkeypatch.setattr(windows, "_BLOCK_BYTES", bytes_at_a_time)
    good, seen = random_layers(4, 1, TWO), random_layers(2, 2, TWO)
    detector = fit(good, coreset=1.0, positional=reach)
    expected, images = in_window(detector, good, seen, reach)
    np.testing.assert_allclose(grids(detector, seen), expected, rtol=1e-5)
    np.testing.assert_allclose(detector.scorer()(tensors(seen)).image, images, rtol=1e-5)


def test_a_window_as_large_as_the_grid_finds_what_is_found_anywhere():
    good, seen = random_layers(4, 1, TWO), random_layers(3, 2, TWO)
    anywhere, window = (fit(good, coreset=1.0, positional=reach).scorer()(tensors(seen)) for reach in (-1, 99))
    torch.testing.assert_close(window.grid, anywhere.grid, rtol=1e-6, atol=0)
    torch.testing.assert_close(window.image, anywhere.image, rtol=1e-5, atol=0)


@pytest.mark.parametrize("reach", [0, 1])
def test_patches_outside_are_no_neighbours_and_without_any_the_score_is_zero(reach, monkeypatch):
    monkeypatch.setattr(windows, "_BLOCK_BYTES", 100_000)
    good, seen = random_layers(4, 1, TWO), random_layers(2, 2, TWO)
    inside = np.random.default_rng(4).random((4, *GRID)) < 0.5
    inside[:, :2, :3] = False
    detector = fit(good, coreset=1.0, positional=reach, inside=inside)
    expected, _ = in_window(detector, good, seen, reach, inside)
    np.testing.assert_allclose(grids(detector, seen), expected, rtol=1e-5)
    assert (grids(detector, seen)[:, 0] == 0).all() and detector.patches_seen == inside.sum()


@pytest.mark.parametrize("share", [0.01, 0.3, 0.5])
def test_each_position_has_a_greedy_coreset_of_its_own(share):
    good = random_layers(7, 1, TWO)
    detector = fit(good, coreset=share, positional=1)
    patches, rows, starts = vectors(good), detector.bank.read(), detector.positions.starts
    size, radii = max(1, int(share * 7)), []
    assert len(starts) == POSITIONS + 1 and (np.diff(starts) == size).all()
    for position in range(POSITIONS):
        here = patches[:, position].astype(np.float32)
        kept = rows[starts[position] : starts[position + 1]]
        first = int(np.flatnonzero((here == kept[0]).all(1))[0])
        picks, radius = references.greedy_k_center(here, size, first)
        assert np.array_equal(kept, here[picks])
        assert np.array_equal(detector.owner[starts[position] : starts[position + 1]], picks)
        radii.append(radius)
    assert detector.covering_radius == pytest.approx(max(radii), rel=1e-9)


def test_a_patch_in_the_wrong_place_is_strange_to_a_window_only():
    good = random_layers(6, 1, SHAPES[:1])
    moved = [np.roll(good[0][:1], 3, axis=2)]
    inner = np.zeros(GRID, bool)
    inner[4:-1, 1:-1] = True  # whose 3 x 3 patches are those of three rows above
    anywhere, window = (
        fit(good, coreset=1.0, positional=reach).scorer()(tensors(moved)).grid[0].numpy()[inner] for reach in (-1, 1)
    )
    assert anywhere.max() < 1e-5 and window.min() > 0.1


# Suspicions


@pytest.mark.parametrize("count", [2, 5, 6, 7, 8, 40])
@pytest.mark.parametrize("pairs", [30, 1 << 22])
def test_suspicions_are_local_outlier_factors(count, pairs, monkeypatch):
    monkeypatch.setattr(suspicion, "_PAIRS", pairs)
    points = np.random.default_rng(count).standard_normal((count, 5)).astype(np.float32)
    points[0] += 4
    factors = outlier_factors(torch.from_numpy(points), NEIGHBOURS).numpy()
    k = min(NEIGHBOURS, count - 1)
    np.testing.assert_allclose(factors, references.local_outlier_factors(points, k), rtol=1e-4)
    other = LocalOutlierFactor(n_neighbors=k, algorithm="brute").fit(points.astype(np.float64))
    np.testing.assert_allclose(factors, -other.negative_outlier_factor_, rtol=1e-4)
    if count == 40:
        assert factors.argmax() == 0 and factors[0] > 1.5


def test_suspicions_are_of_each_position_for_itself_and_a_lone_patch_is_not_suspicious():
    rng = np.random.default_rng(0)
    points, position = rng.standard_normal((60, 4)).astype(np.float32), rng.permutation(np.arange(60) % 4)
    position[position == 3] = 2
    position[7] = 9
    factors = suspicion.suspicions(torch.from_numpy(points), position)
    for here in (0, 1, 2):
        of = position == here
        np.testing.assert_allclose(factors[of], references.local_outlier_factors(points[of], NEIGHBOURS), rtol=1e-4)
    assert factors[7] == 1


def test_copies_of_a_patch_are_not_suspicious():
    factors = outlier_factors(torch.ones(9, 3), NEIGHBOURS)
    assert torch.equal(factors, torch.ones(9))


def contaminated(count=14):
    """Good layers, of which two images have a defect at positions 20 to 22."""
    good = random_layers(count, 1, TWO)
    for image in (3, 8):
        good[0][image].reshape(6, -1)[:, 20:23] += 12
    return good


def test_the_most_suspicious_share_is_removed_and_the_rest_weighs_its_distances():
    good, seen = contaminated(), random_layers(2, 2, TWO)
    detector = fit(good, coreset=1.0, denoise=0.2)
    patches = vectors(good)
    factors = np.stack([references.local_outlier_factors(patches[:, p], NEIGHBOURS) for p in range(POSITIONS)], 1)
    kept = (factors <= np.quantile(factors, 0.8)).ravel()
    assert detector.patches_seen == kept.sum()
    np.testing.assert_allclose(detector.bank.read(), patches.reshape(-1, 14)[kept], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(detector.factors, factors.ravel()[kept], rtol=1e-3)
    for grid, queries in zip(grids(detector, seen), vectors(seen), strict=True):
        distances, at = references.nearest_in_bank(queries, detector.bank.read().astype(np.float64))
        np.testing.assert_allclose(grid, distances * detector.factors[at], rtol=1e-5)
    assert np.array_equal(detector.scorer()(tensors(seen)).image, grids(detector, seen).max(1))


@pytest.mark.parametrize("positional", [-1, 0])
def test_a_defect_among_the_good_images_is_still_seen(positional):
    good = contaminated()
    for denoise, found in ((0.0, False), (0.15, True)):
        grid = grids(fit(good, coreset=1.0, denoise=denoise, positional=positional), [layer[3:4] for layer in good])[0]
        assert (grid[21] > 5) == found


def test_the_first_centre_stays_in_the_coreset_or_the_next_that_was_not_removed():
    good = contaminated()
    for seed in range(6):
        detector = fit(good, seed=seed, coreset=0.05, denoise=0.5)
        everything = fit(good, seed=seed, coreset=1.0, denoise=0.5).bank.read()
        patches = embed(tensors(good), 1024).numpy()
        first = int(np.random.default_rng(seed).integers(len(patches)))
        following = (row for row in np.roll(patches, -first, axis=0) if (row == everything).all(1).any())
        assert np.array_equal(detector.bank.read()[0], next(following))


# All of them


@pytest.mark.parametrize("changes", EVERY, ids=name)
def test_a_bank_that_is_read_from_a_file_gives_the_same_bits(changes, monkeypatch):
    good, seen = random_layers(9, 1, TWO), random_layers(3, 2, TWO)
    detector = fit(good, **changes)
    held = detector.scorer()(tensors(seen))
    left = detector.left_out_scorer()(tensors(good), np.arange(9))
    monkeypatch.setattr(gallery, "RESIDENT_BYTES", 0)
    monkeypatch.setattr(detector.bank, "_whole", None)
    monkeypatch.setattr(windows, "_BLOCK_BYTES", 100_000)
    monkeypatch.setattr("adcli.detectors.neighbours._BANK_ROWS", 11)
    read = detector.scorer()(tensors(seen))
    again = detector.left_out_scorer()(tensors(good), np.arange(9))
    assert detector.bank._whole is None
    for one, other in ((held, read), (left, again)):
        torch.testing.assert_close(one.grid, other.grid, rtol=1e-6, atol=0)
        torch.testing.assert_close(one.image, other.image, rtol=1e-5, atol=0)


@pytest.mark.parametrize("changes", EVERY, ids=name)
def test_the_batches_that_images_come_in_leave_no_trace(changes):
    good = random_layers(9, 1, TWO)
    same(fit(good, batch=4, **changes), fit(good, batch=3, **changes))


@pytest.mark.parametrize("changes", EVERY, ids=name)
def test_small_blocks_of_the_pool_change_nothing(changes, monkeypatch):
    good = random_layers(9, 1, TWO)
    params = {"projection": 5, **changes}
    whole = fit(good, **params)
    monkeypatch.setattr(banks, "ROWS", 64)
    parts = fit(good, **params)
    assert np.array_equal(whole.owner, parts.owner)
    np.testing.assert_allclose(whole.bank.read(), parts.bank.read(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("changes", EVERY[1:], ids=name)
def test_an_image_scores_the_same_bits_alone_and_in_any_company(changes):
    bench = Bench("patchcore")
    scorer = TorchScorer(bench.engine, bench.fit(bench.good, **changes))
    images = np.concatenate([textures(2, seed=5), flawed(textures(2, seed=6))])
    alone = [scorer(images[i : i + 1]) for i in range(4)]
    for company in ([0, 1, 2, 3], [3, 1], [2, 0, 1]):
        scored = scorer(images[company])
        for at, image in enumerate(company):
            assert np.array_equal(scored.grid[at], alone[image].grid[0])
            assert scored.image[at] == alone[image].image[0]


@pytest.mark.parametrize("changes", EVERY, ids=name)
def test_every_option_survives_the_file(changes, tmp_path):
    bench = Bench("patchcore")
    detector = bench.fit(bench.good, **changes)
    save(bench.model(detector), tmp_path / "model.h5")
    same(load(tmp_path / "model.h5").model.detector, detector)


def test_a_file_from_before_the_options_is_read_without_them(tmp_path):
    model = make("patchcore")
    save(model, tmp_path / "new.h5")

    def older(file):
        for option in ("whiten", "positional", "denoise"):
            del file["detector/params"].attrs[option]

    params = load(altered(tmp_path / "new.h5", older)).model.detector.params
    assert params == model.detector.params and (params.whiten, params.positional, params.denoise) == (False, -1, 0.0)


def test_windows_are_of_positions_and_everything_else_is_not():
    method = DETECTORS["patchcore"]
    assert is_positional(method, PatchCoreParams(positional=0)) and is_positional(DETECTORS["padim"])
    assert not is_positional(method, PatchCoreParams()) and not is_positional(method, PatchCoreParams(positional=-1))


@pytest.mark.parametrize("changes", EVERY, ids=name)
def test_a_patch_that_is_no_number_never_gets_a_finite_score(changes):
    seen = random_layers(2, 2, TWO)
    seen[0][1, :, 4, 3] = np.nan
    result = fit(random_layers(9, 1, TWO), **changes).scorer()(tensors(seen))
    assert not result.grid[1, 4, 3].isfinite() and not result.image[1].isfinite()
    assert result.grid[0].isfinite().all() and result.image[0].isfinite()


@pytest.mark.parametrize("changes", [{"positional": 1}, {"positional": 0}], ids=str)
def test_with_all_patches_kept_leaving_out_is_a_fit_without_the_image(changes):
    good = random_layers(5, 1, TWO)
    result = fit(good, coreset=1.0, **changes).left_out_scorer()(tensors(good), np.arange(5))
    for image in range(5):
        rest = fit([np.delete(layer, image, axis=0) for layer in good], coreset=1.0, **changes)
        other = rest.scorer()(tensors([layer[image : image + 1] for layer in good]))
        torch.testing.assert_close(result.grid[image : image + 1], other.grid, rtol=1e-5, atol=0)
        torch.testing.assert_close(result.image[image : image + 1], other.image, rtol=1e-4, atol=0)


def test_leaving_out_measures_from_other_images_in_the_whitened_space():
    good = random_layers(5, 1, TWO)
    detector = fit(good, coreset=0.3, whiten=True)
    result = detector.left_out_scorer()(tensors(good), np.arange(5))
    z = detector.whitening.on("cpu")(embed(tensors(good), 1024)).double().numpy().reshape(5, POSITIONS, -1)
    for image in range(5):
        others = detector.bank.read()[detector.owner != image].astype(np.float64)
        distances, _ = references.nearest_in_bank(z[image], others)
        np.testing.assert_allclose(result.grid[image].numpy().ravel(), distances, rtol=1e-4)


def test_windows_that_hold_one_image_only_cannot_do_without_it():
    detector = fit(random_layers(5, 1, TWO), coreset=0.2, positional=0)
    with pytest.raises(UsageError, match="positional") as refusal:
        detector.left_out_scorer()
    assert one_sentence(refusal.value)


@pytest.mark.parametrize("change", [{"positional": -2}, {"denoise": 1.0}, {"denoise": -0.1}, {"denoise": float("nan")}])
def test_impossible_options_are_refused(change):
    with pytest.raises(UsageError, match=next(iter(change))) as refusal:
        fit(random_layers(3, 1, TWO), **change)
    assert one_sentence(refusal.value)


# Updates


def halves(count=8, first=5):
    layers = random_layers(count, 1, TWO)
    return [layer[:first] for layer in layers], [layer[first:] for layer in layers], layers


def updated(detector, layers, seed=9):
    return detector.updated(ArrayFeatures(layers), np.random.default_rng(seed))


@pytest.mark.parametrize("positional", [-1, 0, 1])
def test_an_update_of_all_patches_is_the_fit_to_all_images(positional):
    old, new, both = halves()
    detector = updated(fit(old, coreset=1.0, positional=positional), new)
    same(detector, fit(both, coreset=1.0, positional=positional))


def test_an_update_chooses_anew_from_the_bank_and_the_new_patches():
    old, new, _ = halves()
    before = fit(old, coreset=0.2)
    detector = updated(before, new)
    pool = np.concatenate([before.bank.read(), embed(tensors(new), 1024).numpy()])
    owner = np.concatenate([before.owner, np.repeat(np.arange(5, 8), POSITIONS)])
    first = int(np.random.default_rng(9).integers(len(pool)))
    picks, radius = references.greedy_k_center(pool, int(0.2 * 8 * POSITIONS), first)
    assert np.array_equal(detector.bank.read(), pool[picks]) and np.array_equal(detector.owner, owner[picks])
    assert detector.covering_radius == pytest.approx(radius, rel=1e-9)
    assert (detector.patches_seen, detector.n_images) == (8 * POSITIONS, 8)


@pytest.mark.parametrize("changes", EVERY, ids=name)
def test_an_updated_detector_finds_the_new_images_less_strange_and_keeps_its_space(changes):
    old, new, _ = halves()
    new = [layer + 2 for layer in new]
    before = fit(old, **changes)
    after = updated(before, new)
    assert grids(after, new).mean() < grids(before, new).mean() and after.patches_seen > before.patches_seen
    if before.whitening is not None:
        same(after.whitening, before.whitening)
    twice = updated(after, new)
    assert twice.n_images == 11 and twice.patches_seen > after.patches_seen


def test_no_patches_are_no_update():
    detector = fit(random_layers(5, 1, TWO))
    with pytest.raises(UsageError, match="no good images"):
        updated(detector, [layer[:0] for layer in random_layers(3, 1, TWO)])


def test_collected_patches_know_their_image_and_position():
    good = random_layers(5, 1, TWO)
    inside = np.random.default_rng(4).random((5, *GRID)) < 0.5
    patches = collect(ArrayFeatures(good, 2, inside=inside), 1024)
    image, position = np.nonzero(inside.reshape(5, -1))
    assert np.array_equal(patches.image, image) and np.array_equal(patches.position, position)
    assert np.array_equal(patches.vectors.read(), vectors(good)[image, position].astype(np.float32))
    assert patches.n_images == 5
