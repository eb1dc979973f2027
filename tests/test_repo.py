"""What a reader and a reviewer rely on: notebooks that are whole, small, clean and in sync."""
import ast
import json
import re
import subprocess
from configparser import ConfigParser

import pytest
from helping import ROOT

NOTEBOOKS = sorted(p for p in (ROOT / "nbs").rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts)
MODULES = sorted(p for p in (ROOT / "spatialbook").rglob("*.py") if p.name not in ("_modidx.py", "__init__.py"))


def cells(path):
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


def source(cell):
    return "".join(cell["source"])


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: str(p.relative_to(ROOT / "nbs")))
def test_notebook(path):
    all_cells = cells(path)
    code = [c for c in all_cells if c["cell_type"] == "code"]
    first = "\n".join(source(c) for c in all_cells[:2] if c["cell_type"] == "markdown")
    assert first.startswith("# ") and "\n> " in first, "a notebook begins with a title and a question"
    assert path.stat().st_size <= 300_000, "at most 300 kB"
    assert len(all_cells) <= 80, "more cells than this want to be two notebooks"
    assert any(c["outputs"] for c in code), "a reader sees and hears nothing"
    assert all(c["execution_count"] is None for c in code), "cleaned"
    assert not any(o["output_type"] == "error" for c in code for o in c["outputs"])
    assert "widgets" not in json.loads(path.read_text(encoding="utf-8"))["metadata"]
    for c in code:
        text = source(c)
        if "#| export" in text or text.startswith(("%", "!")):
            continue
        body = ast.parse(text).body
        kinds = {isinstance(node, (ast.Import, ast.ImportFrom)) for node in body}
        assert len(kinds) < 2, f"imports have a cell of their own:\n{text[:200]}"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT / "spatialbook")))
def test_module(path):
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 320, "a module stays below 320 lines"
    assert "import *" not in text
    tree = ast.parse(text)
    public = [n for n in tree.body if isinstance(n, (ast.FunctionDef, ast.ClassDef)) and not n.name.startswith("_")]
    bare = [n.name for n in public if not ast.get_docstring(n)]
    assert not bare, f"public names without a docstring: {bare}"


def test_nothing_of_this_machine():
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    for name in filter(None, files):
        path = ROOT / name
        if path.suffix in (".safetensors", ".png") or not path.is_file():
            continue
        found = re.search(r"/(?:home|root|work)/[a-z][\w.-]*/", path.read_text(encoding="utf-8", errors="ignore"))
        assert not found, f"{name} names a path of a machine: {found and found[0]}"


def test_requirements_are_those_of_the_settings():
    ini = ConfigParser(delimiters=["="])
    ini.read(ROOT / "settings.ini")
    wanted = ini["DEFAULT"]["requirements"].split()
    assert (ROOT / "requirements.txt").read_text().split() == wanted
    locked = {line.split("==")[0].lower().replace("_", "-") for line in (ROOT / "lock.txt").read_text().split()}
    names = {re.split(r"[<>=]", w)[0].lower().replace("_", "-") for w in wanted} - {"torch"}
    assert names <= locked, f"not in lock.txt: {names - locked}"


def test_readme_is_the_index():
    import importlib.util
    spec = importlib.util.spec_from_file_location("nb", ROOT / "tools" / "nb.py")
    nb = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(nb)
    assert nb.render_readme() == (ROOT / "README.md").read_text(encoding="utf-8")


def test_one_notebook_a_module():
    names = [m for p in NOTEBOOKS for c in cells(p) for m in re.findall(r"^#\| default_exp (\S+)", source(c), re.M)]
    assert len(names) == len(set(names))
    exported = {str(p.relative_to(ROOT / "spatialbook").with_suffix("")).replace("/", ".") for p in MODULES}
    assert exported == set(names), exported ^ set(names)
