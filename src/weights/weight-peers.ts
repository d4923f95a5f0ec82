// Other servers as a source of weights: what they call a model by a word, its small files, and who
// has chunks of a file. model/hub/bring-chunks.ts and repo.ts call it.
//
// weight-peers -> file-holders -> chunk-claims, chunk-exchange
//              -> weight-questions -> weight-finder, weight-asker -> links
import { toHex } from '../base/bytes.ts'
import { type AppError, corrupt, protocolError } from '../base/errors.ts'
import { hashLikeBytes } from '../model/store/hash-file.ts'
import type { ListedFile } from '../model/hub/hub-tree.ts'
import type { FileHolders, ModelPeers, NamedWeights, SharedFile } from '../model/hub/model-peers.ts'
import { holdingCodec } from '../wire/codec/weights.ts'
import { decodeMessage } from '../wire/codec/encode.ts'
import { LIMITS } from '../wire/protocol.ts'
import type { Catalogue, CataloguedFile } from '../wire/types.ts'
import { PeerHolders, type Holder } from './file-holders.ts'
import { isContentId, WeightQuestions, type WeightQuestionsOptions } from './weight-questions.ts'

export class WeightPeers implements ModelPeers {
  readonly #questions: WeightQuestions
  /** Who gave chunks of a file, by its hash. */
  readonly #givers = new Map<string, Set<string>>()

  constructor(options: WeightQuestionsOptions) {
    this.#questions = new WeightQuestions(options)
  }

  async lookUp(word: string, signal?: AbortSignal): Promise<NamedWeights | undefined> {
    const isId = isContentId(word)
    const groups = new Map<string, { catalogue: Catalogue; count: number }>()
    await this.#questions.each(await this.#questions.peers(word, signal), async (link) => {
      const catalogue = await this.#questions.catalogue(link, word, signal)
      if (isId && toHex(catalogue.model) !== word) {
        throw protocolError(`it is asked for ${word} and offers ${toHex(catalogue.model)}`)
      }
      const key = fingerprint(catalogue)
      const group = groups.get(key) ?? { catalogue, count: 0 }
      groups.set(key, group)
      if (!catalogue.isUnverified) group.count++
    })
    const all = [...groups.values()].sort((a, b) => b.count - a.count)
    const [first] = all
    if (!first) return undefined
    if (all.length > 1) throw contradicted(word, all)
    const { model, kind, small, weights } = first.catalogue
    return {
      id: toHex(model),
      kind,
      small: small.map(listed),
      weights: weights.map(listed),
      vouchers: first.count
    }
  }

  async readFile(
    file: ListedFile,
    word: string,
    signal?: AbortSignal
  ): Promise<Uint8Array | undefined> {
    for (const link of await this.#questions.peers(word, signal)) {
      try {
        const bytes = new Uint8Array(file.sizeBytes)
        for (let start = 0; start < bytes.byteLength; start += LIMITS.wantBytes) {
          const count = Math.min(LIMITS.wantBytes, bytes.byteLength - start)
          bytes.set(await this.#questions.bytes(link, file.hash, { start, count, signal }), start)
        }
        if (hashLikeBytes(file.hash, bytes) === file.hash) return bytes
        this.#questions.finder.avoid(link.peer, `a wrong '${file.path}'`)
      } catch (error) {
        this.#questions.failed(link, error, signal)
      }
    }
    return undefined
  }

  distrust(sha256: string): void {
    for (const peer of this.#givers.get(sha256) ?? []) {
      this.#questions.finder.avoid(peer, 'weights, some of which are not those of the file')
    }
    this.#givers.delete(sha256)
  }

  async holdersOf(file: SharedFile, signal?: AbortSignal): Promise<FileHolders | undefined> {
    const holders: Holder[] = []
    await this.#questions.each(await this.#questions.peers(file.word, signal), async (link) => {
      const { payloadBytes: maxBytes } = LIMITS
      const question = { what: 'holding', name: file.sha256 } as const
      const holding = decodeMessage(
        holdingCodec,
        await this.#questions.ask(link, question, { maxBytes, signal })
      )
      const isSame = holding.sizeBytes === file.sizeBytes && holding.chunkBytes === file.chunkBytes
      if (isSame) holders.push({ link, holding })
    })
    if (holders.length === 0) return undefined
    return new PeerHolders(file, holders, this.#questions, (givers) => {
      const before = this.#givers.get(file.sha256) ?? new Set()
      this.#givers.set(file.sha256, before.union(new Set(givers)))
    })
  }
}

function listed({ path, sizeBytes, sha256 }: CataloguedFile): ListedFile {
  return { path, sizeBytes, hash: toHex(sha256) }
}

/** Equal for those who mean the same files, whatever they call the weights. */
function fingerprint({ model, kind, small, weights }: Catalogue): string {
  const files = small.map(({ path, sha256 }) => `${path} ${toHex(sha256)}`).toSorted()
  const hashes = weights.map(({ sizeBytes, sha256 }) => `${sizeBytes} ${toHex(sha256)}`)
  return JSON.stringify([toHex(model), kind, files, hashes])
}

function contradicted(
  word: string,
  sides: readonly { catalogue: Catalogue; count: number }[]
): AppError {
  const said = sides.map(({ catalogue, count }) => `${toHex(catalogue.model)} (${count})`)
  return corrupt(`Servers contradict each other on what '${word}' is: ${said.join(', ')}`, {
    hint: 'Give the content id that you trust in place of the name, or wait for the hub'
  })
}
