// What is told of an answer's way: which peer computes which blocks, how fast it is, and what a
// fail-over did. Knows no conversation.
import type { Hop, RouteNews } from './client.ts'
import { make } from './element.ts'

export class RoutePanel {
  readonly #hops = make('span', { class: 'hops' })
  readonly #speed = make('span', { class: 'speed' })
  readonly #news = make('span', { class: 'news', role: 'status' })
  /** When the route failed that was not replaced yet, ms. */
  #failedAt: number | undefined

  constructor(place: HTMLElement) {
    place.append(this.#hops, this.#speed, this.#news)
  }

  showSpeed(tokensPerSecond: number): void {
    this.#speed.textContent = `${tokensPerSecond.toFixed(1)} tokens/s`
  }

  say(words: string): void {
    this.#news.textContent = words
  }

  showNews({ kind, text, route = [] }: RouteNews): void {
    if (kind === 'reroute') this.#failedAt ??= performance.now()
    if (kind !== 'route') return this.say(text)
    this.#hops.replaceChildren(...route.map(hopElement))
    if (this.#failedAt === undefined) return
    const ms = Math.round(performance.now() - this.#failedAt)
    this.say(`gone on elsewhere after ${ms} ms, at the same word`)
    this.#failedAt = undefined
  }
}

function hopElement({ peer, start, end, isLocal }: Hop): HTMLElement {
  const name = isLocal ? 'here' : peer.slice(0, 8)
  const what = `blocks ${start} to ${end - 1} ${isLocal ? 'on the machine of this server' : `by ${peer}`}`
  return make(
    'span',
    { class: isLocal ? 'hop here' : 'hop', title: what, role: 'img', 'aria-label': what },
    `${start}:${end} ${name}`
  )
}
