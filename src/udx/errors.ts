// Errors with the names that libudx and getaddrinfo use. Knows nothing else.

export function codedError(code: string, message: string): Error {
  return Object.assign(new Error(message), { code })
}

export function invalidArgument(): Error {
  return codedError('EINVAL', 'invalid argument')
}
