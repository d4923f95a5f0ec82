// A worker that opens the model it is told and answers with some of its bytes.
import { toHex } from '../../src/base/bytes.ts'
import { openModel } from '../../src/model/open-model.ts'
import type { ModelLocation } from '../../src/model/types.ts'

declare const self: Worker

self.addEventListener('message', (event: MessageEvent) => {
  void openModel(event.data as ModelLocation).then((model) => {
    const bytes = model.tensors.read('model.layers.0.self_attn.q_proj.weight')
    self.postMessage({ vocabSize: model.config.vocabSize, bytes: toHex(bytes.subarray(0, 64)) })
  })
})
