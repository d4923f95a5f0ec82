// AutoTokenizer: a model's tokenizer alone, without its weights.
import { openNamedModel } from './open/model.ts'
import { readPretrained, type PretrainedOptions } from './pretrained-options.ts'
import { pretrainedTokenizer, type PretrainedTokenizer } from './tokenizer.ts'

export const AutoTokenizer: {
  /**
   * The tokenizer of a model by an alias, owner/name or a file.
   * @throws AppError BAD_INPUT for an unknown option, NOT_FOUND
   */
  from_pretrained(name: string, options?: PretrainedOptions): Promise<PretrainedTokenizer>
} = {
  async from_pretrained(name, options = {}) {
    const { surroundings, petals } = await readPretrained(options)
    const { diskBytes } = petals
    const model = await openNamedModel(name, surroundings, { need: 'facts', diskBytes })
    try {
      return pretrainedTokenizer(model)
    } finally {
      model.close()
    }
  }
}
