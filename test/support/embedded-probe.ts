// Compiled by a test: resolves and opens the built-in model as the executable would.
import { openModel } from '../../src/model/open-model.ts'
import { resolveModel } from '../../src/model/resolve.ts'

const location = await resolveModel('stories260k', { cacheDir: process.argv[2] ?? '' })
const model = await openModel(location)
console.log(
  JSON.stringify({
    paths: location.paths,
    id: Buffer.from(model.contentId).toString('hex'),
    bos: model.tokenizer.bosId
  })
)
