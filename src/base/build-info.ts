// What a build of this program is made of: its own version and commit, and those of its runtimes.
export interface BuildInfo {
  readonly version: string
  /** Short commit, with '-dirty' when the tree had changes, or 'unknown' outside of git. */
  readonly commit: string
  /** Platform, architecture and C library, e.g. 'linux-x64-musl'. */
  readonly target: string
  readonly bun: string
  /** Undefined in builds without it. */
  readonly onnxruntime?: string | undefined
  readonly hyperdht: string
}
