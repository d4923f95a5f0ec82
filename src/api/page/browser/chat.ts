// The chat page: conversations of this browser, asked of the server that it came from.
import { answer, listModels, ServerError } from './client.ts'
import {
  addTurn,
  branchOf,
  loadConversations,
  newConversation,
  saveConversations,
  showBranch,
  siblingsOf,
  type Conversation,
  type Settings,
  type Turn
} from './conversations.ts'
import { copyButton } from './copy-button.ts'
import { byId, make } from './element.ts'
import { showMarkdown } from './markdown.ts'
import { RoutePanel } from './route-panel.ts'

const side = byId('side', HTMLElement)
const list = byId('conversations', HTMLUListElement)
const messages = byId('messages', HTMLDivElement)
const panel = new RoutePanel(byId('route', HTMLDivElement))
const model = byId('model', HTMLSelectElement)
const promptBox = byId('prompt', HTMLTextAreaElement)
const send = byId('send', HTMLButtonElement)
const stop = byId('stop', HTMLButtonElement)
const attached = byId('attached', HTMLDivElement)
const file = byId('file', HTMLInputElement)
const editing = byId('editing', HTMLDivElement)
const menu = byId('menu', HTMLButtonElement)
const settingsBox = byId('settings', HTMLFieldSetElement)
const fields: Readonly<Record<keyof Settings, HTMLInputElement | HTMLTextAreaElement>> = {
  system: byId('system', HTMLTextAreaElement),
  temperature: byId('temperature', HTMLInputElement),
  topP: byId('topP', HTMLInputElement),
  maxTokens: byId('maxTokens', HTMLInputElement),
  seed: byId('seed', HTMLInputElement),
  schema: byId('schema', HTMLTextAreaElement)
}
const SETTINGS = Object.keys(fields) as (keyof Settings)[]
const MOST_FILE_BYTES = 2 ** 20
const MODEL_KEY = 'petals-model'

const conversations = loadConversations()
let current = conversations[0] ?? newConversation()
let running: AbortController | undefined
let attachment: { name: string; text: string } | undefined
/** The question that is edited: what is sent becomes a branch beside it. */
let edited: Turn | undefined

function keep(): void {
  if (!conversations.includes(current)) conversations.unshift(current)
  saveConversations(conversations)
  showList()
}

function showList(): void {
  list.replaceChildren(
    ...conversations
      .filter(({ turns }) => turns.length > 0)
      .toSorted((a, b) => b.changedAt - a.changedAt)
      .map((one) =>
        make(
          'li',
          {},
          make(
            'button',
            { type: 'button', 'aria-current': String(one === current), click: () => open(one) },
            one.title
          ),
          make(
            'button',
            { type: 'button', 'aria-label': `Delete ${one.title}`, click: () => remove(one) },
            '×'
          )
        )
      )
  )
}

function open(conversation: Conversation): void {
  running?.abort()
  current = conversation
  for (const key of SETTINGS) fields[key].value = current.settings[key] ?? ''
  setEditing(undefined)
  showSide(false)
  showList()
  showMessages()
  promptBox.focus()
}

function remove(conversation: Conversation): void {
  if (!confirm(`Delete '${conversation.title}'?`)) return
  conversations.splice(conversations.indexOf(conversation), 1)
  saveConversations(conversations)
  if (conversation === current) open(conversations[0] ?? newConversation())
  else showList()
}

function showMessages(): void {
  const branch = branchOf(edited ? { ...current, leaf: edited.parent } : current)
  messages.replaceChildren(...branch.map(messageElement))
  if (branch.length === 0) {
    const text =
      edited === undefined
        ? 'Conversations stay in this browser. Servers of the swarm can read what you ask.'
        : 'The question is below.'
    messages.append(make('p', { class: 'empty' }, text))
  }
  messages.scrollTop = messages.scrollHeight
}

function messageElement(turn: Turn): HTMLElement {
  const body = make('div', { class: 'body' })
  fillBody(body, turn)
  const who = turn.role === 'user' ? 'You' : 'Model'
  const element = make('article', { class: `message ${turn.role}`, 'aria-label': who })
  element.append(make('div', { class: 'who' }, who), body, actionsOf(turn))
  return element
}

