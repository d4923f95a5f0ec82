// `petals api [MODEL...]`: models over HTTP, for programs.
import { isIP } from 'node:net'
import { readFile } from 'node:fs/promises'
import { basename } from 'node:path'
import { badInput, toAppError } from '../../base/errors.ts'
import { fileError } from '../../base/files/file-error.ts'
import { createApp } from '../../api/http/app.ts'
import { PAGES } from '../../api/page/pages.ts'
import { serve } from '../../api/serve.ts'
import { ModelPool } from '../../library/model-pool.ts'
import { watchSwarm } from '../../library/watch-swarm.ts'
import { Petals } from '../../library/petals.ts'
import { defaultModel } from '../chat/remember.ts'
import type { Context } from '../context.ts'
import { petalsOptions, type PetalsFlags } from '../engine.ts'
import { untilAborted } from '../lifetime.ts'
import { parseList, parseWhole } from '../options.ts'
import { print } from '../output.ts'
import { serverProgress } from '../terminal/stderr.ts'

export interface ApiFlags extends PetalsFlags {
  port?: string | undefined
  host?: string | undefined
  apiKey?: string | undefined
  cors?: string | undefined
  parallel?: string | undefined
  adapter?: readonly string[] | undefined
}

const PORT = 8080
const LOOPBACK: readonly string[] = ['localhost', '127.0.0.1', '[::1]', '::1']
/** A shorter key can be guessed. */
const LEAST_KEY = 8

export async function runApi(
  words: readonly string[],
  flags: ApiFlags,
  context: Context
): Promise<void> {
  const { host = '127.0.0.1' } = flags
  const port = parseWhole('port', flags.port, 0, 65_535) ?? PORT
  const apiKey = await requireKey(flags.apiKey, host, context)
  await using stack = new AsyncDisposableStack()
  const parallel = parseWhole('parallel', flags.parallel, 1, 256)
  const progress = serverProgress(context.log)
  const petals = stack.use(new Petals(context, { ...petalsOptions(flags), parallel, progress }))
  await petals.ready()
  const names = await modelNames(words, context)
  await openSurface(stack, { petals, names, flags, apiKey, host, port, context })
  await untilAborted(context.signal)
}

export interface SurfaceOptions {
  petals: Petals
  names: readonly string[]
  flags: Pick<ApiFlags, 'bootstrap' | 'lan' | 'cors' | 'adapter'>
  apiKey: string | undefined
  host: string
  port: number
  context: Context
}

/** The HTTP interfaces and pages over models; prints their address. @throws AppError IN_USE */
export async function openSurface(
  stack: AsyncDisposableStack,
  { petals, names, flags, apiKey, host, port, context }: SurfaceOptions
): Promise<string> {
  const offered = modelIds(names)
  const adapted = adaptedIds([...offered.keys()], flags.adapter)
  const pool: ModelPool = stack.use(
    new ModelPool({
      names: [...offered.keys(), ...adapted.keys()],
      async open(id) {
        const variant = adapted.get(id)
        const model =
          variant === undefined
            ? await petals.openModel(offered.get(id) ?? id, { id })
            : await (await pool.take(variant.model)).withAdapters(id, variant.adapters)
        context.log.info(`${id} is ready`)
        return model
      }
    })
  )
  const watch = stack.use(watchSwarm({ node: petals.node, swarmWords: swarmWords(flags) }))
  watch.ready().catch(() => {})
  const app = createApp({
    models: pool,
    swarm: () => watch.snapshot(),
    apiKey,
    cors: parseOrigins(flags.cors),
    hosts: apiKey === undefined ? [...LOOPBACK, host] : undefined,
    log: context.log
  })
  const server = serve({ app, host, port, pages: PAGES })
  stack.defer(() => server.close())
  await print(`${server.url}/v1\n`)
  context.log.info(`programs use ${pool.names.join(', ')} there; a page is at ${server.url}`)
  warmUp(pool, context)
  return server.url
}

/** Origins of pages as browsers tell them. @throws AppError BAD_INPUT */
export function parseOrigins(given: string | undefined): readonly string[] {
  const origins = parseList('cors', given)
  const wrong = origins.find((one) => one !== '*' && one !== 'null' && !isOrigin(one))
  if (wrong === undefined) return origins
  throw badInput(`--cors cannot be '${wrong}'`, {
    hint: 'Give origins without a path: https://app.example, or * for all'
  })
}

