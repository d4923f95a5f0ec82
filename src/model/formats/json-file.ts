// Reads JSON files of a hub folder, up to a size limit, with typed access.
import { readFileSync, statSync } from 'node:fs'
import { corrupt, notFound, toAppError } from '../../base/errors.ts'

/** Configs have some KiB; the tokenizer of a 256k vocabulary has 33 MB. */
const MAX_JSON_BYTES = 2 ** 26

export type JsonObject = Readonly<Record<string, unknown>>

/** @throws AppError NOT_FOUND, CORRUPT */
export function readTextFile(path: string): string {
  const found = statSync(path, { throwIfNoEntry: false })
  if (!found?.isFile()) throw notFound(`'${path}' is missing`)
  if (found.size > MAX_JSON_BYTES) {
    throw corrupt(`'${path}' cannot be read: ${found.size} bytes are over ${MAX_JSON_BYTES}`)
  }
  return readFileSync(path, 'utf8')
}

/** @throws AppError NOT_FOUND, CORRUPT */
export function readJsonObject(path: string): JsonObject {
  const text = readTextFile(path)
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    throw corrupt(`'${path}' is no JSON: ${toAppError(error).message}`, { cause: error })
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw corrupt(`'${path}' is no JSON object`)
  }
  return value as JsonObject
}

/** As readJsonObject, but {} if there is no such file. */
export function readJsonObjectIfThere(path: string): JsonObject {
  return statSync(path, { throwIfNoEntry: false }) ? readJsonObject(path) : {}
}

/** A number; undefined if absent or null. @throws AppError CORRUPT */
export function numberOf(object: JsonObject, key: string): number | undefined {
  const value = object[key] ?? undefined
  if (value === undefined || typeof value === 'number') return value
  throw corrupt(`'${key}' of config.json is no number`)
}