function fillBody(body: HTMLElement, turn: Turn): void {
  if (turn.role === 'user') body.textContent = turn.text
  else showMarkdown(body, turn.text)
  if (turn.thought) {
    const thought = make('details', { class: 'thought' }, make('summary', {}, 'Thought'))
    thought.append(turn.thought)
    body.prepend(thought)
  }
  if (turn.note) body.append(make('p', { class: turn.failed ? 'error' : 'news' }, turn.note))
}

function actionsOf(turn: Turn): HTMLElement {
  const actions = make(
    'div',
    { class: 'actions' },
    copyButton(() => turn.text)
  )
  const again = turn.role === 'user' ? 'Edit' : 'Retry'
  const act = (): void => (turn.role === 'user' ? edit(turn) : retry(turn))
  actions.append(make('button', { type: 'button', click: act }, again))
  const siblings = siblingsOf(current, turn)
  if (siblings.length > 1) {
    const at = siblings.indexOf(turn)
    const go = (to: number, label: string, sign: string): HTMLElement => {
      const target = siblings[to]
      const click = (): void => {
        if (!target) return
        showBranch(current, target)
        keep()
        showMessages()
      }
      return make('button', { type: 'button', 'aria-label': label, disabled: !target, click }, sign)
    }
    const place = make('span', {}, `${at + 1} of ${siblings.length}`)
    actions.append(go(at - 1, 'Branch before', '‹'), place, go(at + 1, 'Next branch', '›'))
  }
  return actions
}

/** The question comes back into the box; sending it begins a branch beside it. */
function edit(turn: Turn): void {
  running?.abort()
  setEditing(turn)
  promptBox.value = turn.text
  showMessages()
  promptBox.focus()
}

/** What was to be edited stands as it was. */
function leaveEditing(): void {
  if (edited === undefined) return
  promptBox.value = ''
  setEditing(undefined)
  showMessages()
  promptBox.focus()
}

function setEditing(turn: Turn | undefined): void {
  edited = turn
  editing.hidden = turn === undefined
}

function showSide(isOpen: boolean): void {
  side.classList.toggle('open', isOpen)
  menu.setAttribute('aria-expanded', String(isOpen))
}

function retry(turn: Turn): void {
  running?.abort()
  setEditing(undefined)
  current.leaf = turn.parent
  void run()
}

/** What the request says beside the messages. @throws Error for a schema that is no JSON */
function requestOptions({ temperature, topP, maxTokens, seed, schema }: Settings): object {
  const number = (name: string, text: string): object =>
    text.trim() === '' ? {} : { [name]: Number(text) }
  const format =
    schema.trim() === ''
      ? {}
      : {
          response_format: {
            type: 'json_schema',
            json_schema: { name: 'answer', schema: JSON.parse(schema) as unknown }
          }
        }
  return {
    ...number('temperature', temperature),
    ...number('top_p', topP),
    ...number('max_tokens', maxTokens),
    ...number('seed', seed),
    ...format
  }
}

async function run(): Promise<void> {
  const conversation = current
  const branch = branchOf(conversation)
  const { system } = conversation.settings
  const turn = addTurn(conversation, { parent: conversation.leaf, role: 'assistant', text: '' })
  showMessages()
  const body = messages.lastElementChild?.querySelector<HTMLElement>('.body')
  body?.append(make('p', { class: 'waiting' }, 'Waiting for the first word'))
  const abort = new AbortController()
  running = abort
  setRunning(true)
  const began = performance.now()
  let pieces = 0
  let drawing = 0
  const show = (): void => {
    drawing = 0
    if (!body || conversation !== current) return
    const isAtEnd = messages.scrollHeight - messages.scrollTop - messages.clientHeight < 80
    fillBody(body, turn)
    if (isAtEnd) messages.scrollTop = messages.scrollHeight
  }
  const changed = (): void => {
    drawing ||= requestAnimationFrame(show)
  }
  try {
    const asked = {
      model: model.value,
      messages: [
        ...(system.trim() === '' ? [] : [{ role: 'system', content: system }]),
        ...branch.map(({ role, text }) => ({ role, content: text }))
      ],
      ...requestOptions(conversation.settings)
    }
    const end = await answer(
      asked,
      {
        text(more) {
          turn.text += more
          pieces++
          panel.showSpeed((1000 * pieces) / (performance.now() - began))
          changed()
        },
        thought(more) {
          turn.thought = (turn.thought ?? '') + more
          changed()
        },
        news: (news) => panel.showNews(news)
      },
      abort.signal
    )
    if (end.finish === 'length') turn.note = 'The answer was cut: a limit was reached.'
    if (end.tokensPerSecond !== undefined) panel.showSpeed(end.tokensPerSecond)
  } catch (error) {
    turn.failed = !abort.signal.aborted
    turn.note = abort.signal.aborted ? 'Stopped.' : wordsOf(error)
  } finally {
    if (running === abort) {
      running = undefined
      setRunning(false)
    }
    conversation.changedAt = Date.now()
    keep()
    if (conversation === current) showMessages()
  }
}

