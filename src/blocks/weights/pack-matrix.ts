// Packs a matrix for our own kernels from the model's tensors, several groups of rows at a time:
// the file's own bits reordered, or floats rounded to integers. Knows plans and bytes; src/kernels
// knows the layout.
import { bytesOf } from '../../base/bytes.ts'
import type { Kernels } from '../../kernels/kernels.ts'
import { dequantise } from '../../model/formats/dequantise.ts'
import { rowBytes } from '../../model/formats/tensor-types.ts'
import type { TensorType } from '../../model/types.ts'
import type { MatrixSource } from '../quantise/arrays.ts'
import { isFloatType, packedBytes, packedNumber, type PackedForm } from '../quantise/packed-form.ts'
import type { MatrixPlan } from '../span-plan.ts'

/** Rows of an interleaved group, which are packed together. */
const GROUP = 16
/** Values packed between two pauses. */
const VALUES_AT_A_TIME = 2 ** 20

export type Packer = Pick<Kernels, 'pack'>

export interface PackOptions {
  readonly packer: Packer
  /** A tensor of the model; its shape is checked. */
  readonly read: (tensor: string, rows: number, columns: number) => MatrixSource
  /** The tensor is no longer needed. */
  readonly release: () => void
}

/** A row of the source has a value that is not finite. */
export class NotFiniteRow extends Error {
  readonly tensor: string
  constructor(tensor: string) {
    super(`Tensor '${tensor}' holds values that are no numbers`)
    this.tensor = tensor
  }
}

/**
 * The bytes of a packed matrix, piece by piece; each piece reuses the memory of the one before.
 * @throws NotFiniteRow
 */
export function* packMatrix(
  plan: MatrixPlan,
  form: PackedForm,
  options: PackOptions
): Generator<Uint8Array> {
  const { rows, columns } = plan
  const groups = Math.max(1, Math.floor(VALUES_AT_A_TIME / columns / GROUP))
  const most = Math.min(groups * GROUP, Math.ceil(rows / GROUP) * GROUP)
  const packed = new Uint8Array(packedBytes(form.type, most, columns))
  // Sources are stacked: if one ends inside a group, the next one continues it.
  let done = 0
  for (const { tensor, rows: count } of plan.sources) {
    const source = options.read(tensor, count, columns)
    for (let row = 0; row < count;) {
      const first = done % most
      const taken = Math.min(count - row, most - first)
      packRows(source, { from: row, count: taken, first }, { form, packed, tensor, ...options })
      row += taken
      done += taken
      if (done % most === 0) yield packed
    }
    options.release()
  }
  const rest = done % most
  if (rest > 0) yield packed.subarray(0, packedBytes(form.type, rest, columns))
}

function packRows(
  source: MatrixSource,
  rows: { from: number; count: number; first: number },
  to: { form: PackedForm; packed: Uint8Array; tensor: string; packer: Packer }
): void {
  const { columns } = source
  const { from, count, first } = rows
  const { form, packed, tensor, packer } = to
  const size = rowBytes(source.type, columns)
  const bytes = source.bytes.subarray(from * size, (from + count) * size)
  const taken = asTaken(source.type, bytes, form)
  const status = packer.pack({
    form: packedNumber(form.type),
    sourceForm: packedNumber(taken.type),
    columns,
    source: taken.bytes,
    first,
    count,
    packed
  })
  if (status >= 0) throw new NotFiniteRow(tensor)
  if (status !== -1) throw new TypeError(`${source.type} rows cannot be packed as ${form.type}`)
}

/** The input of pk_pack: the form's own blocks, or floats. */
function asTaken(
  type: TensorType,
  bytes: Uint8Array,
  form: PackedForm
): { type: TensorType; bytes: Uint8Array } {
  if (type === form.type || isFloatType(type)) return { type, bytes }
  return { type: 'F32', bytes: bytesOf(dequantise(type, bytes)) }
}
