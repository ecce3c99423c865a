// A foreign gateway: open a request that our code sealed, and seal an answer to it. One JSON object in, one out.
//
//   { stack, privateKey, framing, message, answer: { status, headers, body } }     bytes in hex

import { decodeRequest, encodeResponse } from './bhttp.mjs'
import { openRequest } from './ohttp.mjs'
import { stacks } from './stacks.mjs'

const bytes = (text) => new Uint8Array(Buffer.from(text, 'hex'))

let input = ''
for await (const piece of process.stdin) input += piece
const { stack, privateKey, framing, message, answer } = JSON.parse(input)

const { plaintext, seal } = await openRequest(stacks[stack], bytes(privateKey), framing, bytes(message))
const request = await decodeRequest(plaintext)
const sealed = await seal(await encodeResponse(answer))
console.log(JSON.stringify({ request, answer: Buffer.from(sealed).toString('hex') }))
