// A foreign client: find the keys by RFC 9540, seal, post, open. One JSON object in, one out.
//
//   { gateway, stack, kem, aead, framing, request: { method, url, headers, body } }

import { decodeResponse, encodeRequest } from './bhttp.mjs'
import { concat, FRAMINGS, parseKeyList, sealRequest } from './ohttp.mjs'
import { stacks } from './stacks.mjs'

let input = ''
for await (const piece of process.stdin) input += piece
const { gateway, stack, kem, aead, framing, request } = JSON.parse(input)

const listed = await fetch(gateway)
if (listed.headers.get('content-type') !== 'application/ohttp-keys') throw new Error('no key list')
const config = parseKeyList(new Uint8Array(await listed.arrayBuffer())).find((one) => one.kem === kem)
if (!config.suites.some((one) => one.kdf === 1 && one.aead === aead)) throw new Error('the suite is not on offer')

const { requestType, responseType } = FRAMINGS[framing]
const { message, open } = await sealRequest(stacks[stack], config, aead, framing, await encodeRequest(request))
const answer = await fetch(gateway, { method: 'POST', headers: { 'content-type': requestType }, body: message })
const body = new Uint8Array(await answer.arrayBuffer())
const sealed = answer.status === 200 && answer.headers.get('content-type') === responseType
const chunks = sealed ? await open(body) : []
const outer = { status: answer.status, type: answer.headers.get('content-type') }
const inner = sealed ? await decodeResponse(concat(...chunks)) : null
console.log(JSON.stringify({ outer, inner, chunks: chunks.length }))
