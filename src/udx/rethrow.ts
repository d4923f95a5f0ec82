// What to do with an exception of the application inside our own callbacks.

/**
 * Throws from the event loop itself: an uncaught exception, as if nothing of ours were between.
 * Inside its data handler Bun would hand it to the socket's error handler, which swallows.
 */
export function rethrowLater(error: unknown): void {
  setImmediate(() => {
    throw error
  })
}
