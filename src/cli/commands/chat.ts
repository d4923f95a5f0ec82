// Declares `petals chat [MODEL] [PROMPT]`.
import { defaultModel } from '../chat/remember.ts'
import { chatTarget } from '../chat/target.ts'
import { type Command, command, flag, list, off, text } from '../command.ts'
import {
  CHAT_TEMPLATE,
  DEVICE,
  DISK,
  HERE,
  MANIFEST,
  PEER_WEIGHTS,
  SWARM_OPTIONS,
  THREADS
} from '../common-options.ts'
import { naming } from '../exit.ts'
import type { ChatFlags } from '../chat/chat-flags.ts'

export const chat: Command = command<ChatFlags>({
  name: 'chat',
  words: '[MODEL] [PROMPT]',
  // chat itself reports too many words.
  mostWords: Infinity,
  about: 'Ask, or talk on a terminal',
  options: {
    ...SWARM_OPTIONS,
    maxTokens: text('n', 'Longest answer in tokens (default: until the model stops)'),
    system: text('text', 'Instructions before the first question'),
    raw: flag('Give the prompt as it is, without a chat template'),
    chatTemplate: CHAT_TEMPLATE,
    temperature: text('t', '0 takes the likeliest token each time (default: 0.7)'),
    topP: text('p', 'Smallest set of tokens with this probability (default: 0.95)'),
    topK: text('k', 'The k likeliest tokens, 0 for all (default: 0)'),
    minP: text('p', 'Drop tokens below this share of the likeliest (default: 0)'),
    repetitionPenalty: text('r', 'Over 1 avoids what was said lately (default: 1)'),
    seed: text('n', 'The same seed gives the same text'),
    file: list('file', 'Put its text behind the prompt, as that of stdin; for more give it again'),
    json: flag('Print one JSON object: text, finish, usage, speed, route'),
    extract: flag('Print the code of the first ``` block in the answer, and nothing else'),
    promptTemplate: text(
      'file',
      'A prompt with {{fields}}: those of a JSON object on stdin or of a line, or {{input}}, and {{prompt}}'
    ),
    jsonl: flag(
      'A batch: a line on stdin is a prompt ("text", {"prompt": ...}, {"messages": ...}), a line out its answer'
    ),
    parallel: text('n', 'Lines of --jsonl answered at once (default: 4)'),
    out: text('file', 'Where --jsonl writes; what is in it already is not asked again'),
    adapter: list(
      'name',
      'Answer with an adapter: a folder, a .gguf, owner/name or a content id, and :weight; for more give it again'
    ),
    session: text('file', 'Keep the conversation in a file and go on with it'),
    continue: flag('Print the whole of the answer that was interrupted, to its end (--session)'),
    prefixCache: off('Let servers keep nothing of it for the next time'),
    forget: flag(
      'Let servers forget it at its end, and all that they kept of chats that begin like it'
    ),
    share: flag('Let others begin with --system as servers keep it from here on'),
    sharedBy: text('key', 'Begin with --system as its maker shared it; trust them with that'),
    speculate: off('Send no guessed tokens along; the text is the same'),
    draft: text(
      'model',
      'A small model with the same tokens that guesses here, or none (default: one of the cache, where it pays)'
    ),
    schema: text(
      'schema',
      "Hold the answer to a JSON schema: a file, JSON, or fields as 'name, age int'"
    ),
    strict: flag('Exit with 9 when --max-tokens or the context cut the answer'),
    stats: flag('A line on stderr: tokens, tokens/s, time to first token, guesses, route'),
    trace: flag("A line on stderr: where a step's time goes"),
    wire: text('type', 'How activations travel: f32, f16, bf16 or int8 (default: by width)', [
      'f32',
      'f16',
      'bf16',
      'int8'
    ]),
    head: text('type', "native or f32: how exact the last matrix is (default: as the servers')", [
      'native',
      'f32'
    ]),
    here: HERE,
    memory: text('size', 'Most memory for blocks that run here, e.g. 8g (default: 80% of free)'),
    threads: THREADS,
    device: DEVICE,
    disk: DISK,
    peerWeights: PEER_WEIGHTS,
    manifest: MANIFEST
  },
  examples: [
    'echo "Why is the sky blue?" | petals chat smollm2-135m --temperature 0 > answer.txt',
    'cat notes.txt | petals chat smollm2-135m "Summarise this" > out.txt',
    'petals chat smollm2-135m "Compare these" --file a.md --file b.md --json | jq -r .text',
    'petals chat smollm2-135m --jsonl --out answers.jsonl < prompts.jsonl',
    'petals chat qwen3-8b "Rename *.jpeg to *.jpg, in sh" -x > rename.sh'
  ],
  async run(words, flags, context) {
    const target = await chatTarget(words, { defaultModel: await defaultModel(context) })
    const { runChat } = await import('../run/chat.ts')
    return naming(target.model, () => runChat(target, flags, context))
  }
})
