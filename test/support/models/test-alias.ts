// An alias whose one file is on a hub, and in a wheel.
import type { Alias } from '../../../src/model/aliases.ts'

export function testAlias(sha256: string, sizeBytes: number): Alias {
  return {
    name: 'tiny',
    title: 'A file',
    licence: 'MIT',
    kind: 'gguf',
    files: [
      {
        name: 'tiny.gguf',
        sha256,
        sizeBytes,
        sources: [
          { kind: 'hub', repo: 'a/b', revision: 'main', file: 'tiny.gguf' },
          { kind: 'pip', package: 'tiny==1.0', member: 'tiny/tiny.gguf' }
        ]
      }
    ]
  }
}
