// The kinds of data that an application may send, as bytes. Knows nothing else.

/** The bytes of a string or of any view; a view is not copied. @throws for anything else. */
export function toBytes(data: unknown): Uint8Array {
  if (data instanceof Uint8Array) return data
  if (typeof data === 'string') return Buffer.from(data)
  if (ArrayBuffer.isView(data)) return new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
  throw new TypeError('Only bytes and strings can be sent')
}
