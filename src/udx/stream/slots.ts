// Packet slots: fixed pieces of a few large slabs, so that sending allocates nothing.
// A slot is taken before its bytes are written and given back when nothing can resend it.

const SLOT_BYTES = 1536
const SLAB_SLOTS = 256
/** 64 slabs of 256 slots are 24 MiB; beyond that slots are made one by one and left to the GC. */
const MAX_SLABS = 64

/** One packet buffer; `words` is the same memory, for header stores. */
export interface Slot {
  readonly bytes: Uint8Array
  readonly words: Uint32Array
  /** The packet as it goes to the kernel: `bytes` cut to its length. */
  packet: Uint8Array
  readonly pooled: boolean
}

/** A pool that grows by slabs and never shrinks; shared by every stream of an instance. */
export class SlotPool {
  #free: Slot[] = []
  #slabs = 0

  /** Slots in use, for tests of leaks. */
  taken = 0

  take(): Slot {
    this.taken++
    const slot = this.#free.pop()
    if (slot !== undefined) return slot
    if (this.#slabs >= MAX_SLABS) return createSlot(new ArrayBuffer(SLOT_BYTES), 0, false)
    this.#slabs++
    const slab = new ArrayBuffer(SLOT_BYTES * SLAB_SLOTS)
    for (let i = SLAB_SLOTS - 1; i > 0; i--) this.#free.push(createSlot(slab, i, true))
    return createSlot(slab, 0, true)
  }

  give(slot: Slot): void {
    this.taken--
    if (slot.pooled) this.#free.push(slot)
  }
}

/** Sets the length of a slot's packet, and reuses the view when the length is unchanged. */
export function sizeSlot(slot: Slot, length: number): void {
  if (slot.packet.length !== length) slot.packet = slot.bytes.subarray(0, length)
}

function createSlot(buffer: ArrayBuffer, index: number, pooled: boolean): Slot {
  const bytes = new Uint8Array(buffer, index * SLOT_BYTES, SLOT_BYTES)
  const words = new Uint32Array(buffer, index * SLOT_BYTES, SLOT_BYTES >> 2)
  return { bytes, words, packet: bytes, pooled }
}
