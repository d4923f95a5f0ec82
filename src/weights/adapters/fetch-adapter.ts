// A whole adapter by its content id, from servers that were given it for everybody. Every part is
// checked; what one server lacks or spoils is asked of the next.
import { toHex } from '../../base/bytes.ts'
import { corrupt, notFound, toAppError, type AppError } from '../../base/errors.ts'
import { adapterCodec } from '../../wire/codec/adapter.ts'
import { decodeMessage } from '../../wire/codec/encode.ts'
import type { AdapterManifest } from '../../wire/types.ts'
import {
  AdapterPack,
  checkManifest,
  floatsFrom,
  hashOf,
  isPart,
  partBytes,
  PartsOfSpan,
  type AdapterModel,
  type AdapterSource
} from './adapter-pack.ts'

/**
 * @param sources servers that may have it, asked one after another
 * @throws AppError NOT_FOUND, BAD_INPUT, CANCELLED
 */
export async function fetchAdapter(
  name: string,
  model: AdapterModel,
  sources: readonly AdapterSource[],
  signal?: AbortSignal
): Promise<AdapterPack> {
  const { config, contentId } = model
  const { blockCount } = config
  const manifest = await firstOf(sources, signal, async (source) =>
    readManifest(name, await source.manifest(name, signal))
  )
  checkManifest(manifest, config)
  const count = blockCount + (manifest.positions > 0 ? 1 : 0)
  if (Buffer.compare(manifest.model, contentId) !== 0 || manifest.parts.length !== count) {
    throw notFound('The adapter belongs to another model')
  }
  const part = (index: number): Promise<Uint8Array> =>
    firstOf(sources, signal, async (source) => {
      const place = { index, sizeBytes: partBytes(manifest, config, index) }
      const bytes = await source.part(name, place, signal)
      if (!isPart(manifest, index, bytes)) throw corrupt('A part of the adapter is another')
      return bytes
    })
  const parts = new PartsOfSpan(manifest, config, { start: 0, end: blockCount })
  for (let block = 0; block < blockCount; block++) parts.add(block, await part(block))
  const { lora, prompts: deepPrompt } = parts.adapter
  const prompt =
    manifest.positions > 0 ? floatsFrom(await part(blockCount), manifest.dtype) : undefined
  const pack = new AdapterPack({ lora, prompt, deepPrompt }, model)
  if (pack.name !== name) throw corrupt('The adapter is written otherwise than its id says')
  return pack
}

function readManifest(name: string, bytes: Uint8Array): AdapterManifest {
  if (toHex(hashOf(bytes)) === name) return decodeMessage(adapterCodec, bytes)
  throw corrupt('The adapter is not the one that was asked for')
}

async function firstOf<T>(
  sources: readonly AdapterSource[],
  signal: AbortSignal | undefined,
  ask: (source: AdapterSource) => Promise<T>
): Promise<T> {
  let failure: AppError | undefined
  for (const source of sources) {
    try {
      return await ask(source)
    } catch (error) {
      failure = toAppError(error)
      if (signal?.aborted) throw failure
    }
  }
  throw notFound('Nobody gives that adapter now', {
    hint: 'Servers that were started with --adapters do',
    ...(failure === undefined ? {} : { cause: failure })
  })
}
