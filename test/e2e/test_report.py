"""nullspace.report on run folders made by hand."""

import html.parser
import itertools
import json
import math
import os
import re
import shutil
import subprocess

import numpy as np
import pytest
from nullspace import UserError, report
from nullspace.report.statistics import holm, sign_flip_p, wilson
from PIL import Image

KINDS = [f"kind_{i}" for i in range(15)]


def write_run(folder, weights, shares, others=(), hexadecimal=False):
    """Output of evaluate: `shares` are (kind, parameters, outcome of each image)."""
    folder.mkdir(parents=True)
    measurements, columns = [], []
    for index, (kind, parameters, outcomes) in enumerate(shares):
        share, n = float(np.mean(outcomes)), len(outcomes)
        entry = {"kind": kind, "value": share, "n": n, "interval": wilson(share, n), "parameters": parameters}
        if hexadecimal:
            entry |= {"outcomes": np.packbits(np.array(outcomes, np.uint8)).tobytes().hex(), "images": f"first-{n}"}
        measurements.append(entry)
        columns.append((f'"{kind},{index}"', outcomes))
        measurements += others if index == 0 else ()
    (folder / "results.json").write_text(json.dumps({"weights_xxh3": weights, "measurements": measurements}))
    if not hexadecimal:
        lines = [",".join(["image,label,prediction", *(name for name, _ in columns)])]
        for i in range(len(columns[0][1])):
            lines.append(",".join(map(str, [i, 0, 0, *(outcomes[i] for _, outcomes in columns)])))
        (folder / "outcomes.csv").write_text("\n".join(lines) + "\n")
    return folder


def bits(n, ones):
    return [1] * ones + [0] * (n - ones)


@pytest.fixture
def folders(tmp_path):
    """Arm `none` of two seeds, arm `hard` of one, measured in two pieces; 40 images."""
    fgsm, mse = (
        {"eps": 4 / 255, "seed": 1},
        {"kind": "noise_prob_sq", "value": 0.1, "n": 40, "parameters": {"noise": "learned"}},
    )
    write_run(tmp_path / "none-0", "a", [("clean", {}, bits(40, 30)), ("fgsm", fgsm, bits(40, 8))], [mse])
    write_run(tmp_path / "none-1", "b", [("clean", {}, bits(40, 32)), ("fgsm", fgsm, bits(40, 10))])
    write_run(tmp_path / "hard-0", "c", [("clean", {}, bits(40, 31)), ("fgsm", fgsm, bits(40, 24))])
    corrupted = [
        ("corruption", {"corruption": kind, "severity": s}, bits(20, 10 + s)) for kind in KINDS for s in range(1, 6)
    ]
    write_run(tmp_path / "hard-c", "c", [("clean", {}, bits(20, 16)), *corrupted])
    (tmp_path / "synth").mkdir()
    (tmp_path / "synth" / "summary.csv").write_text(
        "step,loss,prob_mse,norm,lr,seconds\n0,3.5,0.9,20,.1,.01\n1,3.1,,19,.1,.02\n2,2.0,0.2,18,.1,.03\n"
    )
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "summary.csv").write_text(
        "step,round,loss,lr,seconds,noise_norm,noise_prob_mse,holdout_accuracy\n1,1,2,.1,1,5,.1,\n2,1,1.5,.1,2,5,,.5\n3,2,1.2,.1,3,6,.1,.6\n"
    )
    return tmp_path


def runs(folder):
    return [f"none={folder}/none-0", f"none={folder}/none-1", f"<hard>={folder}/hard-0", f"<hard>={folder}/hard-c"]


def study(folder):
    pairs = [run.split("=") for run in runs(folder)]
    return report.gather("t", pairs).study


def test_seeds_and_pieces_are_one_table(folders):
    found = study(folders)
    assert [c[0] for c in found.columns] == ["clean", "fgsm", "corruptions"]
    cell = found.cell("none", ("fgsm", "eps 4/255"))
    assert (cell.value, cell.n, cell.seeds) == (9 / 40, 40, [0.2, 0.25]) and cell.interval == wilson(9 / 40, 40)
    assert cell.spread == pytest.approx(0.05 / math.sqrt(2))
    # Of the clean accuracies of two pieces the one on more images counts.
    assert found.cell("<hard>", ("clean", "")).n == 40
    corrupted = found.cell("<hard>", ("corruptions", "15 kinds"))
    assert corrupted.value == pytest.approx(np.mean([10 + s for s in range(1, 6)]) / 20) and corrupted.n == 20


