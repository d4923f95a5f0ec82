// Reads a request's body as JSON, within limits. A body is hostile: endless, or nested so deep that
// whatever walks through it takes the square of its depth.
import { RequestError } from './errors.ts'

/** No request that means well is nested deeper. */
const MOST_DEPTH = 200

/** @throws RequestError 413 for too large a body, 400 for what is no JSON, 415 for a packed one */
export async function readBody(request: Request, maxBytes: number): Promise<unknown> {
  const encoding = request.headers.get('content-encoding') ?? 'identity'
  if (encoding.toLowerCase() !== 'identity') {
    throw new RequestError(`A body in the encoding '${encoding.slice(0, 60)}' is not read`, {
      status: 415,
      code: 'unsupported_encoding'
    })
  }
  const claimed = Number(request.headers.get('content-length') ?? 0)
  if (claimed > maxBytes) throw tooLarge(maxBytes)
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of request.body ?? []) {
    size += chunk.byteLength
    if (size > maxBytes) throw tooLarge(maxBytes)
    chunks.push(chunk)
  }
  const bytes = Buffer.concat(chunks)
  if (isDeep(bytes)) {
    throw new RequestError(`The body is nested deeper than ${MOST_DEPTH} levels`, {
      code: 'invalid_json'
    })
  }
  let text: string
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    throw new RequestError('The body is not UTF-8', { code: 'invalid_json' })
  }
  try {
    return JSON.parse(text) as unknown
  } catch {
    throw new RequestError('The body is not JSON', { code: 'invalid_json' })
  }
}

const QUOTE = 0x22
const BACKSLASH = 0x5c

function isDeep(json: Uint8Array): boolean {
  let depth = 0
  let inText = false
  for (let i = 0; i < json.length; i++) {
    const byte = json[i]
    if (inText) {
      if (byte === BACKSLASH) i++
      else if (byte === QUOTE) inText = false
    } else if (byte === QUOTE) inText = true
    else if (byte === 0x5b || byte === 0x7b) depth++
    else if (byte === 0x5d || byte === 0x7d) depth--
    if (depth > MOST_DEPTH) return true
  }
  return false
}

function tooLarge(maxBytes: number): RequestError {
  return new RequestError(`The body is over ${maxBytes} bytes`, {
    status: 413,
    code: 'body_too_large'
  })
}
