// Opens a training of a model for a program.
import { toHex } from '../../base/bytes.ts'
import { newValues } from '../../tune/parameters.ts'
import { Chain } from '../../tune/swarm/chain.ts'
import type { TextModel } from '../text/text-model.ts'
import { readTrain } from './train-options.ts'
import { Training } from './training.ts'

/** @throws AppError BAD_INPUT, UNSUPPORTED, DENIED */
export function openTraining(model: TextModel, options: object): Training {
  const { local } = model
  const { config } = local
  const { shape, seed, microRows, parallel, signal } = readTrain(config, options)
  const access = model.openTraining()
  const { swarm, clock } = access
  return new Training({
    model: access.local,
    chain: new Chain({ swarm, blockCount: config.blockCount, clock }),
    text: { model: local.model, tokenizer: local.tokenizer },
    base: { name: config.name, id: toHex(local.model.contentId) },
    shape,
    values: newValues(config, shape, seed),
    seed,
    microRows,
    parallel,
    signal,
    onclose: () => access[Symbol.dispose]()
  })
}