def test_differences_are_tested_on_the_same_images(folders):
    cell = study(folders).cell("<hard>", ("fgsm", "eps 4/255"))
    # Summed over the seeds of `none`: 14 images differ by 2 of 2, 2 images by 1 of 2, all upwards.
    assert cell.p == pytest.approx(2 * 0.5**16) and cell.difference == pytest.approx(24 / 40 - 9 / 40)
    assert cell.mark == "▲" and cell.adjusted == pytest.approx(2 * cell.p)
    assert study(folders).cell("<hard>", ("clean", "")).mark == ""


def test_bitmaps_and_columns_say_the_same(folders, tmp_path):
    shares = [("clean", {}, bits(13, 7)), ("fgsm", {"eps": 0.1}, bits(13, 3))]
    for name, hexadecimal in (("columns", False), ("bitmaps", True)):
        write_run(tmp_path / name, name, shares, hexadecimal=hexadecimal)
        found = report.read_results(tmp_path / name)
        assert [list(m.outcomes) for m in found] == [outcomes for *_, outcomes in shares]
        assert len({str(m.images) for m in found}) == 1


@pytest.mark.parametrize("seed", range(4))
def test_sign_flips_against_all_of_them(seed):
    differences = np.random.default_rng(seed).integers(-3, 4, 9)
    totals = [abs(np.dot(signs, np.abs(differences))) for signs in itertools.product((-1, 1), repeat=9)]
    assert sign_flip_p(differences) == pytest.approx(np.mean(np.array(totals) >= abs(differences.sum())))


def test_mcnemar_is_the_sign_flip_of_single_outcomes():
    b, c = 3, 11
    expected = 2 * sum(math.comb(b + c, k) for k in range(b + 1)) / 2 ** (b + c)
    assert sign_flip_p(np.array([1] * b + [-1] * c + [0] * 50)) == pytest.approx(expected)
    assert sign_flip_p(np.zeros(5, int)) == 1 and sign_flip_p(np.array([1, -1])) == 1


def test_holm():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


