# python3 scripts/prove/tune/adapters-reference.py make test/fixtures/families test/fixtures/adapters
# python3 scripts/prove/tune/adapters-reference.py logits test/fixtures/families/NAME ADAPTER
# python3 scripts/prove/tune/adapters-reference.py classes test/fixtures/families test/fixtures/classifiers
# `make`: LoRA adapters by peft for the families' tiny models, as peft keeps them, and the last rows of the
# logits that transformers and peft give with them. Made once, with torch 2.15.0, transformers 5.24.0, peft
# 0.21.2; the files are committed, so no test needs Python. `logits` prints the same rows for any adapter's
# folder, as JSON: prove-adapters.ts asks it about ours. `classes`: the same for models that tell three classes
# apart, of some families.
import base64
import json
import os
import shutil
import sys

import peft
import torch
import transformers

ROWS = 4
GATED = ['q_proj', 'k_proj', 'v_proj', 'o_proj', 'gate_proj', 'up_proj', 'down_proj']
ATTENTION = ['q_proj', 'k_proj', 'v_proj', 'o_proj']
FUSED = ['query_key_value', 'dense', 'dense_h_to_4h', 'dense_4h_to_h']
GPT2 = ['c_attn', 'c_proj', 'c_fc']
# transformers 5 adds Falcon's ALiBi otherwise than transformers 4, which made the family's own fixture.
LEFT_OUT = {'falcon-rw'}
CLASSES = ['bloom', 'gemma2', 'gpt2', 'llama3', 'qwen3']
# Further options, one family each, so that all of them are met.
OPTIONS = {
    'llama': dict(rank_pattern={'q_proj': 3, 'down_proj': 1}, alpha_pattern={'v_proj': 7}),
    'llama3': dict(layers_to_transform=[0, 2]),
    'mistral': dict(target_modules='all-linear'),
    'qwen2': dict(use_rslora=True, r=3),
    'qwen3': dict(exclude_modules=['up_proj']),
    'gpt2': dict(fan_in_fan_out=True),
}


def targets_of(name):
    if name.startswith('gpt2'):
        return GPT2
    if name in ('mixtral', 'qwen3moe'):
        return ATTENTION
    return FUSED if name.startswith(('bloom', 'falcon')) else GATED


def open_model(folder):
    return transformers.AutoModelForCausalLM.from_pretrained(
        folder, attn_implementation='eager', dtype=torch.float32).eval()


def ids_of(folder):
    with open(os.path.join(folder, 'expected.json')) as file:
        return json.load(file)['ids']


def logits_of(model, ids):
    with torch.no_grad():
        rows = model(torch.tensor([ids]), use_cache=False).logits[0, -ROWS:]
    return base64.b64encode(rows.float().contiguous().numpy().tobytes()).decode()


def classes_of(model, ids):
    with torch.no_grad():
        logits = model(torch.tensor([ids]), use_cache=False).logits[0]
    return base64.b64encode(logits.float().contiguous().numpy().tobytes()).decode()


def open_classes(folder):
    return transformers.AutoModelForSequenceClassification.from_pretrained(
        folder, attn_implementation='eager', dtype=torch.float32, num_labels=3).eval()


def make(folder, name, out, open_model=open_model, logits_of=logits_of, task='CAUSAL_LM'):
    torch.manual_seed(sum(name.encode()))
    options = OPTIONS.get(name, {}) if task == 'CAUSAL_LM' else {}
    config = peft.LoraConfig(**{
        **dict(r=2, lora_alpha=4, target_modules=targets_of(name), task_type=task), **options})
    model = peft.get_peft_model(open_model(folder), config)
    for key, value in model.named_parameters():
        if '.lora_' in key or '.score.' in key:
            # Both matrices count, in bfloat16 as they are kept.
            value.data = (torch.randn_like(value) * 0.3).to(torch.bfloat16).float()
    model.eval()
    answer = logits_of(model, ids_of(folder))
    shutil.rmtree(out, ignore_errors=True)
    model.to(torch.bfloat16).save_pretrained(out)
    for extra in ('README.md',):
        if os.path.exists(os.path.join(out, extra)):
            os.remove(os.path.join(out, extra))
    path = os.path.join(out, 'adapter_config.json')
    with open(path) as file:
        kept = json.load(file)
    # No path of this machine.
    kept['base_model_name_or_path'] = name
    with open(path, 'w') as file:
        json.dump(kept, file, indent=2)
        file.write('\n')
    with open(os.path.join(out, 'expected.json'), 'w') as file:
        json.dump({'rows': ROWS, 'logits': answer}, file, indent=1)
        file.write('\n')


def main():
    if sys.argv[1] == 'logits':
        folder, adapter = sys.argv[2:4]
        model = peft.PeftModel.from_pretrained(open_model(folder), adapter).eval()
        json.dump({'rows': ROWS, 'logits': logits_of(model, ids_of(folder))}, sys.stdout)
        return
    families, out = sys.argv[2:4]
    if sys.argv[1] == 'classes':
        for name in CLASSES:
            make(os.path.join(families, name), name, os.path.join(out, name), open_classes, classes_of, 'SEQ_CLS')
        return
    for name in sorted(os.listdir(families)):
        if name not in LEFT_OUT:
            make(os.path.join(families, name), name, os.path.join(out, name))


main()
