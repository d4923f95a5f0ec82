// bun echo.ts HOST PORT          sends back every datagram; prints `ready`
// bun echo.ts ask HOST PORT N    asks N times, one after another; prints the median round trip, ms
// The network by itself, without petals: what a round trip takes here. For bench-push.ts.
import { scriptArguments } from '../arguments.ts'
import { median } from './swarm-programs.ts'

const { positionals: args } = scriptArguments(import.meta.path, { allowPositionals: true })

if (args[0] === 'ask') {
  const [, host = '', port, count] = args
  let answered: () => void = () => {}
  const socket = await Bun.udpSocket({ socket: { data: () => answered() } })
  const times: number[] = []
  for (let i = 0; i < Number(count); i++) {
    const { promise, resolve } = Promise.withResolvers<void>()
    answered = resolve
    const began = performance.now()
    socket.send('?', Number(port), host)
    await promise
    times.push(performance.now() - began)
  }
  socket.close()
  console.log(median(times))
} else {
  const [hostname = '', port] = args
  await Bun.udpSocket({
    hostname,
    port: Number(port),
    socket: { data: (socket, bytes, from, address) => void socket.send(bytes, from, address) }
  })
  console.log('ready')
}
