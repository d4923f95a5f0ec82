// The families whose blocks can be computed, by name.
import { unsupported } from '../../base/errors.ts'
import type { Family } from '../../model/types.ts'
import { bloom } from './bloom.ts'
import { falcon } from './falcon.ts'
import { gemma2 } from './gemma2.ts'
import { gemma3 } from './gemma3.ts'
import { gpt2 } from './gpt2.ts'
import { llama } from './llama.ts'
import { mistral } from './mistral.ts'
import { mixtral } from './mixtral.ts'
import { qwen2 } from './qwen2.ts'
import { qwen3 } from './qwen3.ts'
import { qwen3moe } from './qwen3moe.ts'
import type { FamilyGraph } from './family.ts'

const GRAPHS: Readonly<Record<Family, FamilyGraph>> = {
  bloom,
  falcon,
  gemma2,
  gemma3,
  gpt2,
  llama,
  mistral,
  mixtral,
  qwen2,
  qwen3,
  qwen3moe
}

/** @throws AppError UNSUPPORTED */
export function graphOf(family: Family): FamilyGraph {
  const graph = GRAPHS[family]
  if (graph === undefined) throw unsupported(`'${String(family)}' blocks cannot be computed`)
  return graph
}
