// Adapters as llama.cpp keeps them: a GGUF of the type 'adapter' with the matrices' tensors named
// lora_a and lora_b. What cannot be applied is refused by name. Knows no swarm.
import { badInput, corrupt, overLimit, unsupported, type AppError } from '../../base/errors.ts'
import {
  adapterNumbers,
  adapterParts,
  MOST_RANK,
  targetParts
} from '../../blocks/train/adapter-shape.ts'
import { cleanName } from '../../model/create-model.ts'
import { canonicalName, factsOf, orderOf } from '../../model/families.ts'
import { dequantise } from '../../model/formats/dequantise.ts'
import { parseGgufHeader, type GgufTensor } from '../../model/formats/gguf-header.ts'
import { Metadata } from '../../model/formats/gguf-metadata.ts'
import { openMappedFile, type MappedFile } from '../../model/formats/mapped-file.ts'
import { orderRows } from '../../model/formats/row-order.ts'
import type { ModelConfig } from '../../model/types.ts'
import type { Adapter } from './peft.ts'

/** One product's matrices. */
interface Matrices {
  readonly rank: number
  /** (rank, inputs) and (outputs, rank). */
  readonly a: Float32Array
  readonly b: Float32Array
}

const TENSOR = /^(blk\.\d{1,6}\..+\.weight)\.lora_([ab])$/
const BLOCK = /^model\.layers\.(\d+)\.(.+)\.weight$/

/** @throws AppError NOT_FOUND, CORRUPT, BAD_INPUT, UNSUPPORTED for what cannot be applied */
export function readGgufLora(path: string, config: ModelConfig): Adapter {
  const file = openMappedFile(path)
  try {
    return read(file, config)
  } finally {
    file.close()
  }
}

function read(file: MappedFile, config: ModelConfig): Adapter {
  const refuse = (why: string): string => `The adapter in '${file.path}' cannot be used: ${why}`
  const header = parseGgufHeader(file)
  const metadata = new Metadata(header)
  const type = metadata.string('general.type')
  const kind = metadata.string('adapter.type') ?? 'lora'
  if (type !== 'adapter' || kind !== 'lora') {
    throw unsupported(refuse(`it is '${cleanName(type === 'adapter' ? kind : (type ?? 'model'))}'`))
  }
  const architecture = metadata.string('general.architecture') ?? ''
  if (!factsOf(config.family).architectures.includes(architecture)) {
    throw badInput(refuse(`it is for '${cleanName(architecture)}', the model is ${config.family}`))
  }
  const alpha = metadata.number('adapter.lora.alpha') ?? 0
  if (!Number.isFinite(alpha)) throw corrupt(refuse('its alpha is no number'))
  const found = matricesOf(file, header.tensors, config, refuse)
  const ranks = [...found.values()].map(({ rank }) => rank)
  const rank = Math.max(...ranks)
  const targets = adapterParts(config).flatMap(({ target }) =>
    [...found.keys()].some((key) => key.endsWith(` ${target}`)) ? [target] : []
  )
  // Without alpha, the product counts as it is.
  const scaleOf = (own: number): number => (alpha === 0 ? 1 : alpha / own)
  const shape = { rank, scale: scaleOf(rank), targets }
  const values = new Float32Array(
    adapterNumbers(config, shape, { start: 0, end: config.blockCount })
  )
  let at = 0
  for (let block = 0; block < config.blockCount; block++) {
    for (const { target, inputs, outputs } of targetParts(config, shape)) {
      const one = found.get(`${block} ${target}`)
      if (one !== undefined) {
        values.set(one.a, at)
        const factor = scaleOf(one.rank) / shape.scale
        for (const [i, value] of one.b.entries()) {
          const [row, column] = [Math.floor(i / one.rank), i % one.rank]
          values[at + rank * inputs + row * rank + column] = value * factor
        }
      }
      at += rank * (inputs + outputs)
    }
  }
  if (!values.every(Number.isFinite)) throw corrupt(refuse('it has values that are no numbers'))
  return { shape, values }
}

/** Matrices by block and target. @throws AppError */
function matricesOf(
  file: MappedFile,
  tensors: readonly GgufTensor[],
  config: ModelConfig,
  refuse: (why: string) => string
): Map<string, Matrices> {
  const byName = new Map(tensors.map((tensor) => [tensor.name, tensor]))
  const parts = adapterParts(config)
  const found = new Map<string, Matrices>()
  const lacks = (name: string): AppError => corrupt(refuse(`it lacks '${cleanName(name)}'`))
  for (const { name } of tensors) {
    const [, base = '', matrix] = TENSOR.exec(name) ?? []
    const canonical = canonicalName(factsOf(config.family), config, base)
    const [, block = '', target] = BLOCK.exec(canonical?.name ?? '') ?? []
    const part = parts.find((one) => one.target === target)
    if (canonical === undefined || part === undefined || Number(block) >= config.blockCount) {
      throw unsupported(refuse(`'${cleanName(name)}' cannot be applied`))
    }
    const [a, b] = [byName.get(`${base}.lora_a`), byName.get(`${base}.lora_b`)]
    if (a === undefined || b === undefined)
      throw lacks(`${base}.lora_${a === undefined ? 'a' : 'b'}`)
    if (matrix === 'b') continue
    const [rank = 0] = a.shape
    if (rank < 1 || rank > MOST_RANK) {
      throw overLimit(refuse(`'${cleanName(name)}' has rank ${rank}, and 1 to ${MOST_RANK} can be`))
    }
    const isFit = isShape(a, [rank, part.inputs]) && isShape(b, [part.outputs, rank])
    if (!isFit) throw badInput(refuse(`'${cleanName(base)}' has another shape in the model`))
    const rows = floats(file, b)
    const order = orderOf(canonical.part, 'gguf', config, false)
    const ordered =
      order === undefined || order.kind === 'transposed'
        ? rows
        : new Float32Array(
            orderRows(bytesOf(rows), order, { rows: part.outputs, columns: rank }).slice().buffer
          )
    found.set(`${block} ${target}`, { rank, a: floats(file, a), b: ordered })
  }
  if (found.size === 0) throw corrupt(refuse('it has no matrices'))
  return found
}

function isShape({ shape }: GgufTensor, expected: readonly number[]): boolean {
  return shape.length === expected.length && shape.every((size, i) => size === expected[i])
}

function floats(file: MappedFile, { type, offset, sizeBytes }: GgufTensor): Float32Array {
  const bytes = new Uint8Array(sizeBytes)
  file.readInto(offset, bytes)
  return dequantise(type, bytes)
}

function bytesOf(values: Float32Array): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength)
}
