// The server on a port: it alone has it.
import { expect, test } from 'bun:test'
import { Hono } from 'hono'
import type { AppEnvironment } from '../../src/api/http/app.ts'
import { serve } from '../../src/api/serve.ts'

test('a port that another program listens at is taken, another program of Bun too', async () => {
  const program = `const server = Bun.serve({ hostname: '127.0.0.1', port: 0, fetch: () => new Response('') })
    console.log(server.port)`
  const other = Bun.spawn([process.execPath, '-e', program], { stdout: 'pipe' })
  try {
    const first = await other.stdout.getReader().read()
    const port = Number(new TextDecoder().decode(first.value))
    expect(port).toBeGreaterThan(0)
    const app = new Hono<AppEnvironment>()
    expect(() => serve({ app, host: '127.0.0.1', port })).toThrow(
      expect.objectContaining({ code: 'IN_USE', message: `Port ${port} of 127.0.0.1 is taken` })
    )
    const own = serve({ app, host: '127.0.0.1', port: 0 })
    expect(() => serve({ app, host: '127.0.0.1', port: own.port })).toThrow('is taken')
    await own.close()
  } finally {
    other.kill()
    await other.exited
  }
})
