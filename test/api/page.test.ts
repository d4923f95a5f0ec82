// The page in a real browser, over a model that is computed in this process. Without Chromium on
// the machine it is skipped, and the summary says so.
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from 'bun:test'
import { launch, type Browser, type Page } from 'puppeteer-core'
import { tempFolder } from '../support/temp-folder.ts'
import { localApi, type LocalApi } from './support/local-api.ts'

setDefaultTimeout(120_000)

const chromium = ['chromium', 'chromium-browser', 'google-chrome']
  .map((name) => Bun.which(name))
  .find((path) => path !== null)

describe.skipIf(chromium === undefined)('the page', () => {
  let api: LocalApi
  let browser: Browser
  let page: Page
  const faults: string[] = []

  beforeAll(async () => {
    api = await localApi({ swarm: () => SNAPSHOT })
    browser = await launch({
      executablePath: chromium ?? '',
      args: ['--no-sandbox', '--disable-gpu']
    })
    page = await browser.newPage()
    page.on('pageerror', (error) => faults.push(String(error)))
    page.on('console', (message) => {
      // Where hostile markup is taken apart, the policy forbids it once more and says so.
      const isPolicy = message.text().includes('Content Security Policy')
      if (message.type() === 'error' && !isPolicy) faults.push(message.text())
    })
    await page.goto(api.url)
    await page.waitForSelector('#model option')
  })
  afterAll(async () => {
    await browser?.close()
    await api?.[Symbol.asyncDispose]()
  })

  /** Texts of what stands in the conversation. */
  const said = (): Promise<string[]> =>
    page.$$eval('.message .body', (bodies) => bodies.map((body) => body.textContent ?? ''))
  const idle = (): Promise<unknown> => page.waitForSelector('#send:not([hidden])')
  const click = async (label: string): Promise<void> => {
    const buttons = await page.$$(`.message:last-child .actions button`)
    for (const button of buttons) {
      const text = await button.evaluate((one) => one.textContent ?? '')
      const name = await button.evaluate((one) => one.getAttribute('aria-label') ?? '')
      if (text === label || name === label) return button.click()
    }
    throw new Error(`There is no button '${label}'`)
  }
  const set = (id: string, value: string): Promise<void> =>
    page.$eval(
      `#${id}`,
      (field, given) => {
        ;(field as unknown as { value: string }).value = given
        field.dispatchEvent(new Event('input'))
      },
      value
    )

  test('asks by the keyboard alone and shows the answer', async () => {
    await set('maxTokens', '12')
    await set('temperature', '0')
    await page.focus('#prompt')
    await page.keyboard.type('Once upon a time')
    await page.keyboard.press('Enter')
    await idle()
    const [question, answer] = await said()
    expect(question).toBe('Once upon a time')
    expect(answer!.length).toBeGreaterThan(20)
    expect(answer).toContain('a limit was reached')
    expect(await page.$eval('.speed', (one) => one.textContent)).toMatch(/tokens\/s/)
  })

  test('a retry is a branch beside the first answer', async () => {
    await set('temperature', '1')
    await click('Retry')
    await idle()
    const [, second] = await said()
    await click('Branch before')
    const [, first] = await said()
    expect(first).not.toBe(second)
    await click('Next branch')
    expect((await said())[1]).toBe(second!)
  })

  test('an edited question is a branch of its own, and editing can be left', async () => {
    const [question, answer] = await said()
    const edit = async (): Promise<void> => {
      const [, button] = await page.$$('.message.user .actions button')
      await button!.click()
      await page.waitForSelector('#editing:not([hidden])')
    }
    await edit()
    expect(await said()).toEqual([])
    await page.keyboard.press('Escape')
    expect(await said()).toEqual([question!, answer!])
    await edit()
    // What was said is not lost by going elsewhere meanwhile.
    await page.click('#new')
    await page.click('#conversations li button')
    expect(await said()).toEqual([question!, answer!])
    await edit()
    await page.keyboard.type(' there was')
    await page.keyboard.press('Enter')
    await page.waitForSelector('.message:nth-child(2)')
    await idle()
    expect((await said())[0]).toBe(`${question} there was`)
    expect(await page.$eval('.message.user .actions span', (one) => one.textContent)).toBe('2 of 2')
    const before = await page.$('.message.user [aria-label="Branch before"]')
    await before!.click()
    expect(await said()).toEqual([question!, answer!])
  })

  test('a text that is attached goes along, by name', async () => {
    await using folder = await tempFolder()
    const notes = await folder.write('notes.txt', Buffer.from('The cat sat.'))
    const [chooser] = await Promise.all([page.waitForFileChooser(), page.click('label.button')])
    await chooser.accept([notes])
    await page.waitForSelector('#attached:not([hidden])')
    expect(await page.$eval('#attached', (one) => one.textContent)).toContain('notes.txt')
    await page.focus('#prompt')
    await page.keyboard.type('Go on')
    await page.keyboard.press('Enter')
    await idle()
    expect((await said()).at(-2)).toBe('Go on\n\nnotes.txt:\n\nThe cat sat.')
  })

  test('Esc stops an answer, which says so', async () => {
    await set('maxTokens', '')
    await page.focus('#prompt')
    await page.keyboard.type('Lily and Tom')
    await page.keyboard.press('Enter')
    await page.waitForFunction(
      "(document.querySelector('.message:last-child .body')?.textContent ?? '').length > 3"
    )
    await page.keyboard.press('Escape')
    await idle()
    expect((await said()).at(-1)).toContain('Stopped.')
    while (api.model.active > 0) await Bun.sleep(5)
  })

  test('a schema holds the answer; what is no schema is told', async () => {
    await set('schema', '{"enum": ["yes", "no"]}')
    await page.focus('#prompt')
    await page.keyboard.type('Is it so?')
    await page.keyboard.press('Enter')
    await idle()
    expect((await said()).at(-1)).toMatch(/"(yes|no)"/)
    await set('schema', '{')
    await click('Retry')
    await page.waitForSelector('.message:last-child .error')
    await set('schema', '')
  })

  test('conversations stay in the browser', async () => {
    await page.reload()
    await page.waitForSelector('.message')
    expect((await said())[0]).toBe('Once upon a time')
    expect(await page.$$eval('#conversations li', (items) => items.length)).toBe(1)
  })

  test('an answer that a reload cuts off is kept as far as it came', async () => {
    await page.click('#new')
    await set('maxTokens', '400')
    await page.focus('#prompt')
    await page.keyboard.type('Tell me more')
    await page.keyboard.press('Enter')
    await page.waitForFunction(
      "document.querySelectorAll('.message .body')[1]?.textContent.length > 60"
    )
    await page.reload()
    await page.waitForSelector('.message:nth-child(2)')
    const [question, answer = ''] = await said()
    expect(question).toBe('Tell me more')
    expect(answer.length).toBeGreaterThan(20)
    expect(answer).toEndWith('Stopped.')
    await set('maxTokens', '12')
  })

  test('markup in an answer does nothing but look', async () => {
    const turn = { id: 'a', role: 'assistant', text: HOSTILE }
    const settings = { system: '', temperature: '', topP: '', maxTokens: '', seed: '', schema: '' }
    const one = { id: 'h', title: '<b>h</b>', turns: [turn], leaf: 'a', settings, changedAt: 9e15 }
    await page.evaluate(
      `localStorage.setItem('petals-conversations', ${JSON.stringify(JSON.stringify([one]))})`
    )
    await page.reload()
    await page.waitForSelector('.message .code button')
    const body = await page.$eval('.message .body', (one) => one.innerHTML)
    expect(body).not.toMatch(/<(img|script|iframe|style|form|svg|dialog|label)/i)
    expect(body).not.toMatch(/onerror|javascript:|evil\.example\/[ab]/i)
    expect(await page.$eval('#conversations', (one) => one.innerHTML)).not.toContain('<b>')
    await page.evaluate('localStorage.clear()')
  })

  test('fits a phone, and the dark', async () => {
    await page.setViewport({ width: 360, height: 640 })
    await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: 'dark' }])
    await page.reload()
    await page.waitForSelector('#model option')
    expect(await page.evaluate('document.documentElement.scrollWidth <= innerWidth')).toBe(true)
    const back: unknown = await page.evaluate('getComputedStyle(document.body).backgroundColor')
    expect(back).toBe('rgb(25, 23, 22)')
    await page.click('#menu')
    const isOpen = (): Promise<boolean> => page.$eval('#side', (one) => one.checkVisibility())
    expect(await isOpen()).toBe(true)
    await page.click('#close')
    expect(await isOpen()).toBe(false)
    await page.click('#menu')
    await page.mouse.click(350, 300)
    expect(await isOpen()).toBe(false)
    expect(await page.$eval('#menu', (one) => one.getAttribute('aria-expanded'))).toBe('false')
    await page.setViewport({ width: 1100, height: 760 })
  })

  test('the monitor shows models, blocks, needs and what happened', async () => {
    await page.goto(`${api.url}/swarm`)
    await page.waitForSelector('.card')
    expect(await page.$eval('.card h2', (one) => one.textContent)).toBe('smollm2-135m')
    expect(await page.$$eval('.map tr:first-child td.missing', (cells) => cells.length)).toBe(2)
    expect(await page.$eval('.needs code', (one) => one.textContent)).toBe(
      'petals join smollm2-135m --blocks 4:6'
    )
    expect(await page.$eval('#events', (one) => one.textContent)).toContain('joined')
    // It is shown anew every few seconds; whoever goes through it by keyboard stays where they are.
    await page.focus('.needs button')
    await page.evaluate("document.querySelector('.card').id = 'old'")
    await page.waitForSelector('.card:not(#old)')
    expect(await page.evaluate('document.activeElement.textContent')).toBe('Copy')
  })

  test('nothing failed meanwhile', () => {
    expect(faults).toEqual([])
  })
})

