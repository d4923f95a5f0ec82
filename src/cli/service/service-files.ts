// What an operating system's own supervisor is given to keep a server running: a systemd user unit,
// a launchd agent or a task of Windows, and the programs that start, stop and show it. Pure: knows
// no files and no processes.
import { join } from 'node:path'
import { unsupported } from '../../base/errors.ts'

export interface ServiceSpec {
  /** Letters, digits, dots and hyphens. */
  readonly name: string
  readonly description: string
  /** The program and its arguments. */
  readonly command: readonly string[]
  readonly env: Readonly<Record<string, string>>
  /** Where its log goes, where the supervisor keeps none. */
  readonly logFile: string
}

export interface Surroundings {
  readonly platform: NodeJS.Platform
  readonly home: string
  readonly env: Readonly<Record<string, string | undefined>>
  /** Of the user. */
  readonly uid: number
  /** Where Windows' description of the task is kept. */
  readonly folder: string
}

/** Programs to run, each with its arguments. */
type Commands = readonly (readonly string[])[]

export interface ServiceFiles {
  /** What the supervisor calls it. */
  readonly label: string
  readonly path: string
  readonly content: string | Uint8Array
  readonly start: Commands
  readonly stop: Commands
  /** After the file is gone. */
  readonly forget: Commands
  /** Ends with 0 while it runs. */
  readonly check: readonly string[]
  /** What the user may type to read its log. */
  readonly logHint: string
}

/** @throws AppError UNSUPPORTED on other systems */
export function serviceFiles(spec: ServiceSpec, around: Surroundings): ServiceFiles {
  switch (around.platform) {
    case 'linux':
      return systemdUnit(spec, around)
    case 'darwin':
      return launchdAgent(spec, around)
    case 'win32':
      return windowsTask(spec, around)
    default:
      throw unsupported(`Services cannot be installed on ${around.platform}`, {
        hint: 'Start petals join by whatever starts programs there'
      })
  }
}

function systemdUnit(spec: ServiceSpec, { home, env }: Surroundings): ServiceFiles {
  const label = `petals-${spec.name}.service`
  const config = env['XDG_CONFIG_HOME'] || join(home, '.config')
  const lines = [
    '[Unit]',
    `Description=${unitText(spec.description)}`,
    '',
    '[Service]',
    `ExecStart=${spec.command.map(unitWord).join(' ')}`,
    ...Object.entries(spec.env).map(
      ([name, value]) => `Environment=${unitWord(`${name}=${value}`)}`
    ),
    'Restart=on-failure',
    'RestartSec=10',
    // A server tells others that it leaves, and gives sessions time to go elsewhere.
    'TimeoutStopSec=30',
    'NoNewPrivileges=yes',
    '',
    '[Install]',
    'WantedBy=default.target'
  ]
  const control = ['systemctl', '--user']
  return {
    label,
    path: join(config, 'systemd', 'user', label),
    content: `${lines.join('\n')}\n`,
    start: [
      [...control, 'daemon-reload'],
      [...control, 'enable', label],
      [...control, 'restart', label]
    ],
    stop: [[...control, 'disable', '--now', label]],
    forget: [[...control, 'daemon-reload']],
    check: [...control, 'is-active', '--quiet', label],
    logHint: `journalctl --user -u ${label}`
  }
}

