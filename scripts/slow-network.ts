// Two network namespaces with a wire between them that takes its time: every packet is held for so many
// ms, each way. Root on Linux. For scripts/check-plan.ts; knows nothing of what goes over the wire.
import { dlopen, ptr } from 'bun:ffi'
import { closeSync, openSync, read, writeSync } from 'node:fs'

export type Side = 'near' | 'far'

const NAMES: Readonly<Record<Side, string>> = { near: 'petals-near', far: 'petals-far' }
const ADDRESSES: Readonly<Record<Side, string>> = { near: '10.77.0.1', far: '10.77.0.2' }
const TUNSETIFF = 0x400454ca
const IFF_TUN_NO_PI = 0x1001
const IFREQ_BYTES = 40
const MOST_BYTES = 65_536

export class SlowNetwork implements Disposable {
  readonly #files: number[] = []
  readonly #timers = new Set<ReturnType<typeof setTimeout>>()
  #closed = false

  /** Whether such a network can be made here. */
  static get isPossible(): boolean {
    return process.platform === 'linux' && process.getuid?.() === 0
  }

  /** @param delayMs one way */
  constructor(delayMs: number) {
    takeDown()
    try {
      const [near, far] = (['near', 'far'] as const).map((side) => this.#open(side))
      if (near === undefined || far === undefined) throw new Error('A device was not opened')
      this.#carry(near, far, delayMs)
      this.#carry(far, near, delayMs)
    } catch (error) {
      this[Symbol.dispose]()
      throw error
    }
  }

  /** Words before a command that make it run on one side. */
  within(side: Side): readonly string[] {
    return ['ip', 'netns', 'exec', NAMES[side]]
  }

  address(side: Side): string {
    return ADDRESSES[side]
  }

  [Symbol.dispose](): void {
    this.#closed = true
    for (const timer of this.#timers) clearTimeout(timer)
    // Without its devices a read that still waits ends by itself.
    takeDown()
    for (const file of this.#files.splice(0)) closeSync(file)
  }

  /** A device in a namespace of its own, and the file that carries its packets. */
  #open(side: Side): number {
    const name = `petals-${side}0`
    const file = openSync('/dev/net/tun', 'r+')
    this.#files.push(file)
    attach(file, name)
    const space = NAMES[side]
    shell(`
      ip netns add ${space}
      ip link set ${name} netns ${space}
      ip -n ${space} addr add ${ADDRESSES[side]}/24 dev ${name}
      ip -n ${space} link set lo up
      ip -n ${space} link set ${name} up
    `)
    return file
  }

  /** Every packet that one file gives goes into the other, later. */
  #carry(from: number, to: number, delayMs: number): void {
    const packet = Buffer.alloc(MOST_BYTES)
    read(from, packet, 0, packet.length, null, (error, size) => {
      if (this.#closed) return
      if (!error && size > 0) {
        const copy = Buffer.from(packet.subarray(0, size))
        const timer = setTimeout(() => {
          this.#timers.delete(timer)
          writeSync(to, copy)
        }, delayMs)
        this.#timers.add(timer)
      }
      this.#carry(from, to, delayMs)
    })
  }
}

function attach(file: number, name: string): void {
  const request = Buffer.alloc(IFREQ_BYTES)
  request.write(name, 'latin1')
  request.writeUInt16LE(IFF_TUN_NO_PI, 16)
  const { symbols, close } = dlopen('libc.so.6', {
    ioctl: { args: ['i32', 'u64', 'ptr'], returns: 'i32' }
  })
  const answer = symbols.ioctl(file, TUNSETIFF, ptr(request))
  close()
  if (answer !== 0) throw new Error(`The device '${name}' cannot be made`)
}

function takeDown(): void {
  for (const name of Object.values(NAMES)) Bun.spawnSync(['ip', 'netns', 'del', name])
}

/** Runs shell lines; throws on the first that fails. */
function shell(lines: string): void {
  const { exitCode, stderr } = Bun.spawnSync(['sh', '-ec', lines])
  if (exitCode !== 0) throw new Error(`A line failed: ${stderr.toString().trim()}`)
}
