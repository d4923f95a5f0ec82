// Weights between peers: what one asks of another's files, pieces of the answer, and what answers say.
// The layout is written at the head of protocol.ts.
import { protocolError, type ErrorCode } from '../base/errors.ts'
import {
  bytesUpTo,
  decodeFields,
  flags,
  framed,
  key,
  listUpTo,
  present,
  stringUpTo,
  uintUpTo,
  type Codec
} from './fields.ts'
import { LIMITS } from './protocol.ts'
import type { Catalogue, CataloguedFile, Give, Holding, Want } from './types.ts'

const anyNumber = uintUpTo(Number.MAX_SAFE_INTEGER, 'a number')
const name = stringUpTo(LIMITS.wantNameBytes, 'a name')
const piece = bytesUpTo(LIMITS.giveBytes, 'a piece')
const code = stringUpTo(LIMITS.codeBytes, 'the code')
const framedCode = framed(code)

export const wantCodec: Codec<Want> = {
  preencode(state, message) {
    flags.preencode(state, 0)
    anyNumber.preencode(state, message.request)
    anyNumber.preencode(state, message.what)
    name.preencode(state, message.name)
    anyNumber.preencode(state, message.start)
    anyNumber.preencode(state, message.count)
  },
  encode(state, message) {
    flags.encode(state, 0)
    anyNumber.encode(state, message.request)
    anyNumber.encode(state, message.what)
    name.encode(state, message.name)
    anyNumber.encode(state, message.start)
    anyNumber.encode(state, message.count)
  },
  decode(state) {
    const bits = flags.decode(state)
    const message = {
      request: anyNumber.decode(state),
      what: anyNumber.decode(state),
      name: name.decode(state),
      start: anyNumber.decode(state),
      count: anyNumber.decode(state)
    }
    decodeFields(state, bits)
    return message
  }
}

export const giveCodec: Codec<Give> = {
  preencode(state, message) {
    flags.preencode(state, message.refused === undefined ? 0 : 1)
    anyNumber.preencode(state, message.request)
    anyNumber.preencode(state, message.left)
    piece.preencode(state, message.data)
    if (message.refused !== undefined) framedCode.preencode(state, message.refused)
  },
  encode(state, message) {
    flags.encode(state, message.refused === undefined ? 0 : 1)
    anyNumber.encode(state, message.request)
    anyNumber.encode(state, message.left)
    piece.encode(state, message.data)
    if (message.refused !== undefined) framedCode.encode(state, message.refused)
  },
  decode(state) {
    const bits = flags.decode(state)
    const message: { -readonly [K in keyof Give]: Give[K] } = {
      request: anyNumber.decode(state),
      left: anyNumber.decode(state),
      data: piece.decode(state)
    }
    decodeFields(state, bits, [(field) => (message.refused = code.decode(field) as ErrorCode)])
    return message
  }
}

const path = stringUpTo(LIMITS.pathBytes, 'a path')
const size = uintUpTo(LIMITS.fileBytes, 'the size of a file')

const fileCodec: Codec<CataloguedFile> = {
  preencode(state, file) {
    path.preencode(state, file.path)
    size.preencode(state, file.sizeBytes)
    key.preencode(state, file.sha256)
  },
  encode(state, file) {
    path.encode(state, file.path)
    size.encode(state, file.sizeBytes)
    key.encode(state, file.sha256)
  },
  decode: (state) => ({
    path: path.decode(state),
    sizeBytes: size.decode(state),
    sha256: key.decode(state)
  })
}

const KINDS = ['gguf', 'folder'] as const
const kind = uintUpTo(KINDS.length - 1, 'the kind of a model')
const small = listUpTo(LIMITS.smallFiles, fileCodec, 'small files')
const weights = listUpTo(LIMITS.weightFiles, fileCodec, 'weight files')

const framedPresent = framed(present)

export const catalogueCodec: Codec<Catalogue> = {
  preencode(state, catalogue) {
    flags.preencode(state, catalogue.isHeard ? 1 : 0)
    key.preencode(state, catalogue.model)
    kind.preencode(state, KINDS.indexOf(catalogue.kind))
    small.preencode(state, catalogue.small)
    weights.preencode(state, catalogue.weights)
    if (catalogue.isHeard) framedPresent.preencode(state, true)
  },
  encode(state, catalogue) {
    flags.encode(state, catalogue.isHeard ? 1 : 0)
    key.encode(state, catalogue.model)
    kind.encode(state, KINDS.indexOf(catalogue.kind))
    small.encode(state, catalogue.small)
    weights.encode(state, catalogue.weights)
    if (catalogue.isHeard) framedPresent.encode(state, true)
  },
  decode(state) {
    const bits = flags.decode(state)
    const catalogue: { -readonly [K in keyof Catalogue]: Catalogue[K] } = {
      model: key.decode(state),
      kind: KINDS[kind.decode(state)] ?? 'gguf',
      small: small.decode(state),
      weights: weights.decode(state)
    }
    decodeFields(state, bits, [() => (catalogue.isHeard = true)])
    return catalogue
  }
}

const ROOT = 1
const WHOLE = 2

const chunkSize = uintUpTo(LIMITS.chunkBytes, 'the size of a chunk')
const bits = bytesUpTo(LIMITS.bitfieldBytes, 'a field of bits')
const framedKey = framed(key)

export const holdingCodec: Codec<Holding> = {
  preencode(state, holding) {
    flags.preencode(state, flagsOf(holding))
    size.preencode(state, holding.sizeBytes)
    chunkSize.preencode(state, holding.chunkBytes)
    bits.preencode(state, holding.held)
    bits.preencode(state, holding.vouched)
    if (holding.root) framedKey.preencode(state, holding.root)
    if (holding.isWhole) anyNumber.preencode(state, 0)
  },
  encode(state, holding) {
    flags.encode(state, flagsOf(holding))
    size.encode(state, holding.sizeBytes)
    chunkSize.encode(state, holding.chunkBytes)
    bits.encode(state, holding.held)
    bits.encode(state, holding.vouched)
    if (holding.root) framedKey.encode(state, holding.root)
    if (holding.isWhole) anyNumber.encode(state, 0)
  },
  decode(state) {
    const known = flags.decode(state)
    const holding: { -readonly [K in keyof Holding]: Holding[K] } = {
      sizeBytes: size.decode(state),
      chunkBytes: chunkSize.decode(state),
      held: bits.decode(state),
      vouched: bits.decode(state),
      isWhole: (known & WHOLE) !== 0
    }
    decodeFields(state, known, [(field) => (holding.root = key.decode(field))])
    checkHolding(holding)
    return holding
  }
}

function flagsOf(holding: Holding): number {
  return (holding.root ? ROOT : 0) | (holding.isWhole ? WHOLE : 0)
}

/** A whole file needs no bits; of others there is one for each chunk. */
function checkHolding({ sizeBytes, chunkBytes, held, vouched, isWhole }: Holding): void {
  const count = isWhole || chunkBytes === 0 ? 0 : Math.ceil(Math.ceil(sizeBytes / chunkBytes) / 8)
  if (chunkBytes > 0 && held.byteLength === count && vouched.byteLength === count) return
  throw protocolError(
    `The message is refused: ${held.byteLength} and ${vouched.byteLength} bytes of bits are none of ${sizeBytes} bytes in chunks of ${chunkBytes}`
  )
}
