// Weights between peers: requests for files, pieces of the answer, and the records in answers. The
// layout is described in protocol.ts.
import { protocolError, type ErrorCode } from '../../base/errors.ts'
import {
  anyNumber,
  bytesUpTo,
  key,
  listUpTo,
  mapped,
  oneOf,
  stringUpTo,
  uintUpTo,
  type Codec
} from './fields.ts'
import { LIMITS } from '../protocol.ts'
import { bare, checkedWhenRead, flag, mark, optional, record } from './record.ts'
import type { Catalogue, CataloguedFile, Give, Holding, Want } from '../types.ts'

export const wantCodec: Codec<Want> = record<Want>({
  request: anyNumber,
  what: anyNumber,
  name: stringUpTo(LIMITS.wantNameBytes, 'a name'),
  start: anyNumber,
  count: anyNumber
})

const code = mapped(
  stringUpTo(LIMITS.codeBytes, 'the code'),
  (name: ErrorCode) => name,
  (name) => name as ErrorCode
)

export const giveCodec: Codec<Give> = record<Give>({
  request: anyNumber,
  left: anyNumber,
  data: bytesUpTo(LIMITS.giveBytes, 'a piece'),
  refused: optional(code)
})

const KINDS = ['gguf', 'folder'] as const
const size = uintUpTo(LIMITS.fileBytes, 'the size of a file')

const file = bare<CataloguedFile>({
  path: stringUpTo(LIMITS.pathBytes, 'a path'),
  sizeBytes: size,
  sha256: key
})

export const catalogueCodec: Codec<Catalogue> = record<Catalogue>({
  model: key,
  kind: oneOf(KINDS, 'the kind of a model', (number) =>
    protocolError(`The message is refused: kind ${number} of model is not known`)
  ),
  small: listUpTo(LIMITS.smallFiles, file, 'small files'),
  weights: listUpTo(LIMITS.weightFiles, file, 'weight files'),
  isUnverified: mark
})

const bits = bytesUpTo(LIMITS.bitfieldBytes, 'a field of bits')

export const holdingCodec: Codec<Holding> = checkedWhenRead(
  record<Holding>({
    sizeBytes: size,
    chunkBytes: uintUpTo(LIMITS.chunkBytes, 'the size of a chunk'),
    held: bits,
    vouched: bits,
    root: optional(key),
    isWhole: flag
  }),
  checkBits
)

/** A whole file needs no bits; of others there is one for each chunk. */
function checkBits({ sizeBytes, chunkBytes, held, vouched, isWhole }: Holding): void {
  const count = isWhole || chunkBytes === 0 ? 0 : Math.ceil(Math.ceil(sizeBytes / chunkBytes) / 8)
  if (chunkBytes > 0 && held.byteLength === count && vouched.byteLength === count) return
  throw protocolError(
    `The message is refused: ${held.byteLength} and ${vouched.byteLength} bytes of bits ` +
      `for ${sizeBytes} bytes in chunks of ${chunkBytes}`
  )
}