class Checked(html.parser.HTMLParser):
    """What a page refers to, and whether its images have texts."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.outside, self.silent = set(), set(), [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.ids.add(given.get("id"))
        for key in ("href", "src"):
            if value := given.get(key):
                (
                    self.links.add(value[1:])
                    if value[0] == "#"
                    else value.startswith("data:") or self.outside.append(value)
                )
        if (tag == "img" and not given.get("alt")) or (
            tag == "svg" and not (given.get("aria-label") or "aria-hidden" in given)
        ):
            self.silent.append(tag)


def test_page_is_whole_and_needs_no_network(folders, capsys):
    for label, value in (("clean", 10), ("attacked", 200)):
        (folders / label / "0").mkdir(parents=True)
        Image.new("RGB", (4, 4), (value, 0, 0)).save(folders / label / "0" / "7.png")
    outputs = {suffix: folders / f"r.{suffix}" for suffix in ("html", "md", "tex", "json")}
    arguments = [*runs(folders), f"training={folders}/train", str(folders / "synth"), "--note", "A <note>."]
    arguments += [f"--pictures={label}={folders / label}" for label in ("clean", "attacked")]
    assert report.main([*arguments, *(f"--output={path}" for path in outputs.values())]) == 0
    text = outputs["html"].read_text()
    page = Checked(text)
    assert not page.outside and not page.silent and page.links <= page.ids and "<script" not in text
    assert "&lt;hard&gt;" in text and "<hard>" not in text and "A &lt;note&gt;." in text and "60.0" in text
    for section in ("Results", "Accuracy by arm", "Corruptions by severity", "Pictures", "Synthesis", "Finetuning"):
        assert f">{section}</h2>" in text
    assert text.count('alt="attacked: 0/7"') == 1 and text.count("severity</text>") == 15
    lines = outputs["md"].read_text().splitlines()
    assert lines[0] == "| | n | none | <hard> |" and lines[3].startswith(
        "| FGSM (eps 4/255) | 40 | 22.5 ±3.5 [12.3–37.5] | 60.0▲ ["
    )
    tex = outputs["tex"].read_text()
    assert tex.count(r"\\") == 4 and not re.search("[▲▼±–]", tex)
    assert r"60.0$^{\blacktriangle}$ {\scriptsize [" in tex and r"22.5 {\scriptsize $\pm$3.5 [12.3--37.5]}" in tex
    entry = json.loads(outputs["json"].read_text())["arms"]["<hard>"]["FGSM"]
    assert entry["n"] == 40 and entry["mean"] == 0.6 and entry["p"] < 1e-4
    printed = capsys.readouterr().out
    assert "60.0▲" in printed and "12–38" in printed


def test_outputs_through_a_link_and_a_pipe(folders):
    link, pipe = folders / "link.md", folders / "pipe.md"
    (folders / "target.md").write_text("before")
    link.symlink_to("target.md")
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", pipe], stdout=subprocess.PIPE, text=True) as reader:
        report.main([*runs(folders), f"-o{link}", f"-o{pipe}"])
        piped, _ = reader.communicate(timeout=60)
    assert piped.startswith("| |") and piped == (folders / "target.md").read_text()
    assert link.is_symlink() and pipe.is_fifo()


def test_arms_by_columns_as_the_paper(folders):
    outputs = [f"-o{folders}/t.{suffix}" for suffix in ("md", "tex")]
    report.main([*runs(folders), "--layout=paper", *outputs, "--reference=<hard>"])
    lines = (folders / "t.md").read_text().splitlines()
    assert (
        lines[0].startswith("| | Clean, n 40 | FGSM, n 40 |")
        and lines[2].startswith("| none | 77.5")
        and "▼" in lines[2]
    )
    tex = (folders / "t.tex").read_text()
    assert tex.count(r"\\") == 7 and r"$^{\blacktriangledown}$" in tex


@pytest.mark.parametrize("layout", ["tall", "paper"])
def test_latex_typesets(folders, layout):
    if shutil.which("pdflatex") is None:
        pytest.skip("no pdflatex")
    report.main([*runs(folders), f"--layout={layout}", f"-o{folders}/t.tex"])
    packages = r"\usepackage{booktabs,amssymb,graphicx}"
    (folders / "paper.tex").write_text(
        rf"\documentclass[twocolumn]{{article}}{packages}\begin{{document}}\input{{t.tex}}\end{{document}}"
    )
    result = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"],
        cwd=folders,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0 and "Overfull" not in result.stdout, result.stdout
    assert (folders / "paper.pdf").stat().st_size > 10_000


def test_two_settings_of_one_attack_are_two_columns(tmp_path):
    attacks = [("square", {"eps": eps / 255, "queries": 200}, bits(8, 4)) for eps in (16, 8)]
    write_run(tmp_path / "a", "a", [*attacks, ("clean", {}, bits(8, 8))])
    found = report.gather("t", [("a", tmp_path / "a")]).study
    assert [found.heading(c) for c in found.columns] == [
        "Clean",
        "Square (eps 16/255, 200 queries)",
        "Square (eps 8/255, 200 queries)",
    ]


def test_modes_of_an_attack_are_columns(tmp_path):
    usual = {
        "num_patch": 1,
        "patch_select": "Attn",
        "attack_mode": "Attention",
        "sparse_pixel_num": 0,
        "mild_l_inf": 0,
        "mild_l_2": 0,
    }
    modes = [
        {},
        {"num_patch": 4, "patch_select": "Rand"},
        {"sparse_pixel_num": 16},
        {"mild_l_inf": 16 / 255},
        {"mild_l_2": 2},
    ]
    modes.append({"attack_mode": "CE_loss", "patch_select": "Saliency"})
    attacks = [("patchfool", usual | mode, bits(8, 4)) for mode in modes]
    attacks += [("pgd", {"eps": 1 / 255, "steps": 10, "restarts": n}, bits(8, 4)) for n in (1, 5)]
    attacks += [("cw", {"c": c, "kappa": 0, "search": 0, "steps": 50}, bits(8, 4)) for c in (1, 2)]
    write_run(tmp_path / "a", "a", attacks)
    found = report.gather("t", [("a", tmp_path / "a")]).study
    assert sorted(found.heading(c) for c in found.columns) == [
        "CW-L2 (50 steps)",
        "CW-L2 (50 steps, c 2)",
        "PGD (eps 1/255, 10 steps)",
        "PGD (eps 1/255, 10 steps, 5 restarts)",
        "Patch-Fool",
        "Patch-Fool (16 pixels)",
        "Patch-Fool (4 patches, random patches)",
        "Patch-Fool (patches by saliency, cross-entropy alone)",
        "Patch-Fool (within 16/255)",
        "Patch-Fool (within 2 in L2)",
    ]


def test_kinds_of_corruptions_are_rows_where_asked_for(folders):
    arguments = [f"hard={folders}/hard-c", f"--output={folders}/r.md"]
    report.main(arguments)
    assert [line.split(" |")[0] for line in (folders / "r.md").read_text().splitlines()[2:4]] == [
        "| Clean",
        "| Corruptions (15 kinds)",
    ]
    report.main([*arguments, "--by-corruption"])
    lines = (folders / "r.md").read_text().splitlines()[3:19]
    kinds = ["15 kinds", *(kind.replace("_", " ") for kind in KINDS)]  # in their order: kind 2 before kind 10
    assert lines == [
        f"| Corruptions ({kind}) | 20 | 65.0 [{100 * low:.1f}–{100 * high:.1f}] |"
        for low, high in [wilson(0.65, 20)]
        for kind in kinds
    ]


def test_shifted_and_transfer_sets_are_the_papers_columns(tmp_path):
    sets = [("shifted", "Imagenet-A"), ("transfer", "damagenet"), ("shifted", "mine"), ("shifted", "imagenet-r")]
    shares = [(kind, {"set": name}, bits(8, 4)) for kind, name in sets]
    numbers = [
        {"kind": "mce", "value": 0.7, "n": 8, "parameters": {}},
        {"kind": "seeds", "value": 0.1, "n": 8, "parameters": {}},
    ]
    write_run(tmp_path / "a", "a", [("clean", {}, bits(8, 7)), *shares], numbers, hexadecimal=True)
    found = report.gather("t", [("a", tmp_path / "a")]).study
    assert [found.heading(c) for c in found.columns] == ["Clean", "DamageNet", "A", "mCE", "R", "mine"]
    assert found.cell("a", ("mce", "")).interval is None


@pytest.mark.parametrize("content", ["", "[]", '{"measurements": [{"kind": "clean"}]}', '{"measurements": 3}'])
def test_broken_results_are_user_errors(folders, content):
    (folders / "none-0" / "results.json").write_text(content)
    with pytest.raises(UserError, match="results.json"):
        report.read_results(folders / "none-0")
    with pytest.raises(SystemExit) as ended:
        report.main([f"base={folders / 'none-0'}", "-o", str(folders / "r.html")])
    assert ended.value.code == 1 and not (folders / "r.html").exists()


@pytest.mark.parametrize(
    "arguments, text",
    [
        (["{0}/none-0", "{0}/nothing"], "nothing: expected results.json of evaluate, or summary.csv"),
        (["{0}/none-0", "--reference=x"], "--reference x: expected one of none-0"),
        (["{0}/none-0", "--pictures=clean={0}/synth"], "expected PNG or JPEG files, found none"),
        (["{0}/synth", "-o{0}/t.md"], "a table needs at least one output of evaluate"),
        (["{0}/synth", "{0}/synth"], "a second output of synth"),
    ],
)
def test_user_errors(folders, arguments, text, capsys):
    with pytest.raises(SystemExit) as ended:
        report.main([a.format(folders) for a in arguments] + [f"-o{folders}/r.html"])
    assert ended.value.code == 1 and text in capsys.readouterr().err
    assert not (folders / "r.html").exists() and not (folders / "t.md").exists()


@pytest.mark.parametrize(
    "content", ["", "image,label,prediction,clean\n0,0,0,1\n", "image,label,prediction,clean,fgsm\n0,0,0,1,x\n"]
)
def test_columns_that_do_not_fit_are_a_user_error(folders, content):
    (folders / "none-0" / "outcomes.csv").write_text(content)
    with pytest.raises(UserError, match="outcomes.csv: expected"):
        report.read_results(folders / "none-0")
