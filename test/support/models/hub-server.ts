// An HTTP server on a bare socket: it can break off, stall, lie about lengths, and counts what it
// was asked.
import { createServer, type Socket } from 'node:net'
import type { AddressInfo } from 'node:net'

export interface HubRequest {
  method: string
  path: string
  headers: Readonly<Record<string, string>>
}

export interface HubReply {
  status: number
  headers?: Record<string, string>
  body?: Uint8Array
  /** Sent in place of the body's true length; null: no length, the end is the connection's. */
  contentLength?: number | null
  /** Closes the connection after so many bytes of the body. */
  dropAfter?: number
  /** Sends so many bytes of the body and then nothing more; `drop()` may end it. */
  stallAfter?: number
}

export interface HubServer extends AsyncDisposable {
  readonly url: string
  readonly requests: HubRequest[]
  /** Cuts all connections. */
  drop(): void
}

/** `answer` is told which request it is, from 0. */
export async function hubServer(
  answer: (request: HubRequest, index: number) => HubReply | Promise<HubReply>
): Promise<HubServer> {
  const requests: HubRequest[] = []
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
    socket.on('error', () => socket.destroy())
    let text = ''
    socket.on('data', (data) => {
      text += data.toString('latin1')
      const end = text.indexOf('\r\n\r\n')
      if (end < 0) return
      const request = parse(text.slice(0, end))
      text = text.slice(end + 4)
      requests.push(request)
      void Promise.resolve(answer(request, requests.length - 1)).then((reply) =>
        send(socket, reply, request.method)
      )
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const drop = (): void => {
    for (const socket of sockets) socket.destroy()
  }
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    drop,
    async [Symbol.asyncDispose]() {
      drop()
      await new Promise((resolve) => server.close(resolve))
    }
  }
}

/** What an honest hub answers: the whole, or the range that was asked for. */
export function serve(bytes: Uint8Array, request: HubRequest, etag = '"v1"'): HubReply {
  const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers['range'] ?? '')
  const condition = request.headers['if-range']
  if (!range || (condition !== undefined && condition !== etag)) {
    return { status: 200, headers: { etag }, body: bytes }
  }
  const start = Number(range[1])
  if (start >= bytes.byteLength) return { status: 416 }
  const end = range[2] === '' ? bytes.byteLength : Math.min(Number(range[2]) + 1, bytes.byteLength)
  return {
    status: 206,
    headers: {
      etag,
      'content-range': `bytes ${start}-${end - 1}/${bytes.byteLength}`
    },
    body: bytes.subarray(start, end)
  }
}

function parse(head: string): HubRequest {
  const [first = '', ...lines] = head.split('\r\n')
  const headers = Object.fromEntries(
    lines.map((line) => {
      const colon = line.indexOf(':')
      return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()]
    })
  )
  const [method = '', path = ''] = first.split(' ')
  return { method, path, headers }
}

function send(socket: Socket, reply: HubReply, method: string): void {
  const body = reply.body ?? new Uint8Array(0)
  const length = reply.contentLength === undefined ? body.byteLength : reply.contentLength
  const lines = Object.entries(reply.headers ?? {}).map(([name, value]) => `${name}: ${value}`)
  if (length !== null) lines.push(`content-length: ${length}`)
  socket.write(
    `HTTP/1.1 ${reply.status} Status\r\n${lines.join('\r\n')}\r\nconnection: close\r\n\r\n`
  )
  if (method === 'HEAD') {
    socket.end()
    return
  }
  if (reply.stallAfter !== undefined) {
    socket.write(body.subarray(0, reply.stallAfter))
    return
  }
  socket.end(body.subarray(0, reply.dropAfter ?? body.byteLength))
}
