# python3 scripts/prove/tune/tune-reference.py FOLDER MODEL.gguf
# The part of prove-tune.ts that is not ours: takes the steps of FOLDER/run.json with transformers and
# peft, from the adapter in FOLDER on, keeps the last adapter in FOLDER/end, and prints losses and
# seconds as JSON. Weights are taken out of the GGUF as floats.
import json
import os
import sys
import time

import peft
import torch
import transformers


def batch_of(examples):
    longest = max(len(one['ids']) for one in examples)
    ids = torch.zeros(len(examples), longest, dtype=torch.long)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
    for row, one in enumerate(examples):
        count = len(one['ids'])
        ids[row, :count] = torch.tensor(one['ids'])
        mask[row, :count] = 1
        learnt = torch.tensor(one['learnt'])
        labels[row, :count][learnt] = ids[row, :count][learnt]
    return {'input_ids': ids, 'attention_mask': mask, 'labels': labels}


def main():
    folder, path = sys.argv[1:3]
    with open(os.path.join(folder, 'run.json')) as file:
        run = json.load(file)
    base = transformers.AutoModelForCausalLM.from_pretrained(
        os.path.dirname(path), gguf_file=os.path.basename(path), dtype=torch.float32)
    model = peft.PeftModel.from_pretrained(base, folder, is_trainable=True)
    model.train()
    trained = [one for one in model.parameters() if one.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=0.0, weight_decay=run['weightDecay'])
    losses, began = [], time.monotonic()
    for step in run['steps']:
        for group in optimiser.param_groups:
            group['lr'] = step['learningRate']
        loss = model(**batch_of(step['examples']), use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, run['clip'])
        optimiser.step()
        optimiser.zero_grad()
        losses.append(loss.item())
    seconds = time.monotonic() - began
    model.save_pretrained(os.path.join(folder, 'end'))
    json.dump({'losses': losses, 'seconds': seconds}, sys.stdout)


main()
