"""Notebooks as text, run, cleaned, exported: the one tool between an editor and `nbs/`.

    python tools/nb.py pull  [NOTEBOOK ...]   write .nbtext/X.py (percent text) from nbs/X.ipynb
    python tools/nb.py push  [TEXT ...]       merge the text back, export, run, clean: never a stale output
    python tools/nb.py run   [NOTEBOOK ...]   run again and keep the outputs (byte-identical on the second run)
    python tools/nb.py test  [NOTEBOOK ...]   nbdev's test of each, two at a time, each in a process of its own
    python tools/nb.py readme                 README.md from nbs/index.ipynb
    python tools/nb.py check                  exports in sync, notebooks clean, README in sync; writes nothing new

Without names, `push` takes the texts that differ from their notebook and the others take every notebook.
"""
import fcntl
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NBS, TEXT = ROOT / "nbs", ROOT / ".nbtext"
KERNEL = dict(kernelspec=dict(display_name="python3", language="python", name="python3"))


def notebooks(names=()):
    "The notebooks named (by notebook or text path), or all of them, in reading order."
    if names:
        return [NBS / p.relative_to(TEXT if TEXT in p.parents else NBS).with_suffix(".ipynb") for p in map(_absolute, names)]
    return sorted(p for p in NBS.rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts and not p.name.startswith("_"))


def _absolute(name):
    return (Path.cwd() / name).resolve()


def text_of(notebook):
    return TEXT / notebook.relative_to(NBS).with_suffix(".py")


@contextmanager
def locked():
    "One export at a time: the module index is one file for all notebooks."
    TEXT.mkdir(exist_ok=True)
    with open(TEXT / ".lock", "w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def pull(names=()):
    import jupytext
    import nbformat
    for notebook in notebooks(names):
        nb = nbformat.read(notebook, 4)
        text = text_of(notebook)
        text.parent.mkdir(parents=True, exist_ok=True)
        text.write_text(jupytext.writes(nb, fmt="py:percent"), encoding="utf-8")


def merge(notebook):
    "Bring the text's cells into the notebook, keeping ids and outputs of cells that did not change; say whether anything did."
    import jupytext
    import nbformat
    from jupytext.combine import combine_inputs_with_outputs
    new = jupytext.reads(text_of(notebook).read_text(encoding="utf-8"), fmt="py:percent")
    old = nbformat.read(notebook, 4) if notebook.exists() else None
    if old is not None:
        new = combine_inputs_with_outputs(new, old)
    new.metadata = nbformat.from_dict(KERNEL)
    for cell in new.cells:
        cell.metadata.pop("lines_to_next_cell", None)
    content = lambda nb: [(c.cell_type, c.source) for c in nb.cells]
    if old is not None and content(old) == content(new):
        return False
    notebook.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(new, notebook)
    return True


def push(names=()):
    changed = [n for n in (notebooks(names) if names else [NBS / t.relative_to(TEXT).with_suffix(".ipynb") for t in sorted(TEXT.rglob("*.py"))])
               if merge(n) or names]
    if changed:
        export()
        run(changed)
        export()


def export():
    with locked():
        subprocess.run([_tool("nbdev_export")], cwd=ROOT, check=True)


def run(names=()):
    "Each notebook in a process of its own: no state can pass from one to the next."
    failed = []
    for notebook in notebooks(names):
        env = dict(os.environ, IN_TEST="1", MPLBACKEND="agg", PYTHONHASHSEED="0", TOKENIZERS_PARALLELISM="false")
        if subprocess.run([sys.executable, __file__, "_run", str(notebook)], env=env).returncode:
            failed.append(str(notebook.relative_to(ROOT)))
    if failed:
        sys.exit("failed: " + ", ".join(failed))


def _run(notebook):
    "Run one notebook in this process; keep outputs small and repeatable."
    import time
    from execnb.nbio import nb2str, read_nb, write_nb
    from execnb.shell import CaptureShell
    from nbdev.clean import clean_nb
    from nbdev.config import get_config
    from nbdev.process import extract_directives
    flags = set(get_config(path=ROOT).tst_flags.split())
    notebook = Path(notebook)
    before, start = notebook.read_text(encoding="utf-8"), time.perf_counter()
    os.chdir(notebook.parent)
    sys.path.insert(0, str(ROOT))
    nb = read_nb(notebook)

    def skipped(cell):
        if cell.cell_type != "code":
            return True
        directives = extract_directives(cell, remove=False)
        return bool(flags & directives.keys()) or directives.get("eval:", [""])[0] == "false"

    for cell in nb.cells:
        if not skipped(cell):
            cell.outputs = []  # a cell that no longer says anything must not keep what it once said
    shell = CaptureShell(notebook, mpl_format="png")
    shell.run("import matplotlib.pyplot as plt; plt.rcParams['figure.dpi'] = 72")
    try:
        shell.run_all(nb, exc_stop=True, preproc=skipped)
    except Exception as error:
        sys.exit(f"{notebook.relative_to(ROOT)}: {type(error).__name__}: {error}")
    if shell.exc:
        sys.exit(f"{notebook.relative_to(ROOT)}: {shell.exc!r}")
    for cell in nb.cells:
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                output["data"]["image/png"] = _small(output["data"]["image/png"])
            # A live widget cannot be kept: its picture would carry random ids and nothing to show.
            output.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None)
    clean_nb(nb)
    nb.metadata.pop("widgets", None)
    same = nb2str(nb) == before
    if not same:
        write_nb(nb, notebook)
    print(f"{'same   ' if same else 'updated'} {notebook.relative_to(ROOT)}  {time.perf_counter() - start:.1f} s, {notebook.stat().st_size // 1000} kB")


