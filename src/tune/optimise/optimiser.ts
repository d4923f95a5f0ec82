// Numbers that are trained, their gradients so far, and what AdamW remembers of them. Knows no
// model.
import { addValues, VALUE_NAMES, zeros, type TuneValues } from '../parameters.ts'
import { adamW, clipGradients, newAdamWState, type AdamWState } from './adamw.ts'

export type OptimiserStates = Partial<Record<(typeof VALUE_NAMES)[number], AdamWState>>

export interface OptimiserStep {
  readonly learningRate: number
  /** Gradients longer than this are shortened; 0: never. Default 1. */
  readonly clip?: number | undefined
  /** Default 0. */
  readonly weightDecay?: number | undefined
}

export class Optimiser {
  /** Changed by each step. */
  readonly values: TuneValues
  /** Sums since the last step. */
  readonly gradients: TuneValues
  readonly states: OptimiserStates

  /** `states` are those of an earlier training that is gone on with. */
  constructor(values: TuneValues, states?: OptimiserStates) {
    this.values = values
    this.gradients = zeros(values)
    this.states = states ?? newStates(values)
  }

  /** Adds to the gradients. */
  add(gradients: TuneValues): void {
    addValues(this.gradients, gradients)
  }

  /** One step of AdamW, after which the gradients are 0; their length before it was shortened. */
  step({ learningRate, clip = 1, weightDecay }: OptimiserStep): number {
    const norm = clipGradients(
      VALUE_NAMES.flatMap((name) => this.gradients[name] ?? []),
      clip
    )
    for (const name of VALUE_NAMES) {
      const [values, gradient, state] = [this.values[name], this.gradients[name], this.states[name]]
      if (values === undefined || gradient === undefined || state === undefined) continue
      adamW(values, gradient, state, { learningRate, weightDecay })
    }
    this.clear()
    return norm
  }

  /** Forgets the gradients. */
  clear(): void {
    for (const name of VALUE_NAMES) this.gradients[name]?.fill(0)
  }
}

function newStates(values: TuneValues): OptimiserStates {
  const states: OptimiserStates = {}
  for (const name of VALUE_NAMES) {
    const list = values[name]
    if (list !== undefined) states[name] = newAdamWState(list.length)
  }
  return states
}
