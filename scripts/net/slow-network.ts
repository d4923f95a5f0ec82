// Network namespaces with wires between them that take their time: every packet from one side to
// another is held for so many ms. Root on Linux. For check-plan.ts and bench-push.ts; the holding
// is slow-wires.ts.
import { dlopen, ptr } from 'bun:ffi'
import { closeSync, constants, openSync } from 'node:fs'
import { join } from 'node:path'
import type { WiresOptions } from './slow-wires.ts'

const TUNSETIFF = 0x400454ca
const IFF_TUN_NO_PI = 0x1001
const IFREQ_BYTES = 40
const SUBNET = '10.77.0'

export class SlowNetwork<Side extends string> implements Disposable {
  readonly #sides: readonly Side[]
  readonly #files: number[] = []
  readonly #stopped = new Int32Array(new SharedArrayBuffer(4))
  readonly #wires: Worker | undefined

  /** Whether such a network can be made here. */
  static get isPossible(): boolean {
    return process.platform === 'linux' && process.getuid?.() === 0
  }

  /** @param delayMs one way, between any two sides */
  constructor(delayMs: number, sides: readonly Side[]) {
    this.#sides = sides
    try {
      for (const side of sides) this.#open(side)
      this.#wires = new Worker(join(import.meta.dir, 'slow-wires.ts'))
      const options: WiresOptions = { files: this.#files, delayMs, stopped: this.#stopped }
      this.#wires.postMessage(options)
    } catch (error) {
      this[Symbol.dispose]()
      throw error
    }
  }

  /** Words before a command that make it run on one side. */
  within(side: Side): readonly string[] {
    return ['ip', 'netns', 'exec', this.#nameOf(side)]
  }

  address(side: Side): string {
    return `${SUBNET}.${this.#sides.indexOf(side) + 1}`
  }

  [Symbol.dispose](): void {
    Atomics.store(this.#stopped, 0, 1)
    for (const side of this.#sides) Bun.spawnSync(['ip', 'netns', 'del', this.#nameOf(side)])
    // The worker closes the files that it reads, when it has seen that it is over.
    if (!this.#wires) for (const file of this.#files.splice(0)) closeSync(file)
  }

  #nameOf(side: Side): string {
    return `petals-${process.pid}-${side}`
  }

  /** A device in a namespace of its own, and the file that carries its packets. */
  #open(side: Side): void {
    const name = `p${process.pid}t${this.#files.length}`
    const file = openSync('/dev/net/tun', constants.O_RDWR | constants.O_NONBLOCK)
    this.#files.push(file)
    attach(file, name)
    const space = this.#nameOf(side)
    shell(`
      ip netns add ${space}
      ip link set ${name} netns ${space}
      ip -n ${space} addr add ${this.address(side)}/24 dev ${name}
      ip -n ${space} link set lo up
      ip -n ${space} link set ${name} txqueuelen 10000 up
    `)
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

/** Runs shell lines; throws on the first that fails. */
function shell(lines: string): void {
  const { exitCode, stderr } = Bun.spawnSync(['sh', '-ec', lines])
  if (exitCode !== 0) throw new Error(`A line failed: ${stderr.toString().trim()}`)
}
