// Puts the parts of an opened model together and checks that they fit; what each source ends in.
import { contentIdOf } from './content-id.ts'
import { checkConfig, checkTensors } from './families-check.ts'
import type { Model, ModelConfig, ModelLocation, TensorStore, TokenizerSpec } from './types.ts'

export interface ModelParts {
  config: ModelConfig
  location: ModelLocation
  tensors: TensorStore
  /** Called once, by whoever first asks: a compute worker never does. */
  tokenizer: () => TokenizerSpec
  chatTemplate: () => string | undefined
}

/** @throws AppError CORRUPT, UNSUPPORTED; the tensors are closed then. */
export function createModel(parts: ModelParts): Model {
  const { location, tensors } = parts
  try {
    const config = checkConfig(parts.config)
    checkTensors(config, tensors)
    let tokenizer: TokenizerSpec | undefined
    return {
      config,
      location,
      tensors,
      get tokenizer() {
        tokenizer ??= parts.tokenizer()
        return tokenizer
      },
      get chatTemplate() {
        return parts.chatTemplate()
      },
      get contentId() {
        return contentIdOf(config, tensors)
      },
      close: () => tensors.close()
    }
  } catch (error) {
    tensors.close()
    throw error
  }
}

/** A name as a terminal can show it: a file's author may have put escape sequences into it. */
export function cleanName(name: string): string {
  return name
    .replaceAll(/[\p{Cc}\p{Cf}]/gu, '')
    .trim()
    .slice(0, 128)
}
