"""The page of a run: what is in it, what cannot get out of it, and how it looks in a browser where there is one."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import cv2
import numpy as np
import pytest

from adcli.report import page
from adcli.report.charts import drift_chart, histogram_chart, thinned
from adcli.report.overlays import draw_views
from adcli.report.page import ColourScale, write_page
from adcli.report.text import printable
from tests.conftest import Adcli
from tests.tasks.folders import records, timeless

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
NASTY = (
    "</script><img src=x onerror=document.title=1>.png",
    "<!--<script>.png",
    "a&amp;\"b'.png",
    "{{facts}}<!--rows-->.png",
    "two\nlines\r.png",
    "\u202egnp.png",
    "\u2028.png",
    os.fsdecode(b"lone\xff.png"),
    "half\ud800.png",  # of a file system of Windows
)
VERDICTS = ("ERROR", "NG", "CHECK", "OK")


class Read(HTMLParser):
    """A page as a browser takes it apart: its elements, and the text in each script."""

    def __init__(self, text: str):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: dict[str, str] = {}
        self.texts: list[str] = []
        self._inside = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = dict(attrs).get("id") or tag if tag in ("script", "style") else ""

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.scripts[self._inside] = self.scripts.get(self._inside, "") + data
        else:
            self.texts.append(data)

    @property
    def rows(self) -> dict[str, Any]:
        return json.loads(self.scripts["rows"])

    @property
    def pictured(self) -> dict[int, dict[str, Any]]:
        blocks = {name: text for name, text in self.scripts.items() if re.fullmatch(r"p\d+", name)}
        return {int(name[1:]): json.loads(text) for name, text in blocks.items()}


def record(name: str, verdict: str, score: float | None, reason: str | None = None) -> dict[str, Any]:
    region = {"area_px": 9, "area_mm2": None, "bbox": [1, 2, 3, 3], "max": 2.5}
    return {
        **dict.fromkeys(("part", "p_value")),
        **{"image": name, "verdict": verdict, "score": score, "reason": reason, "min_area_px": 4},
        **{"regions": [region] if verdict == "NG" else [], "width": 8, "height": 6},
    }


def run_record(lines: list[dict[str, Any]]) -> dict[str, Any]:
    counts = {verdict: sum(line["verdict"] == verdict for line in lines) for verdict in VERDICTS}
    return {
        **{"images": len(lines), "counts": counts, "parts": None, "threshold": 2.0, "check_threshold": 1.0},
        **{"method": "padim", "backbone": "resnet18"},
        "host": {"name": "here", "started": "2001-02-03T04:05:06Z"},
    }


def written(path: Path, lines: list[dict[str, Any]], views: bytes = b"jpeg") -> Read:
    """A page of made-up records."""
    write_page(
        path,
        run_record(lines),
        lambda: iter(lines),
        [line["image"].removesuffix(".png") for line in lines],
        {"mask": "ng", "overlay": "all", "map": "none"},
        ColourScale(0.5, 2.0, "median good"),
        [("model", NASTY[0])],
        lambda worst: ((views, views, views) for _ in worst),
    )
    return Read(path.read_text("utf-8"))


@pytest.fixture(scope="module")
def nasty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of names that would break it, each with a verdict of its own turn, and as a reason."""
    path = tmp_path_factory.mktemp("nasty") / "report.html"
    lines = []
    for number, name in enumerate(NASTY * 2):
        verdict = VERDICTS[number % 4]
        score = None if verdict == "ERROR" else 4.0 - number % 4
        lines.append(record(name, verdict, score, f"{name} {name}" if verdict in ("ERROR", "CHECK") else None))
    written(path, lines)
    return path


