// Binary HTTP by bhttp-js, which decodes trailers and then keeps them to itself.

import { BHttpDecoder, BHttpEncoder } from 'bhttp-js'

class Decoder extends BHttpDecoder {
  trailers = {}

  decodeKnownLengthTrailers(context) {
    super.decodeKnownLengthTrailers(context)
    this.trailers = Object.fromEntries(context.trailers)
  }

  decodeIndeterminateLengthTrailers(context) {
    super.decodeIndeterminateLengthTrailers(context)
    this.trailers = Object.fromEntries(context.trailers)
  }
}

export async function encodeRequest({ method, url, headers, body }) {
  return new BHttpEncoder().encodeRequest(new Request(url, { method, headers, body: body ?? undefined }))
}

export async function encodeResponse({ status, headers, body }) {
  return new BHttpEncoder().encodeResponse(new Response(body, { status, headers }))
}

export async function decodeRequest(data) {
  const request = new Decoder().decodeRequest(data)
  return { method: request.method, url: request.url, headers: Object.fromEntries(request.headers), body: await request.text() }
}

export async function decodeResponse(data) {
  const decoder = new Decoder()
  const response = decoder.decodeResponse(data)
  return {
    status: response.status,
    headers: Object.fromEntries(response.headers),
    body: await response.text(),
    trailers: decoder.trailers,
  }
}
