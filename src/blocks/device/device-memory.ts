// Caches in a device's memory. They grow by a graph of one operator, so that no data leaves the
// device.
import type { CacheMemory } from '../onnx/backend.ts'
import { GraphBuilder } from '../graph/builder.ts'
import type { OrtRuntime } from '../ort/runtime.ts'
import { OrtBinding, OrtSession, type SessionSettings } from '../ort/session.ts'
import { OrtAllocator, type OrtTensor } from '../ort/value.ts'

export interface DeviceFacts {
  /** The provider's name for its memory. */
  memory: string
  id: number
  settings: SessionSettings
}

/** `session` may be any session that runs on the device. */
export function deviceMemory(
  runtime: OrtRuntime,
  session: OrtSession,
  facts: DeviceFacts
): CacheMemory {
  const allocator = OrtAllocator.device(runtime, session.handle, facts.memory, facts.id)
  return {
    allocator,
    copiesInputs: true,
    copy: (from, to) => growInto(runtime, facts.settings, from, to),
    [Symbol.dispose]: () => allocator[Symbol.dispose]()
  }
}

/**
 * Copies all of `from` into `to` and fills the rest with zeros. Growing is rare, so its graph is
 * built each time.
 */
function growInto(
  runtime: OrtRuntime,
  settings: SessionSettings,
  from: OrtTensor,
  to: OrtTensor
): void {
  const builder = new GraphBuilder('grow')
  const more = (to.dims[2] ?? 0) - (from.dims[2] ?? 0)
  const pads = new BigInt64Array([0, 0, 0, 0, 0, 0, more, 0].map(BigInt))
  builder.input('from', 'f32', from.dims)
  builder.constant('pads', 'i64', [8], new Uint8Array(pads.buffer))
  builder.nodes('Pad', ['from', 'pads'], { outputs: ['to'] })
  builder.output('to', 'f32', to.dims)
  using session = new OrtSession(runtime, { model: builder.build(), weights: new Map() }, settings)
  using binding = new OrtBinding(session)
  binding.input('from', from)
  binding.output('to', to)
  session.run(binding)
}
