"""Peer: plain aiortc sending a message of so many octets fifty times a second on every data channel that viewers open.   PORT OCTETS

Load it with metaload.py --no-video; it answers a WHEP-like POST at /.
"""
import asyncio
import sys

import uvloop
from aiohttp import web
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription

INTERVAL_S = 0.02
port, message = int(sys.argv[1]), bytes(int(sys.argv[2]))
peers, channels = set(), set()


async def view(request):
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    peers.add(peer)
    peer.on("datachannel", channels.add)
    await peer.setRemoteDescription(RTCSessionDescription(await request.text(), "offer"))
    await peer.setLocalDescription(await peer.createAnswer())
    return web.Response(status=201, text=peer.localDescription.sdp, content_type="application/sdp")


async def send(app):
    async def beat():
        due = asyncio.get_running_loop().time()
        while True:
            for channel in channels:
                channel.send(message)
            due += INTERVAL_S
            await asyncio.sleep(max(0, due - asyncio.get_running_loop().time()))

    app["beat"] = asyncio.create_task(beat())


uvloop.install()
app = web.Application()
app.router.add_post("/", view)
app.on_startup.append(send)
web.run_app(app, host="127.0.0.1", port=port, print=None)
