"""The front page in a real JupyterLab, driven by a real browser: what `make lab` opens must run to its end, without a word on stderr, and sound.

`make browser` installs what this needs (Debian's Chromium, and playwright, which brings no browser of its own here).
"""
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
from helping import CHROMIUM, FLAGS, ROOT, needs_chromium

# Every cell in the page at once, and no questions about news or versions.
SETTINGS = {"notebook-extension/tracker": {"windowingMode": "none"}, "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False, "doNotDisturbMode": True}}
PLAY = "async e => { await e.play(); await new Promise(r => setTimeout(r, 700)); const t = e.currentTime; e.pause(); return [e.readyState, t, e.duration]; }"
LEVELS = """async e => {
    const bytes = await (await fetch(e.src)).arrayBuffer(), sound = await new OfflineAudioContext(2, 1, 22050).decodeAudioData(bytes);
    return [...Array(sound.numberOfChannels).keys()].map(c => 10 * Math.log10(sound.getChannelData(c).reduce((s, x) => s + x * x, 1e-12)));
}"""


def sources(path):
    return ["".join(c["source"]) for c in json.loads(path.read_text(encoding="utf-8"))["cells"] if c["cell_type"] == "code"]


@pytest.fixture
def lab(tmp_path):
    "JupyterLab over a copy of the notebooks, on a free port, without a token; yields its address."
    shutil.copytree(ROOT / "nbs", tmp_path / "nbs", ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    for name, values in SETTINGS.items():
        file = tmp_path / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(values))
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    # What a person has: no IN_TEST, pictures inline. And nothing of this person's own settings.
    env = {k: v for k, v in os.environ.items() if k not in ("IN_TEST", "MPLBACKEND")}
    env |= dict(PYTHONPATH=str(ROOT), JUPYTERLAB_SETTINGS_DIR=str(tmp_path / "settings"), JUPYTERLAB_WORKSPACES_DIR=str(tmp_path / "workspaces"),
                **{f"{name}_DIR": str(tmp_path / name.lower()) for name in ("JUPYTER_CONFIG", "JUPYTER_RUNTIME", "JUPYTER_DATA")}, IPYTHONDIR=str(tmp_path / "ipython"))
    log = open(tmp_path / "lab.log", "w+")
    server = subprocess.Popen([sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}", "--ServerApp.port_retries=0",
                               "--IdentityProvider.token=", f"--ServerApp.root_dir={tmp_path / 'nbs'}"], env=env, cwd=tmp_path, stdout=log, stderr=log)
    try:
        for _ in range(120):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/api", timeout=5).close()
                break
            except OSError:
                assert server.poll() is None, (tmp_path / "lab.log").read_text()
                time.sleep(0.5)
        else:
            pytest.fail("JupyterLab did not answer:\n" + (tmp_path / "lab.log").read_text())
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()  # Lab ends its kernels
        server.wait(30)
        log.close()


def wait_for_kernel(address):
    "Until the page is connected to an idle kernel: before that, Run All asks which kernel one would like."
    for _ in range(120):
        with urllib.request.urlopen(f"{address}/api/sessions", timeout=5) as answer:
            kernels = [session["kernel"] for session in json.load(answer)]
        if any(k["connections"] and k["execution_state"] == "idle" for k in kernels):
            return
        time.sleep(0.5)
    pytest.fail("no kernel came up in a minute")


@needs_chromium
def test_index_in_jupyterlab(lab):
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: `make browser` installs it")
    cells = sources(ROOT / "nbs" / "index.ipynb")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport=dict(width=1400, height=1300))
        broken = []
        page.on("pageerror", lambda error: broken.append(str(error)[:300]))
        page.goto(f"{lab}/lab/tree/index.ipynb?reset", wait_until="domcontentloaded")
        page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=90_000)
        wait_for_kernel(lab)
        page.get_by_text("| Idle").wait_for(timeout=60_000)  # the status bar
        page.evaluate("document.querySelectorAll('.jp-OutputArea-output').forEach(e => e.dataset.saved = 1)")  # what was saved does not count
        page.click('.lm-MenuBar-itemLabel:text("Run")')
        page.click('.lm-Menu-itemLabel:text-is("Run All Cells")')

        def texts(what):
            return [e.inner_text() for e in page.locator(f'.jp-OutputArea-output[data-mime-type="application/vnd.jupyter.{what}"]').all()]

        for _ in range(360):
            prompts = [e.inner_text() for e in page.locator(".jp-CodeCell .jp-InputPrompt").all()]
            if texts("error") or sum(p.strip("[]:").isdigit() for p in prompts) == len(cells):
                break
            time.sleep(0.5)
        assert texts("error") == [] and texts("stderr") == []
        assert prompts == [f"[{i + 1}]:" for i in range(len(cells))]
        assert page.locator(".jp-OutputArea-output[data-saved]").count() == 0, "an output of before was left standing"
        assert page.locator(".jp-RenderedImage img").first.evaluate("e => e.naturalWidth") > 100

        players = page.locator(".jp-OutputArea-output audio")
        assert players.count() == 2
        for player in players.all():
            player.scroll_into_view_if_needed()
            state, position, duration = player.evaluate(PLAY)
            assert state >= 2 and position > 0.2 and duration == pytest.approx(3, abs=0.2)
        levels = {p.get_attribute("aria-label"): p.evaluate(LEVELS) for p in players.all()}  # dB, left and right, as the browser decodes them
        assert levels["mono"][0] == pytest.approx(levels["mono"][-1], abs=0.1)
        assert levels["two ears"][1] - levels["two ears"][0] > 3, "the saxophone of this scene is on the right"
        assert broken == []
        browser.close()
