// The hidden command with which petals doctor calls its own program to examine a device in a
// process of its own. It is a file of its own so that other commands need not load
// doctor-device.ts.

export const EXAMINE = 'doctor-examine'
