// A compute worker that starts and then fails at the first thing it is asked.
globalThis.addEventListener('message', (event: Event) => {
  const { data } = event as MessageEvent<{ id: number; kind: string }>
  if (data.kind !== 'start') throw new Error('out of order')
  postMessage({ id: data.id, ok: true, answer: 'dying' })
})
