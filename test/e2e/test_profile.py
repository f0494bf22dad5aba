"""`EXE --profile`: a trace whose spans are the run, sums that add up, and a run that is otherwise the same."""

import json

import pytest
from conftest import compile_model, run, write_npz

BATCH = 4
FLAGS = {
    "synth": ("--train-fraction", "1", "--rounds", "2", "--batch-size", "8", "--stop-samples", "0"),
    "finetune": ("--rounds", "1", "--steps-per-round", "2", "--batch-size", "8", "--noise-batch-size", "8", "--holdout-samples", "2",
                 "--train-fraction", "0.5", "--stop-samples", "4", "--noise-steps", "2"),
    "evaluate": ("--attack", "fgsm:eps=4/255",),
}  # fmt: skip
STEPS = {"synth": "synth_step", "finetune": "finetune_step_noised", "evaluate": "value_and_grad"}


@pytest.fixture(scope="module")
def data(small, tmp_path_factory):
    path = tmp_path_factory.mktemp("profile") / "data.npz"
    write_npz(path, small.info, train=20, val=10)
    return path


def execute(small, emit, data, folder, *flags):
    exe = compile_model(small, emit, f"--batch={BATCH}")
    result = run([exe, "--data-dir", data, "--output", folder / "out", "--threads", "2", *FLAGS[emit], *flags], check=False)
    assert result.returncode in (0, 3), result.stderr
    return exe, result


@pytest.fixture(scope="module", params=FLAGS)
def profiled(request, small, data, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    exe, result = execute(small, request.param, data, folder, "--profile", folder / "trace.json")
    return request.param, exe, result.stdout, json.loads((folder / "trace.json").read_text()), folder


def spans(trace, lane):
    return [event for event in trace["traceEvents"] if event["ph"] == "X" and event["tid"] == lane]


def metadata_ops(small, emit):
    """Entry -> its list of ops, from a library: --info leaves them out."""
    from nullspace import runtime

    model = runtime.Model(compile_model(small, "library", f"--batch={BATCH}"))
    return {entry["name"]: entry["ops"] for entry in model.metadata["entries"]}


def test_every_op_is_there_once_for_each_call(profiled, small):
    emit, _, _, trace, _ = profiled
    lists, entry = metadata_ops(small, emit), None
    seen = {}
    for event in sorted(spans(trace, 0), key=lambda e: (e["ts"], -e["dur"])):
        if event["cat"] == "entry":
            entry, end = event["name"], event["ts"] + event["dur"]
            seen.setdefault(entry, []).append([])
        elif event["cat"] != "host":
            assert event["ts"] + event["dur"] <= end + 0.002
            seen[entry][-1].append((event["args"]["op"], event["cat"], event["args"]["shape"]))
    assert STEPS[emit] in seen
    for name, calls in seen.items():
        if emit != "finetune" and name in ("prepare", "forward"):
            continue  # a library trains, so that nothing is folded there
        expected = [(i, op["kind"], op["shape"]) for i, op in enumerate(lists[name])]
        assert [len(call) for call in calls] == [len(calls[0])] * len(calls)
        if emit == "finetune":
            assert calls[0] == expected


def test_spans_nest(profiled):
    *_, trace, _ = profiled
    assert trace["displayTimeUnit"] == "ms"
    for lane in range(3):
        open_ends = []
        events = sorted(spans(trace, lane), key=lambda e: (e["ts"], -e["dur"]))
        assert events
        for event in events:
            begin, end = event["ts"], event["ts"] + event["dur"]
            while open_ends and open_ends[-1] <= begin + 0.0015:  # three digits of a microsecond
                open_ends.pop()
            assert all(end <= outer + 0.0015 for outer in open_ends)
            open_ends.append(end)


def test_sums_are_those_of_the_spans(profiled):
    _, _, text, trace, _ = profiled
    sums, events = trace["nullspace"], spans(trace, 0)
    assert sums["threads"] == 2
    for entry in sums["entries"]:
        calls = [e for e in events if e["cat"] == "entry" and e["name"] == entry["name"]]
        assert len(calls) == entry["calls"]
        assert sum(e["dur"] for e in calls) == pytest.approx(1e6 * entry["seconds"], abs=0.002 * len(calls))
        ops = [op for op in entry["ops"] if "group" not in op]
        assert sum(op["seconds"] for op in ops) == pytest.approx(entry["seconds"] - entry["own_seconds"], abs=1e-6)
        assert all(op["calls"] == entry["calls"] for op in entry["ops"])
        assert all(0 <= op.get("idle_seconds", 0) <= 2 * op["seconds"] for op in ops)
        for group in (op for op in ops if op["kind"] == "group"):
            members = [op for op in entry["ops"] if op.get("group") == group["op"]]
            assert [op["member"] for op in members] == list(range(len(members))) and members
            assert all(op["seconds"] > 0 for op in members)
            assert sum(op["seconds"] for op in members) <= group["seconds"]
        assert f"\n{entry['name']}: {entry['calls']} calls" in text
    own = sum(item["own_seconds"] for item in sums["host"])
    assert own + sum(entry["seconds"] for entry in sums["entries"]) <= sums["seconds"]
    assert {"read weights", "load images"} <= {item["name"] for item in sums["host"]}


def test_sums_count_flops_and_bytes(profiled, small):
    emit, *_, trace, _ = profiled
    step = next(entry for entry in trace["nullspace"]["entries"] if entry["name"] == STEPS[emit])
    fc1 = [op for op in step["ops"] if op["layer"] == "blocks.0.mlp.fc1" and op["kind"] == "product"]
    images, tokens, channels = (2 if emit == "finetune" else 1) * BATCH, 17, 64
    assert [op["flops"] for op in fc1] == [2 * images * tokens * channels * 4 * channels]
    assert [op["bytes"] for op in fc1] == [4 * (images * tokens * 5 * channels + 4 * channels**2)]


def test_without_a_profile_the_run_is_the_same(profiled, small, data):
    emit, _, _, _, folder = profiled
    (folder / "out").rename(folder / "with")
    execute(small, emit, data, folder)
    names = sorted(p.relative_to(folder / "out") for p in (folder / "out").rglob("*") if p.is_file())
    assert names == sorted(p.relative_to(folder / "with") for p in (folder / "with").rglob("*") if p.is_file())
    for name in names:
        first, second = ((folder / side / name).read_bytes() for side in ("with", "out"))
        if name.name in ("summary.csv", "optimizer.safetensors"):  # they hold seconds
            assert len(first.splitlines()) == len(second.splitlines()) if name.suffix == ".csv" else len(first) > 0
        else:
            assert first == second, name


def test_a_place_that_cannot_be_written_is_said_at_once(small, data, tmp_path):
    _, result = None, run([compile_model(small, "synth", f"--batch={BATCH}"), "--data-dir", data, "--output", tmp_path / "out",
                           "--profile", tmp_path / "no" / "trace.json"], check=False)  # fmt: skip
    assert result.returncode == 1 and "no/trace.json" in result.stderr


def test_python_records_what_runs_inside(small, tmp_path):
    import numpy as np
    from nullspace import runtime

    model = runtime.Model(compile_model(small, "library", f"--batch={BATCH}"), threads=2)
    image = np.zeros((6, 3, 32, 32), np.float32)
    with model.profile(tmp_path / "trace.json"):
        logits = model.forward(image)
    assert np.array_equal(model.forward(image), logits)
    sums = json.loads((tmp_path / "trace.json").read_text())["nullspace"]
    assert [(entry["name"], entry["calls"]) for entry in sums["entries"]] == [("forward", 2)]
