// Decode and prefill of the 1.1B and a 7B shape on the device, the share of its memory's bandwidth,
// and whether KV stays on it: a step late in a session may not take as long as its KV would need
// over the bus.
import { seededRandom } from '../../src/base/random.ts'
import type { Compute } from '../../src/blocks/compute.ts'
import type { SpanInfo } from '../../src/blocks/types.ts'
import { openModel } from '../../src/model/open-model.ts'
import { randomModelFile, type RandomModel } from '../bench/parts/random-model.ts'
import { median } from '../net/swarm-programs.ts'
import { computeOn, type Place, type Tally } from './device.ts'

const PROMPT = 512
const STEPS = 48
const LATE = 1800
/** PCIe 5.0 with 16 lanes, bytes a second: both ways would be another copy. */
const BUS = 64e9
/** Where no GPU is, as many blocks show that the script works. */
const FEW_BLOCKS = 2

export async function proveSpeed(place: Place, tally: Tally): Promise<void> {
  const isGpu = place.device !== 'onnx-cpu'
  for (const name of ['random-1.1b', 'random-7b'] as const satisfies readonly RandomModel[]) {
    // Four gigabytes for nothing.
    if (name === 'random-7b' && !isGpu) continue
    await tally.check(name, async () => {
      const location = { kind: 'gguf', paths: [randomModelFile(place.folder, name)] } as const
      const model = await openModel(location)
      const { blockCount, hiddenSize } = model.config
      model.close()
      await using compute = computeOn(place, place.device)
      const end = isGpu ? blockCount : FEW_BLOCKS
      const span = await compute.loadSpan({ location, start: 0, end, quant: 'native' })
      const times = await timesOf(compute, span, isGpu ? LATE : PROMPT, hiddenSize)
      return wordsOf(span, times, place)
    })
  }
}

interface Times {
  readonly decodeMs: number
  readonly prefillMs: number
  /** A step behind `late` tokens. */
  readonly lateMs: number
  readonly late: number
}

async function timesOf(
  compute: Compute,
  { span }: SpanInfo,
  late: number,
  width: number
): Promise<Times> {
  const random = seededRandom(3)
  const session = await compute.openSession(span)
  const step = async (start: number, count: number): Promise<number> => {
    const hidden = Float32Array.from({ length: count * width }, () => random.next() - 0.5)
    const began = performance.now()
    await compute.step({ session, start, count, hidden })
    return performance.now() - began
  }
  const steps = async (start: number): Promise<number> => {
    const times: number[] = []
    for (let i = 0; i < STEPS; i++) times.push(await step(start + i, 1))
    // The first ones make graphs and warm up.
    return median(times.slice(STEPS / 4))
  }
  await step(0, PROMPT)
  const prefills = [await step(0, PROMPT), await step(0, PROMPT), await step(0, PROMPT)]
  const decodeMs = await steps(PROMPT)
  for (let at = PROMPT; at < late; at += PROMPT) await step(at, Math.min(PROMPT, late - at))
  return { decodeMs, prefillMs: median(prefills), lateMs: await steps(late), late }
}

/** @throws Error when KV cannot have stayed on the device */
function wordsOf(span: SpanInfo, times: Times, { device, bandwidth }: Place): string {
  const { decodeMs, prefillMs, lateMs, late } = times
  const { weightBytes, kvBytesPerToken, start, end } = span
  const rate = (1000 * weightBytes) / decodeMs
  const share =
    bandwidth === undefined ? '' : `, ${((100 * rate) / bandwidth).toFixed(0)} % of its bandwidth`
  const busMs = (1000 * kvBytesPerToken * late) / BUS
  const words = [
    `blocks ${start}:${end}`,
    `decode ${(1000 / decodeMs).toFixed(1)} tokens/s (${(rate / 1e9).toFixed(0)} GB/s of weights${share})`,
    `prefill ${((1000 * PROMPT) / prefillMs).toFixed(0)} tokens/s`,
    `a step behind ${late} tokens ${lateMs.toFixed(2)} ms, behind ${PROMPT} ${decodeMs.toFixed(2)} ms`,
    `their KV over the bus alone ${busMs.toFixed(2)} ms`
  ].join('; ')
  if (device !== 'onnx-cpu' && lateMs - decodeMs > busMs) {
    throw new Error(`KV seems to leave the device: ${words}`)
  }
  return words
}
