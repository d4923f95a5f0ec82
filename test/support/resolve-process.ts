// A process of its own that resolves the alias of a test: argv is the cache, the hub, a hash and a
// size.
import { resolveModel } from '../../src/model/resolve.ts'
import { testAlias } from './models/test-alias.ts'

const [cacheDir = '', endpoint = '', sha256 = '', size = ''] = process.argv.slice(2)
const aliases = [testAlias(sha256, Number(size))]
const location = await resolveModel('tiny', { cacheDir, hub: { endpoint }, aliases })
console.log(JSON.stringify(location))
