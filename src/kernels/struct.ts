// Records as C lays them out in memory.

/** Writes a C record field by field. */
export class Struct {
  readonly bytes: Uint8Array
  readonly #view: DataView
  #at = 0

  constructor(size: number) {
    this.bytes = new Uint8Array(size)
    this.#view = new DataView(this.bytes.buffer)
  }

  i32(...values: number[]): void {
    for (const value of values) this.#view.setInt32(this.#advance(4), value, true)
  }

  f32(...values: number[]): void {
    for (const value of values) this.#view.setFloat32(this.#advance(4), value, true)
  }

  u64(...values: number[]): void {
    for (const value of values) this.#view.setBigUint64(this.#advance(8), BigInt(value), true)
  }

  #advance(size: number): number {
    const at = this.#at
    this.#at += size
    return at
  }
}
