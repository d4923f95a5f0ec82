// What petals doctor found out about this machine, as plain data; doctor-checks.ts judges it.
import type { LimitFacts } from './limits.ts'
import type { BuildInfo } from '../../base/build-info.ts'
import type { DeviceFacts } from '../../blocks/device/examine.ts'
import type { Device } from '../../blocks/types.ts'

/** A failed attempt, and what to do about it if that is known. */
export interface Refusal {
  readonly reason: string
  readonly next?: string | undefined
  /** The system forbids it, so the user must permit it. */
  readonly denied?: boolean
}

export interface FolderFacts {
  readonly path: string
  /** Why the folder cannot be written; undefined if it can. */
  readonly refusal?: Refusal
  readonly freeBytes?: number | undefined
}

/** How the process that examined a device ended. */
export type DeviceEnd =
  | { readonly kind: 'done' }
  /** By a signal or an exit code of its own; `words` is its last output. */
  | { readonly kind: 'died'; readonly how: string; readonly words: string }
  | { readonly kind: 'late'; readonly ms: number }

export interface DeviceReport {
  readonly facts: DeviceFacts
  readonly end: DeviceEnd
}

export interface NetworkFacts {
  readonly socket: { readonly receiveBytes: number; readonly wantedBytes: number } | Refusal
  /** Undefined if not tried. */
  readonly dht?: DhtFacts | Refusal
  readonly hub?: { readonly endpoint: string; readonly ms: number } | Refusal
}

export interface DhtFacts {
  /** Where it started: addresses, or the public nodes. */
  readonly from: string
  readonly nodes: number
  /** Its NAT uses another port for every destination. */
  readonly randomized: boolean
}

export interface DoctorFacts {
  readonly platform: string
  readonly build: BuildInfo
  readonly executable: string
  /** Where the kernels lie that the executable unpacked, or that they are compiled here. */
  readonly libraries: { readonly folder: string | undefined } | Refusal
  /** Undefined: this system tells none. */
  readonly limits?: LimitFacts | undefined
  readonly data: FolderFacts
  readonly cache: FolderFacts
  /** Permission bits by path of the identities' files. */
  readonly identities: readonly { readonly path: string; readonly mode: number }[]
  readonly devices: Readonly<Partial<Record<Device, DeviceReport>>>
  readonly network: NetworkFacts
}
