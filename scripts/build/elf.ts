// Makes an addon that was linked against glibc loadable by a musl Bun, which refuses whatever names
// glibc's libraries as needed. musl has all functions that libsodium's addon calls, under the same
// names and with the same records, and the executable has brought it in: so the names go.

const DYNAMIC_SEGMENT = 2
const LOAD_SEGMENT = 1
const NEEDED = 1n
const STRINGS = 5n
const GLIBC = /^(lib(c|m|dl|rt|pthread)\.so\.\d+|ld-linux[\w.-]*)$/

/** A copy of a shared library (ELF, 64 bits) that needs none of glibc's. @throws Error */
export function withoutGlibc(library: Uint8Array): Uint8Array {
  const bytes = Uint8Array.from(library)
  const view = new DataView(bytes.buffer)
  const u64 = (at: number): number => Number(view.getBigUint64(at, true))
  if (view.getUint32(0) !== 0x7f454c46 || bytes[4] !== 2 || bytes[5] !== 1) {
    throw new Error('The addon is no 64-bit ELF library')
  }
  const segments = Array.from({ length: view.getUint16(56, true) }, (_, i) => u64(32) + 56 * i)
  const dynamic = segments.find((at) => view.getUint32(at, true) === DYNAMIC_SEGMENT)
  if (dynamic === undefined) throw new Error('The addon has no dynamic section')
  const first = u64(dynamic + 8)
  const entries = Array.from({ length: u64(dynamic + 32) / 16 }, (_, i) => {
    const at = first + 16 * i
    return { tag: view.getBigUint64(at, true), value: view.getBigUint64(at + 8, true) }
  })

  /** Where an address of memory lies in the file. */
  const offsetOf = (address: number): number => {
    const load = segments.find((at) => {
      const begin = u64(at + 16)
      const isLoaded = view.getUint32(at, true) === LOAD_SEGMENT
      return isLoaded && address >= begin && address < begin + u64(at + 32)
    })
    if (load === undefined) throw new Error('The addon names an address that it does not have')
    return address - u64(load + 16) + u64(load + 8)
  }
  const strings = offsetOf(Number(entries.find(({ tag }) => tag === STRINGS)?.value ?? 0n))
  const nameAt = (value: bigint): string => {
    const begin = strings + Number(value)
    return Buffer.from(bytes.subarray(begin, bytes.indexOf(0, begin))).toString('latin1')
  }

  const kept = entries.filter(({ tag, value }) => tag !== NEEDED || !GLIBC.test(nameAt(value)))
  for (let i = 0; i < entries.length; i++) {
    const { tag, value } = kept[i] ?? { tag: 0n, value: 0n }
    view.setBigUint64(first + 16 * i, tag, true)
    view.setBigUint64(first + 16 * i + 8, value, true)
  }
  return bytes
}