def _small(png):
    "The same picture in 48 colours: a quarter of the bytes, and nothing a reader would miss."
    import base64
    import io
    from PIL import Image
    image, out = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB"), io.BytesIO()
    image.quantize(48, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
    return base64.b64encode(out.getvalue()).decode()


def render_readme():
    "Markdown as it is, code as fenced blocks, text outputs indented below, pictures from files; players stay in the notebook."
    import re
    from execnb.nbio import read_nb
    from nbdev.process import extract_directives
    parts, pictures = [], iter(readme_pictures())
    for cell in read_nb(NBS / "index.ipynb").cells:
        directives = extract_directives(cell) if cell.cell_type == "code" else {}
        if {"hide", "notest"} & directives.keys() or not cell.source.strip():
            continue
        if cell.cell_type == "markdown":
            parts.append(re.sub(r"\]\((?!https?:|#)([^)\s]+\.ipynb)\)", r"](nbs/\1)", cell.source))  # README.md lies one folder higher
            continue
        parts.append(f"```python\n{cell.source.strip()}\n```")
        parts += [f"![what the cell above draws]({next(pictures)})" for o in cell.get("outputs", []) if "image/png" in o.get("data", {})]
        text = "".join("".join(o.get("text", o.get("data", {}).get("text/plain", ""))) for o in cell.get("outputs", []) if "image/png" not in o.get("data", {}) and "text/html" not in o.get("data", {}))
        if text.strip():
            parts.append("\n".join("    " + line for line in text.rstrip().splitlines()))
    return "\n\n".join(parts) + "\n"


def readme_pictures():  # path below ROOT -> bytes
    "The pictures of the front page, as the README needs them: files."
    import base64
    from execnb.nbio import read_nb
    pngs = [o["data"]["image/png"] for c in read_nb(NBS / "index.ipynb").cells for o in c.get("outputs", []) if "image/png" in o.get("data", {})]
    return {f"nbs/index_{i + 1}.png": base64.b64decode("".join(png)) for i, png in enumerate(pngs)}


# Read once, before the processes of the tests branch off: starting them one by one costs five seconds each, a third of all tests.
HEAVY = ("accelerate", "av", "fastcore.test", "IPython.display", "librosa", "matplotlib.pyplot", "nbdev.showdoc", "pandas", "scipy.signal", "seaborn", "soundfile", "torch.utils.data", "tqdm.auto")


def test(names=()):
    "nbdev's test of each notebook in a process of its own; fails when one fails."
    import importlib
    import tempfile
    import time
    from nbdev.config import get_config
    for name in HEAVY:
        importlib.import_module(name)
    flags, waiting, running, failed = get_config(path=ROOT).tst_flags.split(), notebooks(names), {}, []
    while waiting or running:
        while waiting and len(running) < (os.cpu_count() or 1):
            notebook, said = waiting.pop(0), tempfile.TemporaryFile("w+")
            sys.stdout.flush()
            running[os.fork() or _test(notebook, flags, said)] = notebook, said, time.perf_counter()
        pid, status = os.wait()
        notebook, said, start = running.pop(pid)
        print(f"{'ok    ' if status == 0 else 'FAILED'} {time.perf_counter() - start:5.1f} s  {notebook.relative_to(ROOT)}", flush=True)
        if status:
            said.seek(0)
            failed.append(f"{notebook.relative_to(ROOT)}\n{said.read()}")
    if failed:  # said at the end, where somebody who sees only the last lines of a log finds it
        sys.exit("".join(f"\nfailed: {each}" for each in failed))


def _test(notebook, flags, said):
    "The child's side; it never returns."
    import atexit
    from nbdev.test import test_nb
    ok = False
    try:
        os.dup2(said.fileno(), 1), os.dup2(said.fileno(), 2)
        os.chdir(NBS)
        unseeded = _watch_generators()
        ok, _ = test_nb(notebook, skip_flags=flags, basepath=ROOT)
        if loose := unseeded():
            ok = False
            print(f"drew numbers before seeding: {', '.join(loose)}. A test that holds by luck fails on somebody else's machine: seed first")
        sys.stdout.flush(), sys.stderr.flush()
        atexit._run_exitfuncs()
    finally:
        os._exit(0 if ok else 1)


def _watch_generators():
    "Watch the global generators. What comes back, called at the end, names those that gave numbers before anybody had seeded them."
    import numpy as np
    import torch
    states = dict(torch=lambda: torch.get_rng_state().numpy().tobytes(), numpy=lambda: str(np.random.get_state(legacy=False)["state"]))
    begun, settled, drawn, forks = {name: state() for name, state in states.items()}, set(), set(), []

    def look(name):
        if name not in settled and states[name]() != begun[name]:
            drawn.add(name)

    def watched(name, module, attribute):
        plain = getattr(module, attribute)

        def seed(*args, **kwargs):
            if not forks:  # a fork gives the state back when it ends
                look(name)
                settled.add(name)
            return plain(*args, **kwargs)
        setattr(module, attribute, seed)
    for name, module, attribute in (("torch", torch, "manual_seed"), ("torch", torch, "set_rng_state"), ("numpy", np.random, "seed"), ("numpy", np.random, "set_state")):
        watched(name, module, attribute)
    plain_fork = torch.random.fork_rng

    @contextmanager
    def fork(*args, **kwargs):
        forks.append(True)
        try:
            with plain_fork(*args, **kwargs):
                yield
        finally:
            forks.pop()
    torch.random.fork_rng = fork

    def unseeded():
        for name in states:
            look(name)
        return sorted(drawn)
    return unseeded


def readme():
    (ROOT / "README.md").write_text(render_readme(), encoding="utf-8")
    for name, content in readme_pictures().items():
        (ROOT / name).write_bytes(content)


def check():
    "Export and clean again: whatever that changes was stale."
    watched = sorted(p for d in ("spatialbook", "nbs") for p in (ROOT / d).rglob("*") if p.suffix in (".py", ".ipynb") and ".ipynb_checkpoints" not in p.parts)
    before = {p: p.read_bytes() for p in watched}
    export()
    subprocess.run([_tool("nbdev_clean")], cwd=ROOT, check=True)
    stale = [p for p in watched if p.read_bytes() != before[p]]
    stale += [p for p in (ROOT / "spatialbook").rglob("*.py") if p not in before]
    if render_readme() != (ROOT / "README.md").read_text(encoding="utf-8"):
        stale.append(ROOT / "README.md")
    stale += [ROOT / name for name, content in readme_pictures().items() if not (ROOT / name).exists() or (ROOT / name).read_bytes() != content]
    if stale:
        sys.exit("not in sync with the notebooks (now mended; commit it): " + ", ".join(str(p.relative_to(ROOT)) for p in stale))
    print(f"{len(watched)} files in sync with the notebooks")


def _tool(name):
    return str(Path(sys.executable).with_name(name))


if __name__ == "__main__":
    commands = dict(pull=pull, push=push, run=run, test=test, _run=lambda names: _run(names[0]), readme=lambda _: readme(), check=lambda _: check())
    if len(sys.argv) < 2 or sys.argv[1] not in commands:
        sys.exit(__doc__)
    commands[sys.argv[1]](sys.argv[2:])
