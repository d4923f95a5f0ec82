// Handlers of weights beside those of whoever made a link: sessions know nothing of them.
import type { LinkHandlers } from '../wire/link.ts'

export type WeightHandlers = Required<Pick<LinkHandlers, 'onwant' | 'ongive' | 'onclosed'>>

export function withWeights(
  handlers: LinkHandlers,
  weights: WeightHandlers | undefined
): LinkHandlers {
  if (!weights) return handlers
  return {
    ...handlers,
    onwant: weights.onwant,
    ongive: weights.ongive,
    onclosed(link, error) {
      handlers.onclosed?.(link, error)
      weights.onclosed(link, error)
    }
  }
}
