// A conversation in a file, so that it can be continued after the client was closed, even during an
// answer. The servers hold nothing of it then: the first turn feeds it again.
import { readFile, stat } from 'node:fs/promises'
import { toHex } from '../../base/bytes.ts'
import { badInput, corrupt } from '../../base/errors.ts'
import { fileError } from '../../base/files/file-error.ts'
import { replaceFile, requireReplaceable } from '../../base/files/replace-file.ts'
import { checkConstraint, type Constraint } from '../../library/grammar/constraint.ts'
import type { SavedConversation, Unfinished } from '../../library/text/conversation.ts'
import { resolveSampling } from '../../library/text/sampling.ts'
import { LIMITS } from '../../wire/protocol.ts'

/** A longer file cannot be a conversation that fits a context. */
const MAX_FILE_BYTES = 64 * 1024 * 1024
const MAX_MESSAGES = 10_000
const FORMAT = 'petals-chat-1'
const HINT = 'Choose a file in a folder that can be written'
const NO_ROOM = 'Free some room on that disk, or keep the conversation in a file elsewhere'

/** A conversation, and what it was held with. */
export interface SavedChat extends SavedConversation {
  /** Content ids of its adapters, and what each counts; absent without any. */
  readonly adapters?: readonly string[] | undefined
}

/** @throws AppError BAD_INPUT for a conversation that was held with other adapters */
export function requireAdapters(
  path: string,
  saved: SavedChat | undefined,
  adapters: readonly string[]
): void {
  const { messages = [], unfinished, adapters: before = [] } = saved ?? {}
  // A new file has no adapters yet.
  if (messages.length === 0 && unfinished === undefined) return
  if (String(before) === String(adapters)) return
  const held = before.length === 0 ? 'without adapters' : `with ${before.join(', ')}`
  throw badInput(`The conversation in '${path}' was held ${held}`, {
    hint: 'Give the same --adapter, or another file'
  })
}

/**
 * The conversation in `path`; empty if there is no such file or it is empty.
 * @throws AppError CORRUPT, or BAD_INPUT if it was held with another model
 */
export async function loadChat(path: string, model: Uint8Array): Promise<SavedChat> {
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined
    throw fileError(`The conversation in '${path}' cannot be read`, error)
  })
  // An empty file of mktemp or an editor is meant for the conversation.
  if (text === undefined || text.trim() === '') return { messages: [] }
  const saved = parse(path, text)
  if (saved.model !== toHex(model)) {
    throw badInput(`The conversation in '${path}' was held with another model`, {
      hint: 'Name the same model, or another file'
    })
  }
  return saved
}

/**
 * Checks, before anything is asked, that a conversation can be saved to the file.
 * @throws AppError DENIED, NOT_FOUND, BAD_INPUT or UNAVAILABLE
 */
export async function requireKeepable(path: string): Promise<void> {
  const found = await stat(path).catch(() => undefined)
  if (found?.isFile() === false) {
    throw badInput(`The conversation cannot be kept in '${path}': it is no file`, { hint: HINT })
  }
  try {
    await requireReplaceable(path)
  } catch (error) {
    throw cannotKeep(path, error)
  }
}

/** Writes the whole conversation; the old file stays until the new one is complete. */
export async function saveChat(path: string, model: Uint8Array, chat: SavedChat): Promise<void> {
  const { messages, unfinished, adapters = [] } = chat
  const facts = { format: FORMAT, model: toHex(model) }
  const held = adapters.length === 0 ? facts : { ...facts, adapters }
  const text = JSON.stringify({ ...held, messages, unfinished })
  try {
    await replaceFile(path, `${text}\n`)
  } catch (error) {
    throw cannotKeep(path, error)
  }
}

function cannotKeep(path: string, cause: unknown): Error {
  const { code = '' } = cause as NodeJS.ErrnoException
  const hint = code === 'ENOSPC' || code === 'EDQUOT' ? NO_ROOM : HINT
  return fileError(`The conversation cannot be kept in '${path}'`, cause, { hint })
}

function parse(path: string, text: string): SavedChat & { model: string } {
  const bad = (why: string): Error =>
    corrupt(`'${path}' is no conversation: ${why}`, { hint: 'Remove it to begin a new one' })
  if (text.length > MAX_FILE_BYTES) throw bad('it is too long')
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    throw bad('it is no JSON')
  }
  const { format, model, messages, unfinished, adapters } = (value ?? {}) as Record<string, unknown>
  if (format !== FORMAT || typeof model !== 'string') throw bad(`it is not in ${FORMAT}`)
  if (!Array.isArray(messages) || messages.length > MAX_MESSAGES) throw bad('it has no messages')
  const areNames = Array.isArray(adapters) && adapters.length <= LIMITS.adapters
  if (adapters !== undefined && !areNames) throw bad('its adapters have no names')
  return {
    model,
    ...(areNames ? { adapters: adapters.map(String) } : {}),
    unfinished: unfinished === undefined ? undefined : parseUnfinished(unfinished, bad),
    messages: messages.map((message: unknown) => {
      const { role, content } = (message ?? {}) as Record<string, unknown>
      if (typeof role !== 'string' || typeof content !== 'string') {
        throw bad('a message has no role or text')
      }
      return { role, content }
    })
  }
}

function parseUnfinished(value: unknown, bad: (why: string) => Error): Unfinished {
  const fields = (value ?? {}) as Record<string, unknown>
  const { question, raw, prompt, ids, sampling, maxTokens, constraint } = fields
  const isCount = (one: unknown): one is number => Number.isSafeInteger(one) && Number(one) >= 0
  const areIds = (all: unknown): all is number[] =>
    Array.isArray(all) && all.length <= LIMITS.tokens && all.every(isCount)
  if (typeof question !== 'string' || typeof raw !== 'boolean' || !areIds(prompt) || !areIds(ids)) {
    throw bad('its last answer cannot be gone on with')
  }
  if (maxTokens !== undefined && !isCount(maxTokens)) throw bad('its last answer has no limit')
  const held = constraint === undefined ? {} : { constraint: parseConstraint(constraint, bad) }
  try {
    const checked = resolveSampling({ ...(sampling as object), seed: Number(fieldOf(sampling)) })
    return { question, raw, prompt, ids, sampling: checked, maxTokens, ...held }
  } catch {
    throw bad('its last answer has no way of sampling')
  }
}

/** Of --schema. */
function parseConstraint(value: unknown, bad: (why: string) => Error): Constraint {
  const { kind, schema } = (value ?? {}) as Record<string, unknown>
  const constraint: Constraint = { kind: 'schema', schema }
  try {
    if (kind !== 'schema') throw new TypeError('no schema')
    checkConstraint(constraint)
    return constraint
  } catch {
    throw bad('the schema of its last answer cannot be held')
  }
}

/** The seed is required: a random one would continue the answer differently. */
function fieldOf(sampling: unknown): unknown {
  return (sampling as { seed?: unknown } | undefined)?.seed
}
