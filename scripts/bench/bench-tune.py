# Run by bench-tune.ts: steps of LoRA by transformers and peft on torch's CPU. Takes a folder with a
# model and settings; each line of stdin is a step's micro-batches of token ids, each line of stdout
# what the step came to.
import json
import sys
import time

import peft
import torch
import transformers

folder = sys.argv[1]
settings = json.load(open(f'{folder}/settings.json'))
torch.set_num_threads(settings['threads'])
model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
model = peft.get_peft_model(model, peft.LoraConfig(
    r=settings['rank'], lora_alpha=settings['rank'] * settings['scale'], lora_dropout=0.0,
    target_modules=settings['targets'], task_type='CAUSAL_LM'))
model.train()
parameters = [one for one in model.parameters() if one.requires_grad]
optimizer = torch.optim.AdamW(parameters, lr=settings['lr'], weight_decay=0.0)
print(json.dumps({'parameters': sum(one.numel() for one in parameters)}), flush=True)
for line in sys.stdin:
    batches = json.loads(line)
    began, cpu = time.perf_counter(), time.process_time()
    tokens = sum(len(ids) - 1 for batch in batches for ids in batch)
    total = 0.0
    for batch in batches:
        ids = torch.tensor(batch)
        count = ids.shape[0] * (ids.shape[1] - 1)
        loss = model(input_ids=ids[:, :-1], labels=None, use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(
            loss.reshape(-1, loss.shape[-1]), ids[:, 1:].reshape(-1), reduction='sum') / tokens
        loss.backward()
        total += loss.item()
    torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    print(json.dumps({'seconds': time.perf_counter() - began, 'cpuSeconds': time.process_time() - cpu, 'loss': total}), flush=True)
