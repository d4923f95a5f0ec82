// The output of petals doctor: a line for each check and a verdict for each device, or JSON.
import type { Device } from '../../blocks/types.ts'
import { DEVICES, exitOf, verdictOf, type Area, type Check } from './doctor-checks.ts'

const TITLES: Readonly<Record<Area, string>> = {
  program: 'Program',
  cpu: 'CPU',
  cuda: 'CUDA',
  webgpu: 'WebGPU',
  network: 'Network'
}
const STATE_WIDTH = 9
const NAME_WIDTH = 19

/** A line for each check below its area's title, then one for each device. */
export function doctorText(checks: readonly Check[]): string {
  const lines: string[] = []
  let area: Area | undefined
  for (const check of checks) {
    if (check.area !== area) lines.push(...(area ? [''] : []), TITLES[check.area])
    area = check.area
    const next = check.next === undefined ? '' : ` -> ${oneLine(check.next)}`
    lines.push(
      `  ${check.state.padEnd(STATE_WIDTH)}${check.name.padEnd(NAME_WIDTH)}${oneLine(check.found)}${next}`
    )
  }
  lines.push('', ...DEVICES.flatMap((one) => verdictLines(one, checks)))
  return `${lines.join('\n')}\n`
}

function verdictLines(device: Device, checks: readonly Check[]): string[] {
  const { works, first } = verdictOf(device, checks)
  const name = `--device ${device}`.padEnd(STATE_WIDTH + NAME_WIDTH - 11)
  if (works) return [`${name}works`]
  const lines = [`${name}no: ${first?.name ?? ''}: ${oneLine(first?.found ?? '')}`]
  if (first?.next !== undefined)
    lines.push(`${' '.repeat(name.length)}next: ${oneLine(first.next)}`)
  return lines
}

/** For programs; with the same words as the text. */
export function doctorReport(checks: readonly Check[], device: Device | undefined): object {
  const exitCode = exitOf(checks, device)
  return {
    ok: exitCode === 0,
    exitCode,
    devices: Object.fromEntries(
      DEVICES.map((one) => {
        const { works, first } = verdictOf(one, checks)
        const failure = first && { area: first.area, name: first.name, found: first.found }
        return [one, { works, ...(failure ? { firstFailure: failure, next: first.next } : {}) }]
      })
    ),
    checks: checks.map(({ area, name, state, found, next }) => ({ area, name, state, found, next }))
  }
}

/** Text from the system or a driver may contain anything. */
function oneLine(text: string): string {
  return text.replaceAll(/[\s\p{Cc}]+/gu, ' ').trim()
}
