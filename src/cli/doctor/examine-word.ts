// The command that petals doctor calls its own program with, to examine a device in a process of
// its own; no help tells of it. Apart from doctor-device.ts, so that other commands need not load
// that.

export const EXAMINE = 'doctor-examine'
