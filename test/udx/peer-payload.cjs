// Seeded bytes and their hash, equal under node and Bun, and writing with back-pressure.
const { createHash } = require('crypto')

/** An endless seeded source: each call gives the next `size` bytes (a multiple of 4 but for the last). */
function source(seed) {
  let state = (seed * 2654435761 + 1) | 0 || 1
  return (size) => {
    const words = new Uint32Array((size + 3) >> 2)
    for (let i = 0; i < words.length; i++) {
      state ^= state << 13
      state ^= state >>> 17
      state ^= state << 5
      words[i] = state
    }
    return Buffer.from(words.buffer, 0, size)
  }
}

/** Resolves when the stream takes more, true, or is closed, false. */
function drained(stream) {
  return new Promise((resolve) => {
    const done = (value) => {
      stream.off('drain', ondrain).off('close', onclose)
      resolve(value)
    }
    const ondrain = () => done(true)
    const onclose = () => done(false)
    stream.on('drain', ondrain).on('close', onclose)
  })
}

/** Writes seeded bytes; returns how many the stream took and the sha256 of all that went into `hash`. */
async function writeSeeded(stream, options, hash = createHash('sha256')) {
  const { bytes, seed, chunk = 65536, end = false } = options
  const next = source(seed)
  let left = bytes
  let open = true
  while (left > 0 && open && !stream.destroying) {
    const buffer = next(Math.min(chunk, left))
    hash.update(buffer)
    left -= buffer.length
    // The stream keeps and the secret stream encrypts what it is given, so the hash came first.
    if (!stream.write(buffer)) open = await drained(stream)
  }
  if (end) stream.end()
  return { bytes: bytes - left, sha256: hash.copy().digest('hex') }
}

module.exports = { createHash, source, writeSeeded }
