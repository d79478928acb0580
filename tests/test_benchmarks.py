import importlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from tests.fakes import make_mplus, some_ids
from tests.passes.test_span_queries import SPANS
from tests.systems.conftest import SHARED
from tests.systems.ret_llm.tiny_weights import tiny_weights
from tests.warm import python

from memplus.config import ROWS
from memplus.data.relations import RELATIONS, Fact

LATENCY = Path(__file__).parents[1] / "benchmarks" / "latency.py"
BYTES = LATENCY.with_name("bytes.py")
LONGER = replace(
    SPANS, short_term_tokens=32, retrieved_tokens=16, chunk_tokens=16, tokens_per_write=16
)
RATIOS = {
    "write_ratio",
    "first_token_ratio",
    "first_token_warm_ratio",
    "next_token_ratio",
    "evidence_ratio",
}
FIGURES = {
    *RATIOS,
    *(name.replace("_ratio", "_ms") for name in RATIOS),
    "tokens_per_second",
    "peak_bytes",
    "kv_bytes_ratio",
    "key_bytes",
    "bookkeeping_bytes",
}


def latency(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [*python(), str(LATENCY), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.long
def test_a_tiny_shape_runs_end_to_end_and_ends_in_json() -> None:
    done = latency("--shape", "tiny", "--threads", "1", "--rounds", "1", "--growth")

    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result.keys() == {"shape", "rounds", "dtypes", "machine"}
    assert result["machine"]["threads"] == 1
    figures = result["dtypes"]["fp32"]
    assert figures.keys() == FIGURES | {"write_growth"}
    assert all(figure > 0 for figure in figures.values())
    # 2 of 6 heads of width 8 carry keys and values: 2 * 2 * 8 numbers beside a vector of 48.
    assert figures["kv_bytes_ratio"] == pytest.approx(2 / 3)
    assert figures["key_bytes"] == 8 * 4
    # The clock of its making in 8 bytes and the id of its write in 4.
    assert figures["bookkeeping_bytes"] == 12
    # Sixteen tokens a write.
    assert figures["tokens_per_second"] == pytest.approx(16 / figures["write_ms"] * 1000)


@pytest.mark.long
def test_both_dtypes_are_measured_side_by_side_and_compared() -> None:
    """Growth is left out unless it is asked for."""
    done = latency("--shape", "tiny", "--rounds", "1", "--dtype", "bf16", "--dtype", "fp32")

    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    half, full = (result["dtypes"][name] for name in ("bf16", "fp32"))
    assert half["write_growth"] is full["write_growth"] is None
    assert half["key_bytes"] == full["key_bytes"] / 2
    for kind, times in result["times_as_fast"].items():
        assert times == pytest.approx(full[f"{kind}_ms"] / half[f"{kind}_ms"])


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
@pytest.mark.parametrize("benchmark", ["latency.py", "questions.py"])
@pytest.mark.parametrize("asked_for", [["--shape", "llama-3.1-8b"], ["--device", "cuda"]])
def test_what_needs_a_gpu_is_refused_without_one(benchmark: str, asked_for: list[str]) -> None:
    """The shape that asks for one by itself, and any other whose device is named."""
    command = [*python(), str(LATENCY.with_name(benchmark)), *asked_for]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert "needs a CUDA GPU" in done.stderr
    assert done.stdout == ""


@pytest.mark.long
def test_the_device_may_be_named_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMPLUS_DEVICE", "no such device")
    assert "no such device" in latency("--shape", "tiny", "--rounds", "1").stderr
    done = latency("--shape", "tiny", "--rounds", "1", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert "peak_gpu_bytes" not in json.loads(done.stdout.splitlines()[-1])["dtypes"]["fp32"]


@pytest.mark.slow
def test_the_store_is_measured_end_to_end() -> None:
    sizes = ["--tokens", "700", "1400", "--memories", "2", "--notes", "2", "--rounds", "1"]
    command = [*python(), str(LATENCY.with_name("store.py")), *sizes]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert [one["tokens"] for one in result["sizes"]] == [700, 1400]
    assert all(one["open_seconds"] > 0 for one in result["sizes"])
    # 8 bits and a scale of 4 bytes for 128 numbers, beside 2 bytes each.
    assert result["int8_bytes_over_bf16_rows"] == pytest.approx(132 / 256)
    assert result["int8_overlap"] >= 0.99
    assert 0 <= result["notes_right_forgotten"] <= result["notes"] == 2


def test_many_questions_are_measured_beside_single_ones() -> None:
    command = [*python(), str(LATENCY.with_name("questions.py")), "--shape", "tiny"]
    sizes = ["--questions", "5", "--single", "3", "--answer-tokens", "4"]
    done = subprocess.run([*command, *sizes], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["questions"] == 5
    assert result["together_seconds"] > 0
    assert result["ratio"] == pytest.approx(result["together_seconds"] / result["single_seconds"])


def test_short_texts_of_their_own_sources_are_asked_about(tmp_path: Path) -> None:
    """An untrained model: everything is counted, whatever it answers."""
    make_mplus(config=LONGER).save_pretrained(tmp_path / "model")
    command = [*python(), str(LATENCY.with_name("short_texts.py"))]
    sizes = ["--model", str(tmp_path / "model"), "--statements", "4", "--in-memory", "1", "3", "4"]
    done = subprocess.run([*command, *sizes], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert [one["in_memory"] for one in result["sizes"]] == [1, 3, 4]
    assert len({one["questions"] for one in result["sizes"]}) == 1
    # Each is put to a memory that was not told it, where there is another one.
    assert [one["never_told"] for one in result["sizes"]] == [4, 4, 0]
    assert all(0 <= one["right"] <= one["questions"] for one in result["sizes"])


def ladder(*arguments: str | Path) -> dict[str, Any]:
    """What ``bytes.py`` prints last."""
    command = [*python(), str(BYTES), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


@pytest.mark.long
def test_the_ladder_of_bytes_falls_and_answers_stay() -> None:
    """The nano, 20 notes under 10 000 tokens: what packed rows cost in answers."""
    result = ladder("--tokens", "6000", "--notes", "20")
    rungs = result["rungs"]
    names = [*ROWS, *(f"{kind}, K/2" for kind in ROWS)]
    assert [rung["rung"] for rung in rungs] == names
    assert result["questions"] == 20
    for figure in (
        "long_term_per_row", "memory_per_token", "disk_per_token", "told_per_token",
        "grows_per_token",
    ):  # fmt: skip
        exact, int8, int4, int2, *_ = (rung[figure] for rung in rungs)
        assert exact > int8 > int4, figure
        assert int2 == pytest.approx(int4, rel=0.01), figure  # hidden vectors take 4 bits
    exact, int8, int4, int2, *_ = (rung["right_percent"] for rung in rungs)
    assert exact >= 80
    assert int8 >= exact - 4
    assert int2 == int4 >= exact - 10
    for whole, half in zip(rungs[:4], rungs[4:], strict=True):
        assert half["told_per_token"] == whole["told_per_token"] / 2
    low, high = rungs[0]["interval"]
    assert low < exact <= high


@pytest.mark.long
def test_the_ladder_tells_a_model_of_spans_what_is_held_out(tmp_path: Path) -> None:
    """An untrained model: every rung is measured, whatever it answers."""
    make_mplus(config=LONGER).save_pretrained(tmp_path / "model")
    questions = squad_file(tmp_path / "dev.json")
    sizes = ("--tokens", "3000", "--items", "3", "--questions", questions)
    result = ladder("--model", tmp_path / "model", *sizes)
    rungs = {rung["rung"]: rung for rung in result["rungs"]}
    assert list(rungs) == [
        *ROWS, *(f"{kind}, K/2" for kind in ROWS),
        "exact, layers 1-3", "exact, layers 1-1", "exact, layers 2-3",
        "int4, layers 1-3", "int4, K/2, layers 1-3",
    ]  # fmt: skip
    assert result["told"] == 6
    kinds = rungs["exact"]["by_kind"]
    assert set(kinds) == {"passage", "statement"}
    assert sum(one["asked"] for one in kinds.values()) == result["questions"]
    exact, most, one = (rungs[f"exact{layers}"] for layers in ("", ", layers 1-3", ", layers 1-1"))
    rows = exact["long_term_per_token"] - exact["keys_per_token"]
    assert exact["keys_per_token"] == most["keys_per_token"] == one["keys_per_token"]
    assert most["long_term_per_token"] == pytest.approx(
        exact["long_term_per_token"] - rows / 4, 0.1
    )
    assert exact["grows_per_token"] > most["grows_per_token"] > one["grows_per_token"]
    assert all(rung["grows_per_token"] >= rung["long_term_per_token"] for rung in rungs.values())
    assert result["cheapest"].keys() == {"at most 1 points lost", "at most 3 points lost"}


@pytest.mark.parametrize("layers", ["1-3", "3-3", "0-3"])
@torch.no_grad()
def test_a_memory_read_with_rows_of_some_layers_is_the_one_that_kept_them_alone(
    layers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(BYTES.parent))
    module = importlib.import_module("bytes")
    whole, alone = (
        make_mplus(config=SPANS),
        make_mplus(config=replace(SPANS, long_term_layers=layers)),
    )
    memory, expected = whole.new_memory(seed=3), alone.new_memory(seed=3)
    for number in range(5):
        for model, told in ((whole, memory), (alone, expected)):
            model.write(told, some_ids(29, seed=number).tolist())
    prompt = some_ids(6, seed=90)
    with module.kept_in_layers(whole, memory, layers) as (reader, twin):
        assert twin.nbytes == expected.nbytes
        assert torch.equal(
            reader(prompt, memory=twin).logits, alone(prompt, memory=expected).logits
        )


def squad_file(path: Path) -> Path:
    """Articles of one passage each, as SQuAD is published; a quarter of them are held out."""
    articles = []
    for number in range(40):
        text = f"Town {number} has a tower of {number + 20} metres, built by mason {number}."
        asked = {"question": f"How high is the tower of town {number}?"}
        asked |= {"answers": [{"text": f"{number + 20} metres", "answer_start": 20}]}
        paragraph = {"context": text, "qas": [asked]}
        articles.append({"title": f"Town {number}", "paragraphs": [paragraph]})
    path.write_text(json.dumps({"version": "v2.0", "data": articles}))
    return path


ON_A_GPU = {
    "serve": ["engine"],
    "by_heart": [],
    "memlong": ["recall"],
    "growth": [],
    "ret_llm": ["--statements", "6", "--questions", "6", "--base-questions", "1"],
    "ret_llm_distances": ["--distances", "0"],
    "memllm": ["thresholds"],
    "scm_gate": ["--questions", "absent"],
    "scm_controllers": [],
    "scm_ablations": [],
}


@pytest.mark.parametrize("name", ON_A_GPU)
def test_a_model_is_loaded_where_the_benchmark_is_told(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Loaded(Exception):
        pass

    def load(model: str, *, device: str, dtype: object) -> None:
        raise Loaded(device)

    monkeypatch.syspath_prepend(str(LATENCY.parent))
    script: Any = importlib.import_module(name)
    monkeypatch.setattr(script.MPlus, "from_pretrained", load)
    monkeypatch.setattr(sys, "argv", [name, *ON_A_GPU[name], "--device", "cuda:7"])
    with pytest.raises(Loaded, match="cuda:7"):
        script.main()


def test_ret_llm_is_measured_from_writing_to_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(LATENCY.parent))
    ret_llm: Any = importlib.import_module("ret_llm")
    monkeypatch.setattr(ret_llm.MPlus, "from_pretrained", lambda *_, **__: SHARED.mplus)
    sizes = ["--statements", "6", "--questions", "6", "--base-questions", "1"]
    figures = ret_llm.main([*sizes, "--weights", str(tiny_weights())])
    assert figures["triples_wanted"] >= 6
    assert figures["recall"] == 0  # the tiny model knows other sentences by heart
    for name in ("asked", "by_hand"):
        assert figures[name]["questions"] == 6
        assert 0 <= figures[name]["right"] <= 1
    assert figures["base"]["questions"] == 1


def test_an_answer_is_right_where_it_says_the_names_and_no_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(LATENCY.parent))
    ret_llm: Any = importlib.import_module("ret_llm")
    told = ret_llm.statements(40, Random(1))
    known = sorted({n for one in told for f in one.facts for n in (f.person, f.organisation)})
    asked = ret_llm.questions(told, 24, Random(2))
    assert {one.kind for one in asked} == {"p", "po", "pr", "o", "r", "ro"}
    for one in asked:
        said = " and ".join([*one.given, *one.names])
        assert ret_llm.is_right(one, said, known)
        assert not ret_llm.is_right(one, "I have no note of that.", known)
        if one.kind != "po":
            right = {name for row in one.rows for name in row}
            more = next(name for name in known if name not in right)
            assert not ret_llm.is_right(one, f"{said} and {more}", known)
        if one.kind == "r":
            firms = " and ".join(firm for _, _, firm in one.rows)
            assert ret_llm.is_right(one, f"{said}, {firms}", known)
            assert not ret_llm.is_right(one, firms, known)


def test_a_name_that_is_part_of_a_longer_one_is_not_said_by_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(LATENCY.parent))
    ret_llm: Any = importlib.import_module("ret_llm")
    fact = Fact("Ada Moss", RELATIONS[0], "Larkspur Mills")
    (one,) = ret_llm.questions([ret_llm.Told("", (fact,))], 3, Random(0))[2:]
    assert one.kind == "pr"
    known = ["Ada Moss", "Larkspur", "Larkspur Mills"]
    assert ret_llm.is_right(one, "Ada Moss is employed by Larkspur Mills.", known)
    assert not ret_llm.is_right(one, "Ada Moss is employed by Larkspur.", known)


def test_growth_says_how_large_each_state_is_after_twice_the_text(tmp_path: Path) -> None:
    picture = tmp_path / "growth.png"
    script = LATENCY.with_name("growth.py")
    given = ["--systems", "mplus,memoryllm,window,nothing", "--tokens", "1024"]
    command = [*python(), str(script), *given, "--out", str(picture)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["tokens"] == [512, 1024]
    mplus, memoryllm, window, nothing = found["bytes"].values()
    assert mplus[1] > mplus[0]
    assert memoryllm[1] < 1.01 * memoryllm[0]
    assert window[1] > 0
    assert nothing == [0, 0]
    assert picture.stat().st_size > 0


def test_what_other_systems_cost_is_measured_beside_the_bare_decoder() -> None:
    systems = ["hmt", "memlong:local=64:segment=16:chunk=16"]
    flags = [flag for one in systems for flag in ("--system", one)]
    done = latency("--shape", "tiny", "--rounds", "2", "--told", "2048", *flags)

    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])["systems"]
    assert list(result) == systems
    for one in result.values():
        assert one["told_tokens"] == 2048
        assert all(one[f"{name}_ratio"] > 0 for name in ("write", "late_write", "ask"))
        assert one["state_bytes"] > 0


def test_askers_together_answer_as_one_after_another() -> None:
    script = LATENCY.with_name("serve.py")
    sizes = ["--askers", "3", "--written", "70", "--new", "4", "--rounds", "1"]
    command = [*python(), str(script), "engine", "--model", "nano", *sizes]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["equal"]
    assert result["rates"].keys() == {"generate", "one place", "together"}
    assert result["ratio"] > 0
    assert result["cpu_ratio"] > 0


@pytest.mark.long
def test_a_served_model_under_ten_times_its_load_loses_nothing_and_grows_no_queue() -> None:
    script = LATENCY.with_name("serve.py")
    sizes = ["--seconds", "2", "--memories", "4", "--new", "4", "--askers", "4"]
    command = [*python(), str(script), "load", "--model", "nano", *sizes]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["lost"] == result["twice"] == 0
    assert result["acknowledged"] > 0
    loaded = result["loaded"]
    assert loaded["sent_per_second"] > 0
    assert loaded["without_retry_after"] == 0
    refused = {"409", "429", "503"}
    assert sum(loaded["shares"].get(one, 0) for one in {"200", "201", *refused}) > 0.98
    assert result["sizes"]["most_waiting"] <= 256
    assert result["sizes"]["growth"] < 2
