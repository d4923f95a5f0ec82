// The HTTP surface over a model that is computed in this process: real tokens, no swarm.
import { join } from 'node:path'
import { createApp, type AppOptions } from '../../../src/api/http/app.ts'
import { PAGES } from '../../../src/api/page/pages.ts'
import { serve } from '../../../src/api/serve.ts'
import { Compute } from '../../../src/blocks/compute.ts'
import { DraftBlocks } from '../../../src/client/speculate/draft-blocks.ts'
import { Generator } from '../../../src/client/text/generate.ts'
import { LocalModel } from '../../../src/client/text/local-model.ts'
import { TextModel } from '../../../src/library/text/text-model.ts'
import { trainHere } from '../../support/train-here.ts'
import { openModel } from '../../../src/model/open-model.ts'
import { chatStoriesBytes } from '../../support/models/chat-stories.ts'
import { tempFolder } from '../../support/temp-folder.ts'

export const MODEL = 'stories'

export interface LocalApi extends AsyncDisposable {
  readonly url: string
  readonly model: TextModel
  /** Generators that were made. */
  readonly sessions: { opened: number; closed: number }
}

/** stories260K with a chat template, in float, so that its texts are known. */
export async function localApi(
  options: Partial<AppOptions> & { parallel?: number; template?: string } = {}
): Promise<LocalApi> {
  const stack = new AsyncDisposableStack()
  const folder = stack.use(await tempFolder())
  const path = await folder.write('stories.gguf', await chatStoriesBytes(options.template))
  const compute = stack.use(new Compute({ threads: 1, keep: { cacheDir: join(folder.path, 'c') } }))
  const location = { kind: 'gguf', paths: [path] } as const
  const local = new LocalModel({ compute, model: await openModel(location), headQuant: 'f32' })
  const sessions = { opened: 0, closed: 0 }
  const model = stack.use(
    new TextModel({
      id: MODEL,
      local,
      ...(options.parallel === undefined ? {} : { parallel: options.parallel }),
      async open() {
        const blocks = new DraftBlocks({ compute, model: local.model, quant: 'f32' })
        await blocks.ready()
        sessions.opened++
        return {
          generator: new Generator(local, blocks),
          route: () => [],
          onnews: () => {},
          close: async () => {
            sessions.closed++
            await blocks.close()
          }
        }
      },
      openTraining: () => trainHere(compute, local),
      onclose: () => local.close()
    })
  )
  await model.ready()
  const models = { names: [MODEL], take: async () => model }
  const server = serve({
    app: createApp({ models, ...options }),
    host: '127.0.0.1',
    port: 0,
    pages: PAGES
  })
  stack.defer(() => server.close())
  return {
    url: server.url,
    model,
    sessions,
    [Symbol.asyncDispose]: () => stack.disposeAsync()
  }
}
