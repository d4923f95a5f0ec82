// What an adapter consists of, as peers tell each other. The layout is described in protocol.ts.
import { protocolError } from '../../base/errors.ts'
import { LIMITS } from '../protocol.ts'
import type { AdapterManifest, WireDtype } from '../types.ts'
import { key, listUpTo, oneOf, uintUpTo, type Codec } from './fields.ts'
import { checkedWhenRead, mark, optional, record } from './record.ts'
import { shapeCodec } from './tune.ts'

/** From the narrowest. */
export const ADAPTER_DTYPES: readonly WireDtype[] = ['f16', 'bf16', 'f32']

export const adapterCodec: Codec<AdapterManifest> = checkedWhenRead(
  record<AdapterManifest>({
    model: key,
    dtype: oneOf(ADAPTER_DTYPES, 'the type of an adapter', (number) =>
      protocolError(`The adapter is refused: type ${number} is not known`)
    ),
    positions: uintUpTo(LIMITS.adapterRows, "the length of an adapter's prompt"),
    parts: listUpTo(LIMITS.adapterParts, key, 'parts'),
    shape: optional(shapeCodec),
    deep: mark
  }),
  ({ shape, positions, deep }) => {
    if ((shape === undefined && positions === 0) || (deep === true && positions === 0)) {
      throw protocolError('The adapter is refused: it adds nothing')
    }
  }
)
