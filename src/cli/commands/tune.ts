// Declares `petals tune MODEL DATA`.
import { type Command, command, flag, text } from '../command.ts'
import {
  DEVICE,
  DISK,
  HERE,
  MANIFEST,
  PEER_WEIGHTS,
  SWARM_OPTIONS,
  THREADS
} from '../common-options.ts'
import { naming } from '../exit.ts'
import type { TuneFlags } from '../run/tune.ts'

export const tune: Command = command<TuneFlags>({
  name: 'tune',
  words: '<MODEL> <DATA>',
  about: 'Train an adapter on your examples, over the swarm',
  options: {
    ...SWARM_OPTIONS,
    out: text('folder', 'Where the adapter is kept (default: MODEL-tuned)'),
    task: text('name', 'text, or classification of texts by label (default: text)'),
    method: text('name', 'lora, prompt or deep-prompt (default: lora)'),
    rank: text('n', "Rank of lora's matrices (default: 8)"),
    alpha: text('n', 'They count alpha / rank (default: 2 * rank)'),
    rslora: flag('They count alpha / the root of rank'),
    dropout: text('share', 'Of what they read, is left out by chance (default: 0)'),
    targets: text('names', 'Matrices that lora adds to, e.g. q_proj,v_proj (default: all)'),
    positions: text('n', 'Rows of a prompt (default: 16)'),
    lr: text('rate', 'Learning rate (default: 2e-4, of prompts 1e-2)'),
    schedule: text('name', 'cosine, linear or constant (default: cosine)'),
    warmup: text('share', 'Share of the steps in which the rate goes up (default: 0.03)'),
    weightDecay: text('share', 'Of AdamW (default: 0)'),
    clip: text('norm', 'Longer gradients are shortened, 0: never (default: 1)'),
    epochs: text('n', 'How often each example comes (default: 3)'),
    batch: text('n', 'Examples of a step (default: 8)'),
    rows: text('n', 'Tokens that travel together (default: 512)'),
    maxLength: text('n', 'Longer examples are cut (default: 1024)'),
    evalSplit: text('share', 'Share of the examples to check by, not to learn (default: 0)'),
    seed: text('n', 'The same seed gives the same adapter (default: 0)'),
    saveEvery: text('steps', 'Steps between checkpoints (default: one a minute)'),
    resume: flag('Go on with what --out holds'),
    yes: flag('Begin without asking'),
    here: HERE,
    threads: THREADS,
    device: DEVICE,
    disk: DISK,
    peerWeights: PEER_WEIGHTS,
    manifest: MANIFEST
  },
  examples: [
    'petals tune smollm2-135m examples.jsonl --out my-adapter --yes',
    'petals tune smollm2-135m examples.jsonl --method prompt --epochs 10'
  ],
  async run([model = '', data = ''], flags, context) {
    const { runTune } = await import('../run/tune.ts')
    return naming(model, () => runTune(model, data, flags, context))
  }
})
