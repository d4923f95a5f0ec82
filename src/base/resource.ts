// The lifecycle of anything that is opened and closed: both calls are idempotent, and close()
// during ready() is allowed. Knows nothing of what it opens.

/** Base of everything with a lifecycle: override `_open` and `_close`, call `ready` and `close`. */
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
    // ready() has reported the error to its caller; closing cleans up what the opening left.
    if (this.#opening) await this.#opening.catch(() => {})
    await this._close()
    this.closed = true
  }
}