function wordsOf(error: unknown): string {
  if (error instanceof ServerError) return error.message
  if (error instanceof SyntaxError) return `The JSON schema is none: ${error.message}`
  return `The server cannot be reached: ${error instanceof Error ? error.message : String(error)}`
}

function setRunning(isRunning: boolean): void {
  send.hidden = isRunning
  stop.hidden = !isRunning
  messages.setAttribute('aria-busy', String(isRunning))
}

function submit(): void {
  const typed = promptBox.value.trim()
  if (running || (typed === '' && !attachment)) return
  const text = attachment
    ? [typed, `${attachment.name}:\n\n${attachment.text}`].filter((one) => one !== '').join('\n\n')
    : typed
  promptBox.value = ''
  attach(undefined)
  const parent = edited ? edited.parent : current.leaf
  setEditing(undefined)
  addTurn(current, { parent, role: 'user', text })
  keep()
  void run()
}

function attach(given: { name: string; text: string } | undefined): void {
  attachment = given
  attached.hidden = !given
  attached.replaceChildren()
  if (!given) return
  attached.append(`Goes along: ${given.name} `)
  const drop = { type: 'button', 'aria-label': `Remove ${given.name}` } as const
  attached.append(make('button', { ...drop, click: () => attach(undefined) }, 'Remove'))
  promptBox.focus()
}

byId('composer', HTMLFormElement).addEventListener('submit', (event) => {
  event.preventDefault()
  submit()
})
promptBox.addEventListener('keydown', (event) => {
  if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return
  event.preventDefault()
  submit()
})
document.addEventListener('keydown', (event) => {
  if (event.key !== 'Escape') return
  if (running) running.abort()
  else leaveEditing()
  showSide(false)
})
stop.addEventListener('click', () => running?.abort())
// A page that is left or loaded anew keeps what was answered so far.
addEventListener('pagehide', () => {
  if (!running) return
  const [turn] = branchOf(current).slice(-1)
  if (turn?.role === 'assistant') turn.note = 'Stopped.'
  keep()
  running.abort()
})
byId('new', HTMLButtonElement).addEventListener('click', () =>
  open(newConversation(current.settings))
)
byId('leave', HTMLButtonElement).addEventListener('click', leaveEditing)
menu.addEventListener('click', () => {
  showSide(true)
  byId('close', HTMLButtonElement).focus()
})
byId('close', HTMLButtonElement).addEventListener('click', () => {
  showSide(false)
  menu.focus()
})
// Beside the open side a touch closes it.
document.addEventListener('click', ({ target }) => {
  if (target instanceof Node && !side.contains(target) && target !== menu) showSide(false)
})
const options = byId('options', HTMLButtonElement)
options.addEventListener('click', () => {
  settingsBox.hidden = !settingsBox.hidden
  options.setAttribute('aria-expanded', String(!settingsBox.hidden))
})
for (const key of SETTINGS) {
  fields[key].addEventListener('input', () => {
    current.settings[key] = fields[key].value
    if (current.turns.length > 0) keep()
  })
}
file.addEventListener('change', () => {
  const [chosen] = file.files ?? []
  file.value = ''
  if (!chosen) return
  if (chosen.size > MOST_FILE_BYTES) {
    panel.say(`${chosen.name} is over 1 MiB`)
    return
  }
  void chosen.text().then((text) => attach({ name: chosen.name, text }))
})
model.addEventListener('change', () => localStorage.setItem(MODEL_KEY, model.value))

open(current)
try {
  const names = await listModels()
  model.append(...names.map((name) => make('option', { value: name }, name)))
  const chosen = localStorage.getItem(MODEL_KEY)
  if (chosen !== null && names.includes(chosen)) model.value = chosen
} catch (error) {
  panel.say(wordsOf(error))
}
