"""nullspace.report on run folders made by hand."""

import json

import pytest
from nullspace import UserError, report


@pytest.fixture
def folders(tmp_path):
    for model, shift in (("base", 0), ("nullspace", 0.05)):
        folder = tmp_path / model
        folder.mkdir()
        value = lambda v: {"value": v + shift, "n": 400, "interval": [v + shift - 0.03, v + shift + 0.03]}
        measurements = [
            {"kind": "square", **value(0.3), "parameters": {"eps": 16 / 255, "queries": 200}},
            {"kind": "clean", **value(0.9), "parameters": {}},
        ]
        measurements += [
            {"kind": "noise_same_argmax", **value(v), "parameters": {"noise": noise}}
            for noise, v in (("permuted", 0.5), ("learned", 0.9))
        ]
        (folder / "results.json").write_text(json.dumps({"measurements": measurements}))
    (tmp_path / "synth").mkdir()
    (tmp_path / "synth" / "summary.csv").write_text(
        "step,loss,prob_mse,norm,lr,seconds\n0,3.5,0.9,20,.1,.01\n1,3.1,,19,.1,.02\n2,2.0,0.2,18,.1,.03\n"
    )
    return tmp_path


def test_page_is_whole_and_needs_no_network(folders, capsys):
    page = folders / "report.html"
    status = report.main(
        [
            "--model",
            f"base={folders / 'base'}",
            "--model",
            f"<hard>={folders / 'nullspace'}",
            "--synth",
            str(folders / "synth"),
            "--training",
            f"none={folders / 'synth'}",
            "-o",
            str(page),
        ]
    )
    assert status == 0
    text = page.read_text()
    assert text.count("data:image/svg+xml;base64,") == 4 and "http" not in text.replace("http-equiv", "")
    assert "90.0 %" in text and "&lt;hard&gt;" in text and "eps 16/255, 200 queries" in text
    printed = capsys.readouterr().out
    assert "90.0" in printed and "27–33" in printed


def test_columns_in_reading_order(folders):
    found = report.Report("t", {"base": report.read_results(folders / "base")}).columns()
    assert found == [
        ("clean", ""),
        ("square", "eps 16/255, 200 queries"),
        ("noise_same_argmax", "learned"),
        ("noise_same_argmax", "permuted"),
    ]


def test_two_settings_of_one_attack_are_two_columns(folders):
    path = folders / "base" / "results.json"
    measurements = json.loads(path.read_text())["measurements"]
    measurements.append({**measurements[0], "parameters": {"eps": 8 / 255, "queries": 200}})
    path.write_text(json.dumps({"measurements": measurements}))
    found = report.Report("t", {"base": report.read_results(folders / "base")})
    assert [found.heading(c) for c in found.columns()][1:3] == [
        "Square (eps 16/255, 200 queries)",
        "Square (eps 8/255, 200 queries)",
    ]


@pytest.mark.parametrize("content", [None, "", "[]", '{"measurements": [{"kind": "clean"}]}', '{"measurements": 3}'])
def test_broken_results_are_user_errors(folders, content, capsys):
    path = folders / "base" / "results.json"
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(UserError, match="results.json"):
        report.read_results(folders / "base")
    with pytest.raises(SystemExit) as ended:
        report.main(["--model", f"base={folders / 'base'}", "-o", str(folders / "r.html")])
    assert ended.value.code == 1
    assert not (folders / "r.html").exists()
