// Declares `petals doctor`.
import { type Command, command, flag, text } from '../command.ts'
import { BOOTSTRAP, JSON_OUTPUT } from '../common-options.ts'
import type { DoctorFlags } from '../run/doctor.ts'

export const doctor: Command = command<DoctorFlags>({
  name: 'doctor',
  about: 'Go through what petals needs of this machine; exits with 0 when the CPU can compute',
  options: {
    device: text('name', 'Exit with 0 only if it works too: cuda or webgpu (default: cpu)'),
    installCuda: flag("First fetch CUDA's libraries (0.8 GB, Linux x64) through pip"),
    offline: flag('Leave the DHT and the hub out'),
    bootstrap: BOOTSTRAP,
    json: JSON_OUTPUT
  },
  examples: ['petals doctor --device cuda --json > report.json'],
  async run(_words, flags, context) {
    const { runDoctor } = await import('../run/doctor.ts')
    return runDoctor(flags, context)
  }
})
