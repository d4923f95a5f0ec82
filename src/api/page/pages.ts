// The pages by path; Bun bundles what they load.
import chatPage from './chat.html'
import swarmPage from './swarm.html'

export type Pages = Readonly<Record<string, Bun.HTMLBundle>>

export const PAGES: Pages = { '/': chatPage, '/swarm': swarmPage }
