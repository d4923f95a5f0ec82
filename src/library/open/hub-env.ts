// The environment as the hub's own tools read it: HF_ENDPOINT, HF_HOME, and HF_TOKEN or the token
// that logging in has left under HF_HOME.
import { readFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'
import type { HubOptions } from '../../model/hub/hub.ts'

type Env = Readonly<Record<string, string | undefined>>

const MAX_TOKEN_LENGTH = 4096

export async function hubOptions(env: Env, userHome: string = homedir()): Promise<HubOptions> {
  const caches = env['XDG_CACHE_HOME'] || join(userHome, '.cache')
  const home = env['HF_HOME'] || join(caches, 'huggingface')
  const token = clean(env['HF_TOKEN']) ?? (await storedToken(env, home))
  return {
    home,
    ...(env['HF_ENDPOINT'] ? { endpoint: env['HF_ENDPOINT'] } : {}),
    ...(token === undefined ? {} : { token })
  }
}

async function storedToken(env: Env, home: string): Promise<string | undefined> {
  const path = env['HF_TOKEN_PATH'] || join(home, 'token')
  return clean(await readFile(path, 'utf8').catch(() => undefined))
}

/** One line without spaces: anything else would not go into a header. */
function clean(token: string | undefined): string | undefined {
  const text = token?.trim() ?? ''
  return text.length <= MAX_TOKEN_LENGTH && /^[\x21-\x7e]+$/.test(text) ? text : undefined
}
