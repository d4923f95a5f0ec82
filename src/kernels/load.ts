// Loads the kernels: the best library that processor and system support, after it has shown that it
// computes correctly. Knows where libraries are in a source tree; an executable says where it has
// unpacked its own.
import { dlopen, type FFIFunction, type Pointer } from 'bun:ffi'
import { join } from 'node:path'
import { type AppError, unavailable, unsupported } from '../base/errors.ts'
import { loadFailed } from '../base/files/native-files.ts'
import { developmentLibraries } from './development.ts'
import type { Kernels, Variant } from './kernels.ts'
import { libraryName, variantsOf } from './libraries.ts'
import type { Address } from './program.ts'
import { wantedVariant } from './wanted.ts'

export interface LoadOptions {
  /** Folder with the libraries. Default: compiled from the sources beside this file. */
  readonly folder?: string | undefined
  /** At most this one. Default: PETALS_CPU, else the best there is. */
  readonly variant?: Variant | undefined
  /** Called with a sentence on why a better library is not used. */
  readonly onwarn?: ((text: string) => void) | undefined
}

/** The result of `pk_self_check`; it changes with the arithmetic. */
export const SELF_CHECK = 0x607a78e953b3ffcbn

/** Bits of `pk_cpu`. */
const CPU_BITS: Readonly<Record<Variant, number>> = {
  plain: 1,
  avx2: 2,
  avx512: 4,
  amx: 8,
  neon: 16,
  i8mm: 32
}

const FUNCTIONS = {
  pk_cpu: { args: [], returns: 'i32' },
  pk_self_check: { args: [], returns: 'u64' },
  pk_pool_open: { args: ['i32'], returns: 'ptr' },
  pk_pool_close: { args: ['ptr'], returns: 'void' },
  pk_arena_bytes: { args: ['ptr', 'i32'], returns: 'u64' },
  pk_run: { args: ['ptr', 'ptr', 'ptr', 'ptr'], returns: 'i32' },
  pk_copy_page: { args: ['ptr', 'i32', 'i32', 'u64', 'u64', 'i32'], returns: 'i32' },
  pk_pack: { args: ['i32', 'i32', 'i32', 'ptr', 'i32', 'i32', 'ptr'], returns: 'i32' },
  pk_packed_bytes: { args: ['i32', 'i32', 'i32'], returns: 'u64' },
  pk_first_bad_row: { args: ['ptr', 'i32', 'i32'], returns: 'i32' }
} as const satisfies Record<string, FFIFunction>

type Symbols = ReturnType<typeof dlopen<typeof FUNCTIONS>>['symbols']

/**
 * @throws AppError UNSUPPORTED if `variant` is not available here; UNAVAILABLE if a library cannot
 * be loaded or does not compute correctly
 */
export function loadKernels(options: LoadOptions = {}): Kernels {
  const { variant = wantedVariant(), onwarn } = options
  const folder = options.folder ?? developmentLibraries()
  const known = variantsOf(process.arch)
  if (variant !== undefined && !known.includes(variant)) {
    throw unsupported(`'${variant}' kernels cannot be used on ${process.arch}`, {
      hint: `PETALS_CPU can be ${known.join(', ')} here`
    })
  }
  const plain = openLibrary(folder, 'plain')
  const usable = known.filter((one) => permits(plain, one))
  if (variant !== undefined && !usable.includes(variant)) {
    throw unsupported(`'${variant}' kernels cannot be used: the CPU or the system lacks it`, {
      hint: `PETALS_CPU can be ${usable.join(', ')} here`
    })
  }
  const best = variant === undefined ? usable.length : usable.indexOf(variant) + 1
  for (const one of usable.slice(0, best).reverse()) {
    const symbols = one === 'plain' ? plain : openLibrary(folder, one)
    const found = symbols.pk_self_check()
    if (found === SELF_CHECK) return bound(one, symbols)
    const failure = `The '${one}' kernels compute wrongly on this CPU (${found.toString(16)})`
    if (one === 'plain') throw unavailable(failure, { retryable: false })
    onwarn?.(`${failure}: plainer ones are used`)
  }
  throw unavailable('No kernels can be used', { retryable: false })
}

/** Instruction sets that this CPU and system support, up to PETALS_CPU; the best is last. */
export function usableVariants(): readonly Variant[] {
  const plain = openLibrary(developmentLibraries(), 'plain')
  const usable = variantsOf(process.arch).filter((one) => permits(plain, one))
  const wanted = wantedVariant()
  return wanted === undefined ? usable : usable.slice(0, usable.indexOf(wanted) + 1)
}

function openLibrary(folder: string, variant: Variant): Symbols {
  const path = join(folder, libraryName(variant, process.platform))
  try {
    return dlopen(path, FUNCTIONS).symbols
  } catch (cause) {
    throw loadFailed(path, cause) satisfies AppError
  }
}

function permits(plain: Symbols, variant: Variant): boolean {
  return (plain.pk_cpu() & CPU_BITS[variant]) !== 0
}

const pointer = (address: Address): Pointer => address as Pointer

function bound(variant: Variant, symbols: Symbols): Kernels {
  return {
    variant,
    openPool(threads) {
      const pool = symbols.pk_pool_open(threads)
      if (pool === null) throw unavailable('No more pools of threads can be opened')
      return Number(pool)
    },
    closePool: (pool) => symbols.pk_pool_close(pointer(pool)),
    arenaBytes: (program, threads) => Number(symbols.pk_arena_bytes(pointer(program), threads)),
    run: (program, batch, arena, pool) =>
      symbols.pk_run(pointer(program), pointer(batch), pointer(arena), pointer(pool)),
    copyPage(program, { first, end, from, to, positions }) {
      symbols.pk_copy_page(pointer(program), first, end, from, to, positions)
    },
    pack: ({ form, sourceForm, columns, source, first, count, packed }) =>
      symbols.pk_pack(form, columns, sourceForm, source, first, count, packed),
    packedBytes: (form, rows, columns) => Number(symbols.pk_packed_bytes(form, rows, columns)),
    firstBadRow: (values, rows, width) => symbols.pk_first_bad_row(pointer(values), rows, width)
  }
}
