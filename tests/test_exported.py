"""Each notebook's own tests against the *exported* module: a stale, broken or incomplete export cannot pass."""
import importlib

import pytest
from execnb.nbio import read_nb
from execnb.shell import CaptureShell
from helping import ROOT
from nbdev.config import get_config
from nbdev.process import extract_directives

NOTEBOOKS = sorted(p for p in (ROOT / "nbs").rglob("[0-9]*.ipynb") if ".ipynb_checkpoints" not in p.parts)
FLAGS = set(get_config(path=ROOT).tst_flags.split())


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: str(p.relative_to(ROOT / "nbs")))
def test_against_module(path, monkeypatch):
    import matplotlib.pyplot as plt
    monkeypatch.chdir(path.parent)
    monkeypatch.setenv("IN_TEST", "1")
    shell, module, filled = CaptureShell(path, mpl_format=None), None, False
    for cell in read_nb(path).cells:
        if cell.cell_type != "code":
            continue
        directives = extract_directives(cell, remove=False)
        if "default_exp" in directives:
            module = importlib.import_module("spatialbook." + directives["default_exp"][0])
        elif directives.keys() & FLAGS or directives.get("eval:", [""])[0] == "false":
            continue
        elif directives.keys() & {"export", "exporti", "exports"}:
            if not filled:
                shell.user_ns.update({k: v for k, v in vars(module).items() if not k.startswith("__")})
                filled = True
        else:
            shell.run(cell.source)
            assert shell.exc is None, f"{cell.source}\n{shell.exc!r}"
    plt.close("all")
