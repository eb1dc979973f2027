"""The head-rotation player in a real browser: turn the head, and the sound must stay where it is in the world. `make browser` installs what this needs."""
import pytest
import torch
from helping import CHROMIUM, FLAGS, needs_chromium

from spatialbook.core import torch_generator
from spatialbook.space import encode_foa

# Power of both ears over a moment, measured behind the filters.
LEVELS = """async ([yaw, name]) => {
    const root = document.querySelector(".sphere-player"), button = [...root.querySelectorAll(".which button")].find(b => b.textContent === name);
    button.click(); root.look(yaw, 0);
    const { context, master } = root.audio, split = context.createChannelSplitter(2), ears = [0, 1].map(() => context.createAnalyser());
    master.connect(split); ears.forEach((e, i) => { e.fftSize = 8192; split.connect(e, i); });
    await new Promise(r => setTimeout(r, 900));
    return ears.map(e => { const x = new Float32Array(e.fftSize); e.getFloatTimeDomainData(x); return x.reduce((s, v) => s + v * v, 1e-12); });
}"""


@needs_chromium
def test_the_sound_stays_in_the_world(tmp_path):
    sync_api = pytest.importorskip("playwright.sync_api")
    from spatialbook.ambisonics.player import player_html
    noise = 0.1 * torch.randn(48000, generator=torch_generator("player"))
    left, mono = encode_foa(noise, 90.0), torch.cat([noise[None], torch.zeros(3, 48000)])
    frames = torch.zeros(20, 32, 64, 3, dtype=torch.uint8)
    frames[:, :, 14:18] = 255  # at 90 degrees
    page_file = tmp_path / "player.html"
    page_file.write_text('<!doctype html><meta charset="utf-8">' + player_html({"truth": left, "mono": mono}, 24000, frames, 10.0, seconds=2.0), encoding="utf-8")
    with sync_api.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page, faults = browser.new_page(), []
        page.on("pageerror", lambda e: faults.append(str(e)))
        page.on("console", lambda m: faults.append(m.text) if m.type == "error" else None)
        page.goto(page_file.as_uri())
        page.click(".play")
        ild = lambda yaw, name="truth": (lambda e: 10 * torch.log10(torch.tensor(e[0] / e[1])).item())(page.evaluate(LEVELS, [yaw, name]))
        assert ild(0) > 5 and abs(ild(90)) < 2 and ild(180) < -5  # on the left; in front for who looks left; on the right for who looks back
        assert abs(ild(0, "mono")) < 1 and abs(ild(120, "mono")) < 1
        middle = "() => { const c = document.querySelector('.sphere-player canvas'), d = c.getContext('2d').getImageData(c.width / 2, c.height / 2, 1, 1).data; return d[0]; }"
        page.evaluate("() => document.querySelector('.sphere-player').look(90, 0)")
        assert page.evaluate(middle) > 150
        page.evaluate("() => document.querySelector('.sphere-player').look(0, 0)")
        assert page.evaluate(middle) < 60
        box = page.locator("canvas").bounding_box()
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 20)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] / 2 + 100, box["y"] + 20)
        page.mouse.up()
        assert float(page.evaluate("() => document.querySelector('.yaw').value")) > 5  # dragged to the right: the head turns to the left
        browser.close()
    assert not faults, faults
