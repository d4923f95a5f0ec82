// Conversations as this browser keeps them: trees of messages, of which one branch is shown.

export interface Turn {
  readonly id: string
  readonly parent: string | undefined
  readonly role: 'user' | 'assistant'
  text: string
  /** What the model thought. */
  thought?: string
  /** Why it is not whole, or what failed. */
  note?: string
  failed?: boolean
}

export interface Settings {
  system: string
  temperature: string
  topP: string
  maxTokens: string
  seed: string
  schema: string
}

export interface Conversation {
  readonly id: string
  title: string
  turns: Turn[]
  /** The last turn of the branch that is shown. */
  leaf: string | undefined
  settings: Settings
  changedAt: number
}

const KEY = 'petals-conversations'
const MOST = 200
const TITLE_LENGTH = 48

export function emptySettings(): Settings {
  return { system: '', temperature: '', topP: '', maxTokens: '', seed: '', schema: '' }
}

export function newConversation(settings: Settings = emptySettings()): Conversation {
  return {
    id: crypto.randomUUID(),
    title: 'New conversation',
    turns: [],
    leaf: undefined,
    settings: { ...settings },
    changedAt: Date.now()
  }
}

/** What was kept; what cannot be read is left alone and not shown. */
export function loadConversations(): Conversation[] {
  try {
    const list: unknown = JSON.parse(localStorage.getItem(KEY) ?? '[]')
    return Array.isArray(list) ? list.filter(isConversation) : []
  } catch {
    return []
  }
}

function isConversation(value: unknown): value is Conversation {
  if (typeof value !== 'object' || value === null) return false
  const { id, title, turns, settings } = value as Partial<Conversation>
  return (
    typeof id === 'string' &&
    typeof title === 'string' &&
    Array.isArray(turns) &&
    typeof settings === 'object'
  )
}

/** Keeps them, the newest if there is no room for all; false when nothing could be kept. */
export function saveConversations(list: readonly Conversation[]): boolean {
  const sorted = list
    .filter(({ turns }) => turns.length > 0)
    .toSorted((a, b) => b.changedAt - a.changedAt)
  for (let count = Math.min(MOST, sorted.length); count >= 0; count = Math.floor(count / 2)) {
    try {
      localStorage.setItem(KEY, JSON.stringify(sorted.slice(0, count)))
      return true
    } catch {
      if (count === 0) return false
    }
  }
  return false
}

/** The branch that is shown, from its first turn on. */
export function branchOf({ turns, leaf }: Conversation): Turn[] {
  const byId = new Map(turns.map((turn) => [turn.id, turn]))
  const branch: Turn[] = []
  for (let turn = byId.get(leaf ?? ''); turn; turn = byId.get(turn.parent ?? ''))
    branch.unshift(turn)
  return branch
}

/** Turns in the same place, in the order of their making. */
export function siblingsOf({ turns }: Conversation, turn: Turn): Turn[] {
  return turns.filter(({ parent, role }) => parent === turn.parent && role === turn.role)
}

export function addTurn(
  conversation: Conversation,
  turn: Pick<Turn, 'parent' | 'role' | 'text'>
): Turn {
  const added: Turn = { ...turn, id: crypto.randomUUID() }
  conversation.turns.push(added)
  conversation.leaf = added.id
  conversation.changedAt = Date.now()
  if (turn.role === 'user' && turn.parent === undefined) {
    conversation.title = turn.text.trim().split('\n')[0]?.slice(0, TITLE_LENGTH) || 'Conversation'
  }
  return added
}

/** Shows the branch through this turn, to its newest end. */
export function showBranch(conversation: Conversation, turn: Turn): void {
  let end = turn
  for (;;) {
    const next = conversation.turns.findLast(({ parent }) => parent === end.id)
    if (!next) break
    end = next
  }
  conversation.leaf = end.id
}
