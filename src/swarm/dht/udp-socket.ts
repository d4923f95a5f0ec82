// A UDP socket of the kind that the swarm talks through, opened only to see whether it can be, and
// how large a burst it takes. Knows no peers.
import UDX from 'udx-native'

/** What the transport asks the system for, bytes. */
const WANTED_BYTES = 4 * 2 ** 20

export interface SocketFacts {
  /** What the system gives. */
  readonly receiveBytes: number
  readonly wantedBytes: number
}

/** @throws the system's error when no socket can be bound */
export async function trySocket(platform: string = process.platform): Promise<SocketFacts> {
  const socket = new UDX().createSocket()
  try {
    socket.bind(0)
    // Linux counts its own bookkeeping too, which takes half.
    const share = platform === 'linux' ? 2 : 1
    return { receiveBytes: socket.getRecvBufferSize() / share, wantedBytes: WANTED_BYTES }
  } finally {
    await socket.close()
  }
}
