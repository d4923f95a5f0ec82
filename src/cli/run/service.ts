// `petals service install|remove|status`: has the system's own supervisor keep a server running.
import { chmod, mkdir, readdir, rm, unlink, writeFile } from 'node:fs/promises'
import { homedir, userInfo } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { embedded } from '../../base/embedded.ts'
import { badInput, notFound, unavailable } from '../../base/errors.ts'
import { folderError } from '../../base/files/file-error.ts'
import { findInvite, openMembership } from '../../library/open/membership.ts'
import { findOwnSwarm } from '../../library/open/own-swarms.ts'
import { readPrivate, writePrivate } from '../../library/open/private-file.ts'
import { inviteText } from '../../swarm/private/invite.ts'
import { isThere } from '../chat/target.ts'
import type { Options } from '../command.ts'
import { GLOBAL_OPTIONS } from '../common-options.ts'
import { CONFIG_FILE } from '../config.ts'
import type { Context } from '../context.ts'
import { EXIT } from '../exit.ts'
import { print } from '../output.ts'
import type { JoinFlags } from './join.ts'
import { wordsOf } from '../service/join-words.ts'
import { serviceFiles, type ServiceFiles } from '../service/service-files.ts'

export interface ServiceFlags extends JoinFlags {
  name?: string | undefined
}

/** What is kept of an installed service. */
interface Installed {
  readonly name: string
  readonly model: string
  readonly command: readonly string[]
  readonly env: Readonly<Record<string, string>>
}

/** What decides where things lie and what is computed. No secret is among it. */
const KEPT_ENV = [
  'PETALS_HOME',
  'PETALS_CPU',
  'XDG_DATA_HOME',
  'XDG_CACHE_HOME',
  'HF_HOME',
  'HF_ENDPOINT'
]
const NAME = /^[a-z0-9][a-z0-9.-]{0,63}$/i
const MAX_BYTES = 64 * 1024

/**
 * @param joinOptions of `petals join`, which the service is started with
 * @returns the exit code
 */
export async function runService(
  words: readonly string[],
  flags: ServiceFlags,
  context: Context,
  joinOptions: Options
): Promise<number> {
  const [action, model] = words
  switch (action) {
    case 'install':
      if (model === undefined) throw badInput('No model is named: petals service install MODEL')
      await install(model, flags, context, joinOptions)
      return EXIT.ok
    case 'remove':
      await remove(await serviceNamed(model, flags, context), context)
      return EXIT.ok
    case 'status':
      return status(model, flags, context)
    default:
      throw badInput(
        action === undefined
          ? 'petals service needs to be told what to do'
          : `'petals service ${action}' is no command`,
        { hint: 'Use install MODEL, remove or status' }
      )
  }
}

async function install(
  typed: string,
  flags: ServiceFlags,
  context: Context,
  joinOptions: Options
): Promise<void> {
  const name = flags.name ?? nameOf(typed)
  if (!NAME.test(name)) {
    throw badInput(`A service cannot be called '${name}'`, {
      hint: 'Give --name of letters, digits, dots and hyphens'
    })
  }
  if (context.env['HF_TOKEN']) {
    context.log.warn('HF_TOKEN is not kept for the service: petals pull fetches the model first')
  }
  const model = (await isThere(typed)) ? resolve(typed) : typed
  const {
    adapters = [],
    identity,
    bootstrap = context.env['PETALS_BOOTSTRAP'] || undefined
  } = flags
  const given = {
    ...flags,
    bootstrap,
    swarm: await keepInvite(name, flags, context),
    identity: identity === undefined ? undefined : resolve(identity),
    adapters: await Promise.all(
      adapters.map(async (one) => ((await isThere(one)) ? resolve(one) : one))
    )
  }
  const program = embedded ? [process.execPath] : [process.execPath, Bun.main]
  const own = { ...joinOptions, ...GLOBAL_OPTIONS }
  const command = [...program, 'join', model, ...wordsOf(given, own)]
  const env = Object.fromEntries(
    KEPT_ENV.flatMap((key) => (context.env[key] ? [[key, context.env[key]]] : []))
  ) as Record<string, string>
  const service: Installed = { name, model, command, env }
  const files = filesOf(service, context)
  await writePrivate(recordPath(name, context), JSON.stringify(service, undefined, 1))
  await writeUnit(files)
  await runAll(files.start, files, context)
  context.log.info(`${files.label} is installed and started; its log: ${files.logHint}`)
  if (await isThere(join(context.paths.data, CONFIG_FILE))) {
    context.log.info(`  what ${CONFIG_FILE} says holds for it too, each time it starts`)
  }
  if (process.platform === 'linux') {
    context.log.info('  to run while nobody is logged in: loginctl enable-linger')
  }
}

/**
 * An invite is kept in a file of its own, so that no list of processes and no unit file shows it.
 * @returns what --swarm is to be; undefined: the open swarm
 * @throws AppError DENIED for an invite that does not permit to serve
 */
async function keepInvite(
  name: string,
  { swarm }: ServiceFlags,
  context: Context
): Promise<string | undefined> {
  const given = swarm ?? context.env['PETALS_SWARM']
  if (given === undefined || given === '') return undefined
  // Its file is here, and it alone can revoke.
  if (await findOwnSwarm(context.paths, given)) return given
  const { invite } = await findInvite(given, context)
  const text = inviteText(invite)
  const membership = await openMembership({ swarm: text }, context)
  membership?.require('serve')
  const path = invitePath(name, context)
  await writePrivate(path, `${text}\n`)
  return `@${path}`
}