function launchdAgent(spec: ServiceSpec, { home, uid }: Surroundings): ServiceFiles {
  const label = `petals.${spec.name}`
  const path = join(home, 'Library', 'LaunchAgents', `${label}.plist`)
  const text = (value: string): string => `<string>${xmlText(value)}</string>`
  const environment = Object.entries(spec.env).map(
    ([name, value]) => `    <key>${xmlText(name)}</key>${text(value)}\n`
  )
  const content = `<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict>
  <key>Label</key>${text(label)}
  <key>ProgramArguments</key>
  <array>
${spec.command.map((word) => `    ${text(word)}\n`).join('')}  </array>
  <key>EnvironmentVariables</key>
  <dict>
${environment.join('')}  </dict>
  <key>RunAtLoad</key><true/>
  <key>KeepAlive</key>
  <dict><key>SuccessfulExit</key><false/></dict>
  <key>ExitTimeOut</key><integer>30</integer>
  <key>StandardErrorPath</key>${text(spec.logFile)}
</dict>
</plist>
`
  const domain = `gui/${uid}`
  return {
    label,
    path,
    content,
    start: [['launchctl', 'bootstrap', domain, path]],
    stop: [['launchctl', 'bootout', `${domain}/${label}`]],
    forget: [],
    check: ['launchctl', 'print', `${domain}/${label}`],
    logHint: `tail -f '${spec.logFile}'`
  }
}

function windowsTask(spec: ServiceSpec, { folder }: Surroundings): ServiceFiles {
  const label = `petals-${spec.name}`
  const path = join(folder, `${label}.xml`)
  const [program = '', ...args] = spec.command
  // A task has no environment and no log of its own: a shell gives it both.
  const set = Object.entries(spec.env).map(([name, value]) => `set "${name}=${value}"&& `)
  const run = [program, ...args].map(windowsWord).join(' ')
  const line = `/d /s /c "${set.join('')}${run} 2>> ${windowsWord(spec.logFile)}"`
  const content = `<?xml version="1.0" encoding="UTF-16"?>
<Task version="1.2" xmlns="http://schemas.microsoft.com/windows/2004/02/mit/task">
  <RegistrationInfo><Description>${xmlText(spec.description)}</Description></RegistrationInfo>
  <Triggers><LogonTrigger><Enabled>true</Enabled></LogonTrigger></Triggers>
  <Settings>
    <MultipleInstancesPolicy>IgnoreNew</MultipleInstancesPolicy>
    <DisallowStartIfOnBatteries>false</DisallowStartIfOnBatteries>
    <StopIfGoingOnBatteries>false</StopIfGoingOnBatteries>
    <ExecutionTimeLimit>PT0S</ExecutionTimeLimit>
    <RestartOnFailure><Interval>PT1M</Interval><Count>999</Count></RestartOnFailure>
  </Settings>
  <Actions>
    <Exec><Command>cmd.exe</Command><Arguments>${xmlText(line)}</Arguments></Exec>
  </Actions>
</Task>
`
  return {
    label,
    path,
    // schtasks reads no other encoding.
    content: Buffer.from(`\ufeff${content.replaceAll('\n', '\r\n')}`, 'utf16le'),
    start: [
      ['schtasks', '/Create', '/TN', label, '/XML', path, '/F'],
      ['schtasks', '/Run', '/TN', label]
    ],
    stop: [
      ['schtasks', '/End', '/TN', label],
      ['schtasks', '/Delete', '/TN', label, '/F']
    ],
    forget: [],
    check: ['powershell', '-NoProfile', '-Command', runningCheck(label)],
    logHint: `type "${spec.logFile}"`
  }
}

/** The words of schtasks are in the user's language. */
function runningCheck(label: string): string {
  return `if ((Get-ScheduledTask -TaskName '${label}').State -ne 'Running') { exit 1 }`
}

/** A word of a unit file: quoted, and nothing in it is a variable or a specifier. */
function unitWord(word: string): string {
  const escaped = unitText(word).replaceAll('\\', '\\\\').replaceAll('"', '\\"')
  return `"${escaped.replaceAll('$', '$$$$')}"`
}

function unitText(text: string): string {
  return text.replaceAll('%', '%%')
}

function xmlText(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
}

/** As the C runtime splits a command line. */
function windowsWord(word: string): string {
  const escaped = word.replaceAll(/(\\*)"/g, '$1$1\\"').replace(/(\\+)$/, '$1$1')
  return `"${escaped}"`
}
