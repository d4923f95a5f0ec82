// What decoders do with other versions' bytes, with cut and spoiled bytes, and with claims over
// limits.
import { describe, expect, test } from 'bun:test'
import { AppError } from '../../src/base/errors.ts'
import { seededRandom, type Random } from '../../src/base/random.ts'
import { helloCodec, serverInfoCodec } from '../../src/wire/codec/info.ts'
import { readTarget, stepCodec } from '../../src/wire/codec/step.ts'
import { errorCodec, pongCodec } from '../../src/wire/codec/control.ts'
import { decodeMessage, encodeMessage } from '../../src/wire/codec/encode.ts'
import { LIMITS } from '../../src/wire/protocol.ts'
import type { Step } from '../../src/wire/types.ts'
import { halves, hello, info, messages, samples } from './samples.ts'

function failure(call: () => unknown): string {
  try {
    call()
    return 'nothing'
  } catch (error) {
    if (error instanceof AppError) return error.code
    throw error
  }
}

const plainStep: Step = {
  session: messages.step.session,
  step: 1,
  kind: 'forward',
  start: 0,
  count: 2,
  deadlineMs: 1000,
  route: [],
  tensor: halves
}

describe('decodeMessage()', () => {
  test('skips an optional field of a later version and what follows the message', () => {
    const bytes = [...encodeMessage(stepCodec, plainStep)]
    // Bit 20, a field of 3 bytes; then bytes of nobody.
    const flags = [0xfe, 0, 0, 0x10, 0]
    const later = new Uint8Array([...flags, ...bytes.slice(1), 3, 1, 2, 3, 9, 9])
    expect(decodeMessage(stepCodec, later)).toEqual(plainStep)
  })

  test('skips what a later version adds to an info inside a list', () => {
    const { next: _, fixed: __, ...plain } = { ...info, draining: false }
    const bytes = [...encodeMessage(serverInfoCodec, plain)]
    const later = [0b100_0000, ...bytes.slice(1), 2, 7, 7]
    const head = [1, 0, 0, 0, 1, later.length]
    const decoded = decodeMessage(helloCodec, new Uint8Array([...head, ...later]))
    expect(decoded.servers).toEqual([plain])
  })

  test('reads a message without any optional field', () => {
    expect(decodeMessage(stepCodec, encodeMessage(stepCodec, plainStep))).toEqual(plainStep)
  })

  test('keeps the tensor where it is in the frame', () => {
    const bytes = encodeMessage(stepCodec, plainStep)
    expect(decodeMessage(stepCodec, bytes).tensor.data.buffer).toBe(bytes.buffer)
  })

  test('reads a dtype that a later hello names as none', () => {
    const bytes = new Uint8Array([1, 0, 0, 3, 0, 9, 1, 0])
    expect(decodeMessage(helloCodec, bytes).dtypes).toEqual(['f32', 'f16'])
  })

  test('takes a hello of a higher version and refuses one below the least', () => {
    const at = (version: number): Uint8Array => encodeMessage(helloCodec, { ...hello, version })
    expect(decodeMessage(helloCodec, at(9)).version).toBe(9)
    expect(failure(() => decodeMessage(helloCodec, at(0)))).toBe('UNSUPPORTED')
  })

  test('reads a code it does not know as UNKNOWN', () => {
    const bytes = encodeMessage(errorCodec, { ...messages.error, code: 'NEWER' as never })
    expect(decodeMessage(errorCodec, bytes).code).toBe('UNKNOWN')
  })

  test('refuses a kind of step and a dtype it does not know as UNSUPPORTED', () => {
    const kind = encodeMessage(stepCodec, plainStep)
    kind[18] = 7
    const dtype = encodeMessage(stepCodec, plainStep)
    dtype[dtype.length - 16] = 7
    const codes = [kind, dtype].map((bytes) => failure(() => decodeMessage(stepCodec, bytes)))
    expect(codes).toEqual(['UNSUPPORTED', 'UNSUPPORTED'])
  })

  test('refuses a shape that is over the limits or not that of its bytes', () => {
    const head = [...encodeMessage(stepCodec, plainStep)].slice(0, -16)
    const shape = (...tensor: number[]): string =>
      failure(() => decodeMessage(stepCodec, new Uint8Array([...head, ...tensor])))
    expect({
      rows: shape(1, 0xfd, 1, 4, 3, 0),
      columns: shape(1, 1, 0xfe, 1, 0, 1, 0, 0),
      length: shape(1, 1, 1, 0xfe, 0, 0, 0x90, 0),
      product: shape(0, 0xfd, 0, 4, 0xfe, 0, 0, 1, 0, 4, 0, 0, 0, 0),
      missing: shape(1, 2, 3, 12, 0, 0),
      short: shape(1, 2, 3, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
      none: shape(1, 0, 3, 0)
    }).toEqual({
      rows: 'LIMIT',
      columns: 'LIMIT',
      length: 'LIMIT',
      product: 'LIMIT',
      missing: 'PROTOCOL',
      short: 'PROTOCOL',
      none: 'PROTOCOL'
    })
  })

  test('refuses a count over its limit before it reads the items', () => {
    const hops = [...encodeMessage(stepCodec, plainStep)]
    hops[hops.length - 17] = LIMITS.hops + 1
    const servers = [1, 0, 0, 0, 0xfe, 0xff, 0xff, 0xff, 0x7f]
    const codes = [
      failure(() => decodeMessage(stepCodec, new Uint8Array(hops))),
      failure(() => decodeMessage(helloCodec, new Uint8Array(servers)))
    ]
    expect(codes).toEqual(['LIMIT', 'LIMIT'])
  })

  test('refuses a span that is no span, a reading that is not finite and text that is no UTF-8', () => {
    const spans = encodeMessage(serverInfoCodec, info)
    // start 10 stands behind flags, two keys, the name, blockCount and hiddenSize.
    spans[1 + 64 + 12 + 1 + 3] = 25
    const reading = encodeMessage(pongCodec, messages.pong)
    reading.set([0, 0, 0xc0, 0x7f], reading.length - 4)
    const text = encodeMessage(serverInfoCodec, info)
    text[1 + 64 + 1] = 0xff
    const codes = [
      failure(() => decodeMessage(serverInfoCodec, spans)),
      failure(() => decodeMessage(pongCodec, reading)),
      failure(() => decodeMessage(serverInfoCodec, text))
    ]
    expect(codes).toEqual(['PROTOCOL', 'PROTOCOL', 'PROTOCOL'])
  })

  for (const [name, codec, value] of samples) {
    test(`refuses a ${name} cut at any length`, () => {
      const bytes = encodeMessage(codec, value)
      for (let length = 0; length < bytes.length; length++) {
        expect(failure(() => decodeMessage(codec, bytes.subarray(0, length)))).toBe('PROTOCOL')
      }
    })

    test(`meets 20,000 spoiled ${name}s with a coded error or a message within the limits`, () => {
      const random = seededRandom(name.length * 1000 + 7)
      const bytes = encodeMessage(codec, value)
      for (let round = 0; round < 20_000; round++) {
        const spoiled = round % 4 === 0 ? noise(random) : spoil(bytes, random)
        let decoded: unknown
        try {
          decoded = decodeMessage(codec, spoiled)
        } catch (error) {
          if (error instanceof AppError) continue
          throw new Error(`round ${round}: ${Buffer.from(spoiled).toString('hex')}`, {
            cause: error
          })
        }
        // What was taken can be said again: it is within every limit.
        encodeMessage(codec, decoded)
      }
    })
  }
})

describe('encodeMessage()', () => {
  test('refuses what no receiver would take', () => {
    const codes = [
      failure(() => encodeMessage(stepCodec, { ...plainStep, count: LIMITS.rows + 1 })),
      failure(() => encodeMessage(stepCodec, { ...plainStep, start: -1 })),
      failure(() => encodeMessage(stepCodec, { ...plainStep, step: 0.5 })),
      failure(() => encodeMessage(stepCodec, { ...plainStep, session: new Uint8Array(15) })),
      failure(() => encodeMessage(stepCodec, { ...plainStep, tensor: { ...halves, rows: 3 } })),
      failure(() => encodeMessage(serverInfoCodec, { ...info, start: 20 }))
    ]
    expect(codes).toEqual(['LIMIT', 'LIMIT', 'LIMIT', 'LIMIT', 'PROTOCOL', 'PROTOCOL'])
  })

  test('bends readings into range and cuts text at a character', () => {
    const bent = decodeMessage(
      errorCodec,
      encodeMessage(errorCodec, {
        ...messages.error,
        message: 'ä'.repeat(600),
        retryAfterMs: Infinity,
        status: { queue: -1, freeTokens: 1.5, computeMs: NaN, queueMs: 1e300 }
      })
    )
    expect(bent).toEqual({
      ...messages.error,
      message: 'ä'.repeat(512),
      retryAfterMs: LIMITS.waitMs,
      status: { queue: 0, freeTokens: 2, computeMs: 0, queueMs: 3.4028234663852886e38 }
    })
  })

  test('fits a server with every field at its longest into a DHT record', () => {
    const longest = encodeMessage(serverInfoCodec, {
      ...info,
      modelName: 'm'.repeat(LIMITS.modelNameBytes),
      quant: 'q'.repeat(LIMITS.quantBytes),
      version: 'v'.repeat(LIMITS.versionBytes),
      arithmetic: 'a'.repeat(LIMITS.arithmeticBytes),
      blockCount: LIMITS.blocks,
      pings: Array.from({ length: LIMITS.pings }, () => ({ peer: info.peer, ms: 1 }))
    })
    expect(longest.byteLength).toBeLessThanOrEqual(950)
  })
})

describe('readTarget()', () => {
  test('finds session and number of a step that cannot be read', () => {
    const bytes = encodeMessage(stepCodec, plainStep).subarray(0, 19)
    expect(readTarget(bytes)).toEqual({ session: plainStep.session, step: 1 })
    expect(readTarget(bytes.subarray(0, 16))).toBeUndefined()
  })
})

function noise(random: Random): Uint8Array {
  return Uint8Array.from({ length: random.below(200) }, () => random.below(256))
}

/** Bytes changed, cut out, doubled or cut off at seeded places. */
function spoil(bytes: Uint8Array, random: Random): Uint8Array {
  const list = [...bytes]
  for (let change = 0; change <= random.below(3); change++) {
    const at = random.below(list.length + 1)
    const kind = random.below(4)
    if (kind === 0) list[at] = random.below(256)
    else if (kind === 1) list.splice(at, random.below(8))
    else if (kind === 2) list.splice(at, 0, [0xfd, 0xfe, 0xff, 0][random.below(4)] ?? 0)
    else list[at] = [0xfd, 0xfe, 0xff, 0x7f][random.below(4)] ?? 0
  }
  return Uint8Array.from(list, (byte) => byte ?? 0)
}

test('text for people arrives without what a terminal would obey', () => {
  const evil = 'a\u001b]0;owned\u0007\r\nerror: \u202Eb\u200Bc\u0085\u2028d'
  const shown = 'a\uFFFD]0;owned\uFFFD\uFFFD\uFFFDerror: \uFFFDb\uFFFDc\uFFFD\uFFFDd'
  const bytes = encodeMessage(errorCodec, { ...messages.error, message: evil })
  expect(decodeMessage(errorCodec, bytes).message).toBe(shown)
  const quant = '\u001b[2J'
  const said = encodeMessage(serverInfoCodec, { ...info, quant, version: quant, modelName: evil })
  const read = decodeMessage(serverInfoCodec, said)
  expect([read.quant, read.version, read.modelName]).toEqual(['\uFFFD[2J', '\uFFFD[2J', shown])
})
