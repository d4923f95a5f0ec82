// The program's entry. Until the commands land it says what it is made of.
import { versionText } from '../base/version.ts'

console.log(versionText())
