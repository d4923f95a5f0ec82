# python3 scripts/prove/make-family-fixtures.py test/fixtures/families [NAME ...]
# Makes tiny models of each family with PyPI's `transformers`, and what they answer: the reference of
# test/families that is not ours. Made once, with torch 2.15.0, transformers 4.57.6, safetensors 0.8.0;
# the files are committed, so no test needs Python.
import base64
import json
import math
import os
import sys

import torch
import transformers
from safetensors.torch import save_file

VOCAB, HIDDEN, PROMPT, NEW = 96, 32, 24, 12

COMMON = dict(
    vocab_size=VOCAB, hidden_size=HIDDEN, intermediate_size=64, num_hidden_layers=3,
    num_attention_heads=4, num_key_value_heads=2, head_dim=16, max_position_embeddings=256,
    rms_norm_eps=1e-5, bos_token_id=1, eos_token_id=2, pad_token_id=0, tie_word_embeddings=False,
)
LLAMA3 = dict(rope_type='llama3', factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=32)


def common(**changes):
    return {**COMMON, **changes}


# name: (config class, arguments, type of the saved weights)
MODELS = {
    'llama': ('LlamaConfig', common(head_dim=8, attention_bias=True, num_hidden_layers=2), torch.float32),
    'llama3': ('LlamaConfig', common(rope_theta=500000.0, rope_scaling=LLAMA3), torch.bfloat16),
    'llama-linear': ('LlamaConfig', common(
        head_dim=8, rope_scaling=dict(rope_type='linear', factor=4.0), tie_word_embeddings=True), torch.float16),
    # RoPE over half of a head, with frequencies that are divided, too.
    'llama-partial': ('LlamaConfig', common(
        num_hidden_layers=2, partial_rotary_factor=0.5, rope_theta=500000.0, rope_scaling=LLAMA3), torch.bfloat16),
    'qwen3-partial': ('Qwen3Config', common(num_hidden_layers=2, partial_rotary_factor=0.25), torch.bfloat16),
    'qwen2': ('Qwen2Config', {k: v for k, v in common(
        num_attention_heads=2, num_key_value_heads=1, rope_theta=1e6).items() if k != 'head_dim'}, torch.bfloat16),
    'qwen3': ('Qwen3Config', common(rope_theta=1e6, tie_word_embeddings=True), torch.bfloat16),
    'mistral': ('MistralConfig', common(sliding_window=7), torch.bfloat16),
    'gemma2': ('Gemma2Config', common(
        num_hidden_layers=4, sliding_window=6, query_pre_attn_scalar=24, attn_logit_softcapping=2.0,
        final_logit_softcapping=1.0, tie_word_embeddings=True, intermediate_size=48), torch.bfloat16),
    'gemma3': ('Gemma3TextConfig', common(
        num_hidden_layers=7, num_attention_heads=2, num_key_value_heads=1, sliding_window=6, query_pre_attn_scalar=24, rope_theta=1e6,
        rope_local_base_freq=1e4, rope_scaling=dict(rope_type='linear', factor=8.0),
        tie_word_embeddings=True, intermediate_size=32), torch.bfloat16),
    'mixtral': ('MixtralConfig', common(
        num_hidden_layers=2, num_local_experts=4, num_experts_per_tok=2, sliding_window=None), torch.bfloat16),
    'qwen3moe': ('Qwen3MoeConfig', common(
        num_hidden_layers=2, num_experts=6, num_experts_per_tok=2, moe_intermediate_size=32,
        norm_topk_prob=True, decoder_sparse_step=1, mlp_only_layers=[]), torch.bfloat16),
    'gpt2': ('GPT2Config', dict(
        vocab_size=VOCAB, n_embd=HIDDEN, n_layer=2, n_head=4, n_positions=64, bos_token_id=1,
        eos_token_id=2), torch.float32),
    'bloom': ('BloomConfig', dict(
        vocab_size=VOCAB, hidden_size=HIDDEN, n_layer=3, n_head=4, bos_token_id=1, eos_token_id=2), torch.float16),
    'bloom-6-heads': ('BloomConfig', dict(
        vocab_size=VOCAB, hidden_size=48, n_layer=2, n_head=6, bos_token_id=1, eos_token_id=2), torch.bfloat16),
    'falcon-7b': ('FalconConfig', dict(
        vocab_size=VOCAB, hidden_size=HIDDEN, num_hidden_layers=3, num_attention_heads=2, multi_query=True,
        parallel_attn=True, bias=False, alibi=False, new_decoder_architecture=False, bos_token_id=1,
        eos_token_id=2), torch.bfloat16),
    'falcon-40b': ('FalconConfig', dict(
        vocab_size=VOCAB, hidden_size=64, num_hidden_layers=2, num_attention_heads=4, num_kv_heads=2,
        parallel_attn=True, bias=False, alibi=False, new_decoder_architecture=True, ffn_hidden_size=96,
        bos_token_id=1, eos_token_id=2), torch.bfloat16),
    'falcon-rw': ('FalconConfig', dict(
        vocab_size=VOCAB, hidden_size=HIDDEN, num_hidden_layers=2, num_attention_heads=4, multi_query=False,
        parallel_attn=False, bias=True, alibi=True, new_decoder_architecture=False, bos_token_id=1,
        eos_token_id=2), torch.bfloat16),
}


