// Raw UDX for node-peer.cjs: sockets, streams and what happened to them. One UDX instance in a process.
const { createHash, source, writeSeeded } = require('./peer-payload.cjs')

module.exports = function streamCommands(load) {
  const UDX = load('udx-native')
  const udx = new UDX()
  const sockets = []
  const streams = new Map()

  const record = (id) => {
    const found = streams.get(id)
    if (!found) throw new Error(`No stream ${id}`)
    return found
  }

  const socketAt = (index) => {
    if (!sockets[index]) throw new Error(`No socket ${index}`)
    return sockets[index]
  }

  return {
    socket({ host = '127.0.0.1' }) {
      const socket = udx.createSocket()
      socket.bind(0, host)
      const received = { messages: 0 }
      socket.on('message', () => received.messages++)
      sockets.push(Object.assign(socket, { userData: received }))
      return { socket: sockets.length - 1, port: socket.address().port }
    },

    async closeSocket({ socket }) {
      await socketAt(socket).close()
    },

    socketReport({ socket }) {
      const { bytesReceived, bytesTransmitted, packetsReceived, packetsTransmitted } =
        socketAt(socket)
      const streamCount = socketAt(socket).streams.size
      const { messages } = socketAt(socket).userData
      return {
        bytesReceived,
        bytesTransmitted,
        packetsReceived,
        packetsTransmitted,
        messages,
        streamCount
      }
    },

    /** firewall: 'default' rejects, 'accept', 'reject' (counted), 'connect' to who asks, at `remoteId`. */
    stream({ id, seq, framed = false, firewall = 'default', remoteId }) {
      const entry = track(id)
      const options = { framed }
      if (seq !== undefined) options.seq = seq
      if (firewall !== 'default') {
        options.firewall = (socket, port, host, family) => {
          entry.asked.push({ port, host, family, socket: sockets.indexOf(socket) })
          if (firewall === 'connect') entry.stream.connect(socket, remoteId, port, host)
          entry.changed()
          return firewall === 'reject'
        }
      }
      entry.stream = udx.createStream(id, options)
      watch(entry)
      streams.set(id, entry)
    },

    connect({ id, socket, remoteId, port, host = '127.0.0.1', ack }) {
      record(id).stream.connect(
        socketAt(socket),
        remoteId,
        port,
        host,
        ack === undefined ? {} : { ack }
      )
    },

    /** The hash in the answer is of everything written to this stream so far. */
    write({ id, ...options }) {
      const { stream, sent } = record(id)
      return writeSeeded(stream, options, sent)
    },

    end({ id }) {
      record(id).stream.end()
    },

    destroy({ id }) {
      record(id).stream.destroy()
    },

    flush({ id }) {
      return record(id).stream.flush()
    },

    keepalive({ id, ms }) {
      record(id).stream.setKeepalive(ms)
    },

    message({ id, size, seed }) {
      const message = source(seed)(size)
      record(id).stream.trySend(message)
      return sha256(message)
    },

    relay({ from, to }) {
      record(from).stream.relayTo(record(to).stream)
    },

    /** With `write` there is surely something in flight at the change. */
    async changeRemote({ id, socket, remoteId, port, host = '127.0.0.1', write }) {
      const entry = record(id)
      if (write) writeSeeded(entry.stream, write, entry.sent)
      // The stream passes its queue on in a microtask; no packet can come in between.
      for (let turns = write ? 5 : 0; turns > 0; turns--) await Promise.resolve()
      const pending = entry.stream.changeRemote(socketAt(socket), remoteId, port, host)
      if (pending === null) return { returned: 'null' }
      pending.then(
        () => entry.note('changed'),
        (error) => entry.note(`change failed: ${error.message}`)
      )
      return { returned: 'promise' }
    },

    /** Noise over a connected stream: sends seeded bytes, compares what comes with the other's seed. */
    secret({ id, initiator, bytes, seed, remoteSeed }) {
      const SecretStream = load('@hyperswarm/secret-stream')
      const secured = new SecretStream(initiator, record(id).stream)
      const expected = source(remoteSeed)(bytes)
      const outcome = { got: 0, equal: true, ended: false, error: null }
      secured.on('data', (chunk) => {
        const due = expected.subarray(outcome.got, outcome.got + chunk.length)
        outcome.equal &&= due.equals(chunk)
        outcome.got += chunk.length
      })
      secured.on('end', () => (outcome.ended = true))
      secured.on('error', (error) => (outcome.error = error.code || error.message))
      writeSeeded(secured, { bytes, seed, chunk: 4096, end: true })
      return new Promise((resolve) => secured.on('close', () => resolve(outcome)))
    },

    report({ id }) {
      return report(record(id))
    },

    /** Waits for a number of events, bytes or firewall questions; gives the report of that moment. */
    wait({ id, event, count = 1, bytes, asked }) {
      return until(record(id), (entry) => {
        if (bytes !== undefined) return entry.bytes >= bytes
        if (asked !== undefined) return entry.asked.length >= asked
        return entry.events.filter((name) => name === event).length >= count
      })
    }
  }
}

function track(id) {
  const waiting = new Set()
  const entry = {
    id,
    stream: null,
    bytes: 0,
    hash: createHash('sha256'),
    sent: createHash('sha256'),
    events: [],
    messages: [],
    asked: [],
    error: null,
    openedAt: performance.now(),
    closedAfterMs: null,
    changed() {
      for (const check of waiting) check()
    },
    note(event) {
      entry.events.push(event)
      entry.changed()
    },
    waiting
  }
  return entry
}

function watch(entry) {
  const { stream, note } = entry
  stream.on('data', (chunk) => {
    entry.bytes += chunk.length
    entry.hash.update(chunk)
    entry.changed()
  })
  stream.on('message', (message) => {
    entry.messages.push({ size: message.length, sha256: sha256(message) })
    note('message')
  })
  stream.on('error', (error) => {
    entry.error = { code: error.code, message: error.message }
    note('error')
  })
  stream.on('close', () => {
    entry.closedAfterMs = performance.now() - entry.openedAt
    note('close')
  })
  for (const name of ['connect', 'end', 'finish', 'remote-changed'])
    stream.on(name, () => note(name))
}

function until(entry, satisfied) {
  return new Promise((resolve) => {
    const check = () => {
      if (!satisfied(entry)) return
      entry.waiting.delete(check)
      resolve(report(entry))
    }
    entry.waiting.add(check)
    check()
  })
}

function report({ stream, bytes, hash, sent, events, messages, asked, error, closedAfterMs }) {
  const { mtu, rtt, cwnd, inflight, retransmits, rtoCount, connected, destroyed } = stream
  const { bytesReceived, bytesTransmitted, packetsReceived, packetsTransmitted } = stream
  const counters = { bytesReceived, bytesTransmitted, packetsReceived, packetsTransmitted }
  const transport = {
    mtu,
    rtt,
    cwnd,
    inflight,
    retransmits,
    rtoCount,
    connected,
    destroyed,
    ...counters
  }
  const digests = {
    sha256: hash.copy().digest('hex'),
    sentSha256: sent.copy().digest('hex')
  }
  return { bytes, ...digests, events, messages, asked, error, closedAfterMs, transport }
}

function sha256(bytes) {
  return createHash('sha256').update(bytes).digest('hex')
}
