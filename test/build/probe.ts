// The entry of a small executable that test/build/executable.test.ts compiles in the product's way:
// it tells, as JSON on stdout, whether the parts that need native code work without node_modules.
import { join } from 'node:path'
import { CFunction, dlopen, FFIType, read, CString } from 'bun:ffi'
import { embedded } from '../../src/base/embedded.ts'
import type { AppError } from '../../src/base/errors.ts'
import { unpackNativeSet } from '../../src/base/files/native-files.ts'
import { resolvePaths } from '../../src/base/paths.ts'
import { versionText } from '../../src/base/version.ts'
import { Compute } from '../../src/blocks/compute.ts'
import { ortLibraryName } from '../../src/blocks/ort/library.ts'
import { resolveModel } from '../../src/model/resolve.ts'

// The packages have no types; `require` inside of a function loads them when they are asked for.
interface SodiumHash {
  crypto_generichash(out: Buffer, input: Buffer): void
}

interface Testnet {
  createNode(): {
    mutablePut(keys: { publicKey: Buffer }, value: Buffer): Promise<unknown>
    mutableGet(key: Buffer, options: { latest: boolean }): Promise<{ value: Buffer } | null>
  }
  destroy(): Promise<void>
}

/** libsodium's BLAKE2b of nothing, 32 bytes. */
function hashWithSodium(): string {
  const sodium = require('sodium-universal') as SodiumHash
  const out = Buffer.alloc(32)
  sodium.crypto_generichash(out, Buffer.alloc(0))
  return out.toString('hex')
}

/** OrtGetApiBase()->GetVersionString(), the second pointer of the structure. */
function onnxruntimeVersion(): string {
  if (!embedded) throw new Error('Nothing is embedded')
  const { onnxruntime } = embedded
  if (!onnxruntime) throw new Error('onnxruntime is not embedded')
  const folder = unpackNativeSet(onnxruntime, resolvePaths(process.env).cache)
  const path = join(folder, ortLibraryName())
  const library = dlopen(path, { OrtGetApiBase: { args: [], returns: FFIType.ptr } })
  const base = library.symbols.OrtGetApiBase()
  if (!base) throw new Error('OrtGetApiBase returned nothing')
  const getVersion = CFunction({
    ptr: read.ptr(base, 8) as never,
    args: [],
    returns: FFIType.ptr
  })
  return new CString(getVersion()).toString()
}

function askWorker(question: string): Promise<unknown> {
  const worker = new Worker(new URL('./probe-worker.ts', import.meta.url))
  const { promise, resolve, reject } = Promise.withResolvers<unknown>()
  worker.onmessage = (event) => resolve(event.data)
  worker.onerror = (event) => reject(new Error(event.message))
  worker.postMessage(question)
  return promise.finally(() => worker.terminate())
}

/** A DHT of its own: a mutable record put by one node is read by another. */
async function askDht(): Promise<string> {
  const createTestnet = require('hyperdht/testnet') as (size: number) => Promise<Testnet>
  const { keyPair } = require('hyperdht') as { keyPair(): { publicKey: Buffer } }
  const testnet = await createTestnet(3)
  try {
    const keys = keyPair()
    await testnet.createNode().mutablePut(keys, Buffer.from('written'))
    const found = await testnet.createNode().mutableGet(keys.publicKey, { latest: true })
    return found ? found.value.toString() : 'nothing'
  } finally {
    await testnet.destroy()
  }
}

/** A step of an embedded, trained model through the product's own worker: its largest output. */
async function compute(): Promise<string> {
  const { cache } = resolvePaths(process.env)
  if (!embedded) throw new Error('Nothing is embedded')
  const location = await resolveModel('stories260k', { cacheDir: cache })
  await using engine = new Compute({
    kernelDir: unpackNativeSet(embedded.kernels, cache),
    threads: 1
  })
  await engine.ready()
  const { span, hiddenSize } = await engine.loadSpan({ location, start: 0, end: 5, quant: 'f32' })
  const session = await engine.openSession(span)
  const hidden = Float32Array.from({ length: hiddenSize }, (_, i) => Math.sin(i))
  const output = await engine.step({ session, start: 0, count: 1, hidden })
  return Math.max(...output.hidden).toFixed(3)
}

const PROBES: Record<string, () => unknown> = {
  version: versionText,
  sodium: hashWithSodium,
  onnxruntime: onnxruntimeVersion,
  worker: () => askWorker('hello'),
  dht: askDht,
  compute,
  environment: () => process.env['PETALS_TEST_DOTENV'] ?? 'unset'
}

const result: Record<string, unknown> = {}
for (const name of Bun.argv.slice(2)) {
  try {
    result[name] = await PROBES[name]?.()
  } catch (error) {
    const { code, message, hint } = error as AppError
    result[name] = { code, message, hint }
  }
}
console.log(JSON.stringify(result))
