"""The page of `kimad report` in a real browser: nothing goes wrong in it, all of it is seen, nothing is loaded."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from kimad.launch.cli import main
from tests.launch import chromium
from tests.launch.runs import begin, end, record, write_records

pytestmark = pytest.mark.dist

WIDTHS_PX = (1280, 400)
LEAST_FONT_PX = 11
# What is asked of a page. An element that scrolls by itself may be wider inside than the window.
FITS = "document.documentElement.scrollWidth <= innerWidth && document.body.scrollWidth <= innerWidth"
PLOTS = """[...document.querySelectorAll('img, svg, canvas')].map(e => {
    const box = e.getBoundingClientRect();
    return {id: e.id, alt: e.alt || '', shown: e.complete !== false && e.naturalWidth !== 0, right: box.right,
            width: box.width, height: box.height, scale: e.naturalWidth ? box.width / e.naturalWidth : 1};
})"""
SMALLEST_FONT = """Math.min(...[...document.querySelectorAll('body *')]
    .filter(e => [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()))
    .map(e => parseFloat(getComputedStyle(e).fontSize)))"""
LOADED = "performance.getEntriesByType('resource').map(e => e.name).filter(name => !name.startsWith('data:'))"
OUTSIDE = re.compile(r"""(?:\b(?:src|href|srcset|action|poster|data)\s*=\s*["']?|url\(\s*["']?|@import\s+["']?)
    \s*(?!data:|\#)[^"'\s>)]+""", re.VERBOSE)  # fmt: skip


@pytest.fixture(scope="module")
def page() -> Iterator[chromium.Page]:
    if chromium.find() is None and "CI" not in os.environ:  # there nothing may be skipped
        pytest.skip("the browser chromium is not installed: make system")
    with chromium.browser() as browser:
        yield browser.page()


def whole(folder: Path) -> list[Path]:
    begin(folder / "whole")
    end(folder / "whole")
    return [folder / "whole"]


def plain(folder: Path) -> list[Path]:
    begin(folder / "off", "off")
    end(folder / "off")
    return [folder / "off"]


def begun(folder: Path) -> list[Path]:
    begin(folder / "begun", steps=0)
    return [folder / "begun"]


def cut(folder: Path) -> list[Path]:
    begin(folder / "cut", steps=5)
    with (folder / "cut" / "records.jsonl").open("a") as file:
        file.write('{"step": 5, "ti')
    end(folder / "cut", exit_code=1, cause="rank 1 was ended by signal 9 <img src=http://example.org/x.png>")
    return [folder / "cut"]


def many_layers(folder: Path) -> list[Path]:
    layers = [
        {"name": f"module.encoder.blocks.{i}.attention.projection.weight", "codec": "int8", "density": 1.0}
        for i in range(400)
    ]
    write_records(folder / "layers", [record(step, layers=layers) for step in range(20)])
    return [folder / "layers"]


def compared(folder: Path) -> list[Path]:
    return whole(folder) + plain(folder) + begun(folder)


WHOLE = {"loss", "parts", "link", "layers", "prediction"}
CASES: dict[str, tuple[Callable[[Path], list[Path]], set[str]]] = {  # runs, and plots without the number of the run
    "whole": (whole, WHOLE),
    "plain": (plain, {"loss", "link"}),
    "begun": (begun, set()),
    "cut": (cut, WHOLE),
    "layers": (many_layers, WHOLE - {"loss"}),
    "compared": (compared, WHOLE | {"compared"}),
}


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, set[str]]:
    """A page, and the plots that it must have."""
    folder = tmp_path_factory.mktemp("report")
    make, plots = CASES[request.param]
    target = folder / "report.html"
    with pytest.raises(SystemExit) as caught:
        main(["report", *map(str, make(folder)), "--out", str(target)])
    assert caught.value.code == 0
    return target, plots


@pytest.mark.parametrize("width_px", WIDTHS_PX)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_of_it_is_seen(page: chromium.Page, case: tuple[Path, set[str]], width_px: int, scheme: str) -> None:
    path, plots = case
    page.open(path, width_px=width_px, scheme=scheme)
    assert page.complaints() == []
    assert page.evaluate(FITS), page.evaluate("document.documentElement.scrollWidth")
    assert page.evaluate(SMALLEST_FONT) >= LEAST_FONT_PX
    found = page.evaluate(PLOTS)
    assert {re.sub(r"^plot-|-\d+$", "", plot["id"]) for plot in found} == plots
    for plot in found:
        assert plot["shown"], plot
        assert plot["alt"], plot
        assert plot["width"] > 0.8 * min(width_px, 1000), plot
        assert plot["height"] > 100, plot
        assert plot["right"] <= width_px, plot
        assert plot["scale"] > 0.9, plot  # its texts are not shrunk
        colours = Image.open(io.BytesIO(page.picture_of(f"#{plot['id']}"))).convert("RGB").getcolors(1 << 24)
        assert colours is not None
        assert len(colours) > 20, plot  # something is drawn


def test_it_loads_nothing(page: chromium.Page, case: tuple[Path, set[str]]) -> None:
    path = case[0]
    page.open(path, width_px=1280)
    assert page.requests() == []
    assert page.evaluate(LOADED) == []
    text = path.read_text(encoding="utf-8")
    tags = " ".join(re.findall(r"<[^<>]*>|<style>.*?</style>", text, re.DOTALL))
    assert OUTSIDE.findall(tags) == []
    assert "default-src 'none'" in page.evaluate("document.querySelector('meta[http-equiv]').content")
    assert page.evaluate("document.scripts.length") == 0


BAD = {
    "loads": "<img src='http://localhost:9/x.png'>",
    "throws": "<script>throw Error('thrown')</script>",
    "complains": "<script>console.error('said')</script>",
    "is refused": """<meta http-equiv="Content-Security-Policy" content="default-src 'none'"><b style="top:0">""",
    "overflows": "<div style='width: 2000px'>x</div>",
    "is broken": "<img id='plot-x' src='data:image/svg+xml;base64,AAAA'>",
}


@pytest.mark.parametrize("what", BAD)
def test_the_browser_would_tell(page: chromium.Page, tmp_path: Path, what: str) -> None:
    path = tmp_path / "bad.html"
    path.write_text(f"<!doctype html><title>x</title>{BAD[what]}", encoding="utf-8")
    page.open(path, width_px=400)
    wrong = [*page.complaints(), *page.requests(), *page.evaluate(LOADED)]
    wrong += [plot["id"] for plot in page.evaluate(PLOTS) if not plot["shown"]]
    wrong += [] if page.evaluate(FITS) else ["too wide"]
    assert wrong


@pytest.mark.parametrize("tag", ["<img src=x.png>", "<a href='https://a'>", "<p style='background: url(//a/b)'>"])
def test_addresses_would_be_found(tag: str) -> None:
    assert OUTSIDE.search(tag)
    assert not OUTSIDE.search("<img src='data:image/png;base64,AA'><a href='#x'>")