/** Markup of all kinds that could do something. */
const HOSTILE = [
  '<img src=x onerror=alert(1)><script>alert(1)</script><iframe src="//evil.example"></iframe>',
  '[link](javascript:alert(1)) <style>body{display:none}</style><form action="//evil.example"></form>',
  '<svg><image href="//evil.example/a.png"></image></svg><table background="//evil.example/b.png">',
  '<tr><td>x</td></tr></table><dialog open>over</dialog><label for="prompt">x</label>',
  '```js\nlet a = 1 // <script>\n```'
].join('\n\n')

/** Six blocks, of which the last two are missing. */
const SNAPSHOT = {
  at: 1_800_000_000_000,
  since: 1_799_999_000_000,
  looked: true,
  reachable: true,
  models: [
    {
      name: 'smollm2-135m',
      model: 'ab'.repeat(32),
      blockCount: 6,
      servers: 1,
      blocks: [1, 1, 1, 1, 0, 0].map((servers) => ({ servers, tokensPerSecond: 20 * servers })),
      hosts: [
        {
          peer: 'cd'.repeat(32),
          start: 0,
          end: 4,
          state: 'alive',
          quant: 'native',
          arithmetic: 'petals-1',
          version: '0.1.0',
          tokensPerSecond: 20,
          prefillTokensPerSecond: 200,
          freeTokens: 4096,
          draining: false,
          next: null,
          rttMs: 3
        }
      ],
      needs: [
        {
          start: 4,
          end: 6,
          why: 'missing',
          servers: 0,
          tokensPerSecond: 0,
          command: 'petals join smollm2-135m --blocks 4:6'
        }
      ],
      history: [1, 2, 3].map((at) => ({
        at,
        servers: 1,
        tokensPerSecond: 10 * at,
        missingBlocks: 2
      }))
    }
  ],
  events: [
    {
      at: 1_799_999_990_000,
      kind: 'joined',
      peer: 'cd'.repeat(32),
      model: 'ab',
      name: 'smollm2-135m',
      start: 0,
      end: 4
    }
  ]
}
