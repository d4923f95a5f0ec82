// What happens to an exception that the application throws inside one of our callbacks.

/**
 * Throws from the event loop itself: an uncaught exception, as if none of our code were between.
 * Inside its data handler Bun would pass it to the socket's error handler, which swallows it.
 */
export function rethrowLater(error: unknown): void {
  setImmediate(() => {
    throw error
  })
}
