// The worker of test/build/probe.ts.
declare const self: Worker
self.onmessage = (event) => self.postMessage(`worker heard ${String(event.data)}`)
