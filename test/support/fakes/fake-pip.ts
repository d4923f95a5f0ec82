// Stands in for pip: copies the wheel that its first argument names into the folder after `-d`, or
// fails.
import { copyFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'

const [wheel = '', ...args] = process.argv.slice(2)
if (wheel === 'fail') {
  console.error(
    'WARNING: nothing\nERROR: No matching distribution found\n[notice] a new pip is out'
  )
  process.exit(1)
}
if (wheel === 'tell-tmpdir') {
  console.error(`ERROR: ${tmpdir()}`)
  process.exit(1)
}
if (wheel === 'hang') await new Promise(() => setInterval(() => {}, 1000))
copyFileSync(wheel, join(args[args.indexOf('-d') + 1] ?? '', basename(wheel)))