function isOrigin(text: string): boolean {
  return /^[a-z][a-z0-9+.-]*:\/\/[^\s/?#,]+$/.test(text)
}

/** What leads into the same swarm, without an invite: that is for nobody else to see. */
function swarmWords({ bootstrap, lan }: Pick<ApiFlags, 'bootstrap' | 'lan'>): string {
  const words = bootstrap === undefined ? [] : ['--bootstrap', bootstrap]
  return [...words, ...(lan ? ['--lan'] : [])].join(' ')
}

/**
 * Opens the first model before anybody asks. A failure is reported, and it is tried again when
 * somebody asks.
 */
function warmUp(pool: ModelPool, context: Context): void {
  const [first] = pool.names
  if (first === undefined) return
  pool.take(first).catch((error: unknown) => {
    if (context.signal.aborted) return
    const { message, hint } = toAppError(error)
    context.log.warn(`${first} cannot be used yet: ${message}${hint ? `. ${hint}` : ''}`)
  })
}

async function modelNames(words: readonly string[], context: Context): Promise<readonly string[]> {
  if (words.length > 0) return [...new Set(words)]
  const name = await defaultModel(context)
  if (name !== undefined) return [name]
  throw badInput('No model is named', { hint: 'Name one: petals api smollm2-135m' })
}

/**
 * The name under which clients know each model: its name, or for a path the file's name, which is
 * the same elsewhere.
 */
function modelIds(names: readonly string[]): Map<string, string> {
  const ids = new Map<string, string>()
  for (const name of names) {
    const isFile = /^[./~]|\\|\.gguf$/.test(name)
    const id = isFile ? basename(name).replace(/\.gguf$/i, '') : name
    ids.set(ids.has(id) ? name : id, name)
  }
  return ids
}

/** A model with adapters that is offered under a name of its own. */
interface AdaptedModel {
  /** Id of the model that it stands on. */
  readonly model: string
  readonly adapters: readonly string[]
}

/**
 * Models with adapters by their ids, `model+name`.
 * @throws AppError BAD_INPUT for what is no `name=adapter`, or when the model is not clear
 */
export function adaptedIds(
  ids: readonly string[],
  given: readonly string[] = []
): Map<string, AdaptedModel> {
  const adapted = new Map<string, AdaptedModel>()
  for (const text of given) {
    const at = text.indexOf('=')
    const word =
      at < 0 ? basename(text.replace(/:[\d.+-]+$/, '')).replace(/\.gguf$/i, '') : text.slice(0, at)
    const plus = word.lastIndexOf('+')
    const [only, ...others] = ids
    const model = plus < 0 && others.length === 0 ? only : word.slice(0, Math.max(0, plus))
    const name = word.slice(plus + 1)
    const id = `${model}+${name}`
    if (model === undefined || !ids.includes(model) || !/^[\w.-]{1,64}$/.test(name)) {
      throw badInput(`--adapter cannot be '${text}'`, {
        hint: `Give NAME=FOLDER, or with several models ${ids[0] ?? 'MODEL'}+NAME=FOLDER`
      })
    }
    if (adapted.has(id) || ids.includes(id)) throw badInput(`'${id}' is named twice`)
    const adapters = text.slice(at + 1).split(',')
    if (adapters.includes('')) throw badInput(`--adapter ${text} names no adapter`)
    adapted.set(id, { model, adapters })
  }
  return adapted
}

/**
 * The key that requests must show; undefined: none.
 * @throws AppError BAD_INPUT for a bad key, or for none where others can reach the server
 */
export async function requireKey(
  given: string | undefined,
  host: string,
  context: Context
): Promise<string | undefined> {
  const key = await readKey(given ?? context.env['PETALS_API_KEY'])
  if (key !== undefined || isLoopback(host)) return key
  throw badInput(`At '${host}' others can reach it: a key is needed`, {
    hint: 'Give --api-key @FILE with a secret of your own, or leave it at loopback'
  })
}

/** @throws AppError BAD_INPUT for a bad key */
async function readKey(given: string | undefined): Promise<string | undefined> {
  if (given === undefined) return undefined
  const key = given.startsWith('@') ? await keyFile(given.slice(1)) : given
  if (key.length >= LEAST_KEY && /^[\x21-\x7e]+$/.test(key)) return key
  throw badInput('The API key cannot be used', {
    hint: `Give at least ${LEAST_KEY} visible characters, e.g. of: openssl rand -hex 24`
  })
}

async function keyFile(path: string): Promise<string> {
  try {
    return (await readFile(path, 'utf8')).trim()
  } catch (error) {
    throw fileError(`The key in '${path}' cannot be read`, error)
  }
}

function isLoopback(host: string): boolean {
  if (host === 'localhost' || host === '::1') return true
  return isIP(host) === 4 && host.startsWith('127.')
}
