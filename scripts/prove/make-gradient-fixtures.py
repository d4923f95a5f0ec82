# python3 scripts/prove/make-gradient-fixtures.py test/fixtures/families test/fixtures/gradients.json
# What torch says of the gradients through the blocks of the families' tiny models: the reference of
# test/blocks/train that is not ours. Made once, with torch 2.15.0, transformers 5.24.0, in float64; the
# file is committed, so no test needs Python. Inputs are drawn by the generator
# of test/kernels/support/world.ts, so that only answers are kept.
import base64
import json
import os
import sys

import numpy
import torch
import transformers

LENGTHS, PROMPT, RANK, SCALE = [9, 1, 14], 2, 1, 2.0
ROWS = sum(LENGTHS)
GATED = ['self_attn.q_proj', 'self_attn.k_proj', 'self_attn.v_proj', 'self_attn.o_proj',
         'mlp.gate_proj', 'mlp.up_proj', 'mlp.down_proj']
# Of joined queries, keys and values the rows lie in another order here: they are left out.
JOINED = ['self_attention.dense', 'mlp.dense_h_to_4h', 'mlp.dense_4h_to_h']
GPT2 = ['attn.c_proj', 'mlp.c_fc', 'mlp.c_proj']
ATTENTION = GATED[:4]
# Experts themselves are not trained.
EXPERTS = ('mixtral', 'qwen3moe')
# Eager attention of transformers 5 adds Falcon's ALiBi twice: to the mask, and to the scores.
FUSED = {'falcon-rw'}


class Numbers:
    def __init__(self, seed):
        self.state = seed

    def floats(self, count, scale=1.0):
        values = []
        for _ in range(count):
            self.state = (self.state * 1664525 + 1013904223) % 2**32
            values.append(((self.state >> 8) / 2**23 - 1) * scale)
        return torch.tensor(numpy.array(values, dtype=numpy.float32).astype(numpy.float64))


def layers_of(model):
    return model.transformer.h if hasattr(model, 'transformer') else model.model.layers


def targets_of(name):
    if name.startswith('gpt2'):
        return GPT2
    if name.startswith(EXPERTS):
        return ATTENTION
    return JOINED if name.startswith(('bloom', 'falcon')) else GATED


def sizes_of(module):
    if isinstance(module, torch.nn.Linear):
        return module.in_features, module.out_features
    inputs, outputs = module.weight.shape
    return inputs, outputs


def answer(folder, name):
    model = transformers.AutoModelForCausalLM.from_pretrained(
        os.path.join(folder, name), attn_implementation='sdpa' if name in FUSED else 'eager',
        experts_implementation='eager', dtype=torch.float64)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    layers, width, targets = layers_of(model), model.config.hidden_size, targets_of(name)
    numbers = Numbers(7)
    hidden = numbers.floats(ROWS * width).view(ROWS, width).requires_grad_()
    gradient = numbers.floats(ROWS * width).view(ROWS, width)
    adapter = []
    for layer in layers:
        for target in targets:
            module = layer.get_submodule(target)
            inputs, outputs = sizes_of(module)
            a = numbers.floats(RANK * inputs, 0.1).view(RANK, inputs).requires_grad_()
            b = numbers.floats(outputs * RANK, 0.1).view(outputs, RANK).requires_grad_()
            adapter += [a, b]
            module.register_forward_hook(
                lambda _, args, out, a=a, b=b: out + SCALE * (args[0] @ a.T) @ b.T)
    prompts = numbers.floats(len(layers) * PROMPT * width, 0.3).view(len(layers), PROMPT, width).requires_grad_()
    state = {}
    def before(index):
        def hook(_, args, kwargs):
            x = state['input'] if index == 0 else args[0]
            count = min(PROMPT, x.shape[1])
            added = torch.nn.functional.pad(prompts[index, :count], (0, 0, 0, x.shape[1] - count))
            return (x + added,) + args[1:], kwargs
        return hook
    for index, layer in enumerate(layers):
        layer.register_forward_pre_hook(before(index), with_kwargs=True)
    def keep(_, args, out):
        state['output'] = out[0] if isinstance(out, tuple) else out
    layers[-1].register_forward_hook(keep)
    loss, at, outputs = 0, 0, []
    for length in LENGTHS:
        state['input'] = hidden[at:at + length].unsqueeze(0)
        model(input_ids=torch.ones(1, length, dtype=torch.long), use_cache=False)
        outputs.append(state['output'].view(length, width))
        loss = loss + (state['output'].view(length, width) * gradient[at:at + length]).sum()
        at += length
    loss.backward()
    pack = lambda tensors: base64.b64encode(
        torch.cat([t.detach().reshape(-1) for t in tensors]).float().numpy().tobytes()).decode()
    return {
        'targets': targets,
        'output': pack(outputs),
        'hidden': pack([hidden.grad]),
        'adapter': pack([one.grad for one in adapter]),
        'prompts': pack([prompts.grad]),
    }


def main():
    folder, path = sys.argv[1:3]
    answers = {name: answer(folder, name) for name in sorted(os.listdir(folder))}
    with open(path, 'w') as file:
        json.dump(answers, file, indent=1)
        file.write('\n')


main()
