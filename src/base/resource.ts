// The life of anything that must be opened and closed: both idempotent, close legal during ready.
// Knows nothing of what it opens.

/** Base of everything with a lifecycle; override `_open` and `_close`, call `ready` and `close`. */
export abstract class Resource {
  opened = false
  closed = false
  closing = false
  #opening: Promise<void> | undefined
  #closing: Promise<void> | undefined

  ready(): Promise<void> {
    this.#opening ??= this.#open()
    return this.#opening
  }

  close(): Promise<void> {
    this.#closing ??= this.#shut()
    return this.#closing
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  protected abstract _open(): Promise<void>
  protected abstract _close(): Promise<void>

  async #open(): Promise<void> {
    await this._open()
    this.opened = true
  }

  async #shut(): Promise<void> {
    this.closing = true
    // A failed opening was reported to whoever called ready(); closing cleans up what it left.
    if (this.#opening) await this.#opening.catch(() => {})
    await this._close()
    this.closed = true
  }
}
