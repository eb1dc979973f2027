"""What a newcomer reads first: links that lead somewhere, a complete NOTICE, a citation that can be cited, help that teaches."""
import json
import re
import subprocess
import sys
from configparser import ConfigParser

import yaml
from helping import ROOT


def test_the_map_leads_into_every_room():
    cells = json.loads((ROOT / "nbs" / "index.ipynb").read_text(encoding="utf-8"))["cells"]
    links = set(re.findall(r"\]\(([^)\s]+\.ipynb)\)", "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")))
    rooms = {p.relative_to(ROOT / "nbs").as_posix() for p in (ROOT / "nbs").rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts} - {"index.ipynb"}
    assert links == rooms, f"dead: {links - rooms}; not on the map: {rooms - links}"


def test_links_of_the_readme():
    "The README lies one folder above the page it is made from."
    targets = re.findall(r"\]\(([^)\s]+)\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert targets and [t for t in targets if not t.startswith(("http", "#")) and not (ROOT / t).exists()] == []


def test_notice_holds_the_ledger():
    from spatialbook.assets import notice
    text = (ROOT / "NOTICE").read_text(encoding="utf-8")
    assert text.endswith("\n\n" + notice() + "\n"), "NOTICE ends with `spatialbook.assets.notice()`: paste it again"
    for name in ("DiffBinaural", "BigVGAN", "BatVision", "Morgado", "Redondo", "No code of theirs was copied"):
        assert name in text


def test_citation():
    cff = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    ini = ConfigParser(delimiters=["="])
    ini.read(ROOT / "settings.ini")
    assert cff["cff-version"] == "1.2.0" and {"message", "title", "authors", "type"} <= cff.keys()
    assert str(cff["version"]) == ini["DEFAULT"]["version"] and cff["license"] == "Apache-2.0"
    assert all({"type", "title", "authors"} <= r.keys() for r in cff["references"])
    credited = " ".join(r["title"] + r["notes"] + str(r["authors"]) for r in cff["references"])
    for name in ("DiffBinaural", "BigVGAN", "BatVision", "Binaural Attention", "Morgado", "Redondo"):
        assert name in credited


def test_help_teaches_however_a_module_is_started():
    "`accelerate launch -m` makes a module `__main__`, of whose classes fastcore's docments knows no comments."
    said = subprocess.run([sys.executable, "-m", "spatialbook.binaural.train", "--help"], capture_output=True, text=True, cwd=ROOT, check=True).stdout
    assert "channels of the finest level" in said and "simulated scenes of each tier to train on" in said