def test_no_name_becomes_markup(nasty: Path, tmp_path: Path) -> None:
    plain = written(
        tmp_path / "plain.html", [record("plain.png", "ERROR", None, "is empty"), record("b.png", "NG", 3.0)]
    )
    allowed = {tag for tag, _ in plain.elements}
    seen = Read(nasty.read_text("utf-8"))
    assert {tag for tag, _ in seen.elements} <= allowed | {"rect"}
    assert not [name for _, attributes in seen.elements for name in attributes if name.startswith("on")]
    data = nasty.read_text("utf-8").partition('id="rows">')[2].partition("\n]}")[0]
    assert printable(NASTY[2]) not in data
    assert not set("<>&") & set(data)
    assert [tag for tag, _ in seen.elements].count("img") == 3  # the viewer's own
    assert not [attributes for tag, attributes in seen.elements if tag == "script" and "src" in attributes]


def test_every_name_is_there_readable(nasty: Path) -> None:
    seen = Read(nasty.read_text("utf-8"))
    data = seen.rows
    assert [data["prefix"] + row[1] for row in data["rows"]] == [printable(name) for name in NASTY * 2]
    errors = [printable(name) for number, name in enumerate(NASTY * 2) if number % 4 == 0]
    assert [text for text in seen.texts if text in errors] == [*errors, NASTY[0]]  # and the fact


def test_links_lead_to_the_bytes_of_the_names(nasty: Path) -> None:
    for row, name in zip(Read(nasty.read_text("utf-8")).rows["rows"], NASTY * 2, strict=True):
        assert row[9] == {"ERROR": 0, "NG": 3, "CHECK": 3, "OK": 2}[VERDICTS[row[2]]]
        if row[9] and "\ud800" not in name:
            assert unquote_to_bytes(row[10]) == os.fsencode(name.removesuffix(".png"))
            assert re.fullmatch(r"[\w.~/%-]*", row[10], re.ASCII)


