// Writes small zip files for tests, also wrong ones.
import { deflateRawSync } from 'node:zlib'

export interface ZipMember {
  name: string
  bytes: Uint8Array
  /** Default true. */
  deflate?: boolean
  /** What the directory says in place of the true size. */
  claimedBytes?: number
}

export function writeZip(members: readonly ZipMember[]): Buffer {
  const parts: Buffer[] = []
  const directory: Buffer[] = []
  let offset = 0
  for (const { name, bytes, deflate = true, claimedBytes = bytes.byteLength } of members) {
    const packed = deflate ? deflateRawSync(bytes) : Buffer.from(bytes)
    const label = Buffer.from(name)
    const local = Buffer.alloc(30)
    local.writeUInt32LE(0x04034b50, 0)
    local.writeUInt16LE(deflate ? 8 : 0, 8)
    local.writeUInt32LE(packed.byteLength, 18)
    local.writeUInt32LE(claimedBytes, 22)
    local.writeUInt16LE(label.byteLength, 26)
    const entry = Buffer.alloc(46)
    entry.writeUInt32LE(0x02014b50, 0)
    entry.writeUInt16LE(deflate ? 8 : 0, 10)
    entry.writeUInt32LE(packed.byteLength, 20)
    entry.writeUInt32LE(claimedBytes, 24)
    entry.writeUInt16LE(label.byteLength, 28)
    entry.writeUInt32LE(offset, 42)
    parts.push(local, label, packed)
    directory.push(entry, label)
    offset += local.byteLength + label.byteLength + packed.byteLength
  }
  const table = Buffer.concat(directory)
  const end = Buffer.alloc(22)
  end.writeUInt32LE(0x06054b50, 0)
  end.writeUInt16LE(members.length, 8)
  end.writeUInt16LE(members.length, 10)
  end.writeUInt32LE(table.byteLength, 12)
  end.writeUInt32LE(offset, 16)
  return Buffer.concat([...parts, table, end])
}
