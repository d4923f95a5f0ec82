// Three blocks with what families have: groups, windows, head norms, RoPE in part, experts and
// layer norms.
import type { Kernels } from '../../../src/kernels/kernels.ts'
import {
  type KvType,
  type PackedMatrix,
  type Program,
  ProgramBuilder
} from '../../../src/kernels/program.ts'
import { addressOf, F32, I4, I8, matrix, Numbers } from './world.ts'

const WIDTH = 96
const FFN = 160
const HEADS = 6
const KV_HEADS = 2
const HEAD_DIM = 20
const POSITIONS = 700

export interface BlocksOptions {
  kv?: KvType
  maxRows?: number
}

export function threeBlocks(kernels: Kernels, options: BlocksOptions = {}): Program {
  const numbers = new Numbers(2026)
  const builder = new ProgramBuilder({ width: WIDTH, ...options })
  const vector = (): number => addressOf(numbers.floats(WIDTH, 0.1, 1))
  const packed = (rows: number, columns: number, form: number): PackedMatrix =>
    matrix(kernels, numbers, { rows, columns, form, bias: numbers.floats(rows, 0.1) })
  const [normed, out] = [builder.value(WIDTH), builder.value(WIDTH)]
  const qkv = builder.value((HEADS + 2 * KV_HEADS) * HEAD_DIM)
  const seen = builder.value(HEADS * HEAD_DIM)
  const gateUp = builder.value(2 * FFN)
  const active = builder.value(FFN)
  const half = 8
  const angle = Float32Array.from({ length: POSITIONS * half }, () => numbers.next())
  const rope = {
    cos: addressOf(angle),
    sin: addressOf(angle.map((x) => x * x)),
    positions: POSITIONS,
    rotary: 2 * half
  }
  const headNorms = {
    query: addressOf(numbers.floats(HEAD_DIM, 0.1, 1)),
    key: addressOf(numbers.floats(HEAD_DIM, 0.1, 1)),
    epsilon: 1e-6
  }
  const attention = { heads: HEADS, kvHeads: KV_HEADS, headDim: HEAD_DIM }
  const slopes = addressOf(numbers.floats(HEADS, 0.1, 0.2))

  for (const [block, form] of [F32, I8, I4].entries()) {
    builder.block()
    const kind = block === 0 ? 'layer' : 'rms'
    const bias = block === 0 ? addressOf(numbers.floats(WIDTH, 0.1)) : undefined
    builder.norm(builder.hidden, normed, { kind, weight: vector(), bias, epsilon: 1e-5 })
    builder.matmul(normed, qkv, [
      packed(HEADS * HEAD_DIM, WIDTH, form),
      packed(2 * KV_HEADS * HEAD_DIM, WIDTH, form === I4 ? I8 : form)
    ])
    builder.attention(qkv, seen, {
      ...attention,
      ...[{ slopes }, { rope, headNorms, window: 70 }, { rope, softCap: 20 }][block]
    })
    // 120 columns are no whole number of a file's blocks.
    builder.matmul(seen, out, [packed(WIDTH, HEADS * HEAD_DIM, form)], builder.hidden)
    builder.norm(builder.hidden, normed, { kind: 'rms', weight: vector(), epsilon: 1e-5 })
    if (block === 2) {
      const experts = Array.from({ length: 8 }, () => ({
        gateUp: packed(2 * FFN, WIDTH, form),
        down: packed(WIDTH, FFN, form)
      }))
      const router = packed(experts.length, WIDTH, F32)
      builder.experts(normed, out, { router, experts, chosen: 3 }, builder.hidden)
      continue
    }
    builder.matmul(normed, gateUp, [packed(2 * FFN, WIDTH, form)])
    builder.activate(gateUp, active, block === 0 ? 'geglu-tanh' : 'swiglu')
    builder.matmul(active, out, [packed(WIDTH, FFN, form)], builder.hidden)
  }
  return builder.build()
}