def test_the_policy_lets_only_the_pages_own_script_and_style_in(nasty: Path) -> None:
    seen = Read(nasty.read_text("utf-8"))
    policy = next(a["content"] for tag, a in seen.elements if a.get("http-equiv") == "Content-Security-Policy")
    for kind in ("script", "style"):
        digest = base64.b64encode(hashlib.sha256(seen.scripts[kind].encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_nothing_is_asked_of_the_network(nasty: Path) -> None:
    text = nasty.read_text("utf-8")
    assert not re.search(r"https?:|//[a-z]|url\(|@import", re.sub(r"//.*|base64,[^\"]*", "", text))


def test_rows_hold_what_the_records_say_in_input_order(tmp_path: Path) -> None:
    lines = [record(f"in/x{n}.png", VERDICTS[n % 4], n + 0.123456789 if n % 4 else None, "why") for n in range(9)]
    data = written(tmp_path / "report.html", lines).rows
    assert data["prefix"] == "in/"
    assert [row[:7] for row in data["rows"]] == [
        [
            *(n + 1, f"x{n}.png", n % 4, n and pytest.approx(line["score"], rel=1e-6) if n % 4 else None),
            *(None, 9 if n % 4 == 1 else 0, int(n % 4 == 1)),
        ]
        for n, line in enumerate(lines)
    ]


def test_pictures_are_of_the_worst_and_stop_at_the_stated_number_and_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = [3.0, 9.0, 5.0, 5.0, 7.0]
    lines = [record(f"{n}.png", "NG", score) for n, score in enumerate(scores)]
    lines += [record("c.png", "CHECK", 1.5), record("g.png", "CHECK", None, "too small"), record("o.png", "OK", 0.1)]
    worst = [2, 5, 3, 4, 1, 7, 6]  # a CHECK that has no score before those that have one; never an OK
    assert list(written(tmp_path / "a.html", lines).pictured) == worst
    monkeypatch.setattr(page, "MOST_PICTURED", 3)
    seen = written(tmp_path / "b.html", lines).pictured
    assert list(seen) == worst[:3]
    assert seen[2]["views"] == ["data:image/jpeg;base64," + base64.b64encode(b"jpeg").decode()] * 3
    monkeypatch.setattr(page, "MOST_PICTURE_BYTES", 9000)
    large = written(tmp_path / "c.html", lines, bytes(1000))
    assert list(large.pictured) == worst[:2]  # 3 x 1000 bytes are some 4000 in base64
    assert len(large.rows["rows"]) == len(lines)


def test_rows_that_are_too_many_are_the_mildest_and_the_page_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [record(f"{n:03}.png", "NG" if n % 10 == 3 else "OK", 2.5 if n % 10 == 3 else n / 100) for n in range(100)]
    monkeypatch.setattr(page, "MOST_ROW_BYTES", 800)
    seen = written(tmp_path / "report.html", lines)
    kept = [row[0] for row in seen.rows["rows"]]
    assert 10 < len(kept) < 30
    mildest = [n + 1 for n in sorted(range(100), key=lambda n: (n % 10 != 3, -lines[n]["score"]))]
    assert sorted(mildest[: len(kept)]) == kept
    assert f"The table has the worst {len(kept)} of 100 images; results.csv has all." in seen.texts


def test_a_page_that_fails_leaves_the_former_one(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("former")

    def broken(worst: list[tuple[int, dict[str, Any]]]) -> Iterator[tuple[bytes, bytes, bytes]]:
        assert len(list(tmp_path.iterdir())) == 2  # the former one, and what is being written
        yield b"", b"", b""
        raise MemoryError

    lines = [record("a.png", "NG", 3.0), record("b.png", "NG", 3.0)]
    wanted = dict.fromkeys(("mask", "overlay", "map"), "none")
    scale = ColourScale(0, 1, "")
    with pytest.raises(MemoryError):
        write_page(path, run_record(lines), lambda: lines, ["a", "b"], wanted, scale, [], broken)
    assert path.read_text() == "former"
    assert [one.name for one in tmp_path.iterdir()] == ["report.html"]


def test_thinning_keeps_every_stretchs_extremes() -> None:
    scores = np.random.default_rng(0).normal(size=12345)
    scores[::7] = np.nan
    kept = thinned(scores, 200)
    scored = [index for index in range(scores.size) if np.isfinite(scores[index])]
    assert len(kept) <= 200
    assert list(kept) == sorted(set(kept))
    assert set(kept) <= set(scored)
    gaps = np.diff([scored.index(index) for index in kept])
    assert gaps.max() <= 2 * -(-len(scored) // 100)  # no stretch is left out
    assert {np.nanargmin(scores), np.nanargmax(scores)} <= set(kept)
    assert list(thinned(scores[:150], 200)) == [index for index in scored if index < 150]


def test_the_bars_of_the_histogram_count_every_score_on_its_side_of_the_threshold() -> None:
    scores = np.array([1.0, 1.0, 1.5, 2.0, 2.0, np.nextafter(2.0, 3), 2.7, np.nan])
    ranks = np.array([3, 3, 3, 3, 3, 1, 1, 0])
    chart = histogram_chart(scores, ranks, [("NG", 2.0)])
    bars = re.findall(r'<rect class="fill-(\w+)" x="([\d.]+)" y="[\d.]+" width="([\d.]+)" height="([\d.]+)"', chart.svg)
    unit = min(float(tall) for *_, tall in bars)
    counted = {kind: sum(round(float(tall) / unit) for k, _, _, tall in bars if k == kind) for kind in ("ok", "ng")}
    assert counted == {"ok": 5, "ng": 2}
    line = float(re.search(r'limit-ng" d="M([\d.]+)', chart.svg)[1])
    assert all((float(x) + float(width) <= line + 0.6) == (kind == "ok") for kind, x, width, _ in bars)
    assert "2 above the NG threshold" in chart.note


def test_the_drift_says_what_it_left_out_and_draws_what_lies_beyond() -> None:
    scores = np.full(5000, 1.0)
    scores[::2], scores[777], scores[778] = 1.1, 900.0, np.nan
    ranks = np.where(scores > 2, 1, np.where(np.isnan(scores), 0, 3))
    chart = drift_chart(scores, ranks, [("NG", 2.0), ("CHECK", 1.99)])
    assert chart.svg.count("h0") + chart.svg.count("z") <= 2000
    assert chart.svg.count("l3 -6l3 6z") == 1
    assert "of 4,999 scores" in chart.note
    assert "up to 900" in chart.note
    assert "could not be read" in chart.note


@pytest.mark.parametrize("scores", [[], [np.nan], [0.0], [-5.0, -5.0], [1e-9, 2e-9], [1e9], [2.0] * 100])
def test_charts_of_few_or_equal_scores_hold_only_numbers(scores: list[float]) -> None:
    ranks = np.full(len(scores), 3)
    for chart in (histogram_chart, drift_chart):
        svg = chart(np.array(scores, float), ranks, [("NG", 2.0)]).svg
        assert "nan" not in svg
        assert "inf" not in svg


def test_the_three_views_lie_on_each_other_and_small_regions_stay_outlined() -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (300, 1400, 3), np.uint8)
    score_map = np.zeros((300, 1400), np.float32)
    score_map[:, :50] = -np.inf
    score_map[100, 700] = 9
    views = draw_views(pixels, score_map, low=0.0, threshold=1.0, regions_mask=score_map > 1, longest=640)
    assert [view.shape for view in views] == [(137, 640, 3)] * 3
    expected = cv2.resize(pixels, (640, 137), interpolation=cv2.INTER_AREA)[..., ::-1]
    assert np.array_equal(views[0], expected)
    assert (views[1][40:52, 314:326] == 255).all(axis=2).any()  # white of the outline
    assert views[2][:, :20].max() < views[2][:, 40:60].max()  # dimmed outside the region of interest
    small = draw_views(pixels[:30, :40, 0], score_map[:30, 60:100], low=0.0, threshold=1.0,
                       regions_mask=np.zeros((30, 40), bool), longest=640)  # fmt: skip
    assert [view.shape for view in small] == [(240, 320, 3)] * 3


def test_the_command_writes_the_page_and_a_later_run_removes_it(
    dataset: Path, band_model: Path, adcli: Adcli, tmp_path: Path
) -> None:
    images, out = tmp_path / "images", tmp_path / "out"
    shutil.copytree(dataset / "test", images)
    (images / "broken.png").write_bytes(b"")
    assert adcli("score", images, "--out", out, "-m", band_model, "--html").code == 5
    assert "report.html" in json.loads((out / "run.json").read_bytes())["files"]
    seen = Read((out / "report.html").read_text("utf-8"))
    lines, data = records(out), seen.rows
    assert [data["prefix"] + row[1] for row in data["rows"]] == [line["image"] for line in lines]
    assert [VERDICTS[row[2]] for row in data["rows"]] == [line["verdict"] for line in lines]
    telling = {number for number, line in enumerate(lines, 1) if line["verdict"] in ("NG", "CHECK")}
    assert set(seen.pictured) == telling
    for row in data["rows"]:
        for bit, (_, before, after) in enumerate(data["places"]):
            if row[9] & (1 << bit):
                assert (out / (before + row[10] + after)).is_file()
    for number, block in seen.pictured.items():
        views = [base64.b64decode(view.partition(",")[2]) for view in block["views"]]
        image, overlay, _ = (cv2.imdecode(np.frombuffer(view, np.uint8), cv2.IMREAD_COLOR) for view in views)
        original = cv2.imread(lines[number - 1]["image"], cv2.IMREAD_COLOR)
        times = image.shape[0] // original.shape[0]
        assert np.abs(image.astype(int) - original.repeat(times, 0).repeat(times, 1)).mean() < 6
        assert overlay.shape == image.shape
    adcli("score", images, "--out", out, "-m", band_model)
    assert not (out / "report.html").exists()


def without_host(page: bytes) -> bytes:
    return re.sub(rb'<(\w+) class="host">.*?</\1>', b"", page)


def test_a_resumed_run_has_the_page_of_an_undisturbed_one(
    dataset: Path, model: Path, adcli: Adcli, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command = ("score", dataset / "test", "--out", out, "-m", model, "--html")
    assert adcli(*command).code == 0
    whole = timeless(out)
    page = without_host(whole.pop("report.html"))
    run = json.loads((out / "run.json").read_bytes())
    test = dataset / "test"
    names = [[line["image"], str(Path(line["image"]).relative_to(test).with_suffix(""))] for line in records(out)]
    begun = {
        "configuration": {key: run[key] for key in ("model", "outputs", "engine", "precision")},
        "inputs": names,
        "key": "ab",
        "further": ["report.html"],
    }
    (out / ".adcli-run.json").write_text(json.dumps(begun))
    lines = (out / "results.jsonl").read_bytes().splitlines(keepends=True)
    (out / "results.jsonl").write_bytes(b"".join(lines[:5]))
    (out / "run.json").unlink()
    shutil.copytree(out, tmp_path / "twin")
    assert adcli(*command, "--resume").code == 0
    again = timeless(out)
    assert without_host(again.pop("report.html")) == page
    assert again == whole
    # Begun anew without the page, what the killed run had written of it is gone.
    assert adcli("score", test, "--out", tmp_path / "twin", "-m", model, "--force").code == 0
    assert not (tmp_path / "twin" / "report.html").exists()


@pytest.fixture
def browse(tmp_path: Path) -> Iterator[Any]:
    """Opens a page in a browser without a network: gives its document once its script has run, or a picture of it."""
    if BROWSER is None:
        pytest.skip("there is no Chromium or Chrome on the path to open the page in")

    def run(page: Path, *words: str, address: str = "") -> str:
        command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
        offline = ["--host-resolver-rules=MAP * ~NOTFOUND", "--virtual-time-budget=3000", "--window-size=1280,800"]
        done = subprocess.run(
            [*command, *offline, *words, page.as_uri() + address], capture_output=True, text=True, timeout=120
        )
        if done.returncode:
            pytest.skip(f"{BROWSER} does not start here: {done.stderr[-200:]}")
        return done.stdout

    yield run


def shown(document: str) -> list[list[str]]:
    """The rows of the table that a browser drew: number, verdict, score, area, name."""
    rows = re.findall(r'<div class="row" id="r\d+".*?</div>', document, re.S)
    return [
        [re.sub("(?s)<.*?>", "", cell) for cell in re.split(r'(?=<span [^>]*role="gridcell")', row)[1:]] for row in rows
    ]


def test_in_a_browser_no_name_runs_and_the_worst_come_first(nasty: Path, browse: Any) -> None:
    document = browse(nasty, "--dump-dom")
    assert re.search(r"<title>[^<]* NG[^<]*</title>", document)
    assert len(re.findall("<img ", document)) == 3
    rows = shown(document)
    assert [row[1] for row in rows] == sorted((row[1] for row in rows), key=VERDICTS.index)
    assert len(rows) == len(NASTY * 2)


def test_in_a_browser_search_filter_and_order_are_those_of_the_address(tmp_path: Path, browse: Any) -> None:
    lines = [
        record(f"line/{n:05}.png", "NG" if n % 100 == 7 else "OK", n / 10000 + 2 * (n % 100 == 7))
        for n in range(20_000)
    ]
    lines[4] = record("line/00004.png", "ERROR", None, "is cut short")
    path = tmp_path / "report.html"
    written(path, lines)
    worst = shown(browse(path, "--dump-dom"))
    assert len(worst) < 100  # of 20,000: only what can be seen is drawn
    found = shown(browse(path, "--dump-dom", address="#q=cut+SHORT"))
    assert [row[4] for row in found] == ["00004.png"]
    named = shown(browse(path, "--dump-dom", address="#q=07.png+019&hide=OK,ERROR&by=-name"))
    assert [row[4] for row in named] == ["01907.png"]
    falling = shown(browse(path, "--dump-dom", address="#q=07&hide=OK,ERROR&by=-name"))
    assert [row[4] for row in falling][:2] == ["19907.png", "19807.png"]


def test_in_a_browser_the_page_is_drawn_in_both_colour_schemes(nasty: Path, browse: Any, tmp_path: Path) -> None:
    brightness = []
    for scheme in ("0", "1"):  # dark, light
        picture = tmp_path / f"{scheme}.png"
        browse(nasty, f"--screenshot={picture}", f"--blink-settings=preferredColorScheme={scheme}")
        brightness.append(cv2.imread(str(picture), cv2.IMREAD_GRAYSCALE).mean())
    assert brightness[0] < 60
    assert brightness[1] > 200