async function remove(service: Installed, context: Context): Promise<void> {
  const files = filesOf(service, context)
  // What is not running cannot be stopped, and is removed all the same.
  for (const each of files.stop) await run(each, context)
  await unlink(files.path).catch(() => {})
  for (const each of files.forget) await run(each, context)
  await rm(invitePath(service.name, context), { force: true })
  await rm(recordPath(service.name, context), { force: true })
  context.log.info(`${files.label} is stopped and removed`)
}

async function status(
  word: string | undefined,
  flags: ServiceFlags,
  context: Context
): Promise<number> {
  const all = await installed(context)
  const wanted = word ?? flags.name
  const shown = wanted === undefined ? all : [await serviceNamed(word, flags, context)]
  if (shown.length === 0) {
    return print('No service is installed: petals service install MODEL\n')
  }
  const lines = await Promise.all(
    shown.map(async (service) => {
      const files = filesOf(service, context)
      const { code } = await run(files.check, context)
      const state = code === 0 ? 'running' : 'not running'
      return `${service.name}: ${state}, serves ${service.model}\n  ${files.path}\n  log: ${files.logHint}\n`
    })
  )
  return print(lines.join(''))
}

/** @throws AppError NOT_FOUND, or BAD_INPUT when there are several and none is named */
async function serviceNamed(
  word: string | undefined,
  { name }: ServiceFlags,
  context: Context
): Promise<Installed> {
  const all = await installed(context)
  const wanted = name ?? word
  const found = all.filter(
    (one) => wanted === undefined || one.name === wanted || (!name && one.model === wanted)
  )
  const [first, second] = found
  if (first && !second) return first
  if (second) throw badInput('There are several services: name one', { hint: namesHint(all) })
  throw notFound(`There is no service '${wanted ?? ''}'`, { hint: namesHint(all) })
}

function namesHint(all: readonly Installed[]): string {
  if (all.length === 0) return 'None is installed: petals service install MODEL'
  return `Installed: ${all.map(({ name }) => name).join(', ')}`
}

async function installed(context: Context): Promise<Installed[]> {
  const files = await readdir(folderOf(context)).catch(() => [])
  const names = files.flatMap((file) => /^(.+)\.json$/.exec(file)?.[1] ?? []).sort()
  const records = await Promise.all(
    names.map(async (name) => {
      const bytes = await readPrivate(recordPath(name, context), { maxBytes: MAX_BYTES })
      return bytes ? parse(bytes.toString('utf8')) : undefined
    })
  )
  return records.filter((one) => one !== undefined)
}

function parse(text: string): Installed | undefined {
  try {
    const { name, model, command, env } = JSON.parse(text) as Partial<Installed>
    if (typeof name !== 'string' || typeof model !== 'string' || !NAME.test(name)) return undefined
    return { name, model, command: command ?? [], env: env ?? {} }
  } catch {
    return undefined
  }
}

function filesOf({ name, model, command, env }: Installed, context: Context): ServiceFiles {
  const logFile = join(folderOf(context), `${name}.log`)
  return serviceFiles(
    { name, description: `petals serves blocks of ${model}`, command, env, logFile },
    {
      platform: process.platform,
      home: homedir(),
      env: context.env,
      uid: userInfo().uid,
      folder: folderOf(context)
    }
  )
}

async function writeUnit({ path, content }: ServiceFiles): Promise<void> {
  try {
    await mkdir(dirname(path), { recursive: true })
    await writeFile(path, content, { mode: 0o600 })
    await chmod(path, 0o600)
  } catch (cause) {
    throw folderError(`The service cannot be written to '${path}'`, cause)
  }
}

/** @throws AppError UNAVAILABLE with what the supervisor said */
async function runAll(
  commands: ServiceFiles['start'],
  { path }: ServiceFiles,
  context: Context
): Promise<void> {
  for (const command of commands) {
    const { code, said } = await run(command, context)
    if (code === 0) continue
    throw unavailable(
      `The service is written but not started: ${command.join(' ')} failed${said}`,
      {
        hint: `It is in '${path}'; start it by hand, or petals service remove takes it away`
      }
    )
  }
}

async function run(
  [program = '', ...args]: readonly string[],
  context: Context
): Promise<{ code: number; said: string }> {
  context.log.debug(`running ${program} ${args.join(' ')}`)
  try {
    const child = Bun.spawn([program, ...args], {
      stdin: 'ignore',
      stdout: 'ignore',
      stderr: 'pipe',
      signal: context.signal
    })
    const said = (await new Response(child.stderr).text()).trim().slice(0, 400)
    return { code: await child.exited, said: said === '' ? '' : `: ${said}` }
  } catch {
    return { code: 127, said: `: there is no ${program}` }
  }
}

/** `some/model` as `some-model`. */
function nameOf(model: string): string {
  const base = /^[./~]|\\/.test(model) ? (model.split(/[/\\]/).at(-1) ?? model) : model
  return base.replaceAll(/[^a-zA-Z0-9.-]+/g, '-').replaceAll(/^[-.]+|[-.]+$/g, '')
}

function folderOf({ paths }: Context): string {
  return join(paths.data, 'services')
}

function recordPath(name: string, context: Context): string {
  return join(folderOf(context), `${name}.json`)
}

function invitePath(name: string, context: Context): string {
  return join(folderOf(context), `${name}.invite`)
}
