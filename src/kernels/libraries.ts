// Names of the kernels' libraries, and what each is compiled from and for. Knows no compiler.
import { badInput, unsupported } from '../base/errors.ts'
import { VARIANTS, type Variant } from './kernels.ts'

/** In node's names. */
export interface KernelTarget {
  readonly platform: string
  readonly arch: string
}

/** C sources below src/kernels/c that are compiled; the others are included by these. */
export const SOURCES = [
  'attention',
  'executor',
  'gradients',
  'operators',
  'run-adapters',
  'run-attention',
  'run-experts',
  'run-gradients',
  'self-check',
  'sequences',
  'products/products',
  'system/cpu',
  'system/freestanding',
  'system/pool',
  'system/system'
] as const

/** Ascending: the best is last. */
export function variantsOf(arch: string): readonly Variant[] {
  if (arch === 'x64') return ['plain', 'avx2', 'avx512', 'amx']
  if (arch === 'arm64') return ['plain', 'neon', 'i8mm']
  throw unsupported(`The kernels cannot run on '${arch}': x64 and arm64 are known`)
}

export function libraryName(variant: Variant, platform: string): string {
  const ending = { darwin: 'dylib', win32: 'dll' }[platform] ?? 'so'
  return `petals-${variant}.${ending}`
}

/** The value of PETALS_CPU, or undefined if it is not set. @throws AppError BAD_INPUT */
export function parseVariant(text: string | undefined): Variant | undefined {
  if (text === undefined || text === '') return undefined
  const found = VARIANTS.find((variant) => variant === text)
  if (found !== undefined) return found
  throw badInput(`PETALS_CPU cannot be '${text}'`, { hint: `Use one of ${VARIANTS.join(', ')}` })
}
