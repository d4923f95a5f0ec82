module.exports = require('./index.ts').UDX
