// Which model a request means. Knows no endpoint; how models are opened is the source's own.
import type { TextModel } from '../../library/text/text-model.ts'
import { RequestError } from './errors.ts'
import type { Fields } from './fields.ts'

/** Where models come from; they are opened on first use. */
export interface ModelSource {
  readonly names: readonly string[]
  /** @throws AppError NOT_FOUND for a model that is not offered */
  take(name: string): Promise<TextModel>
}

/**
 * The name of the model that a request means.
 * @throws RequestError when several are here and none was named, or the one named is not here
 */
export function modelName(fields: Fields, models: ModelSource): string {
  const given = fields.string('model')
  if (given !== undefined) return offeredName(given, models)
  const [only, ...others] = models.names
  if (only !== undefined && others.length === 0) return only
  throw new RequestError("'model' is missing", { param: 'model' })
}

/** @throws RequestError for a name that is not offered */
export function offeredName(name: string, models: ModelSource): string {
  if (models.names.includes(name)) return name
  throw new RequestError(
    `The model '${name}' is not offered here: use one of ${models.names.join(', ')}`,
    { status: 404, code: 'model_not_found', param: 'model' }
  )
}
