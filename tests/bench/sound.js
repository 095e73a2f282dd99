// In the appliance's own page: when the beep leaves for the speaker and when the flash is on the screen, both in milliseconds of performance.now().
// The page's element plays the sound as it always does; the processor only looks at the samples as they are drawn from the jitter buffer.
window.soundNotes = {beeps: [], flashes: [], drawn: 0, aheadUs: Infinity};
window.watchSound = (place, reach) => {
    const notes = window.soundNotes, peer = applianceViewer.peer;
    const loud = 0.03, quietMs = 300, bright = 180;
    const listen = async () => {
        const {track} = peer.getReceivers().find(receiver => receiver.track.kind === 'audio');
        const reader = new MediaStreamTrackProcessor({track}).readable.getReader();
        let heardMs = -Infinity, samples = new Float32Array(0);
        for (;;) {
            const {value: drawn, done} = await reader.read();
            if (done) return;
            // Their clock is not performance.now()'s; the quickest delivery of all says how far the two are apart.
            notes.aheadUs = Math.min(notes.aheadUs, performance.now() * 1000 - drawn.timestamp);
            notes.drawn += drawn.numberOfFrames;
            if (samples.length < drawn.numberOfFrames) samples = new Float32Array(drawn.numberOfFrames);
            drawn.copyTo(samples, {planeIndex: 0, format: 'f32-planar'});
            for (let i = 0; i < drawn.numberOfFrames; i++) {
                if (Math.abs(samples[i]) < loud) continue;
                const atUs = drawn.timestamp + i / drawn.sampleRate * 1e6;
                if (atUs / 1000 - heardMs > quietMs) notes.beeps.push(atUs);
                heardMs = atUs / 1000;
            }
            drawn.close();
        }
    };
    const pixels = new Uint8Array(reach * reach * 4);
    let flashed = false;
    const look = async (now, {expectedDisplayTime}) => {
        const {video} = applianceViewer;
        video.requestVideoFrameCallback(look);
        const frame = new VideoFrame(video);
        const corner = (share, size) => Math.round((share * size - reach / 2) / 2) * 2;
        await frame.copyTo(pixels, {rect: {x: corner(place[0], frame.displayWidth), y: corner(place[1], frame.displayHeight), width: reach, height: reach}, format: 'RGBA'});
        frame.close();
        const flashes = pixels[(reach * reach / 2 + reach / 2) * 4 + 1] > bright;
        if (flashes && !flashed) notes.flashes.push(expectedDisplayTime);
        flashed = flashes;
    };
    void listen();
    applianceViewer.video.requestVideoFrameCallback(look);
};
// Totals of the browser's own account: what its buffers hold (seconds times samples), and what it estimates from there to the speaker.
window.soundTotals = async () => {
    const found = {};
    for (const entry of (await applianceViewer.peer.getStats()).values()) {
        if (entry.type === 'inbound-rtp') found[entry.kind] = {...entry};
        if (entry.type === 'media-playout') found.playout = {...entry};
    }
    return found;
};
