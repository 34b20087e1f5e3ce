"""Is a server's time per token the step and the stalls of the others' prompts, and is what is not covered left out?"""

from __future__ import annotations

import json

import pytest
from speedsim.scenario import Scenario, run
from speedsim.units import InputError, NotCoveredError
from speedsim.validate import serving

HEAD = "id,backend,model_path,system,precision,mode,isl,osl,batch_size,tp_size,pp_size,silicon_tpot_ms"
LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
DENSE = f"a,trtllm,{LLAMA},h100_sxm,,agg,1024,128,8,1,1,7.9"


def table(folder, *lines):
    path = folder / "sample.csv"
    path.write_text("\n".join([HEAD, *lines]) + "\n")
    return str(path)


def step_ms(many, context):
    line = run(Scenario(gpu="h100_sxm", stack="trtllm_1_3", model="llama_3_1_8b", schedule="autoregressive", batch=many,
                        prompt=context, synth=f"count=3,sequences={many}", tier="roofline", record="summary"))
    return line.decode_ps / 3e9, line.decodes[0].prefill_ps / 1e9


def test_seven_others_begin_while_one_of_eight_is_answered(tmp_path):
    (row,) = serving.rows(table(tmp_path, DENSE))
    told = serving.predict(row, "roofline", fitted=False)
    step, bare, prompt = step_ms(8, 1024 + 64)[0], step_ms(8, 1)[0], step_ms(1, 1024)[1]
    assert (told.step_ms, told.prompt_ms) == (step, prompt)
    assert told.tpot_ms == pytest.approx(step + 7 / 127 * (prompt - bare))


def test_one_request_alone_takes_its_steps(tmp_path):
    (row,) = serving.rows(table(tmp_path, DENSE.replace(",8,1,1", ",1,1,1")))
    told = serving.predict(row, "roofline", fitted=False)
    assert told.tpot_ms == told.step_ms == step_ms(1, 1024 + 64)[0]


def test_dense_models_on_one_gpu_with_few_requests_count(tmp_path):
    others = (DENSE.replace("agg", "disagg"), DENSE.replace("8,1,1", "8,2,1"), DENSE.replace("8,1,1", "65,1,1"),
              DENSE.replace(LLAMA, "deepseek-ai/DeepSeek-R1"))
    assert [row.id for row in serving.rows(table(tmp_path, *others, DENSE))] == ["a"]


def test_types_without_a_model_and_full_memories_are_said_and_not_scored(tmp_path, capsys):
    path = table(tmp_path, DENSE, DENSE.replace("sxm,,", "sxm,fp4,"), DENSE.replace("1024,128,8", "99999,128,64"))
    serving.main(["--data", path, "--tier", "roofline", "--unfitted", "--json", "-"])
    found = json.loads(capsys.readouterr().out)
    assert found["rows"] == 1
    assert sorted(found["not_covered"].values()) == [1, 1]
    assert any("outgrow the memory" in reason for reason in found["not_covered"])


def test_h200_rows_of_vllm_hold_bf16_keys_and_b200_rows_fp8_ones(tmp_path):
    line = "a,vllm,meta-llama/Llama-3.1-70B,h200_sxm,fp8,agg,1024,1024,4,1,1,21"
    held = [serving.served(row).kv for row in serving.rows(table(tmp_path, line, line.replace("h200", "b200")))]
    assert held == ["bf16", "fp8"]


def test_a_missing_file_and_a_row_without_numbers_are_refused(tmp_path):
    with pytest.raises(NotCoveredError, match=r"aiconfigurator-core==0\.12\.0"):
        serving.rows(str(tmp_path / "none.csv"))
    with pytest.raises(InputError, match="row a"):
        serving.rows(table(tmp_path, DENSE.replace("7.9", "fast")))