def rotate_parts():
    """transformers makes such tables for Llama and Qwen 3, but only Nemotron's blocks and their kin use them."""
    from transformers.models.llama import modeling_llama
    from transformers.models.nemotron.modeling_nemotron import apply_rotary_pos_emb
    from transformers.models.qwen3 import modeling_qwen3
    for module in (modeling_llama, modeling_qwen3):
        module.apply_rotary_pos_emb = apply_rotary_pos_emb


def randomise(model):
    """Weights large enough that every part of a block shows in the answer, and outweighs the embedding."""
    for name, weight in model.named_parameters():
        noise = torch.randn_like(weight)
        if name.endswith('bias'):
            weight.data = 0.3 * noise
        elif weight.dim() == 1:
            # Gemma's norms add one themselves.
            weight.data = weight.data + 0.2 * noise
        elif 'embed' in name or 'wte' in name or 'wpe' in name:
            weight.data = 0.1 * noise
        else:
            weight.data = noise * 2 / math.sqrt(weight.shape[-1])


def packed(tensor):
    return base64.b64encode(tensor.detach().float().contiguous().numpy().tobytes()).decode()


def make(folder, name):
    class_name, arguments, dtype = MODELS[name]
    torch.manual_seed(sum(name.encode()))
    config = getattr(transformers, class_name)(**arguments)
    # Eager knows soft caps; but with ALiBi it adds Falcon's twice, once with the mask.
    attention = 'sdpa' if name == 'falcon-rw' else 'eager'
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation=attention)
    randomise(model)
    model.tie_weights()
    # What is saved is what is asked: weights rounded first, then floats again.
    for weight in model.parameters():
        weight.data = weight.data.to(dtype).float()
    model.eval()
    ids = torch.randint(3, VOCAB, (PROMPT,)).tolist()
    with torch.no_grad():
        answer = model(torch.tensor([ids]), output_hidden_states=True, use_cache=False)
        greedy = list(ids)
        for _ in range(NEW):
            logits = model(torch.tensor([greedy]), use_cache=False).logits[0, -1]
            greedy.append(int(logits.argmax()))
    target = os.path.join(folder, name)
    os.makedirs(target, exist_ok=True)
    saved = {key: value.to(dtype).contiguous() for key, value in model.state_dict().items()}
    if getattr(config, 'tie_word_embeddings', False):
        saved.pop('lm_head.weight', None)
    save_file(saved, os.path.join(target, 'model.safetensors'), metadata={'format': 'pt'})
    described = config.to_dict()
    described.pop('dtype', None)
    described['transformers_version'] = transformers.__version__
    with open(os.path.join(target, 'config.json'), 'w') as file:
        json.dump(described, file, indent=1, sort_keys=True)
        file.write('\n')
    # hidden[i] goes into block i; the last one has been normed already and is left out.
    hidden = {str(i): packed(rows[0]) for i, rows in enumerate(answer.hidden_states[:-1])}
    with open(os.path.join(target, 'expected.json'), 'w') as file:
        json.dump(dict(ids=ids, greedy=greedy[len(ids):], hidden=hidden, logits=packed(answer.logits[0])), file)
        file.write('\n')
    size = sum(os.path.getsize(os.path.join(target, f)) for f in os.listdir(target))
    print(f'{name}: {size} bytes, greedy {greedy[len(ids):]}, spread {answer.logits.std():.2f}')


if __name__ == '__main__':
    rotate_parts()
    for each in sys.argv[2:] or MODELS:
        make(sys.argv[1], each)
